//! Devices for tests: a stub that does nothing but say that it did, keys from seeds, a clock.

use std::sync::{Arc, Mutex};

use c1222::ApTitleBuf;
use c1222::tables::Outcome;
use seal::command::{Class, Classes};
use seal::edhoc::{Credential, HeadEndCredential, HeadEndKid, PrivateKey};
use seal::ids::{Dev, System};
use seal::receiver::{Classifier, SignerKey, Signers};
use seal::signature::SigningKey;
use zeroize::Zeroizing;

use super::super::*;
use crate::end_device::Verdict;

pub const SYSTEM: System = System([0x51; 8]);
pub const DEV: Dev = Dev([0xd1; 8]);
pub const UNIX_S: u64 = 1_800_000_000;
pub const SKID: u8 = 3;
pub const KID: u8 = 0x13;

/// So many seconds after the beginning.
pub fn at(seconds: u64) -> Moment {
    Moment { unix_s: UNIX_S + seconds, steady_ns: seconds * NS_PER_S }
}

pub fn title(text: &str) -> ApTitleBuf {
    ApTitleBuf::parse(text).unwrap()
}

/// Numbers that look random, from a seed.
pub fn entropy(seed: u64) -> Box<dyn Entropy> {
    let mut state = seed;
    Box::new(move |octets: &mut [u8]| {
        for octet in octets {
            state = crate::mix::mix(state, 1);
            *octet = state as u8;
        }
    })
}

pub fn head_end_key() -> PrivateKey {
    PrivateKey::from_octets(&[0x21; 32]).unwrap()
}

pub fn head_end_credential(kid: u8, key: &PrivateKey) -> HeadEndCredential {
    Credential { kid: HeadEndKid::new(kid).unwrap(), key: key.public_key() }
}

pub fn signing_key(skid: u8) -> SigningKey {
    SigningKey::from_octets(&[skid + 1; 32]).unwrap()
}

/// The root, and one signer of all classes.
pub fn signers() -> Signers {
    let mut signers = Signers::default();
    for (skid, classes) in [(0, 0b01_0000), (SKID, 0b11_1111)] {
        let key = signing_key(skid).verifying_key();
        signers.add(SignerKey { skid, key, classes: Classes(classes), not_before: 0 });
    }
    signers
}

pub fn provisioned() -> Provisioned {
    Provisioned {
        dev: DEV,
        esn: "MGRF0001".into(),
        title: title(".75.1.2"),
        system: SYSTEM,
        head_end: title(".1"),
        credential: head_end_credential(KID, &head_end_key()),
        signers: signers(),
        agreement: Zeroizing::new([0x31; 32]),
        signing: Zeroizing::new([0x41; 32]),
    }
}

pub fn identity() -> Identity {
    Identity::new(provisioned()).unwrap()
}

/// Every body has the class that its first octet names.
pub struct FirstOctet;

impl Classifier for FirstOctet {
    fn class(&self, body: &[u8]) -> Option<Class> {
        body.first().and_then(|first| Class::from_octet(*first))
    }
}

/// An application that does what it is told by writing it down, outside of the device.
pub struct Stub {
    pub classifier: Box<dyn Classifier + Send>,
    pub outcome: Outcome,
    pub done: Arc<Mutex<Vec<Vec<u8>>>>,
    pub registered: bool,
}

impl Stub {
    pub fn new(classifier: impl Classifier + Send + 'static) -> Self {
        let classifier = Box::new(classifier);
        Self { classifier, outcome: Outcome::Done, done: Arc::default(), registered: false }
    }
}

impl Application for Stub {
    fn class(&self, body: &[u8]) -> Option<Class> {
        self.classifier.class(body)
    }

    fn execute(&mut self, body: &[u8], _: Moment, room: usize, response: &mut Vec<u8>) -> Outcome {
        self.done.lock().unwrap().push(body.to_vec());
        if body.last() == Some(&0xaa) {
            response.extend(vec![0xbb; room]);
        }
        self.outcome
    }

    fn report(&mut self, number: u32, out: &mut Vec<u8>) -> bool {
        out.extend(*b"report");
        out.extend(number.to_be_bytes());
        true
    }

    fn clear(&mut self, _: u64, _: &[u8], _: Moment, _: &mut Vec<u8>) -> Verdict {
        Verdict::Served
    }

    fn registered(&mut self) {
        self.registered = true;
    }

    fn set_title(&mut self, _: &ApTitleBuf) {}

    fn device_class(&self) -> [u8; 4] {
        *b"MGRF"
    }

    fn keep(&self, _: &mut Vec<u8>) {}

    fn restore(&mut self, kept: &[u8]) -> bool {
        kept.is_empty()
    }
}

/// What was sent, of all outputs.
pub fn sent(out: &[Output]) -> Vec<Vec<u8>> {
    out.iter()
        .filter_map(|output| match output {
            Output::Send(apdu) => Some(apdu.clone()),
            _ => None,
        })
        .collect()
}

/// The codes of what was refused.
pub fn refused(out: &[Output]) -> Vec<&'static str> {
    out.iter()
        .filter_map(|output| match output {
            Output::Refused(code) => Some(*code),
            _ => None,
        })
        .collect()
}
