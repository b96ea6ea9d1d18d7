//! TOML with the place of every key and every value.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::codes;
use crate::diagnostic::{Diagnostic, Span};

/// Octets of the longest file that is read.
pub const OCTETS_MAX: usize = 1 << 20;

/// A value and its place. For a table under a `[header]` the place is the header.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The value.
    pub value: ItemValue,
    /// Its place.
    pub span: Span,
}

/// A value of a TOML file.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemValue {
    /// Truth value.
    Bool(bool),
    /// Whole number.
    Integer(i64),
    /// Number.
    Float(f64),
    /// Text.
    Text(String),
    /// Date or time, as written.
    Time(String),
    /// List.
    List(Vec<Item>),
    /// Table.
    Table(Table),
    /// Something that a diagnostic has been given for already.
    Broken,
}

/// The entries of a table, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub Vec<Entry>);

/// One entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's place.
    pub key_span: Span,
    /// The value.
    pub item: Item,
}

impl ItemValue {
    /// What a person calls it, with its article.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a truth value",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Time(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Broken => "no value",
        }
    }
}

impl Item {
    /// The text, when it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            ItemValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The table, when it is one.
    #[must_use]
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            ItemValue::Table(table) => Some(table),
            _ => None,
        }
    }
}

impl Table {
    /// The entry of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}

/// Reads a whole file. Faults of the syntax are all found; with one of them the table is `None`, since
/// what could be saved of it would only lead to faults that are none.
#[must_use]
pub fn read(text: &str) -> (Option<Table>, Vec<Diagnostic>) {
    if text.len() > OCTETS_MAX {
        let message = format!("the file has {} octets; {OCTETS_MAX} are the limit", text.len());
        return (None, vec![Diagnostic::new(&codes::TOO_LARGE, 0..0, message)]);
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut diagnostics: Vec<Diagnostic> = errors.iter().map(|error| fault(text, error)).collect();
    // One slip of the pen can be reported from several sides.
    diagnostics.dedup_by_key(|diagnostic| line_of(text, &diagnostic.span()));
    let usable = diagnostics.iter().all(|diagnostic| diagnostic.code == codes::DUPLICATE_KEY.name);
    let root = usable.then(|| table(root.into_inner(), &mut diagnostics));
    (root, diagnostics)
}

fn fault(text: &str, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    if error.message() == "duplicate key" {
        let key = text.get(span.clone()).unwrap_or_default();
        return Diagnostic::new(&codes::DUPLICATE_KEY, span, format!("`{key}` is written twice"))
            .label("the second one")
            .help("keep one of them");
    }
    let message = error.message().replace(" ,", ",");
    Diagnostic::new(&codes::SYNTAX, span, format!("this is no TOML: {message}")).label("here")
}

fn line_of(text: &str, span: &Span) -> usize {
    text.bytes().take(span.start).filter(|octet| *octet == b'\n').count()
}

fn table(from: DeTable<'_>, diagnostics: &mut Vec<Diagnostic>) -> Table {
    let mut entries: Vec<Entry> = from
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: key.span(),
            key: key.into_inner().into_owned(),
            item: item(value, diagnostics),
        })
        .collect();
    entries.sort_by_key(|entry| (entry.key_span.start, entry.item.span.start));
    Table(entries)
}

fn item(from: Spanned<DeValue<'_>>, diagnostics: &mut Vec<Diagnostic>) -> Item {
    let span = from.span();
    let value = match from.into_inner() {
        DeValue::String(text) => ItemValue::Text(Cow::into_owned(text)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => ItemValue::Integer(number),
            Err(_) => broken(diagnostics, &span, "a whole number of at most 63 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => ItemValue::Float(number),
            Err(_) => broken(diagnostics, &span, "a number that a computer can hold"),
        },
        DeValue::Boolean(truth) => ItemValue::Bool(truth),
        DeValue::Datetime(time) => ItemValue::Time(time.to_string()),
        DeValue::Array(list) => {
            ItemValue::List(list.into_iter().map(|value| item(value, diagnostics)).collect())
        }
        DeValue::Table(inner) => ItemValue::Table(table(inner, diagnostics)),
    };
    Item { value, span }
}

fn broken(diagnostics: &mut Vec<Diagnostic>, span: &Span, wanted: &str) -> ItemValue {
    let message = format!("this is not {wanted}");
    diagnostics.push(Diagnostic::new(&codes::OUT_OF_RANGE, span.clone(), message).label("too large"));
    ItemValue::Broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_has_its_place_in_the_order_of_the_file() {
        let text = "z = 1\n[node.b]\ninput = ['x', { from = \"y\" }]\n[node.a]\nk.l = true\n";
        let (root, diagnostics) = read(text);
        assert_eq!(diagnostics, []);
        let root = root.unwrap();
        assert_eq!(root.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["z", "node"]);
        let nodes = root.get("node").unwrap().item.as_table().unwrap().clone();
        let names: Vec<_> = nodes.iter().map(|entry| &text[entry.key_span.clone()]).collect();
        assert_eq!(names, ["b", "a"]);
        let b = nodes.get("b").unwrap();
        assert_eq!(&text[b.item.span.clone()], "[node.b]");
        let input = b.item.as_table().unwrap().get("input").unwrap();
        assert_eq!(&text[input.item.span.clone()], "['x', { from = \"y\" }]");
        let ItemValue::List(list) = &input.item.value else { panic!("no list") };
        assert_eq!(&text[list[1].span.clone()], "{ from = \"y\" }");
    }

    #[test]
    fn all_faults_of_the_syntax_are_found_once() {
        let (root, diagnostics) = read("a = \nb = [1, \nc = 'x\n\nd == 1\n[e\n");
        assert!(root.is_none());
        assert!(diagnostics.iter().all(|diagnostic| diagnostic.code == "graph::syntax"), "{diagnostics:#?}");
        assert!(diagnostics.len() >= 3, "{diagnostics:#?}");
        let (root, diagnostics) = read("a = 1\na = 2\n");
        assert!(root.is_some());
        assert_eq!(diagnostics[0].code, "graph::duplicate_key");
    }

    #[test]
    fn numbers_past_the_machine_are_named() {
        let (root, diagnostics) = read("a = 9223372036854775808\nb = 0x7f\nc = -inf\n");
        let root = root.unwrap();
        assert_eq!((diagnostics.len(), diagnostics[0].code), (1, "graph::out_of_range"));
        assert_eq!(root.get("a").unwrap().item.value, ItemValue::Broken);
        assert_eq!(root.get("b").unwrap().item.value, ItemValue::Integer(127));
        assert_eq!(root.get("c").unwrap().item.value, ItemValue::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let (root, diagnostics) = read(&"#".repeat(OCTETS_MAX + 1));
        assert!(root.is_none());
        assert_eq!(diagnostics[0].code, "graph::too_large");
    }
}
