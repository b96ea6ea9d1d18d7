//! Requests that come in segments.

use c1222::segment::{self, SegmentError};
use c1222::tables::TableId;
use c1222::{Apdu, Leniency, Request, ResponseCode, SecurityMode};

use super::super::testing::*;
use super::super::{EndDevice, Refusal, Verdict};

const REQUESTS: [Request<'_>; 30] = [Request::FullRead(TableId::standard(5)); 30];

fn cut(message: &[u8], octets_max: usize) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    segment::split(message, octets_max, |segment| segments.push(segment.to_vec())).unwrap();
    segments
}

fn give(device: &mut EndDevice, octets: &[u8], seconds: u64) -> (Verdict, Vec<u8>) {
    let mut out = Vec::new();
    (device.receive(1, octets, at(seconds), &mut out), out)
}

#[test]
fn segments_are_joined_and_the_answer_can_be_cut() {
    for (mut device, mode) in [
        (open_device(), SecurityMode::Clear),
        (classic_device(), SecurityMode::Mac),
        (classic_device(), SecurityMode::Cipher),
    ] {
        let mut client = Client::sealing(mode);
        let message = client.message(&REQUESTS, at(1));
        let mut segments = cut(&message, 100);
        assert!(segments.len() > 2);
        let last = segments.remove(0);
        for segment in segments.iter().rev() {
            assert_eq!(give(&mut device, segment, 1), (Verdict::Waiting, vec![]));
            assert_eq!(give(&mut device, segment, 1), (Verdict::Repeated, vec![]));
        }
        let (verdict, answer) = give(&mut device, &last, 2);
        assert_eq!(verdict, Verdict::Served);
        assert_eq!(give(&mut device, &last, 2).0, Verdict::Repeated);
        let pieces = cut(&answer, 548);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= 548));
        let mut reassembler = c1222::reassembler::Reassembler::new(Default::default());
        let joined: Vec<_> = pieces
            .iter()
            .map(|piece| reassembler.push(1, &Apdu::decode(piece, Leniency::Strict).unwrap(), 0))
            .collect();
        assert_eq!(joined.last(), Some(&c1222::reassembler::Reassembly::Complete(answer)));
    }
}

#[test]
fn refused_segments_are_told_why() {
    let mut device = open_device();
    let message = Client::clear().message(&REQUESTS, at(1));
    let segments = cut(&message, 100);
    assert_eq!(give(&mut device, &segments[0], 1).0, Verdict::Waiting);
    let mut other = segments[0].clone();
    *other.last_mut().unwrap() ^= 1;
    let (verdict, answer) = give(&mut device, &other, 1);
    assert_eq!(verdict, Verdict::Refused(Refusal::Segment(SegmentError::Mismatch)));
    let answer = Apdu::decode(&answer, Leniency::Strict).unwrap();
    let response = answer.epsem().unwrap();
    // SGERR with the offset and the size of the segment.
    assert_eq!((response[1], response[2], &response[3..7]), (9, 0x12, &[0; 4][..]));

    let huge = Client::clear().message_with(at(1), |epsem| {
        epsem.service(|out| out.extend(std::iter::repeat_n(0x20, 40_000)));
    });
    let (verdict, answer) = give(&mut device, &cut(&huge, 500)[0], 1);
    assert_eq!(verdict, Verdict::Refused(Refusal::Segment(SegmentError::MessageTooLarge)));
    let answer = Apdu::decode(&answer, Leniency::Strict).unwrap();
    assert_eq!(answer.epsem().unwrap(), [0x80, 5, ResponseCode::Rqtl.octet(), 0, 0, 0x7f, 0xff]);
}

#[test]
fn what_is_unfinished_is_forgotten() {
    let mut device = open_device();
    for number in 0..200_u32 {
        let mut client = Client { invocation: number, ..Client::clear() };
        let message = client.message(&REQUESTS, at(1));
        give(&mut device, &cut(&message, 100)[0], 1);
    }
    assert_eq!(device.reassembler.messages(), 8);
    device.close_link(1);
    assert_eq!((device.reassembler.messages(), device.reassembler.octets()), (0, 0));
    let mut elsewhere = Client { called: Some(title(".1.1")), ..Client::clear() };
    let message = elsewhere.message(&REQUESTS, at(1));
    assert_eq!(give(&mut device, &cut(&message, 100)[0], 1).0, Verdict::Refused(Refusal::NotForUs));
    assert_eq!(device.reassembler.messages(), 0);
}
