//! Messages of classic (EAX') devices that were accepted: the second line behind their freshness window.
//!
//! Security layer §9: a cache of (key, title, A8, IV), rebuilt from the journal. A device has one title,
//! so its `sid` stands for it.

use std::collections::{HashMap, VecDeque};

use seal::ids::Sid;

/// Messages remembered at most by one shard; past that the oldest are forgotten, and of each key nothing counts
/// as fresh any more that has an IV up to the latest one forgotten: the freshness window may still let it pass.
const MESSAGES_MAX: usize = 1 << 18;

/// What tells one classic message from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The device.
    pub sid: Sid,
    /// Its key.
    pub key_id: u8,
    /// The IV.
    pub iv: u32,
    /// Its calling-AP-invocation-id (A8).
    pub invocation: u32,
}

/// The messages that were accepted, pending ones included.
#[derive(Debug, Default)]
pub struct ReplayCache {
    /// When each was accepted, by a running number.
    seen: HashMap<Message, u64>,
    order: VecDeque<(Message, u64)>,
    number: u64,
    /// By device and key: the latest IV that was forgotten.
    forgotten: HashMap<(Sid, u8), u32>,
}

impl ReplayCache {
    /// Whether a message was accepted before, or may have been.
    #[must_use]
    pub fn contains(&self, message: &Message) -> bool {
        let forgotten = self.forgotten.get(&(message.sid, message.key_id));
        forgotten.is_some_and(|latest| message.iv <= *latest) || self.seen.contains_key(message)
    }

    /// Remembers a message.
    pub fn insert(&mut self, message: Message) {
        self.number = self.number.wrapping_add(1);
        self.seen.insert(message, self.number);
        self.order.push_back((message, self.number));
        while self.order.len() > MESSAGES_MAX {
            if let Some((oldest, number)) = self.order.pop_front()
                && self.seen.get(&oldest) == Some(&number)
            {
                self.seen.remove(&oldest);
                self.forget(oldest.sid, oldest.key_id, oldest.iv);
            }
        }
    }

    /// What was accepted of a key up to this IV is not remembered, message by message.
    pub fn forget(&mut self, sid: Sid, key_id: u8, iv: u32) {
        let latest = self.forgotten.entry((sid, key_id)).or_insert(iv);
        *latest = iv.max(*latest);
    }

    /// A device is not heard any more.
    pub fn remove_device(&mut self, sid: Sid) {
        self.forgotten.retain(|(device, _), _| *device != sid);
    }

    /// By device and key: the latest IV that was forgotten.
    pub fn forgotten(&self) -> impl Iterator<Item = ((Sid, u8), u32)> {
        self.forgotten.iter().map(|(key, iv)| (*key, *iv))
    }

    /// Forgets a message whose record could not be written: its repeat is fresh again.
    pub fn remove(&mut self, message: &Message) {
        self.seen.remove(message);
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        self.order
            .iter()
            .filter(|(message, number)| self.seen.get(message) == Some(number))
            .map(|(message, _)| message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(iv: u32) -> Message {
        Message { sid: Sid(1), key_id: 0, iv, invocation: 7 }
    }

    #[test]
    fn a_message_is_known_until_its_write_fails() {
        let mut cache = ReplayCache::default();
        cache.insert(message(1));
        assert!(cache.contains(&message(1)) && !cache.contains(&message(2)));
        cache.remove(&message(1));
        assert!(!cache.contains(&message(1)));
        cache.insert(message(1));
        assert_eq!(cache.iter().count(), 1);
    }

    #[test]
    fn what_is_forgotten_is_not_fresh_again() {
        let mut cache = ReplayCache::default();
        for iv in 100..MESSAGES_MAX as u32 + 110 {
            cache.insert(message(iv));
        }
        // The first ten are not remembered, and taken for what they are; so is what came between them.
        assert!((0..110).all(|iv| cache.contains(&message(iv))));
        let other = |message: Message| !cache.contains(&message);
        assert!(other(Message { invocation: 8, ..message(110) }));
        assert!(other(Message { key_id: 1, ..message(100) }), "another key");
        assert!(other(Message { sid: Sid(2), ..message(100) }), "another device");
        cache.remove_device(Sid(1));
        assert_eq!(cache.forgotten().count(), 0);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut cache = ReplayCache::default();
        for iv in 0..MESSAGES_MAX as u32 + 10 {
            cache.insert(message(iv));
        }
        assert_eq!(cache.forgotten().collect::<Vec<_>>(), [((Sid(1), 0), 9)]);
        assert!(!cache.seen.contains_key(&message(9)) && cache.seen.contains_key(&message(10)));
        assert_eq!((cache.seen.len(), cache.order.len()), (MESSAGES_MAX, MESSAGES_MAX));
    }
}
