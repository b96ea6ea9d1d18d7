//! `[service_switch]`: which procedures work the switch, and where its position is shown.

use c1222::device_profile::{ProcedureCall, ServiceSwitch, SwitchState, TableLayout};
use c1222::tables::{ProcedureId, TableId};

use super::section::{Section, as_table};
use super::{codes, keys, short};
use crate::diagnostic::{Diagnostic, Span};
use crate::document::Table;
use crate::fields::Checker;

/// Octets of a procedure's parameters: ST7 in one octet of length, without its head.
const PARAMETERS_MAX: usize = 252;

/// Reads the section; `None` where there is none, or it is wrong, which is then said.
pub(super) fn read(root: &Table, tables: &[TableLayout], checker: &mut Checker) -> Option<ServiceSwitch> {
    let entry = root.get("service_switch")?;
    let table = as_table(checker, entry, "one section: `[service_switch]`")?;
    let who = "`[service_switch]`";
    let section = Section::read(checker, who, (table, &entry.item.span), &keys::service_switch(), &[]);
    let mut call = |key: &str| call(&section, key, checker);
    let (disconnect, connect, arm) = (call("disconnect"), call("connect"), call("arm"));
    let calls = [("disconnect", &disconnect), ("connect", &connect), ("arm", &arm)];
    let calls: Vec<_> = calls.iter().filter_map(|(name, call)| Some((*name, call.as_ref()?))).collect();
    distinct(&calls, "is the same call", |name| section.span(name), checker);
    let state = section.entry("status").and_then(|entry| state(entry.item.as_table()?, tables, checker));
    Some(ServiceSwitch { disconnect: disconnect?, connect: connect?, arm, state })
}

/// Each of the named things must differ from those before it.
fn distinct<T: PartialEq>(
    things: &[(&str, T)],
    is: &str,
    span: impl Fn(&str) -> Span,
    checker: &mut Checker,
) {
    for (at, (name, thing)) in things.iter().enumerate() {
        let before = things.iter().take(at).find(|(_, other)| other == thing);
        if let Some((first, _)) = before {
            let message = format!("`{name}` of the service switch {is} as `{first}`");
            checker.push(
                Diagnostic::new(&codes::AMBIGUOUS_SWITCH, span(name), message)
                    .label("the second one")
                    .and(span(first), "the first one"),
            );
        }
    }
}

fn call(section: &Section<'_>, key: &str, checker: &mut Checker) -> Option<ProcedureCall> {
    let table = section.entry(key)?.item.as_table()?;
    let written =
        |key: &str| table.get(key).and_then(|entry| Some((entry.item.as_text()?, entry.item.span.clone())));
    let (text, span) = written("procedure").filter(|(text, _)| !text.trim().is_empty())?;
    let procedure = text.parse::<ProcedureId>();
    if procedure.is_err() {
        checker.push(
            Diagnostic::new(&codes::BAD_PROCEDURE, span, format!("`{}` is no procedure", short(text)))
                .label("no procedure")
                .help("`SP` or `MP` and a number from 0 to 2047, such as `MP1`"),
        );
    }
    let (text, span) = written("parameters").unwrap_or(("", 0..0));
    let parameters = octets(text).filter(|octets| octets.len() <= PARAMETERS_MAX);
    if parameters.is_none() {
        let message =
            format!("`parameters` of `{key}` must be at most {PARAMETERS_MAX} octets in hexadecimal");
        checker.push(
            Diagnostic::new(&codes::BAD_HEX, span, message)
                .label("not octets")
                .help("two digits an octet, such as `\"00ff\"`"),
        );
    }
    Some(ProcedureCall { procedure: procedure.ok()?, parameters: parameters? })
}

fn octets(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    let octets = pairs.iter().map(|[high, low]| Some(nibble(high)? << 4 | nibble(low)?)).collect();
    rest.is_empty().then_some(octets).flatten()
}

/// Reads `status`, whose keys and types were checked.
fn state(table: &Table, tables: &[TableLayout], checker: &mut Checker) -> Option<SwitchState> {
    let span = |key: &str| table.get(key).map_or(0..0, |entry| entry.item.span.clone());
    let text = |key: &str| table.get(key)?.item.as_text().filter(|text| !text.trim().is_empty());
    let (shown_in, shown_by) = (text("table")?, text("field")?);
    let laid_out = || tables.iter().map(|layout| layout.table.to_string()).collect::<Vec<_>>();
    let Some(layout) =
        shown_in.parse::<TableId>().ok().and_then(|id| tables.iter().find(|layout| layout.table == id))
    else {
        let names = laid_out();
        let message = format!("the service switch is shown in `{}`, which is not laid out", short(shown_in));
        checker.push(
            Diagnostic::new(&codes::UNKNOWN_TABLE, span("table"), message)
                .label("no `[[table]]` for it")
                .nearest(shown_in, names.iter().map(String::as_str), || {
                    Some(format!("lay it out: `[[table]]` with `table = \"{}\"`", short(shown_in)))
                }),
        );
        return None;
    };
    let Some(field) = layout.field(shown_by) else {
        let names = || layout.fields.iter().map(|field| field.quantity.name.as_str());
        let message = format!("{} has no field `{}`", layout.table, short(shown_by));
        checker.push(
            Diagnostic::new(&codes::UNKNOWN_FIELD, span("field"), message).label("unknown").nearest(
                shown_by,
                names(),
                || {
                    let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                    (!names.is_empty()).then(|| format!("the fields are {}", names.join(", ")))
                },
            ),
        );
        return None;
    };
    let count = |key: &str| match table.get(key)?.item.value {
        crate::document::ItemValue::Integer(count) => Some(count),
        _ => None,
    };
    let counts = ["open", "closed", "armed"].map(|key| (key, count(key)));
    let counts: Vec<_> = counts.into_iter().filter_map(|(key, count)| Some((key, count?))).collect();
    for (key, count) in counts.iter().filter(|(_, count)| !field.quantity.holds(*count)) {
        let message = format!("`{key}` is {count}, which field `{}` cannot hold", short(shown_by));
        checker.push(
            Diagnostic::new(&codes::UNFIT_COUNT, span(key), message)
                .label("does not fit")
                .help(format!("its highest number is {}", field.quantity.count_max())),
        );
    }
    distinct(&counts, "is the same number", span, checker);
    Some(SwitchState {
        table: layout.table,
        field: field.clone(),
        open: count("open")?,
        closed: count("closed")?,
        armed: count("armed"),
    })
}
