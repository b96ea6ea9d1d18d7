//! The Rust mirror of the contract against what a C compiler makes of the header: every size, every
//! offset, every number.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use metergraph_transport_sdk::abi::{self, bits, event, io, ready, status};
use metergraph_transport_sdk::{Level, Reason};

/// The size of the field that `pick` picks.
fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// A field: its name, offset and size.
type Field = (&'static str, usize, usize);

/// Each struct of the contract: its C name, its size, its fields in order.
fn structs() -> Vec<(&'static str, usize, Vec<Field>)> {
    macro_rules! layout {
        ($c:literal, $rust:ty, $($field:ident)*) => {
            ($c, size_of::<$rust>(), vec![$((
                stringify!($field),
                std::mem::offset_of!($rust, $field),
                size_of_field(|whole: &$rust| &whole.$field),
            )),*])
        };
    }
    vec![
        layout!("mg_str", abi::Str, ptr len),
        layout!("mg_error", abi::Error, text len reserved os_error),
        layout!("mg_frame", abi::Frame, link offset len bits tag at),
        layout!("mg_batch", abi::Batch, data data_len frames frame_count reserved),
        layout!("mg_batch_out", abi::BatchOut, data data_cap data_len frames frame_cap frame_count),
        layout!("mg_event", abi::Event, kind link state mtu hops rssi tag at rtt text text_len reason),
        layout!("mg_limits", abi::Limits, size max_frame tx_queue max_links),
        layout!("mg_stats", abi::Stats, size queued links reserved tx_frames tx_bytes rx_frames rx_bytes
            dropped tx_sent tx_expired tx_full tx_link_down tx_failed),
        layout!("mg_readiness", abi::Readiness, id ready),
        layout!("mg_step", abi::Step, deadline tx_room rx_pending events_pending reserved),
        layout!("mg_host", abi::Host, size abi_minor ctx log now wall random counter_add gauge_set wake
            io_open io_accept io_read io_write io_send io_recv io_peer io_peer_address io_control
            io_interest io_close),
        layout!("mg_open", abi::Open, size call_budget_us name config host),
        layout!("mg_plugin", abi::Plugin, size abi_major abi_minor min_host_minor features reserved name
            version config_schema grants open start poll send receive events open_link close_link stats command
            close destroy),
    ]
}

/// Each number of the contract.
fn numbers() -> Vec<(String, i64)> {
    macro_rules! numbers {
        ($prefix:literal, $module:ident, $($name:ident)*) => {
            vec![$((format!("{}{}", $prefix, stringify!($name)), i64::from($module::$name))),*]
        };
    }
    let mut all = vec![
        ("MG_ABI_MAJOR".to_owned(), i64::from(abi::ABI_MAJOR)),
        ("MG_ABI_MINOR".to_owned(), i64::from(abi::ABI_MINOR)),
        ("MG_OK".to_owned(), i64::from(status::OK)),
    ];
    all.extend(numbers!("MG_E_", status, ARGUMENT CONFIG DENIED NOT_FOUND WOULD_BLOCK CLOSED TIMED_OUT BUSY
        TOO_LARGE NO_MEMORY UNSUPPORTED IO INTERNAL));
    all.extend(numbers!("MG_F_", bits, PRIORITY BROADCAST REPORT));
    all.extend(numbers!("MG_EV_", event, LINK TX NOTE FATAL));
    all.extend(numbers!("MG_", event, LINK_CONNECTING LINK_UP LINK_DEGRADED LINK_DOWN TX_DELIVERED TX_SENT
        TX_EXPIRED TX_FULL TX_LINK_DOWN TX_FAILED));
    all.extend(numbers!("MG_", ready, READABLE WRITABLE CLOSED ERROR));
    all.extend(numbers!("MG_IO_", io, UDP TCP_CONNECT TCP_LISTEN STREAM));
    for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
        all.push((format!("MG_LOG_{}", format!("{level:?}").to_uppercase()), level as i64));
    }
    for reason in Reason::ALL {
        all.push((format!("MG_R_{}", reason.word().to_uppercase().replace('-', "_")), reason as i64));
    }
    all
}

/// Compiles and runs a C program that prints `NAME VALUE` lines.
fn ask_c(body: &str) -> BTreeMap<String, i64> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("layout.c"), folder.join("layout"));
    let text = format!(
        "#include \"metergraph_transport.h\"\n#include <stdio.h>\nint main(void) {{\n{body}\nreturn 0;\n}}\n"
    );
    std::fs::write(&source, text).expect("write the C program");
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk-c");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(&header)
        .arg("-o")
        .args([&program, &source])
        .output()
        .expect("a C compiler, `cc`, is needed");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let answer = Command::new(&program).output().expect("run the C program");
    let lines = String::from_utf8(answer.stdout).expect("text");
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.lines().map(pair).collect()
}

#[test]
fn the_mirror_is_what_a_c_compiler_makes_of_the_header() {
    let mut body = String::new();
    let mut ours = BTreeMap::new();
    let mut want = |name: String, value: i64, expression: &str| {
        writeln!(body, "printf(\"{name} %lld\\n\", (long long)({expression}));").expect("memory");
        assert_eq!(ours.insert(name, value), None, "listed twice");
    };
    for (name, size, fields) in structs() {
        want(name.to_owned(), size as i64, &format!("sizeof({name})"));
        for (field, offset, size) in fields {
            let place = format!("{name}.{field}");
            want(place.clone(), offset as i64, &format!("offsetof({name}, {field})"));
            want(format!("{place}:size"), size as i64, &format!("sizeof((({name} *)0)->{field})"));
        }
    }
    for (name, value) in numbers() {
        want(name.clone(), value, &name);
    }
    assert_eq!(ask_c(&body), ours);
}

#[test]
fn no_field_is_left_out() {
    for (name, size, fields) in structs() {
        let mut end = 0;
        for (field, offset, field_size) in fields {
            assert!(offset >= end && offset - end < 8, "{name}: a gap before `{field}`");
            end = offset + field_size;
        }
        assert!(size - end < 8, "{name}: a gap at the end");
    }
}
