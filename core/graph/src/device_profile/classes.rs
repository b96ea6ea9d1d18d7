//! `[classes]` and `[commands]`: which class a command has that reads, writes or starts what.
//!
//! What the profile says elsewhere counts: tables that are laid out are read by class 0 and, where they are
//! writable, written by class 1; the calls of the service switch, load limit and demand response are class 3,
//! firmware is class 2. `[classes]` adds the rest, and may raise but not lower. All else is class 4.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use c1222::TableId;
use c1222::device_profile::classes::{FIRMWARE, KEY_TABLES, KEYS, LOAD, READ, WRITE};
use c1222::device_profile::{Classes, ServiceSwitch};
use c1222::tables::{Initiate, ProcedureId};

use super::section::Section;
use super::tables::Layouts;
use super::{codes, keys, short};
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::document::{Item, ItemValue, Table};
use crate::fields::Checker;

/// Reads both sections.
pub(super) fn read(
    root: &Table,
    layouts: &Layouts,
    switch: Option<&ServiceSwitch>,
    checker: &mut Checker,
) -> Classes {
    let mut classes = Classes::default();
    for layout in &layouts.tables {
        classes.reads.insert(layout.table, READ);
        if layout.writable {
            classes.writes.insert(layout.table, WRITE);
        }
    }
    classes.reads.extend(layouts.load_profiles.iter().map(|set| (set.table, READ)));
    classes.writes.extend(KEY_TABLES.map(|table| (table, KEYS)));
    if let Some(switch) = switch {
        let calls = [Some(&switch.disconnect), Some(&switch.connect), switch.arm.as_ref()];
        classes.procedures.extend(calls.into_iter().flatten().map(|call| (call.procedure, LOAD)));
    }
    commands(root, &mut classes, checker);
    listed(root, &mut classes, checker);
    classes
}

fn commands(root: &Table, classes: &mut Classes, checker: &mut Checker) {
    let section = Section::named(checker, root, "commands", &keys::commands());
    for key in ["load_limit", "demand_response"] {
        if section.has(key) {
            let procedure = named(section.text(key), section.span(key), checker);
            procedure.into_iter().for_each(|procedure| raise(&mut classes.procedures, procedure, LOAD));
        }
    }
    let Some(firmware) = section.entry("firmware").and_then(|entry| entry.item.as_table()) else { return };
    let text = |key: &str| text_of(&firmware.get(key)?.item);
    if let Some((text, span)) = text("table") {
        let table = named(text, span, checker);
        table.into_iter().for_each(|table| raise(&mut classes.writes, table, FIRMWARE));
    }
    if let Some((text, span)) = text("activate") {
        let procedure = named(text, span, checker);
        procedure.into_iter().for_each(|procedure| raise(&mut classes.procedures, procedure, FIRMWARE));
    }
}

fn listed(root: &Table, classes: &mut Classes, checker: &mut Checker) {
    let section = Section::named(checker, root, "classes", &keys::classes());
    for item in items(&section, "read") {
        let Some((text, span)) = text_of(item) else { continue };
        if let Some(table) = named::<TableId>(text, span.clone(), checker) {
            if KEY_TABLES.contains(&table) {
                low(&format!("reading {table}"), READ, KEYS, span, checker);
            }
            classes.reads.insert(table, READ);
        }
    }
    for item in items(&section, "service") {
        let code = text_of(item).and_then(|(text, _)| keys::SERVICES.iter().find(|code| code.name() == text));
        classes.services.extend(code.map(|code| (code.0, READ)));
    }
    each(&section, "write", &mut classes.writes, "writing", checker);
    each(&section, "procedure", &mut classes.procedures, "starting", checker);
    if classes.writes.remove(&Initiate::TABLE).is_some() {
        let entry = section.entry("write").and_then(|entry| entry.item.as_table()?.get("ST7"));
        let span = entry.map_or_else(|| section.head(), |entry| entry.key_span.clone());
        let message = "ST7 has the class of the procedure that is started by it";
        checker.push(
            Diagnostic::new(&codes::CLASSED_BY_PROCEDURE, span, message)
                .label("no class of its own")
                .help("list its procedures in `procedure`"),
        );
    }
}

/// Reads a map of names and classes, none of which may be lower than what is known.
fn each<T: Named>(
    section: &Section<'_>,
    key: &str,
    list: &mut BTreeMap<T, u8>,
    doing: &str,
    checker: &mut Checker,
) {
    let table = section.entry(key).and_then(|entry| entry.item.as_table());
    for entry in table.into_iter().flat_map(Table::iter) {
        let ItemValue::Integer(class) = entry.item.value else { continue };
        let Some(class) = u8::try_from(class).ok().filter(|class| *class <= KEYS) else { continue };
        let Some(name) = named::<T>(&entry.key, entry.key_span.clone(), checker) else { continue };
        let floor = list.get(&name).copied().unwrap_or(READ);
        if class < floor {
            low(&format!("{doing} {name}"), class, floor, entry.item.span.clone(), checker);
        }
        list.insert(name, class.max(floor));
    }
}

fn items<'t>(section: &Section<'t>, key: &str) -> impl Iterator<Item = &'t Item> {
    let list = section.entry(key).and_then(|entry| match &entry.item.value {
        ItemValue::List(list) => Some(list),
        _ => None,
    });
    list.into_iter().flatten()
}

fn text_of(item: &Item) -> Option<(&str, Span)> {
    item.as_text().filter(|text| !text.trim().is_empty()).map(|text| (text, item.span.clone()))
}

fn raise<T: Ord>(list: &mut BTreeMap<T, u8>, name: T, class: u8) {
    let listed = list.entry(name).or_insert(class);
    *listed = class.max(*listed);
}

fn low(what: &str, class: u8, least: u8, span: Span, checker: &mut Checker) {
    let message = format!("{what} is class {class} here, and must be {least}");
    let diagnostic = Diagnostic::new(&codes::LOW_CLASS, span, message).label("too low");
    checker.push(diagnostic.help(format!("give it class {least}, or leave it out")));
}

/// What a class is of.
trait Named: FromStr + Ord + Display {
    const CODE: &'static Code;
    const WHAT: &'static str;
    const HELP: &'static str;
}

impl Named for TableId {
    const CODE: &'static Code = &codes::BAD_TABLE;
    const WHAT: &'static str = "no table";
    const HELP: &'static str = "`ST` or `MT` and a number from 0 to 2047, such as `ST23`";
}

impl Named for ProcedureId {
    const CODE: &'static Code = &codes::BAD_PROCEDURE;
    const WHAT: &'static str = "no procedure";
    const HELP: &'static str = "`SP` or `MP` and a number from 0 to 2047, such as `MP1`";
}

fn named<T: Named>(text: &str, span: Span, checker: &mut Checker) -> Option<T> {
    let name = text.parse().ok();
    if name.is_none() {
        let message = format!("`{}` is {}", short(text), T::WHAT);
        checker.push(Diagnostic::new(T::CODE, span, message).label(T::WHAT).help(T::HELP));
    }
    name
}
