//! The keys of a device profile, as data.

use std::borrow::Cow;

use c1222::ServiceCode;
use c1222::device_profile::{NumberKind, ReadingType};
use c1222::tables::{NiFormat, TimeFormat};
use node::{FieldSpec, FieldType, Value};

/// The sections beside `device_profile` and `name`.
pub(super) const SECTIONS: [&str; 8] =
    ["identity", "format", "classic", "table", "load_profile", "service_switch", "commands", "classes"];

/// Words of `byte_order`.
pub(super) const BYTE_ORDERS: [&str; 2] = ["little-endian", "big-endian"];

/// Words of `time_format`.
pub(super) const TIME_FORMATS: [(&str, TimeFormat); 5] = [
    ("none", TimeFormat::Absent),
    ("bcd", TimeFormat::Packed),
    ("binary", TimeFormat::Binary),
    ("unix-minutes", TimeFormat::Minutes),
    ("unix-seconds", TimeFormat::Seconds),
];

/// Words of `status`: simple, extended.
pub(super) const STATUSES: [(&str, (bool, bool)); 4] = [
    ("none", (false, false)),
    ("simple", (true, false)),
    ("extended", (false, true)),
    ("both", (true, true)),
];

/// Where `{ offset, form }` can stand for a moment.
pub(super) const FORMS: [&str; 2] = ["short", "long"];

fn choice(words: impl IntoIterator<Item = &'static str>) -> FieldType {
    FieldType::Choice(words.into_iter().map(Cow::Borrowed).collect())
}

fn whole(min: i64, max: i64) -> FieldType {
    FieldType::Integer { min, max }
}

pub(super) fn root() -> Vec<FieldSpec> {
    vec![FieldSpec::required("name", FieldType::Text, "The profile's name, for people.")]
}

pub(super) fn identity() -> Vec<FieldSpec> {
    let text = |name, default: &str, about| FieldSpec::or(name, FieldType::Text, default, about);
    vec![
        text("device_class", "MGRF", "Device class in ST0 and in reports, 4 characters."),
        text("manufacturer", "MGRF", "Manufacturer in ST1, at most 4 characters."),
        text("model", "METER", "Model in ST1, at most 8 characters."),
        text("hardware", "1.0", "Hardware version and revision in ST1."),
        text("firmware", "1.0", "Firmware version and revision in ST1."),
    ]
}

pub(super) fn format() -> Vec<FieldSpec> {
    let number = || choice(NiFormat::ALL.map(NiFormat::word));
    vec![
        FieldSpec::or("byte_order", choice(BYTE_ORDERS), "little-endian", "Order of octets in numbers."),
        FieldSpec::or(
            "time_format",
            choice(TIME_FORMATS.map(|(word, _)| word)),
            "unix-seconds",
            "How moments are written.",
        ),
        FieldSpec::or("number_format_1", number(), "int48", "How summations are written."),
        FieldSpec::or("number_format_2", number(), "int32", "How demands are written."),
        FieldSpec::or("packed_ids", FieldType::Bool, false, "Identities are packed digits, not characters."),
        FieldSpec::integer(
            "utc_offset_min",
            (-1440, 1440),
            0,
            "The device's clock minus UTC, the whole year, minutes.",
        ),
    ]
}

pub(super) fn classic() -> Vec<FieldSpec> {
    vec![FieldSpec::integer(
        "freshness_s",
        (0, 86_400),
        900,
        "How far the time in a message may be from now, seconds; 0 takes any.",
    )]
}

pub(super) fn table() -> Vec<FieldSpec> {
    vec![
        FieldSpec::required("table", FieldType::Text, "`ST` or `MT` and its number."),
        FieldSpec::optional(
            "size",
            whole(1, 65_534),
            "Its octets, exactly; without it, up to the last field.",
        ),
        FieldSpec::or("writable", FieldType::Bool, false, "Whether others may write it."),
    ]
}

pub(super) fn moment() -> Vec<FieldSpec> {
    vec![
        FieldSpec::required("offset", whole(0, 65_533), "The first octet of the moment in the table."),
        FieldSpec::required("form", choice(FORMS), "With seconds (long) or without (short)."),
    ]
}

pub(super) fn field() -> Vec<FieldSpec> {
    let mut fields = quantity();
    fields.push(FieldSpec::required("offset", whole(0, 65_533), "Its first octet in the table."));
    fields
}

pub(super) fn quantity() -> Vec<FieldSpec> {
    vec![
        FieldSpec::required("name", FieldType::Text, "Its name, for people."),
        FieldSpec::required("type", choice(NumberKind::WORDS.map(|(word, _)| word)), "How it is written."),
        FieldSpec::required("size", whole(1, 8), "In how many octets."),
        FieldSpec::integer(
            "multiplier",
            (1, i64::from(u32::MAX)),
            1,
            "What one count is worth, before the power of ten.",
        ),
        FieldSpec::integer("scale", (-18, 18), 0, "The power of ten that makes counts values in `unit`."),
        unit(),
        FieldSpec::optional(
            "reading_type",
            FieldType::Text,
            "CIM reading type, 18 numbers; without it the quantity gives no readings.",
        ),
    ]
}

pub(super) fn unit() -> FieldSpec {
    let names: Vec<String> = ReadingType::unit_names().map(|name| format!("`{name}`")).collect();
    FieldSpec {
        about: format!("Unit of the values, e.g. {}.", names.join(", ")).into(),
        ..FieldSpec::optional("unit", FieldType::Text, "")
    }
}

pub(super) fn load_profile() -> Vec<FieldSpec> {
    vec![
        FieldSpec::required("table", FieldType::Text, "ST64 to ST67, or a manufacturer's."),
        FieldSpec::required("interval_min", whole(1, 1440), "Length of an interval, minutes."),
        FieldSpec::required("intervals", whole(1, 1440), "Intervals in a block."),
        FieldSpec::integer("blocks", (1, 65_535), 1, "Blocks that the device keeps."),
        FieldSpec::or(
            "status",
            choice(STATUSES.map(|(word, _)| word)),
            "none",
            "What says how good intervals are.",
        ),
        FieldSpec::integer("skip", (0, 1024), 0, "Octets between a block's end time and its intervals."),
    ]
}

pub(super) fn service_switch() -> Vec<FieldSpec> {
    let call = || {
        FieldType::Table(vec![
            FieldSpec::required("procedure", FieldType::Text, "`SP` or `MP` and its number."),
            FieldSpec {
                default: Some(Value::Text(String::new())),
                ..FieldSpec::optional("parameters", FieldType::Text, "Octets as hexadecimal digits.")
            },
        ])
    };
    let count = || whole(i64::MIN, i64::MAX);
    let status = vec![
        FieldSpec::required("table", FieldType::Text, "The table that shows the position."),
        FieldSpec::required("field", FieldType::Text, "The field in it."),
        FieldSpec::required("open", count(), "Its number when the switch is open."),
        FieldSpec::required("closed", count(), "Its number when the switch is closed."),
        FieldSpec::optional("armed", count(), "Its number when the switch is open and armed."),
    ];
    vec![
        FieldSpec::required("disconnect", call(), "The call that opens the switch."),
        FieldSpec::required("connect", call(), "The call that closes the switch."),
        FieldSpec::optional("arm", call(), "The call that lets the customer close it."),
        FieldSpec::optional("status", FieldType::Table(status), "Where its position is shown."),
    ]
}

/// Services that `[classes]` may list: those that name no table and belong to no session.
pub(super) const SERVICES: [ServiceCode; 6] = [
    ServiceCode::IDENTIFICATION,
    ServiceCode::DEREGISTRATION,
    ServiceCode::RESOLVE,
    ServiceCode::TRACE,
    ServiceCode::REGISTRATION,
    ServiceCode::DEFAULT_READ,
];

pub(super) fn commands() -> Vec<FieldSpec> {
    let firmware = vec![
        FieldSpec::required("table", FieldType::Text, "Blocks are written to it, each at its offset."),
        FieldSpec::required("block", whole(1, 512), "The longest block, octets."),
        FieldSpec::required("activate", FieldType::Text, "The procedure that makes the image run."),
    ];
    vec![
        FieldSpec::optional("load_limit", FieldType::Text, "The procedure that limits the load."),
        FieldSpec::optional(
            "demand_response",
            FieldType::Text,
            "The procedure that takes a demand-response event; `SP21` without it.",
        ),
        FieldSpec::optional("firmware", FieldType::Table(firmware), "How firmware is loaded."),
    ]
}

pub(super) fn classes() -> Vec<FieldSpec> {
    let texts = || FieldType::List(Box::new(FieldType::Text));
    let class = || FieldType::Map(Box::new(whole(0, 4)));
    let services = FieldType::List(Box::new(choice(SERVICES.map(ServiceCode::name))));
    vec![
        FieldSpec::optional("read", texts(), "Tables that class 0 reads, beside those that are laid out."),
        FieldSpec::optional("write", class(), "The class of writing a table."),
        FieldSpec::optional("procedure", class(), "The class of starting a procedure."),
        FieldSpec::optional("service", services, "Services of class 0 that name no table."),
    ]
}
