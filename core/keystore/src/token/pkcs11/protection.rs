//! Whether a token's objects are protected as they must be (security layer §4), read from the token at every
//! start.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::place::{self, Pkcs11Place};
use super::template::P256;
use crate::token::{Object, TokenError};

/// An attribute, its name, and what it must be.
type Rule = (AttributeType, &'static str, bool);

use AttributeType as T;

/// Of every key.
const KEY: [Rule; 5] = [
    (T::Token, "CKA_TOKEN", true),
    (T::Private, "CKA_PRIVATE", true),
    (T::Sensitive, "CKA_SENSITIVE", true),
    (T::Modifiable, "CKA_MODIFIABLE", false),
    (T::Decrypt, "CKA_DECRYPT", false),
];
const SIGNS: [Rule; 3] =
    [(T::Sign, "CKA_SIGN", true), (T::Derive, "CKA_DERIVE", false), (T::Unwrap, "CKA_UNWRAP", false)];
const DERIVES: [Rule; 3] =
    [(T::Sign, "CKA_SIGN", false), (T::Derive, "CKA_DERIVE", true), (T::Unwrap, "CKA_UNWRAP", false)];
/// A key that wraps neither encrypts nor decrypts; one that is trusted would wrap the others.
const WRAPS: [Rule; 6] = [
    (T::Wrap, "CKA_WRAP", true),
    (T::Unwrap, "CKA_UNWRAP", true),
    (T::Encrypt, "CKA_ENCRYPT", false),
    (T::Sign, "CKA_SIGN", false),
    (T::Derive, "CKA_DERIVE", false),
    (T::Trusted, "CKA_TRUSTED", false),
];
/// What some tokens do not know; where they do, it counts.
const IF_KNOWN: [Rule; 2] =
    [(T::Copyable, "CKA_COPYABLE", false), (T::SignRecover, "CKA_SIGN_RECOVER", false)];
const DATA: [Rule; 2] = [(T::Token, "CKA_TOKEN", true), (T::Private, "CKA_PRIVATE", true)];

/// Checks every object of the holder, and that there is no other key.
pub(super) fn check(
    place: &Pkcs11Place,
    session: &Session,
    keys: &[(Object, ObjectHandle)],
) -> Result<(), TokenError> {
    for (object, handle) in keys {
        let tested = Tested { place, session, object: *object, handle: *handle };
        let (kind, rules): (_, &[Rule]) = match object {
            Object::Kek => (KeyType::AES, &WRAPS),
            Object::Registration => (KeyType::EC, &DERIVES),
            _ => (KeyType::EC, &SIGNS),
        };
        tested.key(kind)?;
        tested.must(rules)?;
    }
    if let Some((object, label)) = place.objects.iter().find(|(object, _)| *object == Object::Incarnation) {
        for (_, handle) in place::marks(session, label).map_err(|error| place.failed(*object, error))? {
            Tested { place, session, object: *object, handle }.must(&DATA)?;
        }
    }
    // A former key opens a former store: it is protected as the present one.
    let mut all = keys.to_vec();
    for label in &place.kept {
        let former = Pkcs11Place { objects: vec![(Object::Kek, label.clone())], ..place.clone() };
        if let Some(handle) = former.find(session, Object::Kek, ObjectClass::SECRET_KEY)? {
            let tested = Tested { place: &former, session, object: Object::Kek, handle };
            tested.key(KeyType::AES)?;
            tested.must(&WRAPS)?;
            all.push((Object::Kek, handle));
        }
    }
    no_other_key(place, session, &all)
}

/// A token is one holder's alone; and a backup key that was left behind would open it.
fn no_other_key(
    place: &Pkcs11Place,
    session: &Session,
    keys: &[(Object, ObjectHandle)],
) -> Result<(), TokenError> {
    let refused = |error| place.refused(error);
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
        let found =
            session.find_objects(&[Attribute::Class(class), Attribute::Token(true)]).map_err(refused)?;
        let ours = |handle: &ObjectHandle| keys.iter().any(|(_, key)| key == handle);
        if let Some(other) = found.into_iter().find(|handle| !ours(handle)) {
            let label = session.get_attributes(other, &[AttributeType::Label]).map_err(refused)?;
            let label = label.iter().find_map(|attribute| match attribute {
                Attribute::Label(label) => Some(String::from_utf8_lossy(label).into_owned()),
                _ => None,
            });
            return Err(TokenError::Violation {
                token: place.name.clone(),
                object: label.unwrap_or_default(),
                attribute: "CKA_CLASS",
                found: "is that of a key, and this holder has no such key".to_owned(),
            });
        }
    }
    Ok(())
}

/// An object that is looked at.
struct Tested<'a> {
    place: &'a Pkcs11Place,
    session: &'a Session,
    object: Object,
    handle: ObjectHandle,
}

impl Tested<'_> {
    /// What holds for every key of ours.
    fn key(&self, kind: KeyType) -> Result<(), TokenError> {
        self.must(&KEY)?;
        for (attribute, name, must) in IF_KNOWN {
            if self.flag(attribute)?.is_some_and(|is| is != must) {
                return Err(self.violation(name, &format!("is {}", !must)));
            }
        }
        if self.flag(T::Extractable)? != Some(false) && self.flag(T::WrapWithTrusted)? != Some(true) {
            return Err(self.violation("CKA_EXTRACTABLE", "is true, and CKA_WRAP_WITH_TRUSTED is not"));
        }
        if self.read(T::KeyType)? != Some(Attribute::KeyType(kind)) {
            return Err(self.violation("CKA_KEY_TYPE", "is another"));
        }
        // SoftHSM2 says 0 of a key that was unwrapped, as a restored one is.
        let length = self.read(T::ValueLen)?.unwrap_or(Attribute::ValueLen(0.into()));
        if kind == KeyType::AES
            && ![0, 32].map(|octets: u64| Attribute::ValueLen(octets.into())).contains(&length)
        {
            return Err(self.violation("CKA_VALUE_LEN", "is not 32"));
        }
        if kind == KeyType::EC && self.read(T::EcParams)? != Some(Attribute::EcParams(P256.to_vec())) {
            return Err(self.violation("CKA_EC_PARAMS", "is not P-256"));
        }
        if self.read(T::Value)?.is_some() {
            return Err(self.violation("CKA_VALUE", "can be read"));
        }
        Ok(())
    }

    fn must(&self, rules: &[Rule]) -> Result<(), TokenError> {
        for (attribute, name, must) in rules {
            match self.flag(*attribute)? {
                Some(is) if is == *must => {}
                Some(is) => return Err(self.violation(name, &format!("is {is}"))),
                None => return Err(self.violation(name, "cannot be read")),
            }
        }
        Ok(())
    }

    fn flag(&self, attribute: AttributeType) -> Result<Option<bool>, TokenError> {
        use Attribute as A;
        Ok(self.read(attribute)?.and_then(|attribute| match attribute {
            A::Token(is)
            | A::Private(is)
            | A::Sensitive(is)
            | A::Extractable(is)
            | A::WrapWithTrusted(is)
            | A::Modifiable(is)
            | A::Copyable(is)
            | A::Encrypt(is)
            | A::Decrypt(is)
            | A::Sign(is)
            | A::SignRecover(is)
            | A::Derive(is)
            | A::Wrap(is)
            | A::Unwrap(is)
            | A::Trusted(is) => Some(is),
            _ => None,
        }))
    }

    /// An attribute; `None` when the token does not know or does not show it.
    fn read(&self, attribute: AttributeType) -> Result<Option<Attribute>, TokenError> {
        let read = self.session.get_attributes(self.handle, &[attribute]);
        Ok(read.map_err(|error| self.place.failed(self.object, error))?.pop())
    }

    fn violation(&self, attribute: &'static str, found: &str) -> TokenError {
        self.place.violation(self.object, attribute, found)
    }
}
