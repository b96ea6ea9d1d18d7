//! A fault found in a file: code, place, words for people, the way out.

use std::ops::Range;

use strsim::osa_distance;

/// A place in a file: octets from its beginning.
pub type Span = Range<usize>;

/// How much a fault matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

impl Severity {
    /// The word in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A diagnostic's code with what `metergraph explain` says of it. Codes are stable.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `graph::unknown_input`
    pub name: &'static str,
    /// What a fault of this code is.
    pub severity: Severity,
    /// What it means, why it is a fault, and what to do.
    pub text: &'static str,
    /// Lines of a file that show it.
    pub example: &'static str,
}

/// A place with a word beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is to be seen there; may be empty.
    pub text: String,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code, as in [`Code::name`].
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence that names who and what.
    pub message: String,
    /// The way out.
    pub help: Option<String>,
    /// Where: the first label is the place itself, others are concerned.
    pub labels: Vec<Label>,
}

impl Diagnostic {
    /// A fault at a place.
    #[must_use]
    pub fn new(code: &Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code: code.name,
            severity: code.severity,
            message: message.into(),
            help: None,
            labels: vec![Label { span, text: String::new() }],
        }
    }

    /// With this word at its place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.text = text.into();
        }
        self
    }

    /// With another place that is concerned.
    #[must_use]
    pub fn and(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// With the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With «did you mean», where one of `names` is near to `name`; else with the help `or` gives.
    #[must_use]
    pub fn nearest<'n>(
        self,
        name: &str,
        names: impl IntoIterator<Item = &'n str>,
        or: impl FnOnce() -> Option<String>,
    ) -> Self {
        let help = match nearest(name, names) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => or(),
        };
        Self { help, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn span(&self) -> Span {
        self.labels.first().map_or(0..0, |label| label.span.clone())
    }

    /// Whether it keeps the file from being used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The one of `names` that a person most likely meant by `name`.
#[must_use]
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Longer words than this are no slip of the finger.
    const LEN_MAX: usize = 64;
    if name.len() > LEN_MAX {
        return None;
    }
    let far = name.chars().count().div_ceil(3).max(1);
    names
        .into_iter()
        .filter(|other| *other != name && other.len() <= LEN_MAX)
        .map(|other| (osa_distance(name, other), other))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_within_a_third() {
        let names = ["ingress", "balancer", "decrypt", "keys"];
        assert_eq!(nearest("balancr", names), Some("balancer"));
        assert_eq!(nearest("derypt", names), Some("decrypt"));
        assert_eq!(nearest("key", names), Some("keys"));
        assert_eq!(nearest("journal", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest(&"x".repeat(1000), names), None);
    }
}
