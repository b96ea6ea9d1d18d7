//! Segmented APDUs of the C12.22 vectors.

#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{hex, octets, text, vectors};
use metergraph_c1222::reassembler::{Limits, Reassembler, Reassembly};
use metergraph_c1222::{Apdu, Leniency, UserInformation, segment};

#[test]
fn vector_segments_join_in_any_order() {
    let Some(cases) = vectors("c1222/segments.json") else { return };
    for case in cases.as_array().unwrap() {
        let id = text(case, "id");
        let segments: Vec<Vec<u8>> = case["segments"].as_array().unwrap().iter().map(octets).collect();
        let offsets: Vec<u64> =
            case["offsets"].as_array().unwrap().iter().map(|offset| offset.as_u64().unwrap()).collect();
        for turn in 0..segments.len() {
            let mut reassembler = Reassembler::new(Limits::default());
            for step in 0..segments.len() {
                let at = (step + turn) % segments.len();
                let apdu = Apdu::decode(&segments[at], Leniency::Strict).unwrap();
                let UserInformation::Segment(part) = apdu.user else { panic!("{id}: no segment") };
                assert_eq!(u64::from(part.offset), offsets[at], "{id}");
                assert_eq!(u64::from(part.total), case["total"].as_u64().unwrap(), "{id}");
                match reassembler.push(1, &apdu, 0) {
                    Reassembly::Complete(whole) => {
                        assert_eq!(step, segments.len() - 1, "{id}");
                        assert_eq!(hex(&whole), text(case, "reassembled"), "{id}");
                        assert!(Apdu::decode(&whole, Leniency::Strict).is_ok(), "{id}");
                    }
                    other => assert_eq!((other, step + 1 < segments.len()), (Reassembly::Incomplete, true)),
                }
                assert_eq!(reassembler.push(1, &apdu, 0), Reassembly::Repeated, "{id}");
            }
            assert_eq!((reassembler.messages(), reassembler.octets()), (0, 0), "{id}");
        }
    }
}

#[test]
fn vector_segments_are_cut_octet_for_octet() {
    let Some(cases) = vectors("c1222/segments.json") else { return };
    for case in cases.as_array().unwrap() {
        let segments: Vec<Vec<u8>> = case["segments"].as_array().unwrap().iter().map(octets).collect();
        // The longest shows how much the link that was captured carries.
        let octets_max = segments.iter().map(Vec::len).max().unwrap();
        let mut cut = Vec::new();
        segment::split(&octets(&case["reassembled"]), octets_max, |octets| cut.push(octets.to_vec()))
            .unwrap();
        assert_eq!(cut, segments, "{}", text(case, "id"));
    }
}
