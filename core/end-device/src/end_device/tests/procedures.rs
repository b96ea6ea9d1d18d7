//! Procedures: ST7 in, ST8 out.

use c1222::tables::{
    Clock, EventCode, GenConfig, Initiate, LoadProfileDimensions, LoadProfileStatus, Log, LogDimensions,
    Outcome, Post, ProcedureId, ProcedureResponse, TableId,
};
use c1222::{Request, ResponseCode, TableData};

use super::super::testing::*;
use super::super::{EndDevice, Moment};

fn st(number: u16) -> TableId {
    TableId::standard(number)
}

fn write(procedure: ProcedureId, post: Post, sequence: u8, parameters: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    Initiate { procedure, post, sequence, parameters }.write(&residential().format, &mut data);
    data
}

/// Starts a procedure and reads what came of it in the same message.
fn run(device: &mut EndDevice, procedure: ProcedureId, parameters: &[u8], now: Moment) -> (Outcome, Vec<u8>) {
    let data = write(procedure, Post::Completion, 0x5a, parameters);
    let requests = [
        Request::FullWrite { table: st(7), data: TableData::of(&data) },
        Request::FullRead(st(8)),
        Request::FullRead(st(7)),
    ];
    let answer = Client { title: None, ..Client::clear() }.ask(device, &requests, now);
    assert_eq!(answer.codes(), [ResponseCode::Ok; 3]);
    assert_eq!(answer.data(2), data);
    let data = answer.data(1);
    let response = ProcedureResponse::read(&data, &residential().format).unwrap();
    assert_eq!((response.procedure, response.sequence), (procedure, 0x5a));
    (response.outcome, response.data.to_vec())
}

fn read(device: &mut EndDevice, table: TableId, now: Moment) -> Vec<u8> {
    Client { title: None, ..Client::clear() }.ask(device, &[Request::FullRead(table)], now).data(0)
}

fn events(device: &mut EndDevice, now: Moment) -> Vec<EventCode> {
    let format = residential().format;
    let sizes = LogDimensions::read(&read(device, st(71), now), &format).unwrap();
    let data = read(device, st(76), now);
    let log = Log::read_events(&data, &sizes, &format).unwrap();
    let mut entries: Vec<_> = log.entries().filter(|entry| entry.code.0 != 0).collect();
    entries.sort_by_key(|entry| entry.sequence);
    entries.iter().map(|entry| entry.code).collect()
}

fn blocks(device: &mut EndDevice, now: Moment) -> (u16, u16) {
    let format = residential().format;
    let sizes = LoadProfileDimensions::read(&read(device, st(61), now), &format).unwrap();
    let data = read(device, st(63), now);
    let set = LoadProfileStatus::read(&data, &sizes, &format).unwrap().sets[0].unwrap();
    (set.valid_blocks, set.unread_blocks)
}

#[test]
fn the_service_switch_opens_closes_and_is_armed() {
    let mut device = open_device();
    let switch = ProcedureId::manufacturer(1);
    let (mt1, now) = (TableId::manufacturer(1), at(1));
    let mut step = |parameters: &[u8]| {
        let (outcome, _) = run(&mut device, switch, parameters, now);
        (outcome, read(&mut device, mt1, now)[0])
    };
    assert_eq!(step(&[2]), (Outcome::Conflict, 1));
    assert_eq!(step(&[0]), (Outcome::Done, 0));
    assert_eq!(step(&[2]), (Outcome::Done, 2));
    assert_eq!(step(&[1]), (Outcome::Done, 1));
    assert_eq!(step(&[1]), (Outcome::Done, 1));
    assert_eq!(step(&[3]), (Outcome::BadParameter, 1));
    assert_eq!(step(&[]), (Outcome::BadParameter, 1));
    let moved = events(&mut device, now).iter().filter(|code| code.number() == 49).count();
    assert_eq!(moved, 3);
}

#[test]
fn st0_says_which_procedures_there_are() {
    let mut device = open_device();
    let data = read(&mut device, st(0), at(1));
    let config = GenConfig::read(&data).unwrap();
    for number in 0..0x1000 {
        let procedure = ProcedureId(number);
        let (outcome, _) = run(&mut device, procedure, &[0xee; 40], at(1));
        let expected = if config.has_procedure(procedure) { Outcome::BadParameter } else { Outcome::Unknown };
        assert_eq!(outcome, expected, "{procedure}");
    }
}

#[test]
fn the_clock_is_set() {
    let mut device = open_device();
    let (now, format) = (at(1), residential().format);
    let set = ProcedureId::standard(10);
    let time = |unix_s: u64| (unix_s as u32).to_le_bytes();
    let parameters = |mask: u8, unix_s: u64| [&[mask], &time(unix_s)[..], &[0x10]].concat();
    let clock = |device: &mut EndDevice, now| Clock::read(&read(device, st(52), now), &format).unwrap().time;
    let tomorrow = now.unix_s + 86_400 + 100;
    let (outcome, data) = run(&mut device, set, &parameters(7, tomorrow), now);
    assert_eq!((outcome, data), (Outcome::Done, [time(now.unix_s), time(tomorrow)].concat()));
    assert_eq!(clock(&mut device, at(11)), tomorrow + 10);
    assert_eq!(events(&mut device, now)[1..].iter().map(|code| code.number()).collect::<Vec<_>>(), [3, 4]);
    // The date alone, then the time of day alone.
    run(&mut device, set, &parameters(2, now.unix_s), now);
    assert_eq!(clock(&mut device, now), now.unix_s + 100);
    run(&mut device, set, &parameters(1, now.unix_s + 5 * 86_400), now);
    assert_eq!(clock(&mut device, now), now.unix_s);
    // Without qualifier, and nothing to set.
    assert_eq!(run(&mut device, set, &parameters(3, tomorrow)[..5], now).0, Outcome::Done);
    assert_eq!(run(&mut device, set, &parameters(0, 77), now).1[..4], time(tomorrow));
    for wrong in [&[][..], &[3, 1], &parameters(3, 0), &[&parameters(3, tomorrow)[..], &[0]].concat()] {
        assert_eq!(run(&mut device, set, wrong, now), (Outcome::BadParameter, vec![]));
    }
}

#[test]
fn the_security_of_messages_does_not_follow_the_clock_of_tables() {
    let mut device = classic_device();
    let mut client = Client::sealing(c1222::SecurityMode::Cipher);
    let data = write(ProcedureId::standard(10), Post::Never, 1, &[3, 0, 0, 0, 0x40, 0]);
    let set = Request::FullWrite { table: st(7), data: TableData::of(&data) };
    assert_eq!(client.codes(&mut device, &[set], at(1)), [ResponseCode::Ok]);
    assert_eq!(client.codes(&mut device, &[Request::FullRead(st(52))], at(2)), [ResponseCode::Ok]);
}

#[test]
fn resets_and_self_reads_are_logged() {
    let mut device = open_device();
    let reset = ProcedureId::standard(9);
    assert_eq!(run(&mut device, reset, &[1], at(1)), (Outcome::Done, vec![1]));
    assert_eq!(run(&mut device, reset, &[3], at(1)), (Outcome::Done, vec![3]));
    assert_eq!(run(&mut device, reset, &[4], at(1)).0, Outcome::BadParameter);
    let numbers: Vec<u16> = events(&mut device, at(1)).iter().map(|code| code.number()).collect();
    assert_eq!(numbers, [2, 20, 20, 21]);
}

#[test]
fn lists_are_read_and_reset() {
    let mut device = open_device();
    let (reset, update, now) = (ProcedureId::standard(4), ProcedureId::standard(5), at(1));
    assert_eq!(blocks(&mut device, now), (168, 168));
    assert_eq!(run(&mut device, update, &[3, 100, 0], now).0, Outcome::Done);
    assert_eq!(blocks(&mut device, now), (168, 68));
    assert_eq!(run(&mut device, update, &[3, 69, 0], now).0, Outcome::BadParameter);
    assert_eq!(run(&mut device, update, &[1, 1, 0], now).0, Outcome::Done);
    assert_eq!(run(&mut device, update, &[1, 1, 0], now).0, Outcome::BadParameter);
    for wrong in [&[4, 1, 0][..], &[255, 1, 0], &[0, 1, 0], &[3, 1], &[]] {
        assert_eq!(run(&mut device, update, wrong, now).0, Outcome::BadParameter, "{wrong:?}");
    }
    assert_eq!(run(&mut device, reset, &[3], now).0, Outcome::Done);
    assert_eq!(blocks(&mut device, now), (0, 0));
    assert_eq!(blocks(&mut device, at(3601)), (1, 1));
    assert_eq!(run(&mut device, reset, &[1], now).0, Outcome::Done);
    assert_eq!(events(&mut device, now), [EventCode::standard(18)]);
    for wrong in [&[4][..], &[0], &[]] {
        assert_eq!(run(&mut device, reset, wrong, now).0, Outcome::BadParameter, "{wrong:?}");
    }
}

#[test]
fn clearing_begins_anew() {
    let mut device = open_device();
    assert_eq!(run(&mut device, ProcedureId::standard(3), &[], at(1)).0, Outcome::Done);
    assert_eq!(read(&mut device, st(23), at(1)), [0; 12]);
    assert_eq!(blocks(&mut device, at(1)), (0, 0));
    // From then on the registers are what the intervals add up to.
    let data = read(&mut device, st(23), at(3600));
    let total = u64::from_le_bytes([data[0], data[1], data[2], data[3], data[4], data[5], 0, 0]);
    let profile = residential();
    let mut sum = 0;
    let blocks = read(&mut device, st(64), at(3600));
    let mut stamp = c1222::device_profile::Stamp::received(0);
    // Places that were never filled have no time; the others are read.
    let _ = profile.readings(st(64), &blocks, &mut stamp, |reading| sum += reading.value.mantissa);
    assert_eq!(i128::from(total), sum);
    assert!(total > 0);
}

#[test]
fn responses_are_posted_as_they_are_wished() {
    let now = at(1);
    for (post, procedure, posted) in [
        (Post::Completion, 9, true),
        (Post::Exception, 9, false),
        (Post::Exception, 1999, true),
        (Post::Never, 1999, false),
        (Post::NowAndCompletion, 9, true),
    ] {
        let mut device = open_device();
        let data = write(ProcedureId::standard(procedure), post, 7, &[1]);
        let request = Request::FullWrite { table: st(7), data: TableData::of(&data) };
        assert_eq!(Client::clear().codes(&mut device, &[request], now), [ResponseCode::Ok]);
        let sequence = read(&mut device, st(8), now)[2];
        assert_eq!(sequence == 7, posted, "{post:?} {procedure}");
    }
}

#[test]
fn one_caller_at_a_time() {
    let mut device = open_device();
    let (mut one, mut two) = (Client::clear(), Client { title: Some(title(".9")), ..Client::clear() });
    let data = write(ProcedureId::standard(9), Post::Completion, 7, &[1]);
    let start = Request::FullWrite { table: st(7), data: TableData::of(&data) };
    use ResponseCode::{Bsy, Ok};
    assert_eq!(one.codes(&mut device, &[start, start], at(1)), [Ok, Ok]);
    assert_eq!(two.codes(&mut device, &[start], at(2)), [Bsy]);
    assert_eq!(two.codes(&mut device, &[Request::FullRead(st(8)), start], at(2)), [Ok, Bsy]);
    assert_eq!(one.codes(&mut device, &[Request::FullRead(st(8))], at(3)), [Ok]);
    assert_eq!(two.codes(&mut device, &[start], at(3)), [Ok]);
    // What nobody fetches is not kept for ever.
    assert_eq!(one.codes(&mut device, &[start], at(8)), [Ok]);
}
