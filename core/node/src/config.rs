//! A checked configuration: values that fit their specification.

use std::collections::BTreeMap;

/// A value of a configuration, after `{ env = ".." }` and `{ secret = ".." }` are resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Truth value.
    Bool(bool),
    /// Whole number.
    Integer(i64),
    /// Number.
    Float(f64),
    /// Text, path, address, choice or node name.
    Text(String),
    /// List.
    List(Vec<Value>),
    /// Table.
    Table(BTreeMap<String, Value>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// The configuration of one node or transport: every key of its specification that has a value, with
/// defaults filled in. The getters answer neutral values for absent keys, which a checked
/// configuration has only where the specification says `optional`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(pub BTreeMap<String, Value>);

impl Config {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A text, or `""`.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.text_opt(key).unwrap_or_default()
    }

    /// A text, when there is one.
    #[must_use]
    pub fn text_opt(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number, or 0.
    #[must_use]
    pub fn integer(&self, key: &str) -> i64 {
        match self.get(key) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        }
    }

    /// A whole number that its specification bounds to be at least 0.
    #[must_use]
    pub fn count(&self, key: &str) -> usize {
        usize::try_from(self.integer(key)).unwrap_or(0)
    }

    /// A number, or 0.
    #[must_use]
    pub fn float(&self, key: &str) -> f64 {
        match self.get(key) {
            Some(Value::Float(number)) => *number,
            #[allow(clippy::cast_precision_loss)]
            Some(Value::Integer(number)) => *number as f64,
            _ => 0.0,
        }
    }

    /// A truth value, or `false`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Value::Bool(true)))
    }

    /// A list, or an empty one.
    #[must_use]
    pub fn list(&self, key: &str) -> &[Value] {
        match self.get(key) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// A table, when there is one.
    #[must_use]
    pub fn table(&self, key: &str) -> Option<&BTreeMap<String, Value>> {
        match self.get(key) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_getter_of_another_type_answers_its_neutral_value() {
        let values = [
            ("flag", true.into()),
            ("number", (-3).into()),
            ("text", "wan".into()),
            ("list", Value::List(vec![1.into()])),
            ("table", Value::Table(BTreeMap::new())),
        ];
        let config = Config(values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        assert!(config.flag("flag") && !config.flag("text") && !config.flag("absent"));
        assert_eq!((config.integer("number"), config.count("number"), config.integer("text")), (-3, 0, 0));
        assert_eq!((config.float("number"), config.float("text")), (-3.0, 0.0));
        assert_eq!(
            (config.text("text"), config.text("number"), config.text_opt("absent")),
            ("wan", "", None)
        );
        assert_eq!((config.list("list").len(), config.list("text").len()), (1, 0));
        assert!(config.table("table").is_some() && config.table("list").is_none());
    }
}
