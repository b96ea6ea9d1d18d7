//! The class of a body by a device profile, for those who speak of classes as the security layer does.

use c1222::TableId;
use c1222::device_profile::DeviceProfile;
use c1222::tables::ProcedureId;
use seal::command::{Class, KeyItem, SetTime};
use seal::control::Items;
use seal::receiver::Classifier;

use crate::body::ProcedureClass;

/// A device profile that computes classes.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileClassifier(pub DeviceProfile);

impl ProfileClassifier {
    /// Whether a body is what a command of this class may carry (§7): classes 0 to 3 an EPSEM of services of
    /// no higher class, 4 a list of items, 5 a time. What was computed comes back where it is not.
    ///
    /// # Errors
    /// The class that was computed, `None` for a body that does not parse.
    pub fn admits(&self, class: Class, body: &[u8]) -> Result<(), Option<Class>> {
        if let Some(fits) = universal(class, body) {
            return fits;
        }
        match self.class(body) {
            Some(computed) if computed <= class => Ok(()),
            computed => Err(computed),
        }
    }
}

/// Whether a body of class 4 or 5 is one; `None` for other classes, whose bodies a profile judges.
#[must_use]
pub fn universal(class: Class, body: &[u8]) -> Option<Result<(), Option<Class>>> {
    let fits = match class {
        Class::Keys => Items::<KeyItem<'_>>::read(body).is_ok(),
        Class::Time => SetTime::read(body).is_some(),
        Class::Read | Class::Write | Class::Firmware | Class::Load => return None,
    };
    Some(if fits { Ok(()) } else { Err(None) })
}

impl Classifier for ProfileClassifier {
    fn class(&self, body: &[u8]) -> Option<Class> {
        self.0.class(body).and_then(Class::from_octet)
    }
}

impl ProcedureClass for ProfileClassifier {
    fn procedure(&self, procedure: ProcedureId) -> Class {
        Class::from_octet(self.0.classes.procedure(procedure)).unwrap_or(Class::Keys)
    }

    fn write(&self, table: TableId) -> Class {
        Class::from_octet(self.0.classes.write(table)).unwrap_or(Class::Keys)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use c1222::device_profile::{Classes, Identity};
    use c1222::tables::Format;
    use seal::command::SignedCommand;
    use seal::frame::{Bound, FrameType, HEAD_LEN, Head};
    use seal::ids::{Dev, Epoch, System};
    use seal::profile1::Channel;
    use seal::secret::Key128;
    use serde_json::Value;

    use super::*;

    fn octets(value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap().as_bytes();
        let pairs = text.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn listed<T: Ord>(
        value: &Value,
        radix: u32,
        name: impl Fn(u16) -> T,
    ) -> std::collections::BTreeMap<T, u8> {
        let entries = value.as_object().unwrap().iter();
        let number = |key: &String| u16::from_str_radix(key, radix).unwrap();
        entries.map(|(key, class)| (name(number(key)), class.as_u64().unwrap() as u8)).collect()
    }

    fn profile(value: &Value) -> ProfileClassifier {
        ProfileClassifier(DeviceProfile {
            name: String::new(),
            identity: Identity::default(),
            format: Format::default(),
            utc_offset_min: 0,
            freshness_s: 0,
            tables: Vec::new(),
            load_profiles: Vec::new(),
            service_switch: None,
            classes: Classes {
                reads: listed(&value["read"], 10, TableId),
                writes: listed(&value["write"], 10, TableId),
                procedures: listed(&value["procedure"], 10, ProcedureId),
                services: listed(&value["service"], 16, |code| code as u8),
            },
        })
    }

    /// The plaintext of a unicast command, if it opens.
    fn opened(state: &Value, frame: &[u8]) -> Option<Vec<u8>> {
        let mut frame = frame.to_vec();
        let (head, body) = frame.split_at_mut_checked(HEAD_LEN)?;
        let head = Head::read(head, body.len()).ok().filter(|head| head.frame_type == FrameType::Command)?;
        let system = System(octets(&state["system"]).try_into().unwrap());
        let dev = Dev(octets(&state["dev"]).try_into().unwrap());
        state["downstream"].as_array().unwrap().iter().find_map(|held| {
            let key = Key128::from_octets(octets(&held["k_dn"]).try_into().unwrap());
            let common_iv = octets(&held["common_iv"]).try_into().unwrap();
            let epoch = Epoch(held["epoch"].as_u64().unwrap() as u16);
            let bound = Bound { scope: dev.into(), epoch, system };
            let channel = Channel { key: &key, common_iv: &common_iv, bound };
            channel.open(&head, &mut body.to_vec()).map(|plaintext| plaintext.to_vec())
        })
    }

    #[test]
    fn vector_commands_are_admitted_or_refused_by_their_class() {
        let given = std::env::var_os("METERGRAPH_VECTORS");
        let lent = given.is_some();
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = repository.join(given.as_deref().unwrap_or("tests/vectors".as_ref()));
        assert!(folder.is_dir(), "no folder {}", folder.display());
        let path = folder.join("profile/device-refusals.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            assert!(lent, "{} is not there", path.display());
            println!("{} is not there", path.display());
            return;
        };
        let file: Value = serde_json::from_str(&text).unwrap();
        let profile = profile(&file["profile"]);
        let (mut admitted, mut refused) = (0, 0);
        for case in file["cases"].as_array().unwrap() {
            let state = &file["states"][case["state"].as_u64().unwrap() as usize];
            let Some(plaintext) = opened(state, &octets(&case["frame"])) else { continue };
            let Some(read) = SignedCommand::read(&plaintext) else { continue };
            let Some(class) = Class::from_octet(read.command.class) else { continue };
            let signer = state["signers"].as_array().unwrap().iter();
            let mut signer = signer.filter(|signer| signer["skid"] == read.command.skid);
            let allowed =
                |signer: &Value| signer["classes"].as_array().unwrap().contains(&class.octet().into());
            let by_signer = signer.next().is_some_and(allowed);
            match case["verdict"].as_str().unwrap() {
                "accept" => {
                    assert_eq!(profile.admits(class, read.command.body), Ok(()), "{}", case["title"]);
                    admitted += 1;
                }
                "SEC-DN-CLASS" if by_signer => {
                    assert!(profile.admits(class, read.command.body).is_err(), "{}", case["title"]);
                    refused += 1;
                }
                _ => {}
            }
        }
        assert!(admitted > 0 && refused > 0 || lent, "{admitted} admitted, {refused} refused");
    }
}
