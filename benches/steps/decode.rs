//! From octets to what they mean.

use std::hint::black_box;

use c1222::carriage::{self, Place};
use c1222::{Apdu, Epsem, Leniency, Request};

use crate::lab::Lab;
use crate::support::{Failure, Figures};
use crate::timing::ns_each;

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    let (mut data, mut ends) = (Vec::new(), Vec::new());
    lab.apdus(1, |apdu| {
        data.extend_from_slice(apdu);
        ends.push(data.len());
    })?;
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let apdus: Vec<&[u8]> = starts.zip(&ends).filter_map(|(start, end)| data.get(start..*end)).collect();
    let octets = data.len() as f64 / apdus.len().max(1) as f64;
    figures.put("octets of an APDU with a report of 128 octets", octets, "octets");

    let located = ns_each(apdus.len(), || (), |_| apdus.iter().try_for_each(|apdu| locate(apdu)))?;
    figures.spread("decode, locate a frame in its APDU", located, "ns/frame");
    let decoded = ns_each(apdus.len(), || (), |_| apdus.iter().try_for_each(|apdu| decode(apdu)))?;
    figures.spread("decode, whole APDU", decoded, "ns/frame");
    let bodies = || (0..apdus.len()).map(|_| &lab.plaintext);
    let services = ns_each(apdus.len(), || (), |_| bodies().try_for_each(|body| services(body)))?;
    figures.spread("decode, EPSEM and two services with their checksums", services, "ns/frame");
    Ok(())
}

fn locate(apdu: &[u8]) -> Result<(), Failure> {
    match carriage::locate(apdu, Leniency::Strict)?.place {
        Place::Frame(place) => black_box(place),
        _ => return Err("no frame".into()),
    };
    Ok(())
}

fn decode(apdu: &[u8]) -> Result<(), Failure> {
    let apdu = Apdu::decode(apdu, Leniency::Strict)?;
    black_box(carriage::read(&apdu)?.ok_or("no frame")?);
    Ok(())
}

fn services(epsem: &[u8]) -> Result<(), Failure> {
    for service in Epsem::decode(black_box(epsem))?.services() {
        let Request::FullWrite { table, data } = Request::decode(service?)? else {
            return Err("another service".into());
        };
        data.check()?;
        black_box(table);
    }
    Ok(())
}
