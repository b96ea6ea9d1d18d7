//! The PKCS#11 provider: a holder's keys inside a token that never shows them.
//!
//! What leaves it: signatures (`CKM_ECDSA`), x of a product and data keys (`CKM_ECDH1_DERIVE` without a
//! derivation function, `CKM_AES_KEY_WRAP`), both as session objects that are read and destroyed at once,
//! since the security layer goes on with them here.

mod module;
mod officer;
mod place;
mod protection;
mod template;

use std::sync::{Mutex, PoisonError};

use cryptoki::error::{Error, Result as CallResult, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use seal::edhoc::PublicKey;
use seal::key_wrap::WRAPPED_LEN;
use seal::secret::{Key256, SharedSecret};
use seal::signature::SIGNATURE_LEN;
use zeroize::Zeroize;

pub(crate) use officer::Officer;
pub(crate) use place::Pkcs11Place;

use super::provider::{Mark, Provider};
use super::{Object, TokenError};

/// A session, logged in, and its objects.
struct Live {
    session: Session,
    /// Its keys; of a key pair the private key.
    keys: Vec<(Object, ObjectHandle)>,
}

/// A PKCS#11 token, open. One call at a time.
pub(crate) struct Pkcs11 {
    place: Pkcs11Place,
    objects: Vec<Object>,
    publics: Vec<(Object, PublicKey)>,
    /// `None` after the token was gone: the next call logs in anew.
    live: Mutex<Option<Live>>,
}

impl Pkcs11 {
    /// Logs in and finds the objects.
    pub(crate) fn open(place: Pkcs11Place) -> Result<Self, TokenError> {
        let session = place.log_in()?;
        let keys = place.keys(&session)?;
        let objects: Vec<Object> = place.objects.iter().map(|(object, _)| *object).collect();
        let publics = place.publics(&session)?;
        Ok(Self { place, objects, publics, live: Mutex::new(Some(Live { session, keys })) })
    }

    /// Logs in again after the token was gone; it must be the same one, as well protected.
    fn reopen(&self) -> Result<Live, TokenError> {
        let session = self.place.log_in()?;
        let keys = self.place.keys(&session)?;
        for (object, public) in self.place.publics(&session)? {
            if !self.publics.contains(&(object, public)) {
                return Err(self.place.wrong(object, "its public key is another than before"));
            }
        }
        protection::check(&self.place, &session, &keys)?;
        Ok(Live { session, keys })
    }

    /// What is done in the session, about an object.
    fn with<T>(&self, object: Object, work: impl FnOnce(&Live) -> CallResult<T>) -> Result<T, TokenError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match &mut *live {
            Some(open) => open,
            gone => gone.insert(self.reopen()?),
        };
        let result = work(open);
        if result.as_ref().is_err_and(is_gone) {
            *live = None;
        }
        result.map_err(|error| self.place.failed(object, error))
    }

    /// One call on a key.
    fn call<T>(
        &self,
        object: Object,
        call: impl FnOnce(&Session, ObjectHandle) -> CallResult<T>,
    ) -> Result<T, TokenError> {
        let called =
            self.with(object, |live| match live.keys.iter().find(|(other, _)| *other == object) {
                Some((_, key)) => call(&live.session, *key).map(Some),
                None => Ok(None),
            })?;
        called.ok_or_else(|| self.place.missing(object))
    }
}

/// Whether the session is lost, or may be.
fn is_gone(error: &Error) -> bool {
    use RvError as R;
    matches!(
        error,
        Error::Pkcs11(
            R::DeviceRemoved
                | R::DeviceError
                | R::TokenNotPresent
                | R::TokenNotRecognized
                | R::SessionClosed
                | R::SessionHandleInvalid
                | R::UserNotLoggedIn
                | R::ObjectHandleInvalid
                | R::KeyHandleInvalid
                | R::UnwrappingKeyHandleInvalid
                | R::WrappingKeyHandleInvalid
                | R::CryptokiNotInitialized,
            _
        )
    )
}

/// Reads the 32 octets of a session object, and destroys it in any case.
fn take_value<S>(
    session: &Session,
    object: ObjectHandle,
    make: impl FnOnce([u8; 32]) -> S,
) -> CallResult<Option<S>> {
    let read = session.get_attributes(object, &[AttributeType::Value]);
    session.destroy_object(object)?;
    let mut secret = None;
    for attribute in read? {
        if let Attribute::Value(mut value) = attribute {
            if let Ok(octets) = <[u8; 32]>::try_from(value.as_slice()) {
                secret = Some(octets);
            }
            value.zeroize();
        }
    }
    Ok(secret.map(|mut octets| {
        let made = make(octets);
        octets.zeroize();
        made
    }))
}

impl Provider for Pkcs11 {
    fn name(&self) -> &str {
        &self.place.name
    }

    fn is_software(&self) -> bool {
        false
    }

    /// This process has no key of it.
    fn is_locked(&self) -> bool {
        true
    }

    fn objects(&self) -> &[Object] {
        &self.objects
    }

    fn attributes(&self) -> Result<(), TokenError> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match &*live {
            Some(open) => protection::check(&self.place, &open.session, &open.keys),
            None => {
                *live = Some(self.reopen()?);
                Ok(())
            }
        }
    }

    fn public_key(&self, object: Object) -> Result<PublicKey, TokenError> {
        let found = self.publics.iter().find(|(other, _)| *other == object);
        found.map(|(_, public)| *public).ok_or_else(|| self.place.missing(object))
    }

    fn sign(&self, object: Object, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], TokenError> {
        let signature = self.call(object, |session, key| session.sign(&Mechanism::Ecdsa, key, digest))?;
        signature.try_into().map_err(|_| self.place.wrong(object, "a signature does not have 64 octets"))
    }

    fn agree(&self, object: Object, peer: &PublicKey) -> Result<SharedSecret, TokenError> {
        let secret = self.call(object, |session, key| {
            let point = peer.uncompressed();
            let params = Ecdh1DeriveParams::new(EcKdf::null(), &point);
            let derived =
                session.derive_key(&Mechanism::Ecdh1Derive(params), key, &template::shared_secret())?;
            take_value(session, derived, SharedSecret::from_octets)
        })?;
        secret.ok_or_else(|| self.place.wrong(object, "a product does not have 32 octets"))
    }

    fn wrap(&self, dek: &Key256) -> Result<[u8; WRAPPED_LEN], TokenError> {
        let wrapped = self.call(Object::Kek, |session, kek| {
            let mut template = template::data_key();
            template.push(Attribute::Value(dek.expose().to_vec()));
            let created = session.create_object(&template);
            if let Some(Attribute::Value(value)) = template.last_mut() {
                value.zeroize();
            }
            let key = created?;
            let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, kek, key);
            session.destroy_object(key)?;
            wrapped
        })?;
        wrapped.try_into().map_err(|_| self.place.wrong(Object::Kek, "a wrapped key does not have 40 octets"))
    }

    fn unwrap(&self, wrapped: &[u8; WRAPPED_LEN]) -> Result<Key256, TokenError> {
        let unopened = || TokenError::Unopened { token: self.place.name.clone() };
        let key = self.call(Object::Kek, |session, kek| {
            match session.unwrap_key(&Mechanism::AesKeyWrap, kek, wrapped, &template::data_key()) {
                Ok(key) => take_value(session, key, Key256::from_octets),
                Err(error) if is_wrong_key(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        key.ok_or_else(unopened)
    }

    fn incarnation(&self) -> Result<Mark, TokenError> {
        let label = self.place.label_of(Object::Incarnation);
        let marks = self.with(Object::Incarnation, |live| place::marks(&live.session, label))?;
        // Between the making of a new object and the end of the old one there are two.
        let highest = marks.into_iter().map(|(mark, _)| mark).max();
        highest.ok_or_else(|| self.place.missing(Object::Incarnation))
    }

    /// By a new object, after which the old ones go: tokens need not change a value, and it is never missing.
    fn set_incarnation(&self, mark: Mark) -> Result<(), TokenError> {
        let label = self.place.label_of(Object::Incarnation);
        self.with(Object::Incarnation, |Live { session, .. }| {
            session.create_object(&template::incarnation(label, mark))?;
            let older =
                place::marks(session, label)?.into_iter().filter(|(other, _)| other.value < mark.value);
            older.map(|(_, object)| object).try_for_each(|object| session.destroy_object(object))
        })
    }
}

/// Whether an unwrapping failed by the octets it was given. Tokens say it in several ways.
fn is_wrong_key(error: &Error) -> bool {
    use RvError as R;
    matches!(
        error,
        Error::Pkcs11(
            R::WrappedKeyInvalid
                | R::WrappedKeyLenRange
                | R::EncryptedDataInvalid
                | R::EncryptedDataLenRange
                | R::GeneralError
                | R::FunctionFailed,
            _
        )
    )
}
