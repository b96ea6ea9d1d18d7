//! What only a ceremony does in a PKCS#11 token: create, wrap for a backup, restore.

use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use seal::edhoc::PublicKey;
use seal::secret::Key256;
use zeroize::Zeroize;

use super::place::{Pkcs11Place, class};
use super::template;
use crate::token::provider::Mark;
use crate::token::{Object, TokenError};

/// A ceremony at one token.
pub(crate) struct Officer {
    place: Pkcs11Place,
}

impl Officer {
    pub(crate) fn new(place: Pkcs11Place) -> Self {
        Self { place }
    }

    /// Which token it is, for the transcript.
    pub(crate) fn describe(&self) -> Result<String, TokenError> {
        let (_session, info) = self.place.session()?;
        Ok(format!(
            "{}: {} {}, serial {}, firmware {}.{}",
            self.place.name,
            info.manufacturer_id().trim_end(),
            info.model().trim_end(),
            info.serial_number().trim_end(),
            info.firmware_version().major(),
            info.firmware_version().minor()
        ))
    }

    /// Whether its key-encryption key is there.
    pub(crate) fn has_kek(&self) -> Result<bool, TokenError> {
        self.place.has(&self.place.log_in()?, Object::Kek)
    }

    /// Destroys its key-encryption key, if it is there.
    pub(crate) fn destroy_kek(&self) -> Result<(), TokenError> {
        let session = self.place.log_in()?;
        match self.place.find(&session, Object::Kek, class(Object::Kek))? {
            Some(kek) => session.destroy_object(kek).map_err(|error| self.place.failed(Object::Kek, error)),
            None => Ok(()),
        }
    }

    /// Creates those of its objects that are not there yet, and returns them. With `backup` the keys can be
    /// wrapped by a trusted key, else by none.
    pub(crate) fn create(&self, backup: bool) -> Result<Vec<Object>, TokenError> {
        let session = self.place.log_in()?;
        let mut created = Vec::new();
        for (object, label) in &self.place.objects {
            if self.place.has(&session, *object)? {
                continue;
            }
            let made = match object {
                Object::Incarnation => {
                    session.create_object(&template::incarnation(label, Mark::default())).map(drop)
                }
                Object::Kek => {
                    let mut template = template::kek(label, backup);
                    template.push(Attribute::ValueLen(32.into()));
                    session.generate_key(&Mechanism::AesKeyGen, &template).map(drop)
                }
                _ => session
                    .generate_key_pair(
                        &template::KEY_PAIR,
                        &template::public_key(*object, label),
                        &template::private_key(*object, label, backup),
                    )
                    .map(drop),
            };
            made.map_err(|error| self.place.failed(*object, error))?;
            created.push(*object);
        }
        Ok(created)
    }

    /// Wraps every key under the backup key, which the security officer makes trusted for this; then it is
    /// destroyed. It is an object of the session: it never reaches the token's store.
    pub(crate) fn wrap(&self, backup: &Key256) -> Result<Vec<(Object, Vec<u8>)>, TokenError> {
        let so_pin = self.place.so_pin.as_ref().ok_or_else(|| {
            TokenError::backup(format!(
                "{} has no `so_pin`, which makes the backup key trusted",
                self.place.name
            ))
        })?;
        let (session, _) = self.place.session()?;
        self.place.log_in_as(&session, UserType::So, so_pin)?;
        let key = self.put(&session, backup, true)?;
        session.logout().map_err(|error| self.place.refused(error))?;
        self.place.log_in_as(&session, UserType::User, &self.place.pin)?;
        let wrapped = self.each_key(|object| {
            let found = self.place.find(&session, object, class(object))?;
            let target = found.ok_or_else(|| self.place.missing(object))?;
            session
                .wrap_key(&mechanism(object), key, target)
                .map(|octets| (object, octets))
                .map_err(|error| self.place.failed(object, error))
        });
        self.destroy(&session, key)?;
        wrapped
    }

    /// Creates the objects of a backup, which must not be there.
    pub(crate) fn restore(
        &self,
        backup: &Key256,
        keys: &[(Object, Vec<u8>, Option<PublicKey>)],
        mark: Mark,
    ) -> Result<(), TokenError> {
        let session = self.place.log_in()?;
        let key = self.put(&session, backup, false)?;
        let restored = self.restore_all(&session, key, keys, mark);
        self.destroy(&session, key)?;
        restored
    }

    fn restore_all(
        &self,
        session: &Session,
        key: ObjectHandle,
        keys: &[(Object, Vec<u8>, Option<PublicKey>)],
        mark: Mark,
    ) -> Result<(), TokenError> {
        for (object, label) in &self.place.objects {
            if self.place.has(session, *object)? {
                return Err(TokenError::backup(format!(
                    "{} has an object `{label}` already",
                    self.place.name
                )));
            }
        }
        for (object, label) in &self.place.objects {
            let failed = |error: Error| self.place.failed(*object, error);
            if *object == Object::Incarnation {
                session.create_object(&template::incarnation(label, mark)).map_err(failed)?;
                continue;
            }
            let found = keys.iter().find(|(other, ..)| other == object);
            let (_, wrapped, public) =
                found.ok_or_else(|| TokenError::backup(format!("it holds no {object}")))?;
            let mut template = match object {
                Object::Kek => template::kek(label, true),
                object => template::private_key(*object, label, true),
            };
            let kind = if *object == Object::Kek { KeyType::AES } else { KeyType::EC };
            template.extend([Attribute::Class(class(*object)), Attribute::KeyType(kind)]);
            // SoftHSM2 takes attributes one by one, and none after the one that ends changes.
            template.sort_by_key(|attribute| matches!(attribute, Attribute::Modifiable(_)));
            session.unwrap_key(&mechanism(*object), key, wrapped, &template).map_err(failed)?;
            if let Some(public) = public {
                let mut template = template::public_key(*object, label);
                let mut point = vec![4, 65];
                point.extend(public.uncompressed());
                template.extend([
                    Attribute::Class(ObjectClass::PUBLIC_KEY),
                    Attribute::KeyType(KeyType::EC),
                    Attribute::EcPoint(point),
                ]);
                session.create_object(&template).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn each_key<R>(
        &self,
        mut each: impl FnMut(Object) -> Result<R, TokenError>,
    ) -> Result<Vec<R>, TokenError> {
        let keys = self.place.objects.iter().map(|(object, _)| *object);
        keys.filter(|object| *object != Object::Incarnation).map(&mut each).collect()
    }

    fn put(&self, session: &Session, backup: &Key256, wraps: bool) -> Result<ObjectHandle, TokenError> {
        let mut template = template::backup_key(wraps);
        template.push(Attribute::Value(backup.expose().to_vec()));
        let created = session.create_object(&template);
        if let Some(Attribute::Value(value)) = template.last_mut() {
            value.zeroize();
        }
        created.map_err(|error| self.place.refused(error))
    }

    fn destroy(&self, session: &Session, key: ObjectHandle) -> Result<(), TokenError> {
        session.destroy_object(key).map_err(|error| self.place.refused(error))
    }
}

/// How a key is wrapped: RFC 3394; a private key, in PKCS#8 of any length, by RFC 5649.
fn mechanism(object: Object) -> Mechanism<'static> {
    if object == Object::Kek { Mechanism::AesKeyWrap } else { Mechanism::AesKeyWrapPad }
}
