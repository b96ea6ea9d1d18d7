//! What a token does, whoever provides it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seal::edhoc::{Agreement, PrivateKey, PublicKey};
use seal::key_wrap::WRAPPED_LEN;
use seal::secret::{Key256, SharedSecret};
use seal::signature::{SIGNATURE_LEN, VerifyingKey, sha256};
use subtle::ConstantTimeEq;

use super::{Object, TokenError};
use crate::locked::random_32;

/// One token, logged in. Asked only for what [`Provider::objects`] lists.
pub(crate) trait Provider: Send + Sync {
    fn name(&self) -> &str;
    fn is_software(&self) -> bool;
    fn is_locked(&self) -> bool;
    /// What it holds.
    fn objects(&self) -> &[Object];
    /// Reads what protects each object.
    fn attributes(&self) -> Result<(), TokenError>;
    fn public_key(&self, object: Object) -> Result<PublicKey, TokenError>;
    fn sign(&self, object: Object, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], TokenError>;
    fn agree(&self, object: Object, peer: &PublicKey) -> Result<SharedSecret, TokenError>;
    fn wrap(&self, dek: &Key256) -> Result<[u8; WRAPPED_LEN], TokenError>;
    fn unwrap(&self, wrapped: &[u8; WRAPPED_LEN]) -> Result<Key256, TokenError>;
    fn incarnation(&self) -> Result<Mark, TokenError>;
    fn set_incarnation(&self, mark: Mark) -> Result<(), TokenError>;
}

/// What the incarnation object holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The number.
    pub(crate) value: u64,
    /// Random; tells two copies apart that raise to the same number at once.
    pub(crate) raiser: u64,
    /// The number that the last restore of a state made.
    pub(crate) restored: u64,
    /// How many there were.
    pub(crate) restores: u64,
}

impl Mark {
    pub(crate) const LEN: usize = 32;

    pub(crate) fn octets(self) -> [u8; Self::LEN] {
        let mut octets = [0; Self::LEN];
        let fields = [self.value, self.raiser, self.restored, self.restores];
        for (place, field) in octets.as_chunks_mut().0.iter_mut().zip(fields) {
            *place = field.to_be_bytes();
        }
        octets
    }

    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        let ([value, raiser, restored, restores], []) = octets.as_chunks() else { return None };
        let [value, raiser, restored, restores] =
            [value, raiser, restored, restores].map(|field| u64::from_be_bytes(*field));
        Some(Self { value, raiser, restored, restores })
    }
}

/// What a token says of restored states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restores {
    /// The incarnation.
    pub value: u64,
    /// The one that the last restore made; 0 for none. States that are older stem from before it.
    pub restored: u64,
    /// How many there were.
    pub count: u64,
}

/// The incarnation of the installation (§8): raised at every start, read again before each reservation.
pub struct Incarnation {
    provider: Arc<dyn Provider>,
    known: Mutex<Known>,
}

/// What this process knows of its own raises.
#[derive(Clone, Copy, Default)]
struct Known {
    /// What it raised it to.
    ours: Option<Mark>,
    /// What it tried last. A token that failed meanwhile may have it all the same.
    tried: Option<Mark>,
}

impl Incarnation {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        Self { provider, known: Mutex::default() }
    }

    /// The number in the token.
    ///
    /// # Errors
    /// [`TokenError::Raised`] when this handle raised it and another copy has raised it since, be it to the
    /// same number; failures of the token.
    pub fn read(&self) -> Result<u64, TokenError> {
        let mark = self.provider.incarnation()?;
        match self.known().ours {
            Some(ours) if ours != mark => {
                Err(TokenError::Raised { token: self.provider.name().to_owned(), found: mark.value })
            }
            _ => Ok(mark.value),
        }
    }

    /// Raises it, and reads it again. One whose answer was lost may be tried again, to the same number.
    ///
    /// # Errors
    /// [`TokenError::Behind`] when it is `to` or above already; [`TokenError::Raised`]; failures of the token.
    pub fn raise(&self, to: u64) -> Result<(), TokenError> {
        let found = self.provider.incarnation()?;
        if found.value == to && self.known().tried == Some(found) {
            *self.known() = Known { ours: Some(found), tried: None };
            return Ok(());
        }
        self.read()?;
        if found.value >= to {
            let token = self.provider.name().to_owned();
            return Err(TokenError::Behind { token, found: found.value, wanted: to });
        }
        self.set(Mark { value: to, ..found })
    }

    /// What the token says of restores.
    ///
    /// # Errors
    /// As [`Incarnation::read`].
    pub fn restores(&self) -> Result<Restores, TokenError> {
        self.read()?;
        let Mark { value, restored, restores, .. } = self.provider.incarnation()?;
        Ok(Restores { value, restored, count: restores })
    }

    /// Raises it for a restore: no state that is older than `to` may be restored again.
    ///
    /// # Errors
    /// As [`Incarnation::raise`].
    pub fn restore(&self, to: u64) -> Result<(), TokenError> {
        self.read()?;
        let found = self.provider.incarnation()?;
        if found.value >= to {
            let token = self.provider.name().to_owned();
            return Err(TokenError::Behind { token, found: found.value, wanted: to });
        }
        self.set(Mark { value: to, restored: to, restores: found.restores.saturating_add(1), ..found })
    }

    fn set(&self, mark: Mark) -> Result<(), TokenError> {
        let mut raiser = [0; 8];
        getrandom::fill(&mut raiser)?;
        let mark = Mark { raiser: u64::from_be_bytes(raiser), ..mark };
        self.known().tried = Some(mark);
        self.provider.set_incarnation(mark)?;
        self.known().ours = Some(mark);
        self.read()?;
        self.known().tried = None;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The public key of a key that signs.
pub(crate) fn verifying_key(provider: &dyn Provider, object: Object) -> Result<VerifyingKey, TokenError> {
    let public = provider.public_key(object)?;
    VerifyingKey::from_xy(&public.x(), &public.y())
        .ok_or_else(|| wrong(provider, object, "its public key is no point of P-256"))
}

/// Reads what protects each object, and uses each once.
pub(crate) fn self_test(provider: &dyn Provider) -> Result<(), TokenError> {
    provider.attributes()?;
    for object in provider.objects() {
        match object {
            Object::Command(_) | Object::Audit => test_signing(provider, *object)?,
            Object::Registration => test_agreement(provider)?,
            Object::Kek => test_wrapping(provider)?,
            Object::Incarnation => drop(provider.incarnation()?),
        }
    }
    Ok(())
}

/// Private and public key belong together. What is signed begins unlike any `Sig_structure`.
fn test_signing(provider: &dyn Provider, object: Object) -> Result<(), TokenError> {
    let digest = sha256(&[&b"metergraph self-test"[..], random_32()?.as_slice()].concat());
    let signature = provider.sign(object, &digest)?;
    if verifying_key(provider, object)?.verifies(&digest, &signature) {
        return Ok(());
    }
    Err(wrong(provider, object, "its signature does not verify under its public key"))
}

fn test_agreement(provider: &dyn Provider) -> Result<(), TokenError> {
    let other = loop {
        if let Some(key) = PrivateKey::from_octets(&*random_32()?) {
            break key;
        }
    };
    let theirs = provider.agree(Object::Registration, &other.public_key())?;
    let Ok(ours) = other.agree(&provider.public_key(Object::Registration)?);
    if ours.ct_eq(&theirs).into() {
        return Ok(());
    }
    Err(wrong(provider, Object::Registration, "its product is not that of its public key"))
}

fn test_wrapping(provider: &dyn Provider) -> Result<(), TokenError> {
    let dek = Key256::from_octets(*random_32()?);
    let mut wrapped = provider.wrap(&dek)?;
    if !bool::from(provider.unwrap(&wrapped)?.ct_eq(&dek)) {
        return Err(wrong(provider, Object::Kek, "a wrapped key unwraps to another"));
    }
    let [first, ..] = &mut wrapped;
    *first ^= 1;
    match provider.unwrap(&wrapped) {
        Err(TokenError::Unopened { .. }) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(wrong(provider, Object::Kek, "a changed wrapped key unwraps")),
    }
}

fn wrong(provider: &dyn Provider, object: Object, what: &'static str) -> TokenError {
    TokenError::Answer { token: provider.name().to_owned(), object: object.to_string(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token with an incarnation alone. Its answer to a raise may be lost, before or after it did it.
    #[derive(Default)]
    struct Losing {
        mark: Mutex<Mark>,
        loses: Mutex<Option<Lost>>,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Lost {
        Before,
        After,
    }

    impl Losing {
        fn gone() -> TokenError {
            TokenError::Damaged { path: "token".into(), what: "it is gone" }
        }
    }

    impl Provider for Losing {
        fn name(&self) -> &str {
            "token"
        }

        fn is_software(&self) -> bool {
            true
        }

        fn is_locked(&self) -> bool {
            true
        }

        fn objects(&self) -> &[Object] {
            &[Object::Incarnation]
        }

        fn attributes(&self) -> Result<(), TokenError> {
            Ok(())
        }

        fn public_key(&self, _: Object) -> Result<PublicKey, TokenError> {
            Err(Self::gone())
        }

        fn sign(&self, _: Object, _: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], TokenError> {
            Err(Self::gone())
        }

        fn agree(&self, _: Object, _: &PublicKey) -> Result<SharedSecret, TokenError> {
            Err(Self::gone())
        }

        fn wrap(&self, _: &Key256) -> Result<[u8; WRAPPED_LEN], TokenError> {
            Err(Self::gone())
        }

        fn unwrap(&self, _: &[u8; WRAPPED_LEN]) -> Result<Key256, TokenError> {
            Err(Self::gone())
        }

        fn incarnation(&self) -> Result<Mark, TokenError> {
            Ok(*self.mark.lock().unwrap())
        }

        fn set_incarnation(&self, mark: Mark) -> Result<(), TokenError> {
            let loses = *self.loses.lock().unwrap();
            if loses != Some(Lost::Before) {
                *self.mark.lock().unwrap() = mark;
            }
            loses.map_or(Ok(()), |_| Err(Self::gone()))
        }
    }

    #[test]
    fn a_raise_whose_answer_was_lost_is_found_again_and_no_other() {
        let token = Arc::new(Losing::default());
        let (ours, other) = (Incarnation::new(token.clone()), Incarnation::new(token.clone()));
        for (lost, to) in [(Lost::Before, 1), (Lost::After, 2)] {
            *token.loses.lock().unwrap() = Some(lost);
            assert!(matches!(ours.raise(to), Err(TokenError::Damaged { .. })));
            *token.loses.lock().unwrap() = None;
            ours.raise(to).unwrap();
            assert_eq!(ours.read().unwrap(), to);
        }
        // Another one raises to the number that this one could not.
        let (ours, other) = (Incarnation::new(token.clone()), other);
        *token.loses.lock().unwrap() = Some(Lost::Before);
        assert!(ours.raise(3).is_err());
        *token.loses.lock().unwrap() = None;
        other.raise(3).unwrap();
        assert!(matches!(ours.raise(3), Err(TokenError::Behind { found: 3, wanted: 3, .. })));
        assert_eq!(other.read().unwrap(), 3);
    }
}
