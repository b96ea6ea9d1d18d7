//! tshark, run over a capture, and what it says of each APDU.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

/// What tshark says of one APDU.
#[derive(Debug, Default)]
pub struct Dissected {
    /// Its fields in order, however deep.
    pub fields: Vec<Field>,
    /// Expert notes, and that it is malformed.
    pub faults: Vec<String>,
}

/// One field as PDML has it.
#[derive(Debug)]
pub struct Field {
    pub name: String,
    /// The value as a filter has it.
    pub show: String,
    /// Name and value for people.
    pub showname: String,
    /// The octets, hex.
    pub value: String,
}

/// All APDUs of a capture, in order. `keys` are EAX' keys, `ID` and hex.
pub fn tshark(capture: &Path, keys: &[(u8, String)]) -> Vec<Dissected> {
    let mut command = Command::new("tshark");
    command.args(["-T", "pdml", "-o", "c1222.baseoid:2.16.124.113620.1.22.0"]);
    for (id, key) in keys {
        command.args(["-o", &format!("uat:c1222_decryption_table:\"{id:x}\",{key}")]);
    }
    let output = match command.arg("-r").arg(capture).stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("tshark is not installed, and this test is nothing without it: run scripts/prepare")
        }
        output => output.unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark ended with {}: {said}", output.status);
    read(&String::from_utf8(output.stdout).unwrap())
}

/// Reads PDML, which has one element a line.
fn read(pdml: &str) -> Vec<Dissected> {
    let mut found: Vec<Dissected> = Vec::new();
    let (mut in_apdu, mut in_note) = (false, false);
    for line in pdml.lines().map(str::trim_start) {
        if line.starts_with("<proto ") {
            let name = attribute(line, "name");
            in_apdu = name == "c1222";
            if in_apdu {
                found.push(Dissected::default());
            } else if name == "_ws.malformed" {
                let last = found.last_mut().expect("a malformed packet before any APDU");
                last.faults.push(attribute(line, "showname"));
            }
        } else if line == "</field>" {
            // A note's fields hold no others.
            in_note = false;
        } else if in_apdu && !in_note && line.starts_with("<field ") {
            let field = Field {
                name: attribute(line, "name"),
                show: attribute(line, "show"),
                showname: attribute(line, "showname"),
                value: attribute(line, "value"),
            };
            let last = found.last_mut().unwrap();
            if field.name == "_ws.expert" {
                in_note = true;
                last.faults.push(field.showname);
            } else {
                last.fields.push(field);
            }
        }
    }
    found
}

/// An attribute of an element; empty when it has none. Quotes inside of values are always escaped.
fn attribute(line: &str, name: &str) -> String {
    let value = line.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
    let mut text = value.map(|(value, _)| value.to_owned()).unwrap_or_default();
    for (escaped, plain) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&amp;", "&")]
    {
        text = text.replace(escaped, plain);
    }
    text
}

/// Which tshark it is.
pub fn version() -> String {
    let output = Command::new("tshark").arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}
