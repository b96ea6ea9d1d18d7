//! The classes that the vectors' device profile gives, by its JSON.

use seal::command::Class;
use seal::receiver::Classifier;
use serde_json::Value;

/// `profile` of a file.
pub struct Profile(pub Value);

impl Profile {
    fn listed(&self, list: &str, key: &str) -> Class {
        self.0[list][key].as_u64().map_or(Class::Keys, |class| Class::from_octet(class as u8).unwrap())
    }

    /// A table or procedure by its number: the manufacturer bit is kept, what is above it dropped.
    fn numbered(&self, list: &str, number: u16) -> Class {
        self.listed(list, &(number & 0x0fff).to_string())
    }

    fn service(&self, service: &[u8]) -> Option<Class> {
        let (code, parameters) = service.split_first()?;
        let table = || parameters.first_chunk().map(|id| u16::from_be_bytes(*id));
        match code {
            0x30..=0x39 | 0x3f => Some(self.numbered("read", table()?)),
            0x40..=0x49 | 0x4f => {
                let table = table()?;
                if table & 0x07ff != 7 || table & 0x0800 != 0 {
                    return Some(self.numbered("write", table));
                }
                Some(self.procedure(*code, table, &parameters[2..]).unwrap_or(Class::Keys))
            }
            0x50..=0x5f if *code != 0x53 => None,
            _ => Some(self.listed("service", &format!("{code:02x}"))),
        }
    }

    /// The procedure of a whole, correct, immediate write of table 7.
    fn procedure(&self, code: u8, table: u16, data: &[u8]) -> Option<Class> {
        let (count, rest) = data.split_first_chunk()?;
        let (data, [checksum]) = rest.split_at_checked(u16::from_be_bytes(*count).into())? else {
            return None;
        };
        let sum = data.iter().fold(*checksum, |sum, octet| sum.wrapping_add(*octet));
        let number = data.first_chunk().map(|id| u16::from_le_bytes(*id))?;
        (code == 0x40 && table == 7 && sum == 0).then(|| self.numbered("procedure", number))
    }
}

impl Classifier for Profile {
    fn class(&self, body: &[u8]) -> Option<Class> {
        let (control, mut rest) = body.split_first()?;
        if control & 0x9c != 0x80 {
            return None;
        }
        let mut highest = None;
        while let Some((first, after)) = rest.split_first() {
            let (len, after) = match first {
                0 => return highest.filter(|_| after.iter().all(|octet| *octet == 0)),
                len @ 1..=0x7f => (u16::from(*len), after),
                0x81 => after.split_first().map(|(len, after)| (u16::from(*len), after))?,
                0x82 => after.split_first_chunk().map(|(len, after)| (u16::from_be_bytes(*len), after))?,
                _ => return None,
            };
            let service;
            (service, rest) = after.split_at_checked(len.into())?;
            highest = highest.max(Some(self.service(service)?));
        }
        highest
    }
}
