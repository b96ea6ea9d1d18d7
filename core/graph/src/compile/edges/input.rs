//! The entries of an `input`, as they are written.

use node::{Config, FieldSpec, FieldType, WhenFull};

use super::super::head;
use super::super::nodes::Draft;
use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, Item, ItemValue};
use crate::fields::{Checker, Subject};
use crate::plan::Owner;

/// Batches that an edge may hold.
const BATCHES_MAX: i64 = 65_536;
/// Entries of one `input`.
const INPUTS_MAX: usize = 256;
/// What an edge may be told to do when it is full.
const MODES: [WhenFull; 3] = [WhenFull::Wait, WhenFull::Drop, WhenFull::Collapse];

/// The keys of an entry of `input` that is a table.
pub(crate) fn input_fields() -> Vec<FieldSpec> {
    let words = MODES.map(|word| word.word().into());
    vec![
        FieldSpec::required("from", FieldType::Text, "`NODE` or `NODE.PORT`."),
        FieldSpec::optional(
            "batches_max",
            FieldType::Integer { min: 1, max: BATCHES_MAX },
            "Batches that the edge holds (events on an event edge).",
        ),
        FieldSpec::optional("when_full", FieldType::Choice(words.to_vec()), "What happens when it is full."),
    ]
}

/// One entry.
pub(super) struct Input {
    /// `NODE` or `NODE.PORT`.
    pub from: String,
    /// Where that stands.
    pub span: Span,
    /// What it says of the size, and where.
    pub batches_max: Option<(usize, Span)>,
    /// What it says of a full edge, and where.
    pub when_full: Option<(WhenFull, Span)>,
}

/// The entries of an `input`; those that are none are told and left out.
pub(super) fn read(index: usize, draft: &Draft<'_>, entry: &Entry, checker: &mut Checker) -> Vec<Input> {
    let ItemValue::List(list) = &entry.item.value else {
        if !checker.literal(&draft.who, entry) || entry.item.value == ItemValue::Broken {
            return Vec::new();
        }
        checker.push(
            Diagnostic::new(
                &codes::WRONG_TYPE,
                entry.item.span.clone(),
                format!("`input` of {} must be a list", draft.who),
            )
            .label(format!("this is {}", entry.item.value.describe()))
            .help("in brackets: a list may have one entry"),
        );
        return match &entry.item.value {
            // What was meant is clear, and the rest is judged by it.
            ItemValue::Text(_) | ItemValue::Table(_) => {
                one(index, draft, &entry.item, checker).into_iter().collect()
            }
            _ => Vec::new(),
        };
    };
    if let Some(item) = list.get(INPUTS_MAX) {
        let message = format!("`input` of {} has {} entries; {INPUTS_MAX} at most", draft.who, list.len());
        checker
            .push(Diagnostic::new(&codes::TOO_MANY_INPUTS, item.span.clone(), message).label("one too many"));
    }
    list.iter().take(INPUTS_MAX).filter_map(|item| one(index, draft, item, checker)).collect()
}

fn one(index: usize, draft: &Draft<'_>, item: &Item, checker: &mut Checker) -> Option<Input> {
    let table = match &item.value {
        ItemValue::Text(from) => {
            let (from, span) = (from.clone(), item.span.clone());
            return Some(Input { from, span, batches_max: None, when_full: None });
        }
        ItemValue::Table(table) => table,
        ItemValue::Broken => return None,
        other => {
            let message = format!("an entry of `input` of {} must be a text or a table", draft.who);
            checker.push(
                Diagnostic::new(&codes::WRONG_TYPE, item.span.clone(), message)
                    .label(format!("this is {}", other.describe()))
                    .help("`\"NODE\"`, `\"NODE.PORT\"` or `{ from = \"NODE.PORT\", batches_max = 64 }`"),
            );
            return None;
        }
    };
    let mut literal = true;
    for entry in table.iter() {
        literal &= checker.literal(&draft.who, entry);
    }
    let subject = Subject { who: &draft.who, owner: Owner::Node(index) };
    let path = [head::key("input")];
    let values = Config(checker.table(subject, &path, (table, &item.span), (&input_fields(), &[]), true));
    literal.then_some(())?;
    let place = |key: &str| table.get(key).map_or(item.span.clone(), |entry| entry.item.span.clone());
    let word = values.text_opt("when_full");
    let word = MODES.into_iter().find(|mode| Some(mode.word()) == word);
    Some(Input {
        from: values.text_opt("from")?.to_owned(),
        span: place("from"),
        batches_max: values.get("batches_max").map(|_| (values.count("batches_max"), place("batches_max"))),
        when_full: word.map(|word| (word, place("when_full"))),
    })
}
