//! What a configuration may hold, as data: the source of checks, of the editor schema and of docs.

use std::borrow::Cow;

use crate::config::Value;
use crate::port::{InputSpec, OutputSpec};

/// A text that is mostly static; a plugin's schema brings its own.
pub type Text = Cow<'static, str>;

/// The type of a configuration value.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldType {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Integer {
        /// Lowest.
        min: i64,
        /// Highest.
        max: i64,
    },
    /// A number within bounds, both included.
    Float {
        /// Lowest.
        min: f64,
        /// Highest.
        max: f64,
    },
    /// Any text that is not empty.
    Text,
    /// A file or folder, relative to the state folder unless absolute.
    Path,
    /// `HOST:PORT`.
    Address,
    /// One of these words.
    Choice(Vec<Text>),
    /// The name of a node that provides this service.
    Node {
        /// The service, as in [`KindSpec::provides`].
        service: &'static str,
    },
    /// A list.
    List(Box<FieldType>),
    /// A table with these keys.
    Table(Vec<FieldSpec>),
    /// A table with free keys, all of one type.
    Map(Box<FieldType>),
}

impl FieldType {
    /// What a person calls it, with its article.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Text => "a text".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Address => "an address `HOST:PORT`".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Node { service } => format!("the name of a node that provides `{service}`"),
            Self::List(item) => format!("a list, each {}", item.describe()),
            Self::Table(_) | Self::Map(_) => "a table".to_owned(),
        }
    }
}

/// One key of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    /// The key.
    pub name: Text,
    /// One sentence for people and editors, with the unit.
    pub about: Text,
    /// What it holds.
    pub field_type: FieldType,
    /// Used when absent; without one the key is required unless `optional`.
    pub default: Option<Value>,
    /// May be absent although there is no default.
    pub optional: bool,
}

impl FieldSpec {
    /// A key that must be there.
    #[must_use]
    pub fn required(name: &'static str, field_type: FieldType, about: &'static str) -> Self {
        Self { name: name.into(), about: about.into(), field_type, default: None, optional: false }
    }

    /// A key that may be absent.
    #[must_use]
    pub fn optional(name: &'static str, field_type: FieldType, about: &'static str) -> Self {
        Self { name: name.into(), about: about.into(), field_type, default: None, optional: true }
    }

    /// A key with a default.
    #[must_use]
    pub fn or(
        name: &'static str,
        field_type: FieldType,
        default: impl Into<Value>,
        about: &'static str,
    ) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            field_type,
            default: Some(default.into()),
            optional: false,
        }
    }

    /// A whole number with a default.
    #[must_use]
    pub fn integer(name: &'static str, bounds: (i64, i64), default: i64, about: &'static str) -> Self {
        Self::or(name, FieldType::Integer { min: bounds.0, max: bounds.1 }, default, about)
    }

    /// Whether it must be written out.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.default.is_none() && !self.optional
    }
}

/// How a kind is tied to a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEnd {
    /// Takes what the transport receives (`ingress`).
    Source,
    /// Gives what the transport sends (`downlink`).
    Sink,
}

/// Describes one node kind.
#[derive(Clone, Debug, PartialEq)]
pub struct KindSpec {
    /// The word in `kind = "..."`.
    pub name: &'static str,
    /// One sentence for people.
    pub about: &'static str,
    /// The keys of its configuration, beside `kind`, `input` and `transport`.
    pub fields: Vec<FieldSpec>,
    /// What it takes; a type not listed is refused.
    pub inputs: Vec<InputSpec>,
    /// What it gives; the first is the one meant by the bare node name.
    pub outputs: Vec<OutputSpec>,
    /// Services that other nodes may name in a [`FieldType::Node`].
    pub provides: Vec<&'static str>,
    /// The key that says how many instances there are; one without it.
    pub instances: Option<&'static str>,
    /// Whether it is one end of a transport; then `transport = "NAME"` is required.
    pub transport: Option<TransportEnd>,
}

impl KindSpec {
    /// The output of this name, or the first one for `None`.
    #[must_use]
    pub fn output(&self, name: Option<&str>) -> Option<&OutputSpec> {
        match name {
            None => self.outputs.first(),
            Some(name) => self.outputs.iter().find(|output| output.name == name),
        }
    }
}
