use c1222::device_profile::{ReadingError, Stamp, SwitchAction, TimeSource};
use c1222::tables::{ProcedureId, TableId, TimeFormat};
use proptest::prelude::*;

use super::*;

const RESIDENTIAL: &str = include_str!("../../../../graphs/profiles/residential.toml");
const ELSTER: &str = include_str!("../../../../graphs/profiles/elster-classic.toml");

fn parsed(text: &str) -> DeviceProfile {
    let (profile, diagnostics) = parse(text);
    assert_eq!(diagnostics, [], "{}", crate::render::text("profile.toml", text, &diagnostics, false));
    profile.unwrap()
}

#[test]
fn the_residential_profile_reads_its_own_reports() {
    let profile = parsed(RESIDENTIAL);
    assert_eq!(profile.name, "residential");
    assert_eq!((&profile.identity.model, profile.identity.hardware), (b"RES-1   ", (1, 0)));
    assert_eq!(profile.freshness_s, 900);
    let end = 1_795_567_500;
    let (mut stamp, mut rows, mut data) = (Stamp::received(0), Vec::new(), Vec::new());
    let mut read = |table: &str, data: &mut Vec<u8>| {
        let table: TableId = table.parse().unwrap();
        let sink = |reading: c1222::device_profile::Reading<'_>| {
            rows.push((reading.reading_type.to_owned(), reading.end_time, reading.value.to_string()));
        };
        assert_eq!(profile.readings(table, data, &mut stamp, sink), Ok(()));
        data.clear();
    };
    profile.write_clock(end, &mut data).unwrap();
    read("ST52", &mut data);
    profile.write_registers(TableId::standard(23), end, &[12_345_678, 90], &mut data).unwrap();
    read("ST23", &mut data);
    profile.write_block(TableId::standard(64), end, &[250, 251, 0, 1], &mut data).unwrap();
    assert_eq!(data.len(), 16);
    read("ST64", &mut data);
    let row = |kind: &str, minutes_ago: u64, value: &str| {
        (kind.to_owned(), end - minutes_ago * 60, value.to_owned())
    };
    let delta = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0";
    assert_eq!(
        rows,
        [
            row("0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0", 0, "12345.678"),
            row("0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.3.72.0", 0, "0.090"),
            row(delta, 45, "0.250"),
            row(delta, 30, "0.251"),
            row(delta, 15, "0.000"),
            row(delta, 0, "0.001"),
        ]
    );
    let switch = profile.service_switch.as_ref().unwrap();
    assert_eq!(switch.action(ProcedureId::manufacturer(1), &[2]), Some(SwitchAction::Arm));
    assert_eq!(profile.table_size(TableId::manufacturer(1)), Some(4));
    assert_eq!(profile.table_size(TableId::standard(64)), Some(168 * 16));
    for number in [11, 12, 16, 20, 21, 22, 60, 61, 62] {
        assert!(profile.describe(TableId::standard(number), &mut Vec::new()), "ST{number}");
    }
}

#[test]
fn classes_come_from_all_of_the_profile() {
    let classes = parsed(RESIDENTIAL).classes;
    let (st, mt) = (TableId::standard, TableId::manufacturer);
    let (sp, mp) = (ProcedureId::standard, ProcedureId::manufacturer);
    for (table, read, write) in [
        (st(23), 0, 4),
        (st(64), 0, 4),
        (mt(1), 0, 4),
        (st(13), 0, 1),
        (st(45), 4, 4),
        (mt(52), 4, 2),
        (st(7), 0, 4),
    ] {
        assert_eq!((classes.read(table), classes.write(table)), (read, write), "{table}");
    }
    for (procedure, class) in [(mp(1), 3), (mp(2), 3), (sp(21), 3), (mp(3), 2), (sp(23), 1), (sp(10), 4)] {
        assert_eq!(classes.procedure(procedure), class, "{procedure}");
    }
    let switch = [0x80, 10, 0x40, 0, 7, 0, 4, 1, 8, 0, 1, 0xf6];
    assert_eq!(parsed(RESIDENTIAL).class(&switch), Some(3));
    let writable = with("size  = 4\n", "size = 4\nwritable = true\n");
    assert_eq!(parsed(&writable).classes.write(mt(1)), 1);
    // What is listed may be raised.
    assert_eq!(parsed(&with("SP5 = 1", "MP1 = 4")).classes.procedure(mp(1)), 4);
}

#[test]
fn the_elster_profile_takes_any_time_and_no_tables() {
    let profile = parsed(ELSTER);
    assert_eq!((profile.freshness_s, profile.tables.len()), (0, 0));
    let result = profile.readings(TableId::standard(23), &[], &mut Stamp::received(0), |_| {});
    assert_eq!(result, Err(ReadingError::UnknownTable(TableId::standard(23))));
}

#[test]
fn what_is_left_out_has_its_default() {
    let profile = parsed(
        "device_profile = 1\nname = 'x'\n[format]\ntime_format = 'bcd'\nutc_offset_min = -300\n\
         [[table]]\ntable = 'MT7'\ntime = { offset = 0, form = 'short' }\n\
         [[table.field]]\nname = 'v'\noffset = 8\ntype = 'bcd'\nsize = 2\nunit = 'V'\n\
         reading_type = '0.0.0.6.0.1.54.0.0.0.0.0.0.0.0.0.29.0'",
    );
    assert_eq!((profile.format.time, profile.utc_offset_min), (TimeFormat::Packed, -300));
    let layout = &profile.tables[0];
    assert_eq!((layout.size, layout.writable), (10, false));
    assert_eq!(layout.time, Some(TimeSource::Field { offset: 0, long: false }));
    assert_eq!((layout.fields[0].quantity.multiplier, layout.fields[0].quantity.scale), (1, 0));
}

/// The residential profile with one text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(RESIDENTIAL.contains(from), "{from}");
    RESIDENTIAL.replacen(from, to, 1)
}

#[test]
fn each_fault_has_its_code_its_place_and_its_way_out() {
    let forward = "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0";
    let delta = "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0";
    let call = |parameters: &str| format!("procedure = \"MP1\", parameters = \"{parameters}\"");
    for (text, code, place, words) in [
        // Keys and values, as in graph files.
        (
            with("time_format ", "time_fromat "),
            "graph::unknown_key",
            "time_fromat",
            "did you mean `time_format`?",
        ),
        (with("[identity]", "[identiy]"), "graph::unknown_key", "identiy", "did you mean `identity`?"),
        (with("offset = 6\n", ""), "graph::missing_key", "[[table.field]]", "field `reverse` of `ST23`"),
        (with("name = \"residential\"\n", ""), "graph::missing_key", "", "needs the key `name`"),
        (with("blocks       = 168", "blocks = '168'"), "graph::wrong_type", "'168'", "without quotes"),
        (with("scale  = -3", "scale = -19"), "graph::out_of_range", "-19", "from -18 to 18"),
        (
            with("\"extended\"\n", "\"extendd\"\n"),
            "graph::unknown_choice",
            "\"extendd\"",
            "did you mean `extended`?",
        ),
        (with("\"clock\"\n", "\"clok\"\n"), "graph::unknown_choice", "\"clok\"", "did you mean `clock`?"),
        (with("\"clock\"\n", "7\n"), "graph::wrong_type", "7", "offset = 0, form"),
        (
            with("\"RES-1\"", "{ env = 'MODEL' }"),
            "graph::misplaced_substitution",
            "{ env = 'MODEL' }",
            "write the value",
        ),
        // What only profiles have.
        (with("device_profile = 1", "device_profile = 2"), "profile::format", "2", "must be 1"),
        (with("device_profile = 1\n", ""), "profile::format", "", "begin the file"),
        (with("\"ST23\"", "\"23\""), "profile::bad_table", "\"23\"", "such as `ST23`"),
        (with("\"ST23\"", "\"ST52\""), "profile::fixed_table", "\"ST52\"", "from the standard"),
        (with("\"ST64\"", "\"ST23\""), "profile::duplicate_table", "\"ST23\"", "twice"),
        (
            with("\"reverse\"", "\"forward\""),
            "profile::duplicate_name",
            "\"forward\"",
            "`forward` is here twice",
        ),
        (with("size  = 12", "size  = 11"), "profile::outside_table", "6", "ends at octet 12"),
        (with("offset = 6", "offset = 5"), "profile::overlap", "5", "shares octets with field `forward`"),
        (with(forward, "0.0.0.1"), "profile::bad_reading_type", "\"0.0.0.1\"", "18 whole numbers"),
        (with("1.19.1", "1.1.1"), "profile::duplicate_reading", &format!("\"{forward}\""), "twice"),
        (with("\"kWh\"", "\"Wh\""), "profile::unit_mismatch", "\"Wh\"", "`.0.72.`"),
        (with("\"kWh\"", "\"kWH\""), "profile::unit_mismatch", "\"kWH\"", "says `kWh`"),
        (with("unit   = \"kWh\"\n", ""), "graph::missing_key", "[[table.field]]", "`unit`"),
        (
            with("= 15\n", "= 30\n"),
            "profile::interval_mismatch",
            &format!("\"{delta}\""),
            "for 30 minutes it is 5",
        ),
        (
            with(forward, "0.0.0.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"),
            "profile::delta_register",
            "\"0.0.0.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0\"",
            "bulk, 1",
        ),
        (with("time  = \"clock\"\n", ""), "profile::no_time", "[[table]]", "ST52"),
        (with("\"MP1\"", "\"1\""), "profile::bad_procedure", "\"1\"", "such as `MP1`"),
        (with("parameters = \"00\"", "parameters = \"0x\""), "profile::bad_hex", "\"0x\"", "two digits"),
        (
            with("\"01\"", "\"00\""),
            "profile::ambiguous_switch",
            &format!("{{ {} }}", call("00")),
            "same call as `disconnect`",
        ),
        (with("closed = 1", "closed = 0"), "profile::ambiguous_switch", "0", "same number as `open`"),
        (
            with("{ table = \"MT1\"", "{ table = \"MT2\""),
            "profile::unknown_table",
            "\"MT2\"",
            "did you mean `MT1`?",
        ),
        (
            with("field = \"switch\"", "field = \"swich\""),
            "profile::unknown_field",
            "\"swich\"",
            "did you mean `switch`?",
        ),
        (with("armed = 2", "armed = 256"), "profile::unfit_count", "256", "highest number is 255"),
        (with("\"RES-1\"", "\"RESIDENTIAL\""), "profile::bad_identity", "\"RESIDENTIAL\"", "at most 8"),
        (
            with("device_class = \"MGRF\"", "device_class = \"M\""),
            "profile::bad_identity",
            "\"M\"",
            "must be 4 ",
        ),
        (
            with("firmware     = \"1.0\"", "firmware = \"1.256\""),
            "profile::bad_identity",
            "\"1.256\"",
            "0 to 255",
        ),
        (with("intervals    = 4", "intervals = 672"), "profile::long_report", "672", "takes 609"),
        (
            with("load_limit      = \"MP2\"", "load_limit = \"2\""),
            "profile::bad_procedure",
            "\"2\"",
            "such as `MP1`",
        ),
        (with("\"MT52\"", "\"MT\""), "profile::bad_table", "\"MT\"", "such as `ST23`"),
        (with("block = 400", "block = 4000"), "graph::out_of_range", "4000", "from 1 to 512"),
        (with("\"ST11\"", "\"11\""), "profile::bad_table", "\"11\"", "such as `ST23`"),
        (with("\"ST11\"", "\"ST45\""), "profile::low_class", "\"ST45\"", "must be 4"),
        (with("ST13 = 1", "ST46 = 1"), "profile::low_class", "1", "writing ST46 is class 1 here"),
        (with("ST13 = 1", "MT52 = 1"), "profile::low_class", "1", "must be 2"),
        (with("SP5 = 1", "MP1 = 0"), "profile::low_class", "0", "starting MP1 is class 0 here"),
        (with("SP5 = 1", "X5 = 1"), "profile::bad_procedure", "X5", "such as `MP1`"),
        (with("ST13 = 1", "ST7 = 1"), "profile::classed_by_procedure", "ST7", "in `procedure`"),
        (with("ST13 = 1", "ST13 = 5"), "graph::out_of_range", "5", "from 0 to 4"),
        (with("\"resolve\"", "\"logon\""), "graph::unknown_choice", "\"logon\"", "resolve"),
        (with("[classes]", "[clases]"), "graph::unknown_key", "clases", "did you mean `classes`?"),
    ] {
        let (profile, diagnostics) = parse(&text);
        let [fault] = diagnostics.as_slice() else { panic!("{code}: {diagnostics:#?}") };
        assert_eq!(fault.code, code, "{fault:?}");
        assert_eq!(text.get(fault.span()), Some(place), "{code}: {fault:?}");
        let said = format!("{} {}", fault.message, fault.help.clone().unwrap_or_default());
        assert!(said.contains(words), "{code}: {said}");
        assert_eq!(profile.is_none(), fault.is_error(), "{code}");
    }
}

#[test]
fn faults_that_need_more_than_one_change() {
    let codes = |text: &str| {
        let (_, diagnostics) = parse(text);
        diagnostics.iter().map(|diagnostic| diagnostic.code).collect::<Vec<_>>()
    };
    let none = with("\"unix-seconds\"", "\"none\"");
    assert_eq!(codes(&none), ["profile::no_clock"; 2]);
    let head = "device_profile = 1\nname = 'x'\n";
    let load_profile = "[[load_profile]]\ntable = 'ST64'\ninterval_min = 15\nintervals = 4\n";
    assert_eq!(codes(&format!("{head}{load_profile}")), ["profile::no_channels"]);
    assert_eq!(codes(&format!("{head}[[table]]\ntable = 'MT1'\n")), ["graph::missing_key"]);
    assert_eq!(codes(&format!("{head}table = 1\nclassic = []\n")), ["graph::wrong_type"; 2]);
    assert_eq!(codes(&format!("{head}load_profile = [1, 2]\n")), ["graph::wrong_type"; 2]);
    assert_eq!(codes("device_profil = 1\nname = 'x'\n"), ["profile::format"]);
    assert_eq!(codes("device_profile = \n"), ["graph::syntax"]);
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = with("\"little-endian\"", "\"litle-endian\"")
        .replacen("size  = 12", "size  = 7", 1)
        .replacen("\"uint\"", "\"unit\"", 1)
        .replacen("armed = 2", "armed = 300", 1);
    let (profile, diagnostics) = parse(&text);
    assert_eq!(profile, None);
    let codes: Vec<_> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(
        codes,
        ["graph::unknown_choice", "profile::outside_table", "graph::unknown_choice", "profile::unfit_count"]
    );
    let shown = crate::render::text("residential.toml", &text, &diagnostics, false);
    assert!(shown.ends_with("residential.toml: 4 errors\n"), "{shown}");
}

#[test]
fn every_code_has_a_test_and_an_explanation() {
    let this = include_str!("tests.rs");
    for code in codes::ALL {
        assert!(this.contains(&format!("\"{}\"", code.name)), "{} is not tested", code.name);
        assert!(crate::explain::all().any(|known| known.name == code.name), "{} is not explained", code.name);
    }
}

proptest! {
    #[test]
    fn any_change_of_a_profile_is_read_or_refused(
        at in 0..RESIDENTIAL.len(),
        length in 0_usize..40,
        put in "[ -~\n]{0,12}",
    ) {
        let (start, end) = (at, (at + length).min(RESIDENTIAL.len()));
        let text = format!("{}{put}{}", &RESIDENTIAL[..start], &RESIDENTIAL[end..]);
        let (profile, diagnostics) = parse(&text);
        prop_assert_eq!(profile.is_none(), diagnostics.iter().any(Diagnostic::is_error));
        for diagnostic in &diagnostics {
            prop_assert!(text.get(diagnostic.span()).is_some());
        }
        if let Some(profile) = profile {
            for table in profile.tables.iter().map(|layout| layout.table) {
                let _ = profile.readings(table, &[7; 12], &mut Stamp::received(1), |_| {});
            }
        }
    }
}
