//! Where a PKCS#11 token is, what it is to hold, and how its holder logs in.

use std::path::PathBuf;

use cryptoki::error::{Error, Result as CallResult, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::TokenInfo;
use cryptoki::types::AuthPin;
use seal::edhoc::PublicKey;

use super::module;
use crate::token::provider::Mark;
use crate::token::{Object, PinSource, TokenError};

/// A holder's token.
#[derive(Clone)]
pub(crate) struct Pkcs11Place {
    /// For messages.
    pub(crate) name: String,
    pub(crate) module: PathBuf,
    pub(crate) label: String,
    /// What the PIN's relative path is from.
    pub(crate) folder: PathBuf,
    pub(crate) pin: PinSource,
    pub(crate) so_pin: Option<PinSource>,
    /// What the holder has in it, with their labels.
    pub(crate) objects: Vec<(Object, String)>,
    /// Labels of former key-encryption keys, which are not used.
    pub(crate) kept: Vec<String>,
}

impl Pkcs11Place {
    /// Opens a session, not logged in.
    pub(super) fn session(&self) -> Result<(Session, TokenInfo), TokenError> {
        let context = module::start(&self.module)?;
        let (slot, info) = module::slot(&context, &self.module, &self.label)?;
        // Read-write: the incarnation rises, ceremonies create.
        let session = context.open_rw_session(slot).map_err(|error| self.refused(error))?;
        Ok((session, info))
    }

    /// Opens a session of the holder.
    pub(super) fn log_in(&self) -> Result<Session, TokenError> {
        let (session, _) = self.session()?;
        self.log_in_as(&session, UserType::User, &self.pin)?;
        Ok(session)
    }

    pub(super) fn log_in_as(
        &self,
        session: &Session,
        user: UserType,
        pin: &PinSource,
    ) -> Result<(), TokenError> {
        let pin = AuthPin::from(pin.read(&self.folder)?.as_str());
        match session.login(user, Some(&pin)) {
            // A login holds for all sessions of this process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Finds all of its objects, and returns its keys; of key pairs the private keys.
    pub(super) fn keys(&self, session: &Session) -> Result<Vec<(Object, ObjectHandle)>, TokenError> {
        let mut keys = Vec::new();
        for (object, label) in &self.objects {
            if *object == Object::Incarnation {
                let marks = marks(session, label).map_err(|error| self.failed(*object, error))?;
                if marks.is_empty() {
                    return Err(self.missing(*object));
                }
                continue;
            }
            let found = self.find(session, *object, class(*object))?;
            keys.push((*object, found.ok_or_else(|| self.missing(*object))?));
        }
        Ok(keys)
    }

    /// Whether it has an object already.
    pub(super) fn has(&self, session: &Session, object: Object) -> Result<bool, TokenError> {
        if object == Object::Incarnation {
            let marks = marks(session, self.label_of(object));
            return marks.map(|marks| !marks.is_empty()).map_err(|error| self.failed(object, error));
        }
        Ok(self.find(session, object, class(object))?.is_some())
    }

    /// The one object of this class and label, if there is one.
    pub(super) fn find(
        &self,
        session: &Session,
        object: Object,
        class: ObjectClass,
    ) -> Result<Option<ObjectHandle>, TokenError> {
        let label = Attribute::Label(self.label_of(object).as_bytes().to_vec());
        let template = [Attribute::Class(class), Attribute::Token(true), label];
        let found = session.find_objects(&template).map_err(|error| self.failed(object, error))?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(self.violation(object, "CKA_LABEL", "is that of more than one object")),
        }
    }

    /// The public keys of its key pairs.
    pub(super) fn publics(&self, session: &Session) -> Result<Vec<(Object, PublicKey)>, TokenError> {
        let pairs = self.objects.iter().map(|(object, _)| *object);
        let pairs = pairs.filter(|object| object.signs() || *object == Object::Registration);
        pairs.map(|object| Ok((object, self.public(session, object)?))).collect()
    }

    fn public(&self, session: &Session, object: Object) -> Result<PublicKey, TokenError> {
        let handle =
            self.find(session, object, ObjectClass::PUBLIC_KEY)?.ok_or_else(|| self.missing(object))?;
        let read = session
            .get_attributes(handle, &[AttributeType::EcPoint])
            .map_err(|error| self.failed(object, error))?;
        let point = read.iter().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => point_of(point),
            _ => None,
        });
        point.ok_or_else(|| self.wrong(object, "its public key is no point of P-256"))
    }

    /// An object's label.
    pub(super) fn label_of(&self, object: Object) -> &str {
        self.objects.iter().find(|(other, _)| *other == object).map_or("", |(_, label)| label)
    }

    pub(super) fn missing(&self, object: Object) -> TokenError {
        TokenError::Missing { token: self.name.clone(), object: self.label_of(object).to_owned() }
    }

    pub(super) fn failed(&self, object: Object, source: Error) -> TokenError {
        let (token, object) = (self.name.clone(), self.label_of(object).to_owned());
        TokenError::Call { token, object, source: Box::new(source) }
    }

    /// A call that is about no object.
    pub(super) fn refused(&self, source: Error) -> TokenError {
        TokenError::Session { token: self.name.clone(), source: Box::new(source) }
    }

    pub(super) fn wrong(&self, object: Object, what: &'static str) -> TokenError {
        TokenError::Answer { token: self.name.clone(), object: self.label_of(object).to_owned(), what }
    }

    pub(super) fn violation(&self, object: Object, attribute: &'static str, found: &str) -> TokenError {
        let (token, object) = (self.name.clone(), self.label_of(object).to_owned());
        TokenError::Violation { token, object, attribute, found: found.to_owned() }
    }
}

/// The incarnation's objects.
pub(super) fn marks(session: &Session, label: &str) -> CallResult<Vec<(Mark, ObjectHandle)>> {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let mut marks = Vec::new();
    for object in
        session.find_objects(&[Attribute::Class(ObjectClass::DATA), Attribute::Token(true), label])?
    {
        let read = session.get_attributes(object, &[AttributeType::Value])?;
        marks.extend(read.iter().find_map(|attribute| match attribute {
            Attribute::Value(value) => Some((Mark::read(value)?, object)),
            _ => None,
        }));
    }
    Ok(marks)
}

/// What PKCS#11 calls the kind of an object; of key pairs the private key.
pub(super) fn class(object: Object) -> ObjectClass {
    match object {
        Object::Kek => ObjectClass::SECRET_KEY,
        Object::Incarnation => ObjectClass::DATA,
        Object::Command(_) | Object::Audit | Object::Registration => ObjectClass::PRIVATE_KEY,
    }
}

/// A point as tokens give it: an OCTET STRING of DER, as it should be, or its content alone.
fn point_of(octets: &[u8]) -> Option<PublicKey> {
    let point = octets.strip_prefix(&[4, 65]).filter(|rest| rest.len() == 65).unwrap_or(octets);
    let (x, y) = point.strip_prefix(&[4])?.split_first_chunk::<32>()?;
    PublicKey::from_xy(x, y.try_into().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn points_come_with_and_without_their_wrapping() {
        let key = seal::edhoc::PrivateKey::from_octets(&[7; 32]).unwrap().public_key();
        let raw = key.uncompressed();
        assert_eq!(point_of(&raw), Some(key));
        assert_eq!(point_of(&[&[4, 65], &raw[..]].concat()), Some(key));
        assert_eq!(point_of(&raw[..64]), None);
        assert_eq!(point_of(&[4; 67]), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_point_or_none(octets: Vec<u8>) {
            let _ = point_of(&octets);
        }
    }
}
