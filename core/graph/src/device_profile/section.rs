//! A table of the file whose keys and values were checked.

use node::{Config, FieldSpec};

use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, ItemValue, Table};
use crate::fields::{Checker, Subject};
use crate::plan::Owner;

/// A table of the file: its right values with defaults, and where they stand.
#[derive(Debug)]
pub(super) struct Section<'t> {
    table: Option<&'t Table>,
    head: Span,
    values: Config,
}

impl<'t> Section<'t> {
    /// Checks a table against the specification of its keys; keys among `others` are read elsewhere.
    pub fn read(
        checker: &mut Checker,
        who: &str,
        (table, head): (&'t Table, &Span),
        fields: &[FieldSpec],
        others: &[&str],
    ) -> Self {
        // No value of a profile comes from elsewhere, so the owner is of no interest.
        let subject = Subject { who, owner: Owner::Http };
        let values = Config(checker.table(subject, &[], (table, head), (fields, others), true));
        Self { table: Some(table), head: head.clone(), values }
    }

    /// The section `[name]` of the file; its defaults when it is not there.
    pub fn named(checker: &mut Checker, root: &'t Table, name: &str, fields: &[FieldSpec]) -> Self {
        let who = format!("`[{name}]`");
        match root.get(name) {
            None => {
                let defaults = Config(
                    fields
                        .iter()
                        .filter_map(|field| Some((field.name.to_string(), field.default.clone()?)))
                        .collect(),
                );
                Self { table: None, head: 0..0, values: defaults }
            }
            Some(entry) => match as_table(checker, entry, &format!("one section: {who}")) {
                Some(table) => Self::read(checker, &who, (table, &entry.item.span), fields, &[]),
                None => Self { table: None, head: 0..0, values: Config::default() },
            },
        }
    }

    /// The tables of a `[[list]]`, with their places.
    pub fn list(checker: &mut Checker, entry: &'t Entry, help: &str) -> Vec<(&'t Table, &'t Span)> {
        let ItemValue::List(list) = &entry.item.value else {
            wrong(checker, entry, &entry.item.span, &entry.item.value, help);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(list.len());
        for item in list {
            match &item.value {
                ItemValue::Table(table) => tables.push((table, &item.span)),
                other => wrong(checker, entry, &item.span, other, help),
            }
        }
        tables
    }

    /// Where the value of a key stands; the head of the section when it is not there.
    pub fn span(&self, key: &str) -> Span {
        let entry = self.table.and_then(|table| table.get(key));
        entry.map_or_else(|| self.head.clone(), |entry| entry.item.span.clone())
    }

    /// Where the section begins.
    pub fn head(&self) -> Span {
        self.head.clone()
    }

    /// The entry of a key, as it stands in the file.
    pub fn entry(&self, key: &str) -> Option<&'t Entry> {
        self.table.and_then(|table| table.get(key))
    }

    /// Whether there is a right value.
    pub fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some()
    }

    /// A text, or `""`.
    pub fn text(&self, key: &str) -> &str {
        self.values.text(key)
    }

    /// A truth value, or `false`.
    pub fn flag(&self, key: &str) -> bool {
        self.values.flag(key)
    }

    /// A whole number that its specification bounds to fit, or 0.
    pub fn number<N: TryFrom<i64> + Default>(&self, key: &str) -> N {
        N::try_from(self.values.integer(key)).unwrap_or_default()
    }

    /// What one of some words stands for.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        words.iter().find(|(word, _)| *word == self.text(key)).map(|(_, meaning)| *meaning)
    }
}

/// The table that an entry is, or the fault that it is none.
pub(super) fn as_table<'t>(checker: &mut Checker, entry: &'t Entry, help: &str) -> Option<&'t Table> {
    match &entry.item.value {
        ItemValue::Table(table) => Some(table),
        other => {
            wrong(checker, entry, &entry.item.span, other, help);
            None
        }
    }
}

fn wrong(checker: &mut Checker, entry: &Entry, span: &Span, value: &ItemValue, help: &str) {
    if *value != ItemValue::Broken {
        let message = format!("`{}` must be a table", entry.key);
        let diagnostic = Diagnostic::new(&codes::WRONG_TYPE, span.clone(), message);
        checker.push(diagnostic.label(format!("this is {}", value.describe())).help(help));
    }
}
