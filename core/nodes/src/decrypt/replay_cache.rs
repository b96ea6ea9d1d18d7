//! Messages of classic (EAX') devices that were accepted: the second line behind their freshness window.
//!
//! Security layer §9: a cache of (key, title, A8, IV), rebuilt from the journal. A device has one title,
//! so its `sid` stands for it.

use std::collections::{HashMap, VecDeque};

use seal::ids::Sid;

/// Messages remembered at most by one shard; the oldest are forgotten past that.
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
}

impl ReplayCache {
    /// Whether a message was accepted before.
    #[must_use]
    pub fn contains(&self, message: &Message) -> bool {
        self.seen.contains_key(message)
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
            }
        }
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
    fn the_oldest_are_forgotten() {
        let mut cache = ReplayCache::default();
        for iv in 0..MESSAGES_MAX as u32 + 10 {
            cache.insert(message(iv));
        }
        assert!(!cache.contains(&message(9)) && cache.contains(&message(10)));
        assert_eq!((cache.seen.len(), cache.order.len()), (MESSAGES_MAX, MESSAGES_MAX));
    }
}
