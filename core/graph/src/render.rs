//! Diagnostics as text for people and as JSON for scripts.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use serde_json::json;

use crate::diagnostic::{Diagnostic, Severity, Span};

/// Columns of the text.
const WIDTH: usize = 100;

/// All diagnostics of a file with the lines they point at, and a line that counts them; empty when
/// there are none. Without `colour` it is the same everywhere.
#[must_use]
pub fn text(file_name: &str, source: &str, diagnostics: &[Diagnostic], colour: bool) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false).without_cause_chain();
    let source = NamedSource::new(file_name, source.to_owned());
    let mut shown = String::new();
    for diagnostic in diagnostics {
        let report = Report { diagnostic, source: &source };
        if handler.render_report(&mut shown, &report).is_err() {
            // Only a place outside the text does this; the words are what matters.
            shown.push_str(&format!("{}: {}\n", diagnostic.code, diagnostic.message));
        }
        shown.push('\n');
    }
    shown.push_str(&count(file_name, diagnostics));
    shown.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn count(file_name: &str, diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let many = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    match (errors, diagnostics.len().saturating_sub(errors)) {
        (errors, 0) => format!("{file_name}: {}", many(errors, "error")),
        (0, warnings) => format!("{file_name}: {}", many(warnings, "warning")),
        (errors, warnings) => {
            format!("{file_name}: {}, {}", many(errors, "error"), many(warnings, "warning"))
        }
    }
}

/// One JSON object a line for each diagnostic, with the keys `code severity message help file line
/// column end_line end_column labels`. Lines and columns count from 1, columns in characters; an end is
/// the first place after. `labels` holds every place, the first one included, each with its `text`.
#[must_use]
pub fn json(file_name: &str, source: &str, diagnostics: &[Diagnostic]) -> String {
    let mut lines = String::new();
    for diagnostic in diagnostics {
        let labels: Vec<_> = diagnostic
            .labels
            .iter()
            .map(|label| {
                let place = Place::new(source, &label.span);
                json!({
                    "text": label.text,
                    "line": place.line, "column": place.column,
                    "end_line": place.end_line, "end_column": place.end_column,
                })
            })
            .collect();
        let place = Place::new(source, &diagnostic.span());
        let object = json!({
            "code": diagnostic.code,
            "severity": diagnostic.severity.word(),
            "message": diagnostic.message,
            "help": diagnostic.help,
            "file": file_name,
            "line": place.line, "column": place.column,
            "end_line": place.end_line, "end_column": place.end_column,
            "labels": labels,
        });
        lines.push_str(&format!("{object}\n"));
    }
    lines
}

/// A span in lines and columns.
struct Place {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

impl Place {
    fn new(source: &str, span: &Span) -> Self {
        let (line, column) = position(source, span.start);
        let (end_line, end_column) = position(source, span.end);
        Self { line, column, end_line, end_column }
    }
}

fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
    (line, column)
}

/// A diagnostic as miette wants it.
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: &'a NamedSource<String>,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostic.fmt(f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        // The file as a whole has no place in it.
        let placed =
            self.diagnostic.labels.iter().filter(|label| !label.span.is_empty() || !label.text.is_empty());
        Some(Box::new(placed.map(|label| {
            let text = Some(label.text.clone()).filter(|text| !text.is_empty());
            LabeledSpan::new(text, label.span.start, label.span.len())
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    fn fault() -> Diagnostic {
        Diagnostic::new(
            &codes::UNKNOWN_INPUT,
            23..28,
            "node `decrypt` reads from `wam`, which no node is called",
        )
        .label("no such node")
        .help("did you mean `wan`?")
    }

    const SOURCE: &str = "# ä\n[node.x]\ninput = [\"wam\"]\n";

    #[test]
    fn text_shows_the_place_and_the_way_out() {
        let shown = text("graph.toml", SOURCE, &[Diagnostic { labels: vec![], ..fault() }, fault()], false);
        let wanted = "\
graph::unknown_input

  × node `decrypt` reads from `wam`, which no node is called
  help: did you mean `wan`?

graph::unknown_input

  × node `decrypt` reads from `wam`, which no node is called
   ╭─[graph.toml:3:10]
 2 │ [node.x]
 3 │ input = [\"wam\"]
   ·          ──┬──
   ·            ╰── no such node
   ╰────
  help: did you mean `wan`?

graph.toml: 2 errors
";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn json_has_one_object_a_line() {
        let lines = json("graph.toml", SOURCE, &[fault(), Diagnostic { help: None, ..fault() }]);
        let objects: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0]["severity"], "error");
        assert_eq!(
            (&objects[0]["line"], &objects[0]["column"], &objects[0]["end_column"]),
            (&json!(3), &json!(10), &json!(15))
        );
        assert_eq!(objects[0]["labels"][0]["text"], "no such node");
        assert!(objects[1]["help"].is_null());
    }

    #[test]
    fn a_place_outside_the_text_is_no_panic() {
        let far = Diagnostic::new(&codes::CYCLE, 900..1000, "far");
        assert!(text("g", SOURCE, std::slice::from_ref(&far), true).contains("far"));
        assert!(json("g", SOURCE, &[far]).contains("far"));
    }
}
