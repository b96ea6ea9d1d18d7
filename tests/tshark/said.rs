//! What is said of an APDU, in the names of tshark's fields.

use crate::dissector::Dissected;

/// Field and value: hex for octets, decimal for numbers, text for titles and names.
pub type Group = Vec<(String, String)>;

/// All that is said of one APDU.
#[derive(Debug, Default)]
pub struct Said {
    /// ACSE elements, the EPSEM control octet, the ED class.
    pub envelope: Group,
    /// The services, each with its octets first.
    pub services: Vec<Group>,
    /// The MAC, and whether it is right.
    pub seal: Group,
}

/// Appends a field.
pub fn put(group: &mut Group, field: &str, value: impl ToString) {
    group.push((field.to_owned(), value.to_string()));
}

/// tshark's fields that hold others, and nothing of their own.
const STRUCTURE: [&str; 11] = [
    "c1222.MESSAGE_element",
    "c1222.called_AP_title",
    "c1222.calling_AP_title",
    "c1222.calling_authentication_value_element",
    "c1222.calling_authentication_value_encoding",
    "c1222.calling_authentication_value_single_asn1",
    "c1222.calling_authentication_value_c1222_element",
    "c1222.calling_authentication_value_c1221",
    "c1222.user_information_element",
    "c1222.epsem.flags",
    // The opposite of crypto_good.
    "c1222.crypto_bad",
];

/// tshark's fields of octets.
const OCTETS: [&str; 12] = [
    "c1222.authenticate.data",
    "c1222.c1221_auth_identification",
    "c1222.c1221_auth_request",
    "c1222.c1221_auth_response",
    "c1222.calling_authentication_value_octet_aligned",
    "c1222.data",
    "c1222.epsem.data",
    "c1222.epsem.edclass",
    "c1222.epsem.mac",
    "c1222.iv_element",
    "c1222.key_id_element",
    "c1222.write.data",
];

impl Said {
    /// What tshark says.
    pub fn by_tshark(dissected: &Dissected) -> Self {
        let mut said = Self::default();
        for field in &dissected.fields {
            let name = field.name.as_str();
            if STRUCTURE.contains(&name) {
                continue;
            }
            if name == "c1222.epsem.data" {
                said.services.push(Group::new());
            }
            let group = if name == "c1222.epsem.mac" || !said.seal.is_empty() {
                &mut said.seal
            } else {
                said.services.last_mut().unwrap_or(&mut said.envelope)
            };
            if OCTETS.contains(&name) {
                put(group, name, &field.value);
            } else {
                put(group, name, number(&field.show).unwrap_or_else(|| field.show.clone()));
            }
            if matches!(name, "c1222.cmd" | "c1222.err") {
                // `C12.22 Command: Full Read (0x30)`.
                let named = field.showname.split_once(": ").and_then(|(_, rest)| rest.rsplit_once(" ("));
                put(group, "name", named.map_or("", |(name, _)| name));
            }
        }
        said
    }
}

/// A number, decimal, of one that may be hexadecimal.
fn number(show: &str) -> Option<String> {
    let digits = show.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok().map(|number| number.to_string())
}
