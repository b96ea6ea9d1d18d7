//! What we say of an APDU: `inspect`, and our decoder where `inspect` says no more than the octets.

use std::collections::HashMap;

use c1222::authentication::{AuthenticationValue, C1221Step};
use c1222::{
    ApTitle, Apdu, Epsem, EpsemControl, Leniency, Request, Response, ServiceCode, TableData, TableId,
};
use seal::hex::Hex;
use serde_json::Value;

use crate::laid_out;
use crate::said::{Group, Said, put};

/// tshark's names of our services and response codes, where it has one.
const NAMES: [(&str, &str); 36] = [
    ("identification", "Identify"),
    ("terminate", "Terminate"),
    ("disconnect", "Disconnect"),
    ("full-read", "Full Read"),
    ("default-read", "Default Read"),
    ("offset-read", "Partial Read Offset"),
    ("full-write", "Full Write"),
    ("default-write", "Default Write"),
    ("offset-write", "Partial Write Offset"),
    ("logon", "Logon"),
    ("security", "Security"),
    ("logoff", "Logoff"),
    ("authenticate", "Authenticate"),
    ("negotiate", "Negotiate"),
    ("wait", "Wait"),
    ("timing-setup", "Timing Setup"),
    ("unknown", "Unknown"),
    ("ok", "OK"),
    ("err", "Error"),
    ("sns", "Service Not Supported"),
    ("isc", "Insufficient Security Clearance"),
    ("onp", "Operation Not Possible"),
    ("iar", "Inappropriate Action Requested"),
    ("bsy", "Device Busy"),
    ("dnr", "Data Not Ready"),
    ("dlk", "Data Locked"),
    ("rno", "Renegotiate Request"),
    ("isss", "Invalid Service Sequence State"),
    ("sme", "Security Mechanism Error"),
    ("uat", "Unknown Application Title"),
    ("nett", "Network Time-out"),
    ("netr", "Network Not Reachable"),
    ("rqtl", "Request Too Large"),
    ("rstl", "Response Too Large"),
    ("sgnp", "Segmentation Not Possible"),
    ("sgerr", "Segmentation Error"),
];

/// tshark's name, or ours where it has none; `inspect` says ours too.
fn name<'a>(ours: &'a str, inspect: &Value) -> &'a str {
    assert!(inspect.as_str().unwrap().contains(ours), "{inspect} is no {ours}");
    NAMES.iter().find(|(name, _)| *name == ours).map_or(ours, |(_, theirs)| theirs)
}

/// Reads what `inspect` says, one APDU after the other.
#[derive(Default)]
pub struct Ours {
    /// The services of requests, by who asked and the invocation id.
    asked: HashMap<(String, u64), Vec<ServiceCode>>,
}

impl Ours {
    /// What is said of an APDU; of one that tshark cannot open, only what it can see.
    pub fn say(&mut self, seen: &Value, apdu: &Apdu<'_>, opens: bool) -> Said {
        let sealed = apdu.epsem().unwrap();
        let mode = seen["security_mode"].as_u64().unwrap();
        let mut said = Said { envelope: envelope(seen, apdu), ..Said::default() };
        flags(&mut said.envelope, hex(&seen["epsem_control"])[0], mode);
        if opens || mode < 2 {
            let control = EpsemControl(sealed[0]);
            let plaintext = hex(&seen["epsem_plaintext"]);
            let epsem = Epsem::of_plaintext(control, &plaintext).unwrap();
            if let Some(class) = epsem.ed_class {
                put(&mut said.envelope, "c1222.epsem.edclass", Hex(&class));
            }
            said.services = self.services(seen);
        } else {
            said.services = vec![vec![("c1222.epsem.data".into(), Hex(&sealed[1..]).to_string())]];
        }
        if mode > 0 {
            // A frame of profile 1 may be shorter than a MAC; then other octets are taken for one.
            put(&mut said.seal, "c1222.epsem.mac", Hex(apdu.octets().last_chunk::<4>().unwrap()));
            put(&mut said.seal, "c1222.crypto_good", u8::from(opens && seen["mac_valid"] == true));
        }
        said
    }

    fn services(&mut self, seen: &Value) -> Vec<Group> {
        let services: Vec<Vec<u8>> = seen["services"].as_array().unwrap().iter().map(hex).collect();
        if seen["role"] == "response" {
            let number = seen["answers"].as_u64();
            let asked = number.and_then(|number| self.asked.get(&(seen["called"].to_string(), number)));
            // With fewer responses than requests nothing tells which is missing.
            let asked = asked.filter(|asked| asked.len() == services.len());
            let code = |place: usize| asked.map(|asked| asked[place]);
            let all = services.iter().enumerate();
            all.map(|(place, service)| response(service, code(place), &seen["service_names"][place]))
                .collect()
        } else {
            let codes = services.iter().map(|service| ServiceCode(service[0])).collect();
            let number = seen["invocation_id"].as_u64().unwrap();
            self.asked.insert((seen["calling"].to_string(), number), codes);
            let all = services.iter().enumerate();
            all.map(|(place, service)| request(service, &seen["service_names"][place])).collect()
        }
    }
}

/// The octets of a text of hex digits.
pub fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("no hex digits: {value}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn envelope(seen: &Value, apdu: &Apdu<'_>) -> Group {
    let (envelope, mut group) = (&apdu.envelope, Group::new());
    if let Some(oid) = envelope.aso_context {
        put(&mut group, "c1222.aSO_context", oid);
    }
    title(&mut group, "called", seen, envelope.called);
    if let Some(number) = seen["answers"].as_u64() {
        put(&mut group, "c1222.called_AP_invocation_id", number);
    }
    title(&mut group, "calling", seen, envelope.calling);
    if let Some(qualifier) = envelope.qualifier {
        put(&mut group, "c1222.calling_AE_qualifier", qualifier.0);
    }
    put(&mut group, "c1222.calling_AP_invocation_id", &seen["invocation_id"]);
    if let Some(oid) = envelope.mechanism {
        put(&mut group, "c1222.mechanism_name", oid);
    }
    let Some(authentication) = envelope.authentication else { return group };
    if let Some(reference) = authentication.reference {
        put(&mut group, "c1222.calling_authentication_value_indirect", reference);
    }
    match authentication.value {
        AuthenticationValue::C1222 { key_id, iv } => {
            key_id.iter().for_each(|id| put(&mut group, "c1222.key_id_element", Hex(&[*id])));
            iv.iter().for_each(|iv| put(&mut group, "c1222.iv_element", Hex(iv)));
        }
        AuthenticationValue::C1221 { step, octets } => {
            let step = match step {
                C1221Step::Identification => "identification",
                C1221Step::Request => "request",
                C1221Step::Response => "response",
            };
            put(&mut group, &format!("c1222.c1221_auth_{step}"), Hex(octets));
        }
        AuthenticationValue::OctetAligned(octets) => {
            put(&mut group, "c1222.calling_authentication_value_octet_aligned", Hex(octets));
        }
    }
    group
}

fn title(group: &mut Group, whose: &str, seen: &Value, title: Option<ApTitle<'_>>) {
    if let Some(title) = title {
        let form = if title.is_absolute() { "abs" } else { "rel" };
        put(group, &format!("c1222.{whose}_ap_title_{form}"), seen[whose].as_str().unwrap());
    }
}

fn flags(group: &mut Group, control: u8, mode: u64) {
    for (name, bit) in [
        ("reserved", 0x80),
        ("recovery", EpsemControl::RECOVERY_SESSION),
        ("proxy", EpsemControl::PROXY_SERVICE_USED),
        ("ed_class", EpsemControl::ED_CLASS_INCLUDED),
    ] {
        put(group, &format!("c1222.epsem.flags.{name}"), u8::from(control & bit != 0));
    }
    put(group, "c1222.epsem.flags.security", mode);
    put(group, "c1222.epsem.flags.response_control", control & 3);
}

/// A request, field by field.
fn request(service: &[u8], named: &Value) -> Group {
    let request = Request::decode(service).unwrap();
    assert_eq!(request.check(), Ok(()));
    let mut group = Group::new();
    put(&mut group, "c1222.epsem.data", Hex(service));
    put(&mut group, "c1222.cmd", request.code().0);
    put(&mut group, "name", name(request.code().name(), named));
    let mut put =
        |field: &str, value: &dyn ToString| put(&mut group, &format!("c1222.{field}"), value.to_string());
    match &request {
        Request::FullRead(table) => put("read.table", &table.0),
        Request::OffsetRead { table, offset, count } => {
            put("read.table", &table.0);
            put("read.offset", &offset.get());
            put("read.count", count);
        }
        Request::FullWrite { table, data } => {
            put("write.table", &table.0);
            written(put, *table == TableId::standard(7), data);
        }
        Request::OffsetWrite { table, offset, data } => {
            put("write.table", &table.0);
            put("write.offset", &offset.get());
            written(put, false, data);
        }
        Request::Logon { user_id, user, timeout_s } => {
            put("logon.id", user_id);
            put("logon.user", &String::from_utf8_lossy(*user));
            timeout_s.iter().for_each(|timeout_s| put("logon.timeout", timeout_s));
        }
        Request::Security { password, user_id } => {
            put("security.password", &String::from_utf8_lossy(password.expose()));
            user_id.iter().for_each(|user_id| put("logon.id", user_id));
        }
        Request::Wait(seconds) => put("wait.seconds", seconds),
        Request::Other { code: ServiceCode(0x53), parameters: [len, data @ ..] } => {
            put("authenticate.len", len);
            put("authenticate.data", &Hex(data));
        }
        Request::Other { code: ServiceCode(0x60..=0x6b), parameters: [high, low, count, ..] } => {
            put("negotiate.pktsize", &u16::from_be_bytes([*high, *low]));
            put("negotiate.numpkts", count);
        }
        Request::Other { code: ServiceCode(0x71), parameters } => {
            for (name, value) in ["traffic", "interchar", "respto", "nbrretries"].iter().zip(*parameters) {
                put(&format!("timingsetup.{name}"), value);
            }
        }
        _ => {
            let parameters = laid_out::request(&request);
            if !parameters.is_empty() {
                put("data", &Hex(&parameters));
            }
        }
    }
    group
}

/// Table data; in table 7 a procedure.
fn written(mut put: impl FnMut(&str, &dyn ToString), procedure: bool, data: &TableData<'_>) {
    let mut blocks = data.blocks();
    let block = blocks.next().unwrap();
    put("write.size", &block.data.len());
    let mut rest = block.data;
    if procedure {
        let [low, high, sequence, parameters @ ..] = rest else { panic!("no procedure: {rest:02x?}") };
        let id = u16::from_le_bytes([*low, *high]);
        put("procedure.response", &(id >> 12));
        put("procedure.mfg", &((id >> 11) & 1));
        put("procedure.num", &(id & 0x7ff));
        put("procedure.sequence", sequence);
        rest = parameters;
    }
    put("write.data", &Hex(rest));
    put("write.chksum", &block.checksum);
    // Good.
    put("write.chksum.status", &1);
    for block in blocks {
        put("write.continued", &Hex(block.data));
    }
}

/// A response: its code, and what follows.
fn response(service: &[u8], asked: Option<ServiceCode>, named: &Value) -> Group {
    let response = Response::decode(service, asked, Leniency::Strict).unwrap();
    assert_eq!(response.check(), Ok(()));
    let mut group = Group::new();
    put(&mut group, "c1222.epsem.data", Hex(service));
    put(&mut group, "c1222.err", response.code().octet());
    put(&mut group, "name", name(response.code().name(), named));
    let data = laid_out::response(&response);
    if !data.is_empty() {
        put(&mut group, "c1222.data", Hex(&data));
    }
    group
}
