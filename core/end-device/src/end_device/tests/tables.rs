//! Tables: ST0 and what is served, parts, writes, sizes.

use c1222::device_profile::{Field, NumberKind, Quantity, Stamp, TableLayout};
use c1222::request::Index;
use c1222::tables::{
    Clock, GenConfig, LoadProfileDimensions, LoadProfileStatus, Log, LogDimensions, ManufacturerId, TableId,
};
use c1222::{Request, Response, ResponseCode, TableData, U24};
use proptest::prelude::*;

use super::super::testing::*;
use super::super::{EndDevice, Setup};

use ResponseCode::{Err as ERR, Iar, Isc, Ok as OK, Onp, Rstl};

const MT5: TableId = TableId::manufacturer(5);

fn st(number: u16) -> TableId {
    TableId::standard(number)
}

/// A device with a table that may be written.
fn device() -> EndDevice {
    let mut setup = setup();
    let field = |offset, size| Field {
        offset,
        quantity: Quantity {
            name: format!("field {offset}"),
            kind: NumberKind::Unsigned,
            size,
            multiplier: 1,
            scale: 0,
            unit: String::new(),
            reading_type: None,
        },
    };
    setup.profile.tables.push(TableLayout {
        table: MT5,
        size: 8,
        writable: true,
        time: None,
        fields: vec![field(0, 2), field(4, 3)],
    });
    EndDevice::new(setup, at(0))
}

fn read(device: &mut EndDevice, table: TableId) -> Vec<u8> {
    let mut client = Client { title: None, ..Client::clear() };
    client.ask(device, &[Request::FullRead(table)], at(1)).data(0)
}

fn codes(device: &mut EndDevice, requests: &[Request<'_>]) -> Vec<ResponseCode> {
    Client { title: None, ..Client::clear() }.codes(device, requests, at(1))
}

#[test]
fn st0_says_which_tables_are_served_and_which_may_be_written() {
    let mut device = device();
    let data = read(&mut device, st(0));
    let config = GenConfig::read(&data).unwrap();
    assert_eq!(config.partial_access, 3);
    let mut served = Vec::new();
    // The empty write is refused anyway, but not with IAR where a table may be written.
    let ids = (0..0x1000).map(TableId).chain([TableId(0x1000), TableId(0x2001), TableId(0xffff)]);
    for table in ids {
        let write = Request::FullWrite { table, data: TableData::of(&[]) };
        let codes = codes(&mut device, &[Request::FullRead(table), write]);
        let has = table.0 < 0x1000 && config.has(table);
        assert_eq!(codes[0] == OK, has, "{table}");
        assert_eq!(codes[1] == Onp, table.0 < 0x1000 && config.may_write(table), "{table}");
        assert!(codes[0] == OK || codes[0] == Iar);
        if has {
            served.push(table.to_string());
        }
    }
    let expected = "ST0 ST1 ST3 ST5 ST7 ST8 ST11 ST12 ST16 ST20 ST21 ST22 ST23 ST52 ST60 ST61 ST62 ST63 ST64 \
                    ST70 ST71 ST72 ST74 ST76 MT1 MT5 MT52";
    assert_eq!(served.join(" "), expected);
}

#[test]
fn tables_read_as_the_profile_and_the_codec_expect() {
    let mut device = device();
    let format = residential().format;
    let data = read(&mut device, st(1));
    let maker = ManufacturerId::read(&data, &format).unwrap();
    assert_eq!((&maker.manufacturer, maker.serial), (b"MGRF", &b"MGRF0001        "[..]));
    assert_eq!(read(&mut device, st(5)), *b"MGRF0001            ");
    let clock = Clock::read(&read(&mut device, st(52)), &format).unwrap();
    assert_eq!(clock.time, at(1).unix_s);
    let sizes = LoadProfileDimensions::read(&read(&mut device, st(61)), &format).unwrap();
    let status = LoadProfileStatus::read(&read(&mut device, st(63)), &sizes, &format).unwrap();
    assert_eq!(status.sets[0].unwrap().valid_blocks, 168);
    let logs = LogDimensions::read(&read(&mut device, st(71)), &format).unwrap();
    let data = read(&mut device, st(76));
    let log = Log::read_events(&data, &logs, &format).unwrap();
    let entry = log.entries().nth(1).unwrap();
    assert_eq!((log.head.valid, entry.code.name(), entry.time), (1, Some("power up"), Some(at(0).unix_s)));

    let profile = residential();
    let mut stamp = Stamp::received(at(1).unix_s);
    let mut rows = Vec::new();
    for table in [52, 23, 64].map(st) {
        let data = read(&mut device, table);
        profile
            .readings(table, &data, &mut stamp, |reading| rows.push((reading.end_time, reading.value)))
            .unwrap();
    }
    assert_eq!(rows.len(), 2 + 168 * 4);
    assert!(rows[0].1.mantissa > 0);
    assert!(rows.iter().all(|(end, _)| *end <= at(1).unix_s));
}

#[test]
fn the_default_read_brings_the_registers() {
    let mut device = device();
    let registers = read(&mut device, st(23));
    let answer = Client::clear().ask(&mut device, &[Request::DefaultRead], at(1));
    assert_eq!(answer.data(0), registers);
}

#[test]
fn parts_are_parts_of_the_whole() {
    let mut device = device();
    let offset =
        |table, offset, count| Request::OffsetRead { table, offset: U24::new(offset).unwrap(), count };
    let index = |table, indices: &[u16], elements| Request::IndexRead {
        table,
        index: Index::new(indices).unwrap(),
        elements,
    };
    for (request, table, range) in [
        (offset(st(1), 0, 16), st(1), 0..16),
        (offset(st(1), 31, 1), st(1), 31..32),
        (offset(st(1), 32, 0), st(1), 32..32),
        (offset(st(64), 16, 32), st(64), 16..48),
        (index(st(0), &[0], 1), st(0), 0..1),
        (index(st(0), &[3], 1), st(0), 3..7),
        (index(st(1), &[1], 2), st(1), 4..13),
        (index(st(1), &[6], 1), st(1), 16..32),
        (index(st(12), &[0, 1], 1), st(12), 4..8),
        (index(st(23), &[1], 1), st(23), 6..12),
        (index(st(52), &[1], 1), st(52), 4..5),
        (index(st(61), &[3], 2), st(61), 7..11),
        (index(st(63), &[0, 2], 1), st(63), 3..5),
        (index(st(64), &[0, 2], 2), st(64), 32..64),
        (index(st(64), &[0, 1, 1, 3, 1], 1), st(64), 30..32),
        (index(st(76), &[5, 1], 1), st(76), 23..35),
        (index(MT5, &[2], 1), MT5, 4..7),
        (index(MT5, &[0], 4), MT5, 0..8),
        (index(st(7), &[0], 2), st(7), 0..3),
    ] {
        let whole = read(&mut device, table);
        let answer = Client::clear().ask(&mut device, &[request], at(1));
        assert_eq!(answer.codes(), [OK], "{request:?}");
        assert_eq!(answer.data(0), whole[range], "{request:?}");
        device = self::device();
    }
    for request in [
        offset(st(1), 32, 1),
        offset(st(1), 0, 33),
        offset(st(1), 0x00ff_ffff, 0xffff),
        index(st(1), &[7], 1),
        index(st(1), &[6], 2),
        index(st(1), &[0], 0),
        index(st(1), &[0, 0], 1),
        index(st(64), &[0, 168], 1),
        index(st(64), &[0; 9], 1),
    ] {
        assert_eq!(codes(&mut device, &[request]), [Onp], "{request:?}");
    }
    assert_eq!(codes(&mut device, &[offset(st(4), 0, 1), index(st(4), &[0], 1)]), [Iar; 2]);
}

#[test]
fn elements_of_every_table_make_its_size() {
    let device = device();
    for number in 0..0x1000 {
        let table = TableId(number);
        let (size, shape) =
            (device.tables.size(table, &device.state), device.tables.shape(table, &device.state));
        assert_eq!(shape.map(|shape| shape.size()), size, "{table}");
    }
}

#[test]
fn what_is_written_is_read() {
    let mut device = device();
    let data = [1, 2, 3, 4, 5, 6, 7, 8];
    let full = Request::FullWrite { table: MT5, data: TableData::of(&data) };
    let offset =
        Request::OffsetWrite { table: MT5, offset: U24::from(3_u16), data: TableData::of(&[0x33, 0x44]) };
    let index =
        Request::IndexWrite { table: MT5, index: Index::new(&[3]).unwrap(), data: TableData::of(&[0x77]) };
    assert_eq!(codes(&mut device, &[full, offset, index]), [OK; 3]);
    assert_eq!(read(&mut device, MT5), [1, 2, 3, 0x33, 0x44, 6, 7, 0x77]);
    let format = residential().format;
    let sizes = LogDimensions::read(&read(&mut device, st(71)), &format).unwrap();
    let history = read(&mut device, st(74));
    let history = Log::read_history(&history, &sizes, &format).unwrap();
    assert_eq!(history.head.valid, 3);
    let entry = history.entries().nth(3).unwrap();
    assert_eq!((entry.code.name(), entry.argument), (Some("table written"), &MT5.0.to_le_bytes()[..]));
}

#[test]
fn writes_are_refused_each_for_its_reason() {
    let mut device = device();
    let full = |table, data| Request::FullWrite { table, data: TableData::of(data) };
    let offset = |table, at, data| Request::OffsetWrite {
        table,
        offset: U24::new(at).unwrap(),
        data: TableData::of(data),
    };
    let index = |table, at: &[u16], data| Request::IndexWrite {
        table,
        index: Index::new(at).unwrap(),
        data: TableData::of(data),
    };
    for (request, code) in [
        (full(st(23), &[0; 12]), Iar),
        (full(st(0), &[0; 12]), Iar),
        (full(st(4), &[0; 12]), Iar),
        (full(TableId(0x1000 | MT5.0), &[0; 8]), Iar),
        (full(MT5, &[0; 7]), Onp),
        (full(MT5, &[0; 9]), Onp),
        (offset(MT5, 7, &[0; 2]), Onp),
        (offset(MT5, 0x00ff_ffff, &[0; 2]), Onp),
        (index(MT5, &[2], &[0; 2]), Onp),
        (index(MT5, &[4], &[0; 2]), Onp),
        (index(MT5, &[0, 0], &[0; 2]), Onp),
        (full(st(7), &[0; 2]), Onp),
        (full(st(7), &[0; 259]), Onp),
        (offset(st(7), 0, &[0; 3]), Onp),
    ] {
        assert_eq!(codes(&mut device, &[request]), [code], "{request:?}");
    }
    let message = Client::clear().message_with(at(1), |epsem| {
        epsem.service(|out| {
            full(MT5, &[1; 8]).encode(out);
            *out.last_mut().unwrap() ^= 1;
        });
    });
    assert_eq!(Client::clear().send(&mut device, &message, at(1)).codes(), [ERR]);
    assert_eq!(read(&mut device, MT5), [0; 8]);
    let mut clear = Client::clear();
    assert_eq!(clear.codes(&mut classic_device(), &[full(st(7), &[0; 3])], at(1)), [Isc]);
}

#[test]
fn a_table_that_does_not_fit_is_named_with_what_fits() {
    let mut device = EndDevice::new(Setup { apdu_max: 1024, ..setup() }, at(0));
    let mut client = Client::clear();
    let answer = client.ask(&mut device, &[Request::FullRead(st(64)), Request::FullRead(st(5))], at(1));
    assert_eq!(answer.codes(), [Rstl, OK]);
    let response = Response::decode(&answer.responses[0], None, Default::default()).unwrap();
    let Response::Refused { detail: c1222::response::Detail::SizeMax(max), .. } = response else {
        panic!("{response:?}")
    };
    let part = Request::OffsetRead { table: st(64), offset: U24::default(), count: max as u16 };
    let more = Request::OffsetRead { table: st(64), offset: U24::default(), count: max as u16 + 1 };
    assert_eq!(client.codes(&mut device, &[more], at(1)), [Rstl]);
    let answer = client.ask(&mut device, &[part, Request::FullRead(st(5)), part], at(1));
    assert_eq!(answer.codes(), [OK, OK, Rstl]);
    assert!(answer.apdu.len() <= 1024);
    let whole = Client::clear().ask(&mut open_device(), &[Request::FullRead(st(64))], at(1));
    assert_eq!(whole.data(0).len(), 2688);
}

#[test]
fn no_answer_is_longer_than_it_may_be() {
    let elsewhere = title(".1.2.3");
    for requests in [
        [Request::Trace(elsewhere.as_title()); 32],
        [Request::FullRead(st(64)); 32],
        [Request::FullRead(st(0)); 32],
        [Request::Identification; 32],
        [Request::FullRead(st(2)); 32],
    ] {
        for apdu_max in [0, 1024, 2000, 9000] {
            let mut device = EndDevice::new(Setup { apdu_max, ..setup() }, at(0));
            let answer = Client::clear().ask(&mut device, &requests, at(1));
            assert_eq!(answer.responses.len(), 32);
            assert!(answer.apdu.len() <= apdu_max.max(1024), "{} > {apdu_max}", answer.apdu.len());
        }
    }
}

#[test]
fn a_device_without_clock_and_load_profile_serves_what_is_left() {
    let mut setup = setup();
    setup.profile.format.time = c1222::tables::TimeFormat::Absent;
    setup.profile.load_profiles.clear();
    setup.profile.service_switch = None;
    let mut device = EndDevice::new(setup, at(0));
    let data = read(&mut device, st(0));
    let config = GenConfig::read(&data).unwrap();
    assert!(!config.has(st(52)) && !config.has(st(64)) && config.has(st(76)));
    assert_eq!(read(&mut device, st(76)).len(), 11 + 64 * 8);
}

proptest! {
    #[test]
    fn a_part_by_offset_is_a_part_of_the_whole(
        table in prop::sample::select(vec![0_u16, 1, 12, 23, 52, 61, 64, 74, 76]), at in 0..3000_u16, count in 0..3000_u16,
    ) {
        let mut device = open_device();
        let whole = read(&mut device, st(table));
        let request = Request::OffsetRead { table: st(table), offset: U24::from(at), count };
        let answer = Client::clear().ask(&mut device, &[request], self::at(1));
        match whole.get(usize::from(at)..usize::from(at) + usize::from(count)) {
            Some(part) => prop_assert_eq!(&answer.data(0)[..], part),
            None => prop_assert_eq!(answer.codes(), [Onp]),
        }
    }
}
