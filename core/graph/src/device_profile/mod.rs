//! Device-profile files: from TOML to a [`DeviceProfile`], or to everything that is wrong with it.

mod classes;
pub mod codes;
mod keys;
mod section;
mod switch;
mod tables;

use c1222::device_profile::{DeviceProfile, Identity};
use c1222::tables::{ByteOrder, Format, NiFormat};

use crate::diagnostic::{Diagnostic, nearest};
use crate::document::{self, ItemValue, Table};
use crate::fields::Checker;
use section::Section;
use tables::Layouts;

/// The format of device-profile files that this program reads.
pub const FORMAT: i64 = 1;
/// Faults that are listed.
const FAULTS_MAX: usize = 500;

/// Reads the text of a device-profile file. Pure. The profile is there when no diagnostic is an error; they
/// come in the order of the file.
#[must_use]
pub fn parse(text: &str) -> (Option<DeviceProfile>, Vec<Diagnostic>) {
    let (root, diagnostics) = document::read(text);
    let mut checker = Checker { diagnostics, ..Checker::default() };
    let profile = root.and_then(|root| profile(&root, &mut checker));
    let Checker { mut diagnostics, unresolved, .. } = checker;
    diagnostics.extend(unresolved.into_iter().map(|open| {
        let message = "a device profile says all itself: its SHA-256 stands for what it means";
        Diagnostic::new(&crate::codes::MISPLACED_SUBSTITUTION, open.span, message)
            .label("from elsewhere")
            .help("write the value out")
    }));
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().start);
    diagnostics.truncate(FAULTS_MAX);
    let usable = !diagnostics.iter().any(Diagnostic::is_error);
    (profile.filter(|_| usable), diagnostics)
}

fn profile(root: &Table, checker: &mut Checker) -> Option<DeviceProfile> {
    if !check_format(root, checker) {
        return None;
    }
    let head = Section::read(checker, "the device profile", (root, &(0..0)), &keys::root(), &others());
    let identity = identity(root, checker);
    let (format, utc_offset_min) = format(root, checker);
    let classic = Section::named(checker, root, "classic", &keys::classic());
    let mut layouts = Layouts::new(format);
    layouts.read(root, checker);
    let service_switch = switch::read(root, &layouts.tables, checker);
    let classes = classes::read(root, &layouts, service_switch.as_ref(), checker);
    Some(DeviceProfile {
        name: head.text("name").to_owned(),
        identity,
        format,
        utc_offset_min,
        freshness_s: classic.number("freshness_s"),
        tables: layouts.tables,
        load_profiles: layouts.load_profiles,
        service_switch,
        classes,
    })
}

fn others() -> Vec<&'static str> {
    ["device_profile"].into_iter().chain(keys::SECTIONS).collect()
}

/// Checks `device_profile = 1`. `false` when the rest would make no sense.
fn check_format(root: &Table, checker: &mut Checker) -> bool {
    let Some(entry) = root.get("device_profile") else {
        let near = root.iter().find(|entry| nearest(&entry.key, ["device_profile"]).is_some());
        let (span, help) = match near {
            Some(entry) => (entry.key_span.clone(), "did you mean `device_profile`?".to_owned()),
            None => (0..0, format!("begin the file with `device_profile = {FORMAT}`")),
        };
        checker.push(
            Diagnostic::new(&codes::FORMAT, span, "the device profile does not say its format")
                .label("no `device_profile` in here")
                .help(help),
        );
        return false;
    };
    let right = entry.item.value == ItemValue::Integer(FORMAT);
    if !right {
        let message = format!("`device_profile` must be {FORMAT}: the format that this program reads");
        checker
            .push(Diagnostic::new(&codes::FORMAT, entry.item.span.clone(), message).label("another format"));
    }
    right
}

fn identity(root: &Table, checker: &mut Checker) -> Identity {
    let section = Section::named(checker, root, "identity", &keys::identity());
    let mut checked = |key: &str, least: usize, most: usize| {
        let text = section.text(key);
        let printable = text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
        let fits = text.is_empty() || printable && (least..=most).contains(&text.len());
        if !fits {
            let many = if least == most { format!("{most}") } else { format!("at most {most}") };
            let message = format!("`{key}` of `[identity]` must be {many} printable ASCII characters");
            checker.push(
                Diagnostic::new(&codes::BAD_IDENTITY, section.span(key), message)
                    .label(format!("{} of them", text.chars().count())),
            );
        }
        text
    };
    let device_class = padded(checked("device_class", 4, 4));
    let manufacturer = padded(checked("manufacturer", 1, 4));
    let model = padded(checked("model", 1, 8));
    let mut version = |key: &str| {
        let text = section.text(key);
        let read =
            text.split_once('.').and_then(|(version, revision)| Some((octet(version)?, octet(revision)?)));
        if read.is_none() && !text.is_empty() {
            let message = format!("`{key}` of `[identity]` must be `VERSION.REVISION`, each 0 to 255");
            let diagnostic = Diagnostic::new(&codes::BAD_IDENTITY, section.span(key), message);
            checker.push(diagnostic.label("no version").help("such as `\"1.0\"`"));
        }
        read.unwrap_or_default()
    };
    Identity {
        device_class,
        manufacturer,
        model,
        hardware: version("hardware"),
        firmware: version("firmware"),
    }
}

/// The beginning of a text that may be very long.
fn short(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn octet(digits: &str) -> Option<u8> {
    digits.parse().ok().filter(|octet: &u8| octet.to_string() == digits)
}

/// A text with spaces behind it.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut octets = [b' '; N];
    octets.iter_mut().zip(text.bytes()).for_each(|(place, octet)| *place = octet);
    octets
}

fn format(root: &Table, checker: &mut Checker) -> (Format, i16) {
    let section = Section::named(checker, root, "format", &keys::format());
    let default = Format::default();
    let number = |key: &str, default: NiFormat| {
        NiFormat::ALL.into_iter().find(|format| format.word() == section.text(key)).unwrap_or(default)
    };
    let format = Format {
        order: if section.text("byte_order") == "big-endian" { ByteOrder::Big } else { ByteOrder::Little },
        time: section.choice("time_format", &keys::TIME_FORMATS).unwrap_or(default.time),
        ni1: number("number_format_1", default.ni1),
        ni2: number("number_format_2", default.ni2),
        packed_ids: section.flag("packed_ids"),
    };
    (format, section.number("utc_offset_min"))
}

#[cfg(test)]
mod tests;
