//! The keys of a classic (EAX') device.

use seal::secret::Key128;

/// A classic device's keys, each under the key id that its messages carry: 1 to
/// [`CLASSIC_KEYS_MAX`](crate::shipment::CLASSIC_KEYS_MAX), no id twice.
pub struct ClassicKeys(Vec<(u8, Key128)>);

impl ClassicKeys {
    /// Takes keys in the order given; `None` when there are none or too many, or when two have one id.
    #[must_use]
    pub fn new(keys: Vec<(u8, Key128)>) -> Option<Self> {
        let twice = keys
            .iter()
            .enumerate()
            .any(|(index, (id, _))| keys.iter().take(index).any(|(earlier, _)| earlier == id));
        let count = (1..=crate::shipment::CLASSIC_KEYS_MAX).contains(&keys.len());
        (count && !twice).then_some(Self(keys))
    }

    /// The key of this id.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&Key128> {
        self.iter().find(|(other, _)| *other == id).map(|(_, key)| key)
    }

    /// Ids and keys, in the order of the shipment file.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Key128)> {
        self.0.iter().map(|(id, key)| (*id, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_id() {
        let key = |octet| Key128::from_octets([octet; 16]);
        let keys = ClassicKeys::new(vec![(2, key(2)), (0, key(7))]).unwrap();
        assert_eq!(keys.get(0).unwrap().expose(), &[7; 16]);
        assert!(keys.get(1).is_none());
        assert!(ClassicKeys::new(vec![(2, key(2)), (2, key(7))]).is_none());
        assert!(ClassicKeys::new(Vec::new()).is_none());
        assert!(ClassicKeys::new((0..9).map(|id| (id, key(id))).collect()).is_none());
    }
}
