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
    let frames = ends.len();
    let octets = data.len() as f64 / frames.max(1) as f64;
    figures.put("octets of an APDU with a report of 128 octets", octets, "octets");

    let apdus = |mut each: Box<dyn FnMut(&[u8]) -> Result<(), Failure> + '_>| {
        let mut start = 0;
        for end in &ends {
            each(data.get(start..*end).unwrap_or_default())?;
            start = *end;
        }
        Ok(())
    };
    let located = ns_each(
        frames,
        &mut (),
        |()| (),
        |()| {
            apdus(Box::new(|apdu| match carriage::locate(apdu, Leniency::Strict)?.place {
                Place::Frame(place) => {
                    black_box(place);
                    Ok(())
                }
                _ => Err("no frame".into()),
            }))
        },
    )?;
    figures.spread("decode, locate a frame in its APDU", located, "ns/frame");
    let decoded = ns_each(
        frames,
        &mut (),
        |()| (),
        |()| {
            apdus(Box::new(|apdu| {
                let apdu = Apdu::decode(apdu, Leniency::Strict)?;
                black_box(carriage::read(&apdu)?.ok_or("no frame")?);
                Ok(())
            }))
        },
    )?;
    figures.spread("decode, whole APDU", decoded, "ns/frame");
    let services = ns_each(
        frames,
        &mut (),
        |()| (),
        |()| {
            (0..frames).try_for_each(|_| {
                for service in Epsem::decode(black_box(&lab.plaintext))?.services() {
                    let Request::FullWrite { table, data } = Request::decode(service?)? else {
                        return Err("another service".into());
                    };
                    data.check()?;
                    black_box(table);
                }
                Ok(())
            })
        },
    )?;
    figures.spread("decode, EPSEM and two services with their checksums", services, "ns/frame");
    Ok(())
}
