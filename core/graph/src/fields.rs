//! Checks values of a file against the specification of their keys.

use std::collections::BTreeMap;

use node::{FieldSpec, FieldType, Value};

use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, Item, ItemValue, Table};
use crate::plan::{Origin, Owner, Step, Unresolved};
use crate::substitution;

/// A key that names a node for its service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRef {
    /// The node that holds the key.
    pub user: usize,
    /// The key.
    pub key: String,
    /// The node it names.
    pub name: String,
    /// The service wanted.
    pub service: &'static str,
    /// Where the name stands.
    pub span: Span,
}

/// What the tables of a file are checked with, and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// The faults.
    pub diagnostics: Vec<Diagnostic>,
    /// Values that something else will give.
    pub unresolved: Vec<Unresolved>,
    /// Keys that name a node for its service.
    pub services: Vec<ServiceRef>,
}

/// Whose configuration is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// For people: «node `decrypt`».
    pub who: &'a str,
    /// Its place in the plan.
    pub owner: Owner,
}

impl Checker {
    /// Notes a fault.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Checks a table: unknown keys (`others` are read elsewhere), missing keys, values. Answers what
    /// is right of it, with defaults where `fill`.
    pub fn table(
        &mut self,
        subject: Subject<'_>,
        path: &[Step],
        (table, head): (&Table, &Span),
        (fields, others): (&[FieldSpec], &[&str]),
        fill: bool,
    ) -> BTreeMap<String, Value> {
        let known = || fields.iter().map(|field| &*field.name).chain(others.iter().copied());
        for entry in table.iter().filter(|entry| !known().any(|key| key == entry.key)) {
            self.push(unknown_key(subject.who, path, entry, known()));
        }
        let mut values = BTreeMap::new();
        for field in fields {
            let value = match table.get(&field.name) {
                Some(entry) => {
                    let path = join(path, Step::Key(entry.key.clone()));
                    self.value(subject, &path, &entry.item, &field.field_type, fill)
                }
                None => {
                    if field.is_required() {
                        self.push(missing_key(subject.who, path, field, head));
                    }
                    field.default.clone().filter(|_| fill)
                }
            };
            if let Some(value) = value {
                values.insert(field.name.clone().into_owned(), value);
            }
        }
        values
    }

    /// Checks one value. `None` when it is wrong, which is then said.
    pub fn value(
        &mut self,
        subject: Subject<'_>,
        path: &[Step],
        item: &Item,
        field_type: &FieldType,
        fill: bool,
    ) -> Option<Value> {
        let named = || format!("`{}` of {}", show(path), subject.who);
        if let Some(origin) = substitution::read(item, field_type) {
            return self.substitute(subject, path, item, Some(field_type), origin);
        }
        match (field_type, &item.value) {
            (_, ItemValue::Broken) => None,
            (FieldType::List(each), ItemValue::List(list)) => {
                let mut values = Vec::with_capacity(list.len());
                for (index, item) in list.iter().enumerate() {
                    values.extend(self.value(subject, &join(path, Step::Index(index)), item, each, fill));
                }
                Some(Value::List(values))
            }
            (FieldType::Table(fields), ItemValue::Table(table)) => {
                Some(Value::Table(self.table(subject, path, (table, &item.span), (fields, &[]), fill)))
            }
            (FieldType::Map(each), ItemValue::Table(table)) => {
                let mut values = BTreeMap::new();
                for entry in table.iter() {
                    let path = join(path, Step::Key(entry.key.clone()));
                    if let Some(value) = self.value(subject, &path, &entry.item, each, fill) {
                        values.insert(entry.key.clone(), value);
                    }
                }
                Some(Value::Table(values))
            }
            (_, value) => match scalar(field_type, value) {
                Ok(value) => {
                    self.note(subject, path, item, field_type, &value);
                    Some(value)
                }
                Err(fault) => {
                    let label = match fault {
                        Fault::WrongType => format!("this is {}", item.value.describe()),
                        _ => fault.label().to_owned(),
                    };
                    self.push(fault.diagnostic(&named(), field_type, value, &item.span).label(label));
                    None
                }
            },
        }
    }

    /// A value whose type nobody knows, since its plugin was not looked at.
    pub fn unchecked(&mut self, subject: Subject<'_>, path: &[Step], item: &Item) -> Option<Value> {
        if let Some(origin) = substitution::read(item, &FieldType::Text) {
            return self.substitute(subject, path, item, None, origin);
        }
        Some(match &item.value {
            ItemValue::Bool(truth) => Value::Bool(*truth),
            ItemValue::Integer(number) => Value::Integer(*number),
            ItemValue::Float(number) => Value::Float(*number),
            ItemValue::Text(text) => Value::Text(text.clone()),
            ItemValue::List(list) => Value::List(
                list.iter()
                    .enumerate()
                    .filter_map(|(index, item)| {
                        self.unchecked(subject, &join(path, Step::Index(index)), item)
                    })
                    .collect(),
            ),
            ItemValue::Table(table) => Value::Table(
                table
                    .iter()
                    .filter_map(|entry| {
                        let path = join(path, Step::Key(entry.key.clone()));
                        Some((entry.key.clone(), self.unchecked(subject, &path, &entry.item)?))
                    })
                    .collect(),
            ),
            ItemValue::Time(_) => {
                let message = format!("`{}` of {} cannot be a date or time", show(path), subject.who);
                self.push(
                    Diagnostic::new(&codes::WRONG_TYPE, item.span.clone(), message)
                        .label("this is a date or time")
                        .help("write it as a text, in quotes"),
                );
                return None;
            }
            ItemValue::Broken => return None,
        })
    }

    /// Refuses `{ env = ".." }` and `{ secret = ".." }` where a value must be written out.
    pub fn literal(&mut self, who: &str, entry: &Entry) -> bool {
        let misplaced = substitution::read(&entry.item, &FieldType::Text).is_some();
        if misplaced {
            let message = format!("`{}` of {who} must be written out", entry.key);
            self.push(
                Diagnostic::new(&codes::MISPLACED_SUBSTITUTION, entry.item.span.clone(), message)
                    .label("not known before the graph runs")
                    .help("it gives the graph its shape, which `check` and `draw` show"),
            );
        }
        !misplaced
    }

    fn substitute(
        &mut self,
        subject: Subject<'_>,
        path: &[Step],
        item: &Item,
        field_type: Option<&FieldType>,
        origin: Result<Origin, Diagnostic>,
    ) -> Option<Value> {
        let takes_one = !matches!(
            field_type,
            Some(FieldType::List(_) | FieldType::Table(_) | FieldType::Map(_) | FieldType::Node { .. })
        );
        match origin {
            Ok(origin) if takes_one => {
                self.unresolved.push(Unresolved {
                    owner: subject.owner,
                    path: path.to_vec(),
                    origin,
                    field_type: field_type.cloned(),
                    span: item.span.clone(),
                });
                // Stands in until the value is known.
                Some(Value::Text(String::new()))
            }
            Ok(_) => {
                let wanted = field_type.map(FieldType::describe).unwrap_or_default();
                let message = format!("`{}` of {} must be written out", show(path), subject.who);
                self.push(
                    Diagnostic::new(&codes::MISPLACED_SUBSTITUTION, item.span.clone(), message)
                        .label("gives one text")
                        .help(format!("it must be {wanted}")),
                );
                None
            }
            Err(diagnostic) => {
                self.push(diagnostic);
                None
            }
        }
    }

    fn note(
        &mut self,
        subject: Subject<'_>,
        path: &[Step],
        item: &Item,
        field_type: &FieldType,
        value: &Value,
    ) {
        let Value::Text(text) = value else { return };
        if let (FieldType::Node { service }, Owner::Node(user)) = (field_type, subject.owner) {
            let key = show(path);
            let (name, span) = (text.clone(), item.span.clone());
            self.services.push(ServiceRef { user, key, name, service, span });
        }
        if let Some(mark) = ["${", "{{"].into_iter().find(|mark| text.contains(mark)) {
            let message =
                format!("`{}` of {} holds `{mark}`, which stands for itself", show(path), subject.who);
            self.push(
                Diagnostic::new(&codes::NO_TEMPLATING, item.span.clone(), message)
                    .label("no template")
                    .help("a variable gives a whole value: `{ env = \"NAME\" }`"),
            );
        }
    }
}

/// What is wrong with a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WrongType,
    OutOfRange,
    UnknownChoice,
    Empty,
    BadAddress,
}

impl Fault {
    fn label(self) -> &'static str {
        match self {
            Self::WrongType => "of another type",
            Self::OutOfRange => "out of bounds",
            Self::UnknownChoice => "not one of them",
            Self::Empty => "empty",
            Self::BadAddress => "no `HOST:PORT`",
        }
    }

    /// The diagnostic for a value that is called `name`; it never holds the value itself.
    pub fn diagnostic(
        self,
        name: &str,
        field_type: &FieldType,
        value: &ItemValue,
        span: &Span,
    ) -> Diagnostic {
        let code = match self {
            Self::WrongType => &codes::WRONG_TYPE,
            Self::OutOfRange => &codes::OUT_OF_RANGE,
            Self::UnknownChoice => &codes::UNKNOWN_CHOICE,
            Self::Empty => &codes::EMPTY_TEXT,
            Self::BadAddress => &codes::BAD_ADDRESS,
        };
        let message = match self {
            Self::Empty => format!("{name} is empty"),
            _ => format!("{name} must be {}", field_type.describe()),
        };
        let diagnostic = Diagnostic::new(code, span.clone(), message).label(self.label());
        match (field_type, value) {
            (FieldType::Choice(words), ItemValue::Text(word)) => {
                diagnostic.nearest(word, words.iter().map(|word| &**word), || None)
            }
            (
                FieldType::Integer { .. } | FieldType::Float { .. } | FieldType::Bool,
                ItemValue::Text(text),
            ) if text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() => {
                diagnostic.help("without quotes")
            }
            (FieldType::List(_), ItemValue::Text(_) | ItemValue::Table(_)) => {
                diagnostic.help("in brackets: a list may have one entry")
            }
            _ => diagnostic,
        }
    }
}

/// A value that is neither list nor table, when it fits its type.
pub(crate) fn scalar(field_type: &FieldType, value: &ItemValue) -> Result<Value, Fault> {
    match (field_type, value) {
        (FieldType::Bool, ItemValue::Bool(truth)) => Ok(Value::Bool(*truth)),
        (FieldType::Integer { min, max }, ItemValue::Integer(number)) => {
            if (min..=max).contains(&number) {
                Ok(Value::Integer(*number))
            } else {
                Err(Fault::OutOfRange)
            }
        }
        (FieldType::Float { min, max }, ItemValue::Float(number)) => float(*number, *min, *max),
        #[allow(clippy::cast_precision_loss)] // A bound that needs more than 53 bits is none of ours.
        (FieldType::Float { min, max }, ItemValue::Integer(number)) => float(*number as f64, *min, *max),
        (FieldType::Choice(words), ItemValue::Text(word)) => {
            if words.iter().any(|known| known == word) {
                Ok(Value::Text(word.clone()))
            } else {
                Err(Fault::UnknownChoice)
            }
        }
        (
            FieldType::Text | FieldType::Path | FieldType::Address | FieldType::Node { .. },
            ItemValue::Text(text),
        ) => {
            if text.trim().is_empty() {
                Err(Fault::Empty)
            } else if *field_type == FieldType::Address && !is_address(text) {
                Err(Fault::BadAddress)
            } else {
                Ok(Value::Text(text.clone()))
            }
        }
        _ => Err(Fault::WrongType),
    }
}

fn float(number: f64, min: f64, max: f64) -> Result<Value, Fault> {
    // False for NaN as well.
    if (min..=max).contains(&number) { Ok(Value::Float(number)) } else { Err(Fault::OutOfRange) }
}

/// Whether a text is `HOST:PORT`.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-".contains(&c)),
    };
    let digits = !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit());
    host_fits && digits && port.parse::<u16>().is_ok()
}

/// A path with one more step.
pub(crate) fn join(path: &[Step], step: Step) -> Vec<Step> {
    path.iter().cloned().chain([step]).collect()
}

/// A path as people write it: `config.connect[0].address`.
pub(crate) fn show(path: &[Step]) -> String {
    let mut shown = String::new();
    for step in path {
        match step {
            Step::Key(key) if shown.is_empty() => shown.push_str(key),
            Step::Key(key) => {
                shown.push('.');
                shown.push_str(key);
            }
            Step::Index(index) => shown.push_str(&format!("[{index}]")),
        }
    }
    shown
}

/// The fault of a key that nothing reads.
pub(crate) fn unknown_key<'k>(
    who: &str,
    path: &[Step],
    entry: &Entry,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Diagnostic {
    let place = if path.is_empty() { who.to_owned() } else { format!("`{}` of {who}", show(path)) };
    let list = known.clone();
    Diagnostic::new(
        &codes::UNKNOWN_KEY,
        entry.key_span.clone(),
        format!("{place} has no key `{}`", entry.key),
    )
    .label("unknown")
    .nearest(&entry.key, known, || {
        let keys: Vec<String> = list.map(|key| format!("`{key}`")).collect();
        match keys.as_slice() {
            [] => None,
            keys => Some(format!("the keys are {}", keys.join(", "))),
        }
    })
}

/// The fault of a key that is not there.
pub(crate) fn missing_key(who: &str, path: &[Step], field: &FieldSpec, head: &Span) -> Diagnostic {
    let place = if path.is_empty() { who.to_owned() } else { format!("`{}` of {who}", show(path)) };
    Diagnostic::new(&codes::MISSING_KEY, head.clone(), format!("{place} needs the key `{}`", field.name))
        .label(format!("no `{}` in here", field.name))
        .help(format!("`{}` is {}: {}", field.name, field.field_type.describe(), field.about))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, fields: &[FieldSpec]) -> (BTreeMap<String, Value>, Checker) {
        let (table, diagnostics) = crate::document::read(text);
        let mut checker = Checker { diagnostics, ..Checker::default() };
        let subject = Subject { who: "node `n`", owner: Owner::Node(0) };
        let values = checker.table(subject, &[], (&table.unwrap(), &(0..0)), (fields, &["kind"]), true);
        (values, checker)
    }

    fn fields() -> Vec<FieldSpec> {
        let peer = vec![
            FieldSpec::required("address", FieldType::Address, "Where."),
            FieldSpec::integer("weight", (0, 9), 1, "How much."),
        ];
        vec![
            FieldSpec::integer("count", (1, 8), 2, "How many."),
            FieldSpec::optional("ratio", FieldType::Float { min: 0.0, max: 1.0 }, "Which part."),
            FieldSpec::optional("mode", FieldType::Choice(vec!["fast".into(), "safe".into()]), "How."),
            FieldSpec::optional("on", FieldType::Bool, "Whether."),
            FieldSpec::optional("peers", FieldType::List(Box::new(FieldType::Table(peer))), "Who."),
            FieldSpec::optional("limits", FieldType::Map(Box::new(FieldType::Text)), "Limits."),
            FieldSpec::optional("keys", FieldType::Node { service: "keys" }, "Keys."),
        ]
    }

    #[test]
    fn right_values_come_with_defaults() {
        let text = "kind = 'x'\nratio = 1\nmode = 'safe'\nkeys = 'k'\npeers = [{ address = '[::1]:80' }]\n";
        let (values, checker) = check(text, &fields());
        assert_eq!(checker.diagnostics, []);
        assert_eq!(values["count"], Value::Integer(2));
        assert_eq!(values["ratio"], Value::Float(1.0));
        let Value::List(peers) = &values["peers"] else { panic!() };
        let Value::Table(peer) = &peers[0] else { panic!() };
        assert_eq!(peer["weight"], Value::Integer(1));
        assert_eq!((checker.services[0].name.as_str(), checker.services[0].service), ("k", "keys"));
    }

    #[test]
    fn each_fault_has_its_code_and_its_path() {
        for (text, code, words) in [
            ("coun = 1", "unknown_key", "did you mean `count`?"),
            ("count = 9", "out_of_range", "from 1 to 8"),
            ("count = '3'", "wrong_type", "without quotes"),
            ("ratio = nan", "out_of_range", "`ratio` of node `n`"),
            ("mode = 'saf'", "unknown_choice", "did you mean `safe`?"),
            ("peers = {}", "wrong_type", "in brackets"),
            ("peers = [{}]", "missing_key", "`peers[0]` of node `n` needs the key `address`"),
            ("peers = [{ address = '1.2.3.4' }]", "bad_address", "`peers[0].address` of node `n`"),
            ("limits = { a = '' }", "empty_text", "`limits.a` of node `n` is empty"),
            ("limits = { env = 'A' }", "misplaced_substitution", "must be a table"),
            ("keys = { env = 'A' }", "misplaced_substitution", "provides `keys`"),
            ("on = 1979-05-27", "wrong_type", "`true` or `false`"),
            ("mode = { env = 'A', default = 'x' }", "bad_substitution", "nothing beside"),
            ("limits = { a = '${A}' }", "no_templating", "whole value"),
        ] {
            let (_, checker) = check(text, &fields());
            let [fault] = checker.diagnostics.as_slice() else {
                panic!("{text}: {:#?}", checker.diagnostics)
            };
            assert_eq!(fault.code, format!("graph::{code}"), "{text}");
            let shown = format!("{} {}", fault.message, fault.help.clone().unwrap_or_default());
            assert!(shown.contains(words), "{text}: {shown}");
        }
    }

    #[test]
    fn a_value_from_elsewhere_is_left_open() {
        let (values, checker) =
            check("count = { env = 'COUNT' }\npeers = [{ address = { secret = 'a' } }]", &fields());
        assert_eq!(checker.diagnostics, []);
        assert_eq!(values["count"], Value::Text(String::new()));
        let paths: Vec<String> = checker.unresolved.iter().map(|open| show(&open.path)).collect();
        assert_eq!(paths, ["count", "peers[0].address"]);
    }

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:0", "[::1]:65535", "meter-7.example:1153"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", ":", ":1", "a:", "a:65536", "a:+1", "::1:80", "[::1]", "[x]:1", "a b:1"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
