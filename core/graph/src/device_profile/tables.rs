//! `[[table]]` and `[[load_profile]]`: which octets are which quantity.

use c1222::device_profile::{Field, LoadProfile, NumberKind, Quantity, ReadingType, TableLayout, TimeSource};
use c1222::tables::{BlockLayout, Format, TableId, TimeFormat};
use node::FieldType;

use super::section::Section;
use super::{codes, keys, short};
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{ItemValue, Table};
use crate::fields::{Checker, missing_key, scalar};

/// Tables whose layout is the standard's alone.
const FIXED: [TableId; 4] =
    [TableId::standard(0), TableId::standard(7), TableId::standard(8), TableId::standard(52)];
/// Octets of a table, written whole, that fit the sealed report of one frame: 640 of the frame without 17 of
/// seal, 5 of EPSEM control and device class, 9 of service head and checksum.
const REPORT_MAX: usize = 609;
/// Channels of a load profile.
const CHANNELS_MAX: usize = 255;

/// The tables of a profile as they are read.
#[derive(Debug)]
pub(super) struct Layouts {
    format: Format,
    /// `[[table]]`
    pub tables: Vec<TableLayout>,
    /// `[[load_profile]]`
    pub load_profiles: Vec<LoadProfile>,
    /// Where each table is laid out.
    seen: Vec<(TableId, Span)>,
}

/// Names or reading types that must not come twice, and where they stand.
type Once = Vec<(String, Span)>;

impl Layouts {
    pub fn new(format: Format) -> Self {
        Self { format, tables: Vec::new(), load_profiles: Vec::new(), seen: Vec::new() }
    }

    /// Reads both lists of a file.
    pub fn read(&mut self, root: &Table, checker: &mut Checker) {
        if let Some(entry) = root.get("table") {
            for place in Section::list(checker, entry, "one section each: `[[table]]`") {
                let layout = self.table(place, checker);
                self.tables.extend(layout);
            }
        }
        let mut readings = Once::new();
        if let Some(entry) = root.get("load_profile") {
            for place in Section::list(checker, entry, "one section each: `[[load_profile]]`") {
                let layout = self.load_profile(place, &mut readings, checker);
                self.load_profiles.extend(layout);
            }
        }
    }

    fn table(&mut self, place: (&Table, &Span), checker: &mut Checker) -> Option<TableLayout> {
        let who = name(place.0, "table", "a `[[table]]`");
        let section = Section::read(checker, &who, place, &keys::table(), &["time", "field"]);
        let table = self.table_id(&section, checker);
        let (mut fields, mut spans) = (Vec::new(), Vec::new());
        let (mut names, mut readings) = (Once::new(), Once::new());
        if let Some(entry) = section.entry("field") {
            for place in Section::list(checker, entry, "one section each: `[[table.field]]`") {
                let called = name(place.0, "name", "a field");
                let field =
                    Section::read(checker, &format!("field {called} of {who}"), place, &keys::field(), &[]);
                let quantity = quantity(&field, (&mut names, &mut readings), None, checker);
                if let Some(quantity) = quantity.filter(|_| field.has("offset")) {
                    spans.push(field.span("offset"));
                    fields.push(Field { offset: field.number("offset"), quantity });
                }
            }
        }
        let time = self.time(&section, &who, checker);
        if !readings.is_empty() {
            match time {
                None if section.entry("time").is_none() => checker.push(
                    Diagnostic::new(&codes::NO_TIME, section.head(), format!("{who} has no `time`"))
                        .label("which moment do its readings belong to?")
                        .help("`time = \"clock\"` where the device sends ST52 before it"),
                ),
                Some(TimeSource::Clock) => self.needs_clock(&who, section.span("time"), checker),
                _ => {}
            }
        }
        let mut taken: Vec<(usize, usize, String, Span)> = fields
            .iter()
            .zip(spans)
            .map(|(field, span)| {
                let end = field.offset.saturating_add(field.quantity.size);
                (field.offset, end, format!("field `{}`", field.quantity.name), span)
            })
            .collect();
        if let Some(TimeSource::Field { offset, long }) = time {
            let form = self.format.time;
            let octets = if long { form.long_size() } else { form.short_size() };
            taken.push((
                offset,
                offset.saturating_add(octets),
                "the moment".to_owned(),
                section.span("time"),
            ));
        }
        let last = taken.iter().map(|(_, end, ..)| *end).max();
        let size = if section.has("size") { section.number("size") } else { last.unwrap_or(0) };
        check_places(&mut taken, size, &who, checker);
        if last.is_none() && section.entry("size").is_none() {
            for field in keys::table().iter().filter(|field| field.name == "size") {
                checker.push(missing_key(&who, &[], field, &section.head()));
            }
        }
        if !readings.is_empty() {
            check_length(size, &who, section.span("size"), checker);
        }
        Some(TableLayout { table: table?, size, writable: section.flag("writable"), time, fields })
    }

    /// The table that a section lays out, when it may.
    fn table_id(&mut self, section: &Section<'_>, checker: &mut Checker) -> Option<TableId> {
        if !section.has("table") {
            return None;
        }
        let (text, span) = (section.text("table"), section.span("table"));
        let Ok(table) = text.parse::<TableId>() else {
            let message = format!("`{}` is no table", short(text));
            checker.push(
                Diagnostic::new(&codes::BAD_TABLE, span, message)
                    .label("no table")
                    .help("`ST` or `MT` and a number from 0 to 2047, such as `ST23`"),
            );
            return None;
        };
        if FIXED.contains(&table) {
            let message = format!("{table} has its layout from the standard");
            checker.push(Diagnostic::new(&codes::FIXED_TABLE, span, message).label("cannot be laid out"));
            return None;
        }
        if let Some((_, first)) = self.seen.iter().find(|(seen, _)| *seen == table) {
            checker.push(
                Diagnostic::new(&codes::DUPLICATE_TABLE, span, format!("{table} is laid out twice"))
                    .label("the second one")
                    .and(first.clone(), "the first one"),
            );
            return None;
        }
        self.seen.push((table, span));
        Some(table)
    }

    /// `time = "clock" | "received" | { offset, form }`
    fn time(&self, section: &Section<'_>, who: &str, checker: &mut Checker) -> Option<TimeSource> {
        let item = &section.entry("time")?.item;
        if let ItemValue::Table(table) = &item.value {
            let called = format!("`time` of {who}");
            let moment = Section::read(checker, &called, (table, &item.span), &keys::moment(), &[]);
            self.needs_clock(who, item.span.clone(), checker);
            let whole = moment.has("offset") && moment.has("form");
            let (offset, long) = (moment.number("offset"), moment.text("form") == "long");
            return whole.then_some(TimeSource::Field { offset, long });
        }
        let words = FieldType::Choice(vec!["clock".into(), "received".into()]);
        match scalar(&words, &item.value) {
            Ok(node::Value::Text(word)) if word == "received" => Some(TimeSource::Received),
            Ok(_) => Some(TimeSource::Clock),
            Err(_) if item.value == ItemValue::Broken => None,
            Err(fault) => {
                let called = format!("`time` of {who}");
                let diagnostic = fault.diagnostic(&called, &words, &item.value, &item.span);
                let or = "or a moment in the table: `{ offset = 0, form = \"long\" }`";
                let help = diagnostic.help.clone().unwrap_or_else(|| or.to_owned());
                checker.push(diagnostic.help(help));
                None
            }
        }
    }

    fn needs_clock(&self, who: &str, span: Span, checker: &mut Checker) {
        if self.format.time == TimeFormat::Absent {
            let message = format!("{who} needs a clock, and `time_format` says that there is none");
            checker.push(
                Diagnostic::new(&codes::NO_CLOCK, span, message)
                    .label("needs a clock")
                    .help("`time_format` in `[format]` says how moments are written"),
            );
        }
    }

    fn load_profile(
        &mut self,
        place: (&Table, &Span),
        readings: &mut Once,
        checker: &mut Checker,
    ) -> Option<LoadProfile> {
        let who = name(place.0, "table", "a `[[load_profile]]`");
        let section = Section::read(checker, &who, place, &keys::load_profile(), &["channel"]);
        let table = self.table_id(&section, checker);
        self.needs_clock(&who, section.head(), checker);
        let interval_min: u16 = section.number("interval_min");
        let (mut channels, mut names) = (Vec::new(), Once::new());
        let entry = section.entry("channel");
        let places =
            entry.map(|entry| Section::list(checker, entry, "one section each: `[[load_profile.channel]]`"));
        let places = places.unwrap_or_default();
        if !(1..=CHANNELS_MAX).contains(&places.len()) {
            let message = format!("{who} has {} channels; 1 to {CHANNELS_MAX} it must be", places.len());
            checker.push(
                Diagnostic::new(&codes::NO_CHANNELS, section.head(), message)
                    .label("what does it record?")
                    .help("one section each: `[[load_profile.channel]]`"),
            );
        }
        for place in places.into_iter().take(CHANNELS_MAX) {
            let called = name(place.0, "name", "a channel");
            let channel =
                Section::read(checker, &format!("channel {called} of {who}"), place, &keys::quantity(), &[]);
            let interval = Some((interval_min, section.span("interval_min"))).filter(|(min, _)| *min != 0);
            channels.extend(quantity(&channel, (&mut names, readings), interval, checker));
        }
        let (simple, extended) = section.choice("status", &keys::STATUSES).unwrap_or_default();
        let layout = BlockLayout {
            time: self.format.time,
            order: self.format.order,
            skip: section.number("skip"),
            simple,
            extended,
            intervals: section.number("intervals"),
            channels: channels.len(),
            values_size: channels.iter().map(|channel| channel.size).sum(),
        };
        check_length(layout.size(), &format!("one block of {who}"), section.span("intervals"), checker);
        let blocks = section.number("blocks");
        Some(LoadProfile { table: table?, interval_min, blocks, layout, channels })
    }
}

/// What a section is called: by the text of one of its keys, else by its kind.
fn name(table: &Table, key: &str, otherwise: &str) -> String {
    let text = table.get(key).and_then(|entry| entry.item.as_text());
    text.map_or_else(|| otherwise.to_owned(), |text| format!("`{}`", short(text)))
}

/// Reads a field or channel; of a channel the interval is given, and where it stands.
fn quantity(
    section: &Section<'_>,
    (names, readings): (&mut Once, &mut Once),
    interval: Option<(u16, Span)>,
    checker: &mut Checker,
) -> Option<Quantity> {
    let called = section.text("name").to_owned();
    if section.has("name") {
        once(names, &called, section.span("name"), &codes::DUPLICATE_NAME, checker);
    }
    if section.has("reading_type") {
        reading_type(section, readings, interval, checker);
    }
    let whole = ["name", "type", "size"].into_iter().all(|key| section.has(key));
    let kind = section.choice("type", &NumberKind::WORDS).unwrap_or(NumberKind::Unsigned);
    whole.then(|| Quantity {
        name: called,
        kind,
        size: section.number("size"),
        multiplier: section.number("multiplier"),
        scale: section.number("scale"),
        unit: section.text("unit").to_owned(),
        reading_type: section.has("reading_type").then(|| section.text("reading_type").to_owned()),
    })
}

fn reading_type(
    section: &Section<'_>,
    readings: &mut Once,
    interval: Option<(u16, Span)>,
    checker: &mut Checker,
) {
    let (text, span) = (section.text("reading_type"), section.span("reading_type"));
    let who = format!("the reading type of `{}`", short(section.text("name")));
    once(readings, text, span.clone(), &codes::DUPLICATE_READING, checker);
    let Some(read) = ReadingType::parse(text) else {
        let numbers = text.split('.').count();
        let message = format!("{who} must be {} whole numbers with dots between", ReadingType::FIELDS);
        let label =
            if numbers == ReadingType::FIELDS { "not all are".into() } else { format!("{numbers} parts") };
        checker.push(
            Diagnostic::new(&codes::BAD_READING_TYPE, span, message)
                .label(label)
                .help("15-minute delta of forward kWh is `0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0`"),
        );
        return;
    };
    if section.entry("unit").is_none() {
        checker.push(missing_key(&who, &[], &keys::unit(), &section.head()));
    }
    let of_type = read.unit_name();
    let unit = section.text("unit");
    let known = ReadingType::unit_of(unit).is_some() || of_type.is_some();
    if section.has("unit") && known && of_type != Some(unit) {
        let says = of_type.map_or_else(
            || format!("multiplier {} and unit {}", read.multiplier, read.unit),
            |name| format!("`{name}`"),
        );
        let message = format!("{who} says {says}, `unit` says `{}`", short(unit));
        let way = ReadingType::unit_of(unit).map(|(multiplier, code)| {
            format!("`{unit}` is `.{multiplier}.{code}.` near the end of a reading type; is `scale` right?")
        });
        let diagnostic = Diagnostic::new(&codes::UNIT_MISMATCH, section.span("unit"), message)
            .label("one of them is wrong")
            .and(span.clone(), "");
        checker.push(Diagnostic { help: way, ..diagnostic });
    }
    match interval {
        None if read.accumulation == ReadingType::DELTA => checker.push(
            Diagnostic::new(
                &codes::DELTA_REGISTER,
                span,
                format!("{who} is a delta, and this is a register"),
            )
            .label("the fourth number is 4")
            .help("a register is bulk, 1; what intervals add stands in a `[[load_profile]]`"),
        ),
        Some((minutes, place)) if read.interval_min() != Some(minutes) => {
            let says = read.interval_min().map_or_else(
                || format!("measuring period {}", read.measuring_period),
                |minutes| format!("{minutes} minutes"),
            );
            let message = format!("{who} says {says}, `interval_min` says {minutes}");
            let diagnostic = Diagnostic::new(&codes::INTERVAL_MISMATCH, span, message)
                .label("the third number")
                .and(place, "");
            let way =
                ReadingType::period_of(minutes).map(|code| format!("for {minutes} minutes it is {code}"));
            checker.push(Diagnostic { help: way, ..diagnostic });
        }
        _ => {}
    }
}

fn once(seen: &mut Once, text: &str, span: Span, code: &crate::Code, checker: &mut Checker) {
    match seen.iter().find(|(other, _)| other == text) {
        Some((_, first)) => {
            let message = format!("`{}` is here twice", short(text));
            checker.push(
                Diagnostic::new(code, span, message)
                    .label("the second one")
                    .and(first.clone(), "the first one"),
            );
        }
        None => seen.push((text.to_owned(), span)),
    }
}

/// Checks that what takes octets of a table lies in it and shares none.
fn check_places(taken: &mut [(usize, usize, String, Span)], size: usize, who: &str, checker: &mut Checker) {
    for (_, end, what, span) in taken.iter().filter(|(_, end, ..)| *end > size) {
        let message = format!("{what} ends at octet {end} of {who}, which has {size}");
        checker.push(Diagnostic::new(&codes::OUTSIDE_TABLE, span.clone(), message).label("outside"));
    }
    taken.sort_by_key(|(start, end, ..)| (*start, *end));
    let mut reach: Option<&(usize, usize, String, Span)> = None;
    for next in taken.iter() {
        if let Some((start, end, what, span)) = reach.filter(|before| next.0 < before.1) {
            let message = format!("{} of {who} shares octets with {what}", next.2);
            let octets = format!("{what}: octets {start} to {}", end.saturating_sub(1));
            checker.push(
                Diagnostic::new(&codes::OVERLAP, next.3.clone(), message)
                    .label(format!("octets {} to {}", next.0, next.1.saturating_sub(1)))
                    .and(span.clone(), octets),
            );
        }
        reach = reach.filter(|before| before.1 >= next.1).or(Some(next));
    }
}

fn check_length(size: usize, who: &str, span: Span, checker: &mut Checker) {
    if size > REPORT_MAX {
        let message = format!("{who} has {size} octets; a sealed report takes {REPORT_MAX}");
        checker.push(Diagnostic::new(&codes::LONG_REPORT, span, message).label("longer than a report"));
    }
}
