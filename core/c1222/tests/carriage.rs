//! Profile-1 frames inside APDUs, both ways, and APDUs that carry none.

#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{hex, octets, text, vectors};
use metergraph_c1222::ap_title::ApTitle;
use metergraph_c1222::carriage::{self, Place};
use metergraph_c1222::{Apdu, Envelope, InvocationId, Leniency, Qualifier};
use serde_json::Value;

fn id(value: &Value) -> InvocationId {
    InvocationId::new(u32::try_from(value.as_u64().unwrap()).unwrap())
}

#[test]
fn vector_carriage_carries_frames_both_ways() {
    let Some(file) = vectors("profile/carriage.json") else { return };
    for case in file["carried"].as_array().unwrap() {
        let title = text(case, "title");
        let (called, calling) = (octets(&case["called"]), octets(&case["calling"]));
        let envelope = Envelope {
            called: Some(ApTitle::decode(&called).unwrap()),
            calling: Some(ApTitle::decode(&calling).unwrap()),
            answer_to: case["answer_to"].as_u64().map(|_| id(&case["answer_to"])),
            qualifier: case["notification"].as_bool().unwrap().then_some(Qualifier::NOTIFICATION),
            ..Envelope::new(id(&case["invocation"]))
        };
        let frame = octets(&case["frame"]);
        let mut written = Vec::new();
        carriage::write(&mut written, &envelope, &frame).unwrap();
        assert_eq!(hex(&written), text(case, "apdu"), "{title}");

        for leniency in [Leniency::Strict, Leniency::Draft] {
            let apdu = Apdu::decode(&written, leniency).unwrap();
            let read = carriage::read(&apdu).unwrap().unwrap();
            assert_eq!([read.head, read.body].concat(), frame, "{title}");
            assert_eq!(hex(&[read.control]), text(case, "control"), "{title}");
            let expected = Envelope { authentication: apdu.envelope.authentication, ..envelope };
            assert_eq!(apdu.envelope, expected, "{title}");

            let located = carriage::locate(&written, leniency).unwrap();
            assert_eq!(located.calling, envelope.calling, "{title}");
            let Place::Frame(place) = located.place else { panic!("{title}: {located:?}") };
            assert_eq!(u64::from(place.frame_type), case["type"].as_u64().unwrap(), "{title}");
            assert_eq!((place.head(&written), place.body(&written)), (read.head, read.body), "{title}");
        }
    }
}

#[test]
fn vector_carriage_refuses() {
    let Some(file) = vectors("profile/carriage.json") else { return };
    for case in file["refused"].as_array().unwrap() {
        let title = text(case, "title");
        assert_eq!(text(case, "verdict"), "SEC-FORMAT", "{title}");
        let octets = octets(&case["apdu"]);
        for leniency in [Leniency::Strict, Leniency::Draft] {
            let read = Apdu::decode(&octets, leniency).and_then(|apdu| carriage::read(&apdu));
            assert!(matches!(read, Err(_) | Ok(None)), "{title}: {read:?}");
            // No frame: from a device of profile 1 that is SEC-FORMAT.
            match carriage::locate(&octets, leniency).map(|located| located.place) {
                Ok(place) => assert_eq!((read, place), (Ok(None), place_without_frame(&octets)), "{title}"),
                Err(error) => assert_eq!(read, Err(error), "{title}"),
            }
        }
    }
}

fn place_without_frame(octets: &[u8]) -> Place {
    let apdu = Apdu::decode(octets, Leniency::Draft).unwrap();
    if apdu.envelope.authentication.is_some() { Place::Classic } else { Place::Clear }
}
