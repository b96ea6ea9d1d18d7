//! What `metergraph explain` says of a code.

use crate::codes;
use crate::diagnostic::{Code, Severity, nearest};

/// All codes that have an explanation.
pub fn all() -> impl Iterator<Item = &'static Code> {
    codes::all().chain(crate::device_profile::codes::ALL.iter().copied())
}

/// The code of this name; the part before `::` may be left out.
///
/// # Errors
/// The nearest name, where there is one.
pub fn find(name: &str) -> Result<&'static Code, Option<&'static str>> {
    let bare = |code: &'static Code| code.name.rsplit("::").next().unwrap_or_default();
    let found = all().find(|code| code.name == name).or_else(|| all().find(|code| bare(code) == name));
    found.ok_or_else(|| {
        let by_bare =
            || nearest(name, all().map(bare)).and_then(|near| all().find(|code| bare(code) == near));
        nearest(name, all().map(|code| code.name)).or_else(|| by_bare().map(|code| code.name))
    })
}

/// The explanation as text for people.
#[must_use]
pub fn text(code: &Code) -> String {
    let what = match code.severity {
        Severity::Error => "an error: nothing is started",
        Severity::Warning => "a warning: the graph runs",
    };
    let mut shown = format!("{} ({what})\n\n{}\n\n", code.name, wrapped(code.text));
    for line in code.example.lines() {
        shown.push_str(format!("    {line}").trim_end());
        shown.push('\n');
    }
    shown
}

/// Breaks a paragraph into lines.
fn wrapped(text: &str) -> String {
    const COLUMNS: usize = 88;
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_with_an_example() {
        let mut names: Vec<&str> = all().map(|code| code.name).collect();
        assert!(names.len() >= 35, "{}", names.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count(), "a code stands for two things");
        for code in all() {
            assert!(code.text.len() > 40 && code.text.ends_with('.'), "{}", code.name);
            assert!(!code.example.is_empty(), "{}", code.name);
            let broken = ["graph::syntax", "graph::duplicate_key"].contains(&code.name);
            let (_, diagnostics) = crate::document::read(code.example);
            assert_eq!(diagnostics.is_empty(), !broken, "{}: {diagnostics:?}", code.name);
        }
    }

    #[test]
    fn a_code_is_found_by_both_names_and_a_slip_is_corrected() {
        assert_eq!(find("graph::unknown_input").unwrap().name, "graph::unknown_input");
        assert_eq!(find("unknown_input").unwrap().name, "graph::unknown_input");
        assert_eq!(find("graph::unknwn_input").unwrap_err(), Some("graph::unknown_input"));
        assert_eq!(find("cycel").unwrap_err(), Some("graph::cycle"));
        assert_eq!(find("something else entirely").unwrap_err(), None);
        assert!(text(find("cycle").unwrap()).starts_with("graph::cycle (an error"));
    }
}
