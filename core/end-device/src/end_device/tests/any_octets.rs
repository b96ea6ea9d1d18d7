//! Whatever comes, there is no panic, and what is kept has a limit.

use c1222::request::{Index, Password};
use c1222::tables::TableId;
use c1222::{EpsemWriter, Request, SecurityMode, TableData, U24};
use proptest::prelude::*;

use super::super::testing::*;
use super::super::{APDU_MAX, EndDevice, Setup};

/// Everything a device keeps is within its limits.
fn check(device: &EndDevice) {
    assert!(device.answered.len() <= super::super::ANSWERED_MAX);
    assert!(device.reassembler.messages() <= super::super::SEGMENTS.messages);
    assert!(device.state.stored.len() <= 2);
    assert!(device.state.initiate.len() <= 300 && device.state.outcome.len() <= 30);
}

fn services() -> impl Strategy<Value = Vec<u8>> {
    let table = || {
        prop_oneof![
            prop::sample::select(vec![0_u16, 1, 7, 8, 23, 52, 61, 62, 63, 64, 74, 76, 0x801, 0x805]),
            any::<u16>()
        ]
        .prop_map(TableId)
    };
    let encode = |request: Request<'_>| {
        let mut out = Vec::new();
        request.encode(&mut out);
        out
    };
    prop_oneof![
        (table(), prop::collection::vec(any::<u16>(), 1..=9), any::<u16>()).prop_map(
            move |(table, index, elements)| {
                encode(Request::IndexRead { table, index: Index::new(&index).unwrap(), elements })
            }
        ),
        (table(), prop::collection::vec(0..6_u16, 1..=5), 0..6_u16).prop_map(
            move |(table, index, elements)| {
                encode(Request::IndexRead { table, index: Index::new(&index).unwrap(), elements })
            }
        ),
        (table(), any::<u32>(), any::<u16>()).prop_map(move |(table, offset, count)| {
            encode(Request::OffsetRead { table, offset: U24::saturating(offset >> 8), count })
        }),
        (table(), any::<u16>(), any::<Vec<u8>>()).prop_map(move |(table, offset, data)| {
            encode(Request::OffsetWrite { table, offset: U24::from(offset % 20), data: TableData::of(&data) })
        }),
        (table(), prop::collection::vec(any::<u16>(), 1..=9), any::<Vec<u8>>()).prop_map(
            move |(table, index, data)| {
                encode(Request::IndexWrite {
                    table,
                    index: Index::new(&index).unwrap(),
                    data: TableData::of(&data),
                })
            }
        ),
        // Procedures of all kinds.
        (0..40_u8, any::<u8>(), prop::collection::vec(any::<u8>(), 0..12)).prop_map(
            move |(id, kind, rest)| {
                let data = [&[id, kind & 0x38], &rest[..]].concat();
                encode(Request::FullWrite { table: TableId(7), data: TableData::of(&data) })
            }
        ),
        (any::<u16>(), any::<Option<u16>>()).prop_map(move |(user_id, timeout_s)| {
            encode(Request::Logon { user_id, user: &[b' '; 10], timeout_s })
        }),
        any::<Option<u16>>().prop_map(move |user_id| {
            encode(Request::Security { password: Password::new(&[1; 20]), user_id })
        }),
        prop::sample::select(vec![vec![0x20], vec![0x21], vec![0x52], vec![0x70, 9], vec![0x3e]]),
        prop::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #[test]
    fn any_octets(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let mut device = classic_device();
        let mut out = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            device.receive(number as u64, message, at(number as u64), &mut out);
        }
        check(&device);
    }

    #[test]
    fn any_services(
        messages in prop::collection::vec((prop::collection::vec(services(), 0..8), 0..100_u64), 1..12), sealed: bool,
    ) {
        let mut setup = Setup { classic: sealed.then(|| classic(900)), ..setup() };
        // One table that may be written.
        setup.profile.tables[1].writable = true;
        let mut device = EndDevice::new(setup, at(0));
        let mut client = Client::sealing(if sealed { SecurityMode::Cipher } else { SecurityMode::Clear });
        let mut now = 0;
        for (services, later) in messages {
            now += later;
            let message = client.message_with(at(now), |epsem: &mut EpsemWriter<'_>| {
                for service in &services {
                    epsem.service(|out| out.extend_from_slice(service));
                }
            });
            let answer = client.send(&mut device, &message, at(now));
            prop_assert!(answer.apdu.len() <= APDU_MAX);
            // A service without octets is padding, and ends the list.
            let expected = services.iter().filter(|service| !service.is_empty()).count();
            prop_assert_eq!(answer.responses.len(), expected);
        }
        check(&device);
    }

    #[test]
    fn flipped_messages_and_segments(flips in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4), segments: bool) {
        let mut device = open_device();
        let message = Client::clear().message(&[Request::FullRead(TableId(1)); 20], at(1));
        let mut pieces = Vec::new();
        let max = if segments { 70 } else { usize::MAX };
        c1222::segment::split(&message, max, |piece| pieces.push(piece.to_vec())).unwrap();
        let mut out = Vec::new();
        for mut piece in pieces {
            for (place, bits) in &flips {
                let place = usize::from(*place) % piece.len();
                piece[place] ^= bits;
            }
            device.receive(1, &piece, at(1), &mut out);
        }
        check(&device);
    }
}
