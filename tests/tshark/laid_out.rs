//! Parameters that tshark shows as octets only, laid out from our fields by the tables of c1222.md §3 and §7.

use c1222::identification::Feature;
use c1222::registration::{Registered, Registration};
use c1222::response::{Detail, Titles};
use c1222::{ApTitle, Request, Response, TableData};

/// The parameters of a request.
pub fn request(request: &Request<'_>) -> Vec<u8> {
    match request {
        Request::Deregistration(to) | Request::Resolve(to) | Request::Trace(to) => title(to),
        Request::Registration(body) => registration(body),
        Request::IndexRead { table, index, elements } => {
            words(&[&[table.0], index.indices(), &[*elements]].concat())
        }
        Request::IndexWrite { table, index, data } => {
            [words(&[&[table.0], index.indices()].concat()), table_data(data)].concat()
        }
        Request::Other { parameters, .. } => parameters.to_vec(),
        _ => Vec::new(),
    }
}

/// What follows the code of a response.
pub fn response(response: &Response<'_>) -> Vec<u8> {
    match response {
        Response::Done | Response::Logon(None) | Response::Refused { detail: Detail::None, .. } => Vec::new(),
        Response::Identification(identification) => {
            let mut out = vec![identification.standard, identification.version, identification.revision];
            out.extend(identification.features().flat_map(|item| feature(&item)));
            out.push(0);
            out
        }
        Response::Read(data) => table_data(data),
        Response::Logon(Some(timeout_s)) => words(&[*timeout_s]),
        Response::Registration(Registered { title: own, delay_s, period_s, info }) => {
            [title(own), words(&[*delay_s]), three(period_s.get()), vec![info.0]].concat()
        }
        Response::Resolve(address) => counted(address.octets()),
        Response::Trace(way) | Response::Refused { detail: Detail::Way(way), .. } => titles(way),
        Response::Refused { detail: Detail::SizeMax(size), .. } => size.to_be_bytes().to_vec(),
        Response::Refused { detail: Detail::Segment { offset, size }, .. } => {
            [offset.to_be_bytes(), size.to_be_bytes()].concat()
        }
        Response::Other(octets) | Response::Refused { detail: Detail::Other(octets), .. } => octets.to_vec(),
    }
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn three(number: u32) -> Vec<u8> {
    number.to_be_bytes()[1..].to_vec()
}

fn tagged(tag: u8, octets: &[u8]) -> Vec<u8> {
    assert!(octets.len() < 0x80);
    [&[tag, octets.len() as u8], octets].concat()
}

fn counted(octets: &[u8]) -> Vec<u8> {
    [&[u8::try_from(octets.len()).unwrap()], octets].concat()
}

fn title(title: &ApTitle<'_>) -> Vec<u8> {
    tagged(title.form().tag(), title.arcs())
}

fn titles(way: &Titles<'_>) -> Vec<u8> {
    way.iter().flat_map(|hop| title(&hop)).collect()
}

fn registration(body: &Registration<'_>) -> Vec<u8> {
    let has_pattern = if body.domain_pattern.is_some() { 0x80 } else { 0 };
    [
        vec![body.node_type.0 | has_pattern, body.connection_type.0],
        body.device_class.to_vec(),
        body.title.as_ref().map_or(vec![0x0d, 0], title),
        tagged(body.serial_number.form.tag(), body.serial_number.octets),
        counted(body.native_address.octets()),
        three(body.period_s.get()),
        body.domain_pattern.map_or(Vec::new(), |pattern| counted(pattern.octets())),
    ]
    .concat()
}

fn feature(feature: &Feature<'_>) -> Vec<u8> {
    match feature {
        Feature::SecurityMechanism(id) => [vec![4], tagged(id.form.tag(), id.octets)].concat(),
        Feature::Sessions { sessionless, sessions } => vec![5, u8::from(*sessionless) << 7 | sessions],
        Feature::DeviceClass(id) => [vec![6], tagged(id.form.tag(), id.octets)].concat(),
        Feature::Identity { format, octets } => [vec![7], counted(&[&[*format], *octets].concat())].concat(),
        Feature::Unknown(octets) => octets.to_vec(),
    }
}

/// `count2 data ck`, block by block.
fn table_data(data: &TableData<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for block in data.blocks() {
        let sum = block.data.iter().fold(block.checksum, |sum, octet| sum.wrapping_add(*octet));
        assert_eq!(sum, 0, "a checksum makes the sum of a block 0");
        out.extend(words(&[u16::try_from(block.data.len()).unwrap()]));
        out.extend_from_slice(block.data);
        out.push(block.checksum);
    }
    out
}
