//! The key store, the token and the clock, as the test plays them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use c1222::ApTitleBuf;
use metergraph_nodes::registrar::{Closed, Means, NoKey, Provisioned, Provisioning};
use seal::edhoc::{Ephemeral, PrivateKey, PublicKey, Refusal, Registered};
use seal::ids::{Dev, Sid};
use seal::secret::SharedSecret;

use super::office::SECOND;

/// What the registrar works with, played by the test.
pub struct Desk {
    pub key: PrivateKey,
    /// Monotonic ns.
    pub now: AtomicU64,
    /// Devices that may register, and whether they are revoked.
    pub devices: Mutex<HashMap<Dev, (PublicKey, bool)>>,
    pub associations: Mutex<HashMap<Dev, Sid>>,
    /// Associations come from here while there are some, the last one for ever.
    pub sids: Mutex<VecDeque<Sid>>,
    next: AtomicU32,
    pub freed: Mutex<Vec<Sid>>,
    /// Ephemeral keys come from here while there are some, the last one for ever.
    pub ephemerals: Mutex<VecDeque<[u8; 32]>>,
    /// The token fails.
    pub broken: AtomicBool,
    /// Nothing can be sealed, no credential found.
    pub store_broken: AtomicBool,
    pub asked: AtomicU32,
    /// The start is over.
    pub open: AtomicBool,
    /// No registration may begin.
    pub closed: Mutex<Option<Closed>>,
    /// The token works while this is not set.
    held: Mutex<bool>,
    go: Condvar,
}

impl Desk {
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            key: PrivateKey::from_octets(&key).unwrap(),
            now: AtomicU64::new(SECOND),
            devices: Mutex::default(),
            associations: Mutex::default(),
            sids: Mutex::default(),
            next: AtomicU32::new(0x20),
            freed: Mutex::default(),
            ephemerals: Mutex::default(),
            broken: AtomicBool::new(false),
            store_broken: AtomicBool::new(false),
            asked: AtomicU32::new(0),
            open: AtomicBool::new(true),
            closed: Mutex::default(),
            held: Mutex::new(false),
            go: Condvar::new(),
        }
    }

    pub fn hold_token(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.go.notify_all();
    }

    pub fn pass(&self, ns: u64) {
        self.now.fetch_add(ns, Ordering::SeqCst);
    }
}

/// The next of some; the last one stays.
fn drawn<T: Copy>(some: &Mutex<VecDeque<T>>) -> Option<T> {
    let mut some = some.lock().unwrap();
    if some.len() > 1 { some.pop_front() } else { some.front().copied() }
}

impl Provisioning for Desk {
    fn of_association(&self, sid: Sid) -> Option<Provisioned> {
        (sid == Sid(3)).then(|| Provisioned {
            dev: Dev([3; 8]),
            serial_number: "SN3".into(),
            title: ApTitleBuf::parse(".75.3").unwrap(),
            sealed: true,
        })
    }

    fn of_serial_number(&self, serial_number: &[u8]) -> Option<Provisioned> {
        (serial_number == b"DRAFT1").then(|| Provisioned {
            dev: Dev([0xdd; 8]),
            serial_number: "DRAFT1".into(),
            title: ApTitleBuf::parse(".76.1").unwrap(),
            sealed: false,
        })
    }
}

impl Means for Desk {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let held = self.held.lock().unwrap();
        drop(self.go.wait_while(held, |held| *held).unwrap());
        if self.broken.load(Ordering::SeqCst) {
            return Err("the token is unplugged".to_owned());
        }
        let Ok(shared) = seal::edhoc::Agreement::agree(&self.key, peer);
        Ok(shared)
    }

    fn allocate(&self) -> Option<Sid> {
        if !self.is_open() {
            return None;
        }
        drawn(&self.sids).or_else(|| Some(Sid(self.next.fetch_add(1, Ordering::SeqCst))))
    }

    fn free(&self, sid: Sid) {
        self.freed.lock().unwrap().push(sid);
    }

    fn device(&self, dev: Dev) -> Result<PublicKey, NoKey> {
        if self.store_broken.load(Ordering::SeqCst) {
            return Err(NoKey::Fault("the store is gone".to_owned()));
        }
        match self.devices.lock().unwrap().get(&dev) {
            Some((_, true)) => Err(NoKey::Refused(Refusal::Revoked)),
            Some((key, false)) => Ok(*key),
            None => Err(NoKey::Refused(Refusal::Unknown)),
        }
    }

    fn association(&self, dev: Dev) -> Option<Sid> {
        self.associations.lock().unwrap().get(&dev).copied()
    }

    fn seal(&self, registered: &Registered) -> Result<Box<[u8]>, String> {
        Ok([b"sealed", &registered.dev.0[..]].concat().into())
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn fence(&self) -> Result<(), Closed> {
        self.closed.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn ephemeral(&self) -> Result<Ephemeral, String> {
        let drawn = drawn(&self.ephemerals).unwrap_or_else(|| {
            let mut octets = [0x55; 32];
            octets[28..].copy_from_slice(&self.next.fetch_add(0x100, Ordering::SeqCst).to_be_bytes());
            octets
        });
        Ephemeral::from_octets(&drawn).ok_or_else(|| "no key".to_owned())
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
}
