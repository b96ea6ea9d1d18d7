use proptest::prelude::*;

use super::*;
use crate::tables::{
    ByteOrder, DataSelection, Decimal, IntervalFormat, LoadProfileControl, LoadProfileDimensions, NiFormat,
    ProcedureId, RegisterDimensions, Registers, SourceDimensions, SourceLinks, TimeFormat, Units,
};

const FORWARD: &str = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0";
const REVERSE: &str = "0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.3.72.0";
const DELTA: &str = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0";
const ST23: TableId = TableId::standard(23);
const ST52: TableId = TableId::standard(52);
const ST64: TableId = TableId::standard(64);
const MT1: TableId = TableId::manufacturer(1);
/// 2026-11-25 00:45:00 UTC.
const QUARTER: u64 = 1_795_567_500;

fn quantity(kind: NumberKind, size: usize, reading_type: Option<&str>) -> Quantity {
    Quantity {
        name: "energy".to_owned(),
        kind,
        size,
        multiplier: 1,
        scale: -3,
        unit: "kWh".to_owned(),
        reading_type: reading_type.map(str::to_owned),
    }
}

fn profile() -> DeviceProfile {
    let register = |offset, reading_type| Field {
        offset,
        quantity: quantity(NumberKind::Signed, 6, Some(reading_type)),
    };
    let switch = Field { offset: 1, quantity: quantity(NumberKind::Unsigned, 1, None) };
    let call =
        |parameter| ProcedureCall { procedure: ProcedureId::manufacturer(1), parameters: vec![parameter] };
    let format = Format::default();
    DeviceProfile {
        name: "test".to_owned(),
        identity: Identity::default(),
        format,
        utc_offset_min: 0,
        freshness_s: 900,
        tables: vec![
            TableLayout {
                table: ST23,
                size: 12,
                writable: false,
                time: Some(TimeSource::Clock),
                fields: vec![register(0, FORWARD), register(6, REVERSE)],
            },
            TableLayout { table: MT1, size: 4, writable: false, time: None, fields: vec![switch.clone()] },
        ],
        load_profiles: vec![LoadProfile {
            table: ST64,
            interval_min: 15,
            blocks: 96,
            layout: BlockLayout {
                time: format.time,
                order: format.order,
                skip: 0,
                simple: false,
                extended: true,
                intervals: 4,
                channels: 1,
                values_size: 2,
            },
            channels: vec![quantity(NumberKind::Unsigned, 2, Some(DELTA))],
        }],
        service_switch: Some(ServiceSwitch {
            disconnect: call(0),
            connect: call(1),
            arm: None,
            state: Some(SwitchState { table: MT1, field: switch, open: 0, closed: 1, armed: None }),
        }),
        classes: Classes::default(),
    }
}

fn readings<'p>(
    profile: &'p DeviceProfile,
    table: TableId,
    data: &[u8],
    stamp: &mut Stamp,
) -> (Vec<Reading<'p>>, Result<(), ReadingError>) {
    let mut list = Vec::new();
    let result = profile.readings(table, data, stamp, |reading| list.push(reading));
    (list, result)
}

#[test]
fn a_report_becomes_rows() {
    let profile = profile();
    let mut stamp = Stamp::received(QUARTER + 3);
    let mut data = Vec::new();
    profile.write_clock(QUARTER + 1, &mut data).unwrap();
    assert_eq!(readings(&profile, ST52, &data, &mut stamp), (vec![], Ok(())));
    data.clear();
    profile.write_registers(ST23, QUARTER, &[1_234_567, -1], &mut data).unwrap();
    assert_eq!(data, [0x87, 0xd6, 0x12, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let (rows, result) = readings(&profile, ST23, &data, &mut stamp);
    assert_eq!(result, Ok(()));
    let rows: Vec<_> =
        rows.iter().map(|row| (row.reading_type, row.end_time, row.value.to_string())).collect();
    assert_eq!(
        rows,
        [(FORWARD, QUARTER + 1, "1234.567".to_owned()), (REVERSE, QUARTER + 1, "-0.001".to_owned())]
    );
    data.clear();
    profile.write_block(ST64, QUARTER, &[250, 0, 65_535, 7], &mut data).unwrap();
    let (rows, result) = readings(&profile, ST64, &data, &mut stamp);
    assert_eq!(result, Ok(()));
    let rows: Vec<_> = rows.iter().map(|row| (row.end_time, row.value.to_string())).collect();
    let text = |minutes_ago: u64, value: &str| (QUARTER - minutes_ago * 60, value.to_owned());
    assert_eq!(rows, [text(45, "0.250"), text(30, "0.000"), text(15, "65.535"), text(0, "0.007")]);
}

#[test]
fn the_status_of_intervals_is_their_quality_and_skipped_ones_are_absent() {
    let profile = profile();
    let mut data = Vec::new();
    profile.write_block(ST64, QUARTER, &[1, 2, 3, 4], &mut data).unwrap();
    for (at, status) in [(4, 0x20), (7, 0x24), (10, 0x42), (13, 0x10)] {
        data[at] = status;
    }
    let (rows, _) = readings(&profile, ST64, &data, &mut Stamp::received(0));
    let rows: Vec<_> = rows.iter().map(|row| (row.value.mantissa, row.quality.code())).collect();
    assert_eq!(rows, [(1, "1.2.32"), (3, "1.4.2"), (4, "1.0.0")]);
}

#[test]
fn the_simple_status_hides_intervals() {
    let mut profile = profile();
    let layout = &mut profile.load_profiles[0].layout;
    (layout.simple, layout.extended, layout.intervals) = (true, false, 9);
    let mut data = Vec::new();
    profile.write_block(ST64, QUARTER, &[1; 9], &mut data).unwrap();
    assert_eq!(data[4..6], [0xff, 0x01]);
    data[4] = 0xfe;
    let (rows, _) = readings(&profile, ST64, &data, &mut Stamp::received(0));
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0].end_time, QUARTER - 7 * 900);
}

#[test]
fn each_way_to_be_wrong_has_its_name() {
    let profile = profile();
    let mut stamp = Stamp::received(7);
    let mut name = |table, data: &[u8]| {
        let (rows, result) = readings(&profile, table, data, &mut stamp);
        assert_eq!(rows, []);
        result.unwrap_err().name()
    };
    assert_eq!(name(TableId(5), &[]), "table-not-in-profile");
    assert_eq!(name(TableId(23 | 0x1000), &[0; 12]), "table-not-in-profile");
    assert_eq!(name(ST23, &[0; 13]), "table-size");
    assert_eq!(name(ST23, &[0; 12]), "table-without-clock");
    assert_eq!(name(ST64, &[]), "table-size");
    assert_eq!(name(ST64, &[1; 17]), "table-size");
    assert_eq!(name(ST64, &[1; 16 * 97]), "table-size");
    assert_eq!(name(ST64, &[0; 16]), "table-time");
    assert_eq!(name(ST52, &[1, 2]), "table-short");
    assert_eq!(name(ST52, &[0; 5]), "table-time");
    let mut packed = profile.clone();
    for field in &mut packed.tables[0].fields {
        field.quantity.kind = NumberKind::Packed;
    }
    packed.tables[0].time = Some(TimeSource::Received);
    let data = [0x0a, 0, 0, 0, 0, 0, 0x99, 0, 0, 0, 0, 0];
    let (rows, result) = readings(&packed, ST23, &data, &mut Stamp::received(7));
    assert_eq!(result, Err(ReadingError::Digits { table: ST23, place: 0 }));
    assert_eq!((rows.len(), rows[0].end_time, rows[0].value), (1, 7, Decimal::new(99, -3)));
}

#[test]
fn what_cannot_be_written_is_refused_whole() {
    let profile = profile();
    let mut out = vec![9];
    let too_large = WriteError::TooLarge { table: ST64, place: 2, count: 65_536 };
    assert_eq!(profile.write_block(ST64, QUARTER, &[0, 0, 65_536, 0], &mut out), Err(too_large));
    let counts = WriteError::Counts { table: ST64, expected: 4, got: 3 };
    assert_eq!(profile.write_block(ST64, QUARTER, &[0; 3], &mut out), Err(counts));
    assert_eq!(profile.write_block(ST64, 1 << 32, &[0; 4], &mut out), Err(WriteError::Time(1 << 32)));
    assert_eq!(profile.write_clock(1 << 32, &mut out), Err(WriteError::Time(1 << 32)));
    assert_eq!(profile.write_block(ST23, 0, &[], &mut out), Err(WriteError::UnknownTable(ST23)));
    let counts = WriteError::Counts { table: ST23, expected: 2, got: 0 };
    assert_eq!(profile.write_registers(ST23, 0, &[], &mut out), Err(counts));
    assert_eq!(out, [9]);
}

#[test]
fn the_switch_is_worked_and_seen() {
    let profile = profile();
    let switch = profile.service_switch.as_ref().unwrap();
    let procedure = ProcedureId::manufacturer(1);
    assert_eq!(switch.action(procedure, &[0]), Some(SwitchAction::Disconnect));
    assert_eq!(switch.action(procedure, &[1]), Some(SwitchAction::Connect));
    assert_eq!(switch.action(procedure, &[2]), None);
    assert_eq!(switch.action(ProcedureId::standard(1), &[0]), None);
    let mut data = [0; 4];
    let state = switch.state.as_ref().unwrap();
    state.field.put(&profile, state.count(SwitchPosition::Closed).unwrap(), &mut data);
    assert_eq!(profile.switch_position(&data), Some(SwitchPosition::Closed));
    assert_eq!(profile.switch_position(&[0, 7]), None);
    assert_eq!(profile.switch_position(&[]), None);
}

#[test]
fn a_profile_describes_its_tables() {
    let profile = profile();
    let table = |number| {
        let mut out = Vec::new();
        assert!(profile.describe(TableId::standard(number), &mut out), "{number}");
        out
    };
    let format = &profile.format;
    let registers = RegisterDimensions::read(&table(21), format).unwrap();
    let mut data = Vec::new();
    profile.write_registers(ST23, QUARTER, &[5, 6], &mut data).unwrap();
    let read = Registers::read(&data, &registers, format).unwrap();
    let values: Vec<_> = read.total().summations().map(|ni| ni.decimal().unwrap().mantissa).collect();
    assert_eq!(values, [5, 6]);
    let selection = table(22);
    assert_eq!(DataSelection::read(&selection, &registers, format).unwrap().summations, [0, 1]);
    let sources = SourceDimensions::read(&table(11), format).unwrap();
    let units = table(12);
    let units: Vec<_> = Units::read(&units, &sources, format).unwrap().iter().collect();
    assert_eq!(units.iter().map(|unit| unit.quadrants()).collect::<Vec<_>>(), [9, 6, 9]);
    assert_eq!(SourceLinks::read(&table(16), &sources, format).unwrap().iter().count(), 3);
    let sizes = LoadProfileDimensions::read(&table(61), format).unwrap();
    let control = table(62);
    let control = LoadProfileControl::read(&control, &sizes, format).unwrap().sets[0].unwrap();
    assert_eq!(control.channels().map(|channel| channel.source).collect::<Vec<_>>(), [2]);
    let values = IntervalFormat::from_code(control.format_code, format).unwrap();
    let layout = BlockLayout::of_set(0, &sizes, values, format).unwrap();
    assert_eq!(layout, profile.load_profiles[0].layout);
    for table in [TableId(0), TableId(23), MT1, TableId(21 | 0x1000)] {
        assert!(!profile.describe(table, &mut Vec::new()));
    }
}

#[test]
fn what_the_standard_cannot_describe_is_not_described() {
    let mut profile = profile();
    profile.tables[0].fields[1].offset = 7;
    profile.load_profiles[0].layout.skip = 1;
    for number in [11, 12, 16, 20, 21, 22, 60, 61, 62] {
        let mut out = Vec::new();
        assert!(!profile.describe(TableId::standard(number), &mut out), "{number}");
        assert_eq!(out, []);
    }
}

fn any_kind() -> impl Strategy<Value = NumberKind> {
    prop::sample::select(NumberKind::WORDS.map(|(_, kind)| kind).to_vec())
}

proptest! {
    #[test]
    fn registers_round_trip_exactly(
        kinds in prop::collection::vec((any_kind(), 1_usize..9, any::<i64>(), 1_u32.., -18_i8..19), 1..6),
        big in any::<bool>(),
        code in 1_u8..5,
        offset in -720_i16..721,
        moment in 700_000_000_u64..3_700_000_000,
        source in 0_usize..4,
    ) {
        let mut profile = profile();
        profile.format.order = if big { ByteOrder::Big } else { ByteOrder::Little };
        profile.format.time = TimeFormat::from_code(code).unwrap();
        profile.utc_offset_min = offset;
        let moment = moment / 60 * 60;
        let layout = &mut profile.tables[0];
        layout.fields.clear();
        let (mut counts, mut expected, mut end) = (Vec::new(), Vec::new(), 2);
        for (kind, size, count, multiplier, scale) in kinds {
            let mut quantity = quantity(kind, size, Some(FORWARD));
            (quantity.multiplier, quantity.scale) = (multiplier, scale);
            let fits = (0..64).map(|shift| count >> shift).find(|count| quantity.holds(*count));
            let count = fits.unwrap_or(0);
            expected.push(Decimal::new(i128::from(count) * i128::from(multiplier), scale));
            counts.push(count);
            layout.fields.push(Field { offset: end, quantity });
            end += size + 1;
        }
        layout.size = end + 6;
        layout.time = Some(match source {
            0 => TimeSource::Clock,
            1 => TimeSource::Received,
            source => TimeSource::Field { offset: end, long: source == 2 },
        });
        let mut stamp = Stamp::received(moment);
        let mut data = Vec::new();
        profile.write_clock(moment, &mut data).unwrap();
        prop_assert_eq!(readings(&profile, ST52, &data, &mut stamp).1, Ok(()));
        prop_assert_eq!(stamp.clock, Some(moment));
        data.clear();
        profile.write_registers(ST23, moment, &counts, &mut data).unwrap();
        let (rows, result) = readings(&profile, ST23, &data, &mut stamp);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(rows.iter().map(|row| row.value).collect::<Vec<_>>(), expected);
        prop_assert!(rows.iter().all(|row| row.end_time == moment && row.interval_s == 0));
    }

    #[test]
    fn blocks_round_trip_exactly(
        kinds in prop::collection::vec((any_kind(), 1_usize..9), 1..5),
        (simple, extended, skip, intervals) in (any::<bool>(), any::<bool>(), 0_usize..9, 1_usize..20),
        counts in prop::collection::vec(0_i64..100, 100),
        blocks in 1_usize..4,
    ) {
        let mut profile = profile();
        let load_profile = &mut profile.load_profiles[0];
        load_profile.channels =
            kinds.iter().map(|(kind, size)| quantity(*kind, *size, Some(DELTA))).collect();
        let layout = &mut load_profile.layout;
        (layout.simple, layout.extended, layout.skip, layout.intervals) = (simple, extended, skip, intervals);
        layout.channels = kinds.len();
        layout.values_size = kinds.iter().map(|(_, size)| size).sum();
        let size = layout.size();
        let counts = &counts[..kinds.len() * intervals];
        let mut data = Vec::new();
        for block in 0..blocks {
            let end = QUARTER + block as u64 * 900 * intervals as u64;
            profile.write_block(ST64, end, counts, &mut data).unwrap();
        }
        prop_assert_eq!(data.len(), size * blocks);
        let (rows, result) = readings(&profile, ST64, &data, &mut Stamp::received(0));
        prop_assert_eq!(result, Ok(()));
        let expected: Vec<_> = counts.iter().cycle().take(counts.len() * blocks).copied().collect();
        prop_assert_eq!(rows.iter().map(|row| row.value.mantissa as i64).collect::<Vec<_>>(), expected);
        for (at, row) in rows.iter().enumerate() {
            let interval = (at / kinds.len()) as u64;
            prop_assert_eq!(row.end_time, QUARTER - 900 * (intervals as u64 - 1) + 900 * interval);
        }
    }

    #[test]
    fn any_octets_are_read_or_refused(
        octets in prop::collection::vec(any::<u8>(), 0..100),
        number in prop::sample::select(vec![23_u16, 52, 64, 2049, 7]),
        code in 0_u8..5,
        size in 0_usize..40,
        offset in any::<i16>(),
    ) {
        let mut profile = profile();
        profile.format.time = TimeFormat::from_code(code).unwrap();
        profile.format.ni1 = NiFormat::Int64;
        profile.utc_offset_min = offset;
        profile.tables[0].time = Some(TimeSource::Field { offset: size, long: true });
        profile.tables[0].size = octets.len();
        profile.load_profiles[0].layout.time = profile.format.time;
        profile.load_profiles[0].layout.skip = size;
        let _ = readings(&profile, TableId(number), &octets, &mut Stamp::received(1));
        let _ = profile.switch_position(&octets);
    }
}
