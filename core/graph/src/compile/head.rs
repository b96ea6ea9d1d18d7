//! The head of a graph file: format, name, `[http]`, `[runtime]`.

use node::{Config, FieldSpec, FieldType};

use super::{FORMAT, check_name};
use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, ItemValue, Table};
use crate::fields::{Checker, Subject, missing_key, unknown_key};
use crate::plan::{Owner, Plan, RuntimePlan, Step};

/// The keys of a graph file.
const SECTIONS: [&str; 6] = ["graph", "name", "http", "runtime", "transport", "node"];

/// The keys of `[http]`.
pub(crate) fn http_fields() -> Vec<FieldSpec> {
    vec![FieldSpec::required(
        "listen",
        FieldType::Address,
        "Where the Prometheus page (/metrics) and health (/livez, /readyz) are served.",
    )]
}

/// The keys of `[runtime]`.
pub(crate) fn runtime_fields() -> Vec<FieldSpec> {
    let or = RuntimePlan::default();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    vec![
        FieldSpec::integer(
            "restarts_max",
            (0, 1000),
            i64::from(or.restarts_max),
            "Restarts of one node within the window before it counts as failed.",
        ),
        FieldSpec::integer(
            "restart_window_s",
            (1, 86_400),
            number(or.restart_window_s),
            "The window in which restarts are counted, seconds.",
        ),
        FieldSpec::integer(
            "backoff_ms",
            (1, 60_000),
            number(or.backoff_ms),
            "Pause before the first restart, milliseconds; it doubles from one to the next.",
        ),
        FieldSpec::integer(
            "backoff_max_ms",
            (1, 3_600_000),
            number(or.backoff_max_ms),
            "Longest pause before a restart, milliseconds.",
        ),
        FieldSpec::integer(
            "drain_timeout_ms",
            (0, 3_600_000),
            number(or.drain_timeout_ms),
            "Limit of the orderly end, milliseconds; what is then still under way is given up.",
        ),
    ]
}

/// Checks the head. `false` when the file is of another format and the rest would make no sense.
pub(super) fn check(root: &Table, plan: &mut Plan, checker: &mut Checker) -> bool {
    if !check_format(root, checker) {
        return false;
    }
    for entry in root.iter().filter(|entry| !SECTIONS.contains(&entry.key.as_str())) {
        checker.push(unknown_key("the graph", &[], entry, SECTIONS.into_iter()));
    }
    match root.get("name") {
        Some(entry) => {
            if let ItemValue::Text(name) = &entry.item.value {
                check_name("graph", name, entry.item.span.clone(), checker);
                plan.name.clone_from(name);
            } else if checker.literal("the graph", entry) {
                let message = "`name` of the graph must be a text";
                checker.push(
                    Diagnostic::new(&codes::WRONG_TYPE, entry.item.span.clone(), message)
                        .label(format!("this is {}", entry.item.value.describe())),
                );
            }
        }
        None => {
            let field =
                FieldSpec::required("name", FieldType::Text, "The graph's name in logs and drawings.");
            checker.push(missing_key("the graph", &[], &field, &first_line(root)));
        }
    }
    if let Some(entry) = root.get("http") {
        let http = fields(entry, Owner::Http, &http_fields(), checker);
        plan.http = http.text_opt("listen").map(str::to_owned);
    }
    if let Some(entry) = root.get("runtime") {
        plan.runtime = runtime(entry, checker);
    }
    true
}

fn check_format(root: &Table, checker: &mut Checker) -> bool {
    let Some(entry) = root.get("graph") else {
        let field = FieldSpec::required(
            "graph",
            FieldType::Integer { min: FORMAT, max: FORMAT },
            "The format of the file.",
        );
        let fault = missing_key("the file", &[], &field, &first_line(root));
        checker.push(fault.help(format!("every graph file begins with `graph = {FORMAT}`")));
        return true;
    };
    if entry.item.value == ItemValue::Integer(FORMAT) {
        return true;
    }
    let message = match &entry.item.value {
        ItemValue::Integer(other) => format!("the file is of format {other}; this program reads {FORMAT}"),
        _ => format!("`graph` names the format of the file, which is {FORMAT}"),
    };
    checker.push(
        Diagnostic::new(&codes::VERSION, entry.item.span.clone(), message)
            .label("another format")
            .help(format!("`graph = {FORMAT}`; nothing else of the file was looked at")),
    );
    false
}

/// Where something that belongs at the beginning is missed.
fn first_line(root: &Table) -> Span {
    root.iter().next().map_or(0..0, |entry| entry.key_span.clone())
}

fn fields(entry: &Entry, owner: Owner, fields: &[FieldSpec], checker: &mut Checker) -> Config {
    let who = format!("`[{}]`", entry.key);
    let subject = Subject { who: &who, owner };
    let ItemValue::Table(table) = &entry.item.value else {
        let message = format!("`{}` must be a table", entry.key);
        checker.push(
            Diagnostic::new(&codes::WRONG_TYPE, entry.item.span.clone(), message)
                .label(format!("this is {}", entry.item.value.describe()))
                .help(format!("a section `[{}]`", entry.key)),
        );
        return Config::default();
    };
    Config(checker.table(subject, &[], (table, &entry.item.span), (fields, &[]), true))
}

fn runtime(entry: &Entry, checker: &mut Checker) -> RuntimePlan {
    for inner in entry.item.as_table().iter().flat_map(|table| table.iter()) {
        checker.literal("`[runtime]`", inner);
    }
    let config = fields(entry, Owner::Http, &runtime_fields(), checker);
    let number = |key: &str| u64::try_from(config.integer(key)).unwrap_or(0);
    let plan = RuntimePlan {
        restarts_max: u32::try_from(config.integer("restarts_max")).unwrap_or(0),
        restart_window_s: number("restart_window_s"),
        backoff_ms: number("backoff_ms"),
        backoff_max_ms: number("backoff_max_ms"),
        drain_timeout_ms: number("drain_timeout_ms"),
    };
    let place = |key: &str| {
        let table = entry.item.as_table()?;
        table.get(key).map(|entry| entry.item.span.clone())
    };
    if let (true, Some(span)) =
        (plan.backoff_max_ms < plan.backoff_ms, place("backoff_max_ms").or_else(|| place("backoff_ms")))
    {
        let message = format!(
            "`backoff_max_ms` ({}) of `[runtime]` is shorter than `backoff_ms` ({})",
            plan.backoff_max_ms, plan.backoff_ms
        );
        checker
            .push(Diagnostic::new(&codes::OUT_OF_RANGE, span, message).label("the pauses grow up to here"));
    }
    plan
}

/// The step to a key.
pub(super) fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}
