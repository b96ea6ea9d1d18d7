//! What is said of an APDU, in the names of tshark's fields: by tshark, and by us.

use std::collections::HashMap;

use c1222::authentication::{AuthenticationValue, C1221Step};
use c1222::identification::Feature;
use c1222::native_address::ShortOctets;
use c1222::registration::{Registered, Registration};
use c1222::response::{Detail, Titles};
use c1222::{
    Apdu, ApTitle, EpsemControl, InvocationId, Leniency, Request, Response, SecurityMode, ServiceCode,
    TableData, TableId,
};
use seal::hex::Hex;
use serde_json::Value;

use crate::dissector::{Dissected, Field};

/// Field and value: hex for octets, decimal for numbers, text for titles and names.
pub type Group = Vec<(String, String)>;

/// All that is said of one APDU.
#[derive(Debug, Default)]
pub struct Said {
    /// ACSE elements and the EPSEM control octet.
    pub envelope: Group,
    /// The services.
    pub services: Vec<Group>,
    /// The MAC.
    pub seal: Group,
}

/// Fields that hold others, and nothing of their own.
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
    "c1222.crypto_bad",
];

/// Fields of octets.
const OCTETS: [&str; 11] = [
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
];

/// What tshark says.
pub fn theirs(dissected: &Dissected) -> Said {
    let mut said = Said::default();
    for field in &dissected.fields {
        let name = field.name.as_str();
        if STRUCTURE.contains(&name) {
            continue;
        }
        match name {
            "c1222.epsem.data" => said.services.push(Vec::new()),
            "c1222.epsem.mac" => said.seal.clear(),
            _ => {}
        }
        let group = if name == "c1222.epsem.mac" || !said.seal.is_empty() {
            &mut said.seal
        } else {
            said.services.last_mut().unwrap_or(&mut said.envelope)
        };
        group.push((name.to_owned(), value(field)));
        if matches!(name, "c1222.cmd" | "c1222.err") {
            // `C12.22 Command: Full Read (0x30)`.
            let named = field.showname.split_once(": ").and_then(|(_, rest)| rest.rsplit_once(" ("));
            group.push(("name".into(), named.map(|(name, _)| name.to_owned()).unwrap_or_default()));
        }
    }
    said
}

fn value(field: &Field) -> String {
    let number = match field.show.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => field.show.parse().ok(),
    };
    match number {
        _ if OCTETS.contains(&field.name.as_str()) || field.name == "c1222.write.data" => field.value.clone(),
        Some(number) => number.to_string(),
        None => field.show.clone(),
    }
}

/// tshark's names of our services and response codes.
const NAMES: [(&str, &str); 38] = [
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
    ("", ""),
    ("", ""),
];

fn name(ours: &str) -> String {
    let known = NAMES.iter().find(|(name, _)| *name == ours);
    known.map_or(ours, |(_, theirs)| theirs).to_owned()
}

/// What we say: `inspect`, and the fields of the services as our decoder reads them.
#[derive(Default)]
pub struct Ours {
    /// The services of requests, by their invocation id.
    asked: HashMap<u32, Vec<ServiceCode>>,
}

impl Ours {
    /// Reads one APDU, of which `inspect` says `seen`.
    pub fn say(&mut self, seen: &Value) -> Said {
        let octets = octets(&seen["apdu"]);
        let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
        let mut said = Said { envelope: envelope(&apdu), ..Said::default() };
        let control = EpsemControl(octets_of(seen, "epsem_control")[0]);
        flags(&mut said.envelope, control);
        let plaintext = octets_of(seen, "epsem_plaintext");
        if control.has(EpsemControl::ED_CLASS_INCLUDED) {
            put(&mut said.envelope, "c1222.epsem.edclass", Hex(&plaintext[..4]));
        }
        let services: Vec<Vec<u8>> = seen["services"].as_array().unwrap().iter().map(octets_in).collect();
        let numbers = (apdu.envelope.answer_to.map(|id| id.value()), apdu.envelope.invocation.value());
        said.services = match seen["role"].as_str() {
            Some("response") => {
                let asked = numbers.0.and_then(|number| self.asked.get(&number));
                let of = |place: usize| asked.and_then(|asked| asked.get(place).copied());
                services.iter().enumerate().map(|(place, service)| response(service, of(place))).collect()
            }
            _ => {
                let codes = services.iter().map(|service| ServiceCode(service[0])).collect();
                self.asked.insert(numbers.1, codes);
                services.iter().map(|service| request(service)).collect()
            }
        };
        if control.security_mode() != Ok(SecurityMode::Clear) {
            let mac = octets.last_chunk::<4>().unwrap();
            put(&mut said.seal, "c1222.epsem.mac", Hex(mac));
            put(&mut said.seal, "c1222.crypto_good", u8::from(seen["mac_valid"] == true));
        }
        said
    }
}

fn put(group: &mut Group, field: &str, value: impl ToString) {
    group.push((field.to_owned(), value.to_string()));
}

fn octets_of(seen: &Value, field: &str) -> Vec<u8> {
    octets_in(&seen[field])
}

fn octets_in(value: &Value) -> Vec<u8> {
    octets(value)
}

/// The octets of a string of hex digits.
pub fn octets(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("no hex digits: {value}"));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn envelope(apdu: &Apdu<'_>) -> Group {
    let (envelope, mut group) = (&apdu.envelope, Vec::new());
    if let Some(oid) = envelope.aso_context {
        put(&mut group, "c1222.aSO_context", oid);
    }
    title(&mut group, "called", envelope.called);
    number(&mut group, "c1222.called_AP_invocation_id", envelope.answer_to);
    title(&mut group, "calling", envelope.calling);
    if let Some(qualifier) = envelope.qualifier {
        put(&mut group, "c1222.calling_AE_qualifier", qualifier.0);
    }
    number(&mut group, "c1222.calling_AP_invocation_id", Some(envelope.invocation));
    if let Some(oid) = envelope.mechanism {
        put(&mut group, "c1222.mechanism_name", oid);
    }
    let Some(authentication) = envelope.authentication else { return group };
    if let Some(reference) = authentication.reference {
        put(&mut group, "c1222.calling_authentication_value_indirect", reference);
    }
    match authentication.value {
        AuthenticationValue::C1222 { key_id, iv } => {
            if let Some(key_id) = key_id {
                put(&mut group, "c1222.key_id_element", Hex(&[key_id]));
            }
            if let Some(iv) = iv {
                put(&mut group, "c1222.iv_element", Hex(&iv));
            }
        }
        AuthenticationValue::C1221 { step, octets } => {
            let step = match step {
                C1221Step::Identification => "c1222.c1221_auth_identification",
                C1221Step::Request => "c1222.c1221_auth_request",
                C1221Step::Response => "c1222.c1221_auth_response",
            };
            put(&mut group, step, Hex(octets));
        }
        AuthenticationValue::OctetAligned(octets) => {
            put(&mut group, "c1222.calling_authentication_value_octet_aligned", Hex(octets));
        }
    }
    group
}

fn title(group: &mut Group, whose: &str, title: Option<ApTitle<'_>>) {
    if let Some(title) = title {
        let form = if title.is_absolute() { "abs" } else { "rel" };
        put(group, &format!("c1222.{whose}_ap_title_{form}"), title);
    }
}

fn number(group: &mut Group, field: &str, id: Option<InvocationId>) {
    if let Some(id) = id {
        put(group, field, id.value());
    }
}

fn flags(group: &mut Group, control: EpsemControl) {
    for (name, bit) in [
        ("reserved", 0x80),
        ("recovery", EpsemControl::RECOVERY_SESSION),
        ("proxy", EpsemControl::PROXY_SERVICE_USED),
        ("ed_class", EpsemControl::ED_CLASS_INCLUDED),
    ] {
        put(group, &format!("c1222.epsem.flags.{name}"), u8::from(control.has(bit)));
    }
    put(group, "c1222.epsem.flags.security", control.security_mode().unwrap().number());
    put(group, "c1222.epsem.flags.response_control", control.0 & 3);
}

/// A request, field by field.
fn request(service: &[u8]) -> Group {
    let request = Request::decode(service).unwrap();
    assert_eq!(request.check(), Ok(()));
    let (code, mut group) = (request.code(), vec![]);
    put(&mut group, "c1222.epsem.data", Hex(service));
    put(&mut group, "c1222.cmd", code.0);
    put(&mut group, "name", name(code.name()));
    let group_ref = &mut group;
    let mut put = |field: &str, value: String| group_ref.push((format!("c1222.{field}"), value));
    match request {
        Request::FullRead(table) => put("read.table", table.0.to_string()),
        Request::OffsetRead { table, offset, count } => {
            put("read.table", table.0.to_string());
            put("read.offset", offset.get().to_string());
            put("read.count", count.to_string());
        }
        Request::FullWrite { table, data } => {
            put("write.table", table.0.to_string());
            write(&mut put, table == TableId::standard(7), &data);
        }
        Request::OffsetWrite { table, offset, data } => {
            put("write.table", table.0.to_string());
            put("write.offset", offset.get().to_string());
            write(&mut put, false, &data);
        }
        Request::Logon { user_id, user, timeout_s } => {
            put("logon.id", user_id.to_string());
            put("logon.user", String::from_utf8_lossy(user).into_owned());
            if let Some(timeout) = timeout_s {
                put("logon.timeout", timeout.to_string());
            }
        }
        Request::Security { password, user_id } => {
            put("security.password", String::from_utf8_lossy(password.expose()).into_owned());
            if let Some(user_id) = user_id {
                put("logon.id", user_id.to_string());
            }
        }
        Request::Wait(seconds) => put("wait.seconds", seconds.to_string()),
        Request::Other { code: ServiceCode(0x53), parameters: [len, data @ ..] } => {
            put("authenticate.len", len.to_string());
            put("authenticate.data", Hex(data).to_string());
        }
        Request::Other { code: ServiceCode(0x60..=0x6b), parameters: [size @ .., count] } => {
            let size = size.first_chunk().unwrap();
            put("negotiate.pktsize", u16::from_be_bytes(*size).to_string());
            put("negotiate.numpkts", count.to_string());
        }
        Request::Other { code: ServiceCode(0x71), parameters } => {
            for (name, value) in ["traffic", "interchar", "respto", "nbrretries"].iter().zip(parameters) {
                put(&format!("timingsetup.{name}"), value.to_string());
            }
        }
        _ => {
            let parameters = laid_out(&request);
            if !parameters.is_empty() {
                put("data", Hex(&parameters).to_string());
            }
        }
    }
    group
}

fn write(put: &mut impl FnMut(&str, String), procedure: bool, data: &TableData<'_>) {
    let mut blocks = data.blocks();
    let block = blocks.next().unwrap();
    put("write.size", block.data.len().to_string());
    let mut rest = block.data;
    if procedure {
        let [low, high, sequence, parameters @ ..] = rest else { panic!("no procedure: {rest:02x?}") };
        let id = u16::from_le_bytes([*low, *high]);
        put("procedure.response", (id >> 12).to_string());
        put("procedure.mfg", (id >> 11 & 1).to_string());
        put("procedure.num", (id & 0x7ff).to_string());
        put("procedure.sequence", sequence.to_string());
        rest = parameters;
    }
    put("write.data", Hex(rest).to_string());
    put("write.chksum", block.checksum.to_string());
    put("write.chksum.status", "1".into());
    for block in blocks {
        put("write.size", block.data.len().to_string());
        put("write.data", Hex(block.data).to_string());
        put("write.chksum", block.checksum.to_string());
    }
}

/// The parameters of a service that tshark shows as octets only, laid out by c1222.md §3 from our fields.
fn laid_out(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match request {
        Request::Deregistration(title) | Request::Resolve(title) | Request::Trace(title) => {
            out.extend(tagged(title.form().tag(), title.arcs()));
        }
        Request::Registration(registration) => out = laid_out_registration(registration),
        Request::IndexRead { table, index, elements } => {
            let words = [&[table.0], index.indices(), &[*elements]].concat();
            out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        }
        Request::IndexWrite { table, index, data } => {
            let words = [&[table.0], index.indices()].concat();
            out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            out.extend(laid_out_data(data));
        }
        Request::Other { parameters, .. } => out.extend_from_slice(parameters),
        _ => {}
    }
    out
}

fn tagged(tag: u8, octets: &[u8]) -> Vec<u8> {
    let len = u8::try_from(octets.len()).ok().filter(|len| *len < 0x80).unwrap();
    [&[tag, len], octets].concat()
}

fn counted(octets: &[u8]) -> Vec<u8> {
    [&[u8::try_from(octets.len()).unwrap()], octets].concat()
}

fn laid_out_registration(registration: &Registration<'_>) -> Vec<u8> {
    let Registration { node_type, connection_type, device_class, title, serial_number, .. } = registration;
    let pattern = registration.domain_pattern;
    let node_type = node_type.0 | if pattern.is_some() { 0x80 } else { 0 };
    let title = title.map_or(vec![0x0d, 0], |title| tagged(title.form().tag(), title.arcs()));
    [
        vec![node_type, connection_type.0],
        device_class.to_vec(),
        title,
        tagged(serial_number.form.tag(), serial_number.octets),
        counted(registration.native_address.octets()),
        registration.period_s.get().to_be_bytes()[1..].to_vec(),
        pattern.map(|pattern| counted(pattern.octets())).unwrap_or_default(),
    ]
    .concat()
}

fn laid_out_data(data: &TableData<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for block in data.blocks() {
        let sum = block.data.iter().map(|octet| u64::from(*octet)).sum::<u64>() + u64::from(block.checksum);
        assert_eq!(sum % 256, 0, "the checksum");
        out.extend(u16::try_from(block.data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(block.data);
        out.push(block.checksum);
    }
    out
}

/// A response. tshark shows its code, and all that follows as octets.
fn response(service: &[u8], asked: Option<ServiceCode>) -> Group {
    let response = Response::decode(service, asked, Leniency::Strict).unwrap();
    assert_eq!(response.check(), Ok(()));
    let mut group = Vec::new();
    put(&mut group, "c1222.epsem.data", Hex(service));
    put(&mut group, "c1222.err", response.code().octet());
    put(&mut group, "name", name(response.code().name()));
    let titles = |titles: &Titles<'_>| {
        titles.iter().flat_map(|title| tagged(title.form().tag(), title.arcs())).collect::<Vec<u8>>()
    };
    let data = match response {
        Response::Done => Vec::new(),
        Response::Identification(identification) => {
            let (standard, version) = (identification.standard, identification.version);
            let mut out = vec![standard, version, identification.revision];
            out.extend(identification.features().flat_map(|feature| laid_out_feature(&feature)));
            out.push(0);
            out
        }
        Response::Read(data) => laid_out_data(&data),
        Response::Logon(timeout) => timeout.map(|timeout| timeout.to_be_bytes().to_vec()).unwrap_or_default(),
        Response::Registration(Registered { title, delay_s, period_s, info }) => [
            tagged(title.form().tag(), title.arcs()),
            delay_s.to_be_bytes().to_vec(),
            period_s.get().to_be_bytes()[1..].to_vec(),
            vec![info.0],
        ]
        .concat(),
        Response::Resolve(address) => counted(ShortOctets::octets(&address)),
        Response::Trace(way) | Response::Refused { detail: Detail::Way(way), .. } => titles(&way),
        Response::Refused { detail: Detail::SizeMax(size), .. } => size.to_be_bytes().to_vec(),
        Response::Refused { detail: Detail::Segment { offset, size }, .. } => {
            [offset.to_be_bytes(), size.to_be_bytes()].concat()
        }
        Response::Refused { detail: Detail::None, .. } => Vec::new(),
        Response::Other(octets) | Response::Refused { detail: Detail::Other(octets), .. } => octets.to_vec(),
    };
    if !data.is_empty() {
        put(&mut group, "c1222.data", Hex(&data));
    }
    group
}

fn laid_out_feature(feature: &Feature<'_>) -> Vec<u8> {
    match feature {
        Feature::SecurityMechanism(id) => [&[4][..], &tagged(id.form.tag(), id.octets)].concat(),
        Feature::Sessions { sessionless, sessions } => vec![5, u8::from(*sessionless) << 7 | sessions],
        Feature::DeviceClass(id) => [&[6][..], &tagged(id.form.tag(), id.octets)].concat(),
        Feature::Identity { format, octets } => {
            [&[7][..], &counted(&[&[*format], *octets].concat())].concat()
        }
        Feature::Unknown(octets) => octets.to_vec(),
    }
}
