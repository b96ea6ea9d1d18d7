//! `{ env = "NAME" }` and `{ secret = "FILE" }` in place of a whole value.

use node::FieldType;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::document::{Item, ItemValue};
use crate::plan::Origin;

/// Reads a substitution where a value of `field_type` belongs; `None` when the item is none.
///
/// A table whose own keys are `env` or `secret` is no substitution.
pub(crate) fn read(item: &Item, field_type: &FieldType) -> Option<Result<Origin, Diagnostic>> {
    let table = item.as_table()?;
    let entry = table.iter().find(|entry| ["env", "secret"].contains(&entry.key.as_str()))?;
    let alone = table.iter().count() == 1;
    match field_type {
        FieldType::Table(fields) if fields.iter().any(|field| field.name == entry.key.as_str()) => {
            return None;
        }
        // Among other keys it is one of them.
        FieldType::Table(_) | FieldType::Map(_) if !alone => return None,
        _ => {}
    }
    let wrong = |label: &str, message: String| {
        let span = entry.item.span.clone();
        Some(Err(Diagnostic::new(&codes::BAD_SUBSTITUTION, span, message).label(label)))
    };
    if !alone {
        return wrong("not alone", format!("`{}` allows nothing beside it in its table", entry.key));
    }
    let ItemValue::Text(text) = &entry.item.value else {
        return wrong("no text", format!("`{}` takes a text", entry.key));
    };
    let is_name = |text: &str| {
        text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
            && !text.starts_with(|c: char| c.is_ascii_digit())
    };
    match entry.key.as_str() {
        _ if text.is_empty() => wrong("empty", format!("`{}` is empty", entry.key)),
        "env" if !is_name(text) => wrong(
            "not a name",
            "`env` takes the name of an environment variable: letters, digits, `_`".into(),
        ),
        "env" => Some(Ok(Origin::Env(text.clone()))),
        _ => Some(Ok(Origin::Secret(text.clone()))),
    }
}
