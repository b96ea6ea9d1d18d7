//! The list of what may be where, and what a scan says against it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// Which secrets may lie where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    allowed: Vec<Allowed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    /// Kinds of secrets.
    secret: Vec<String>,
    /// In the memory of these processes, or on the `disk`.
    process: Vec<String>,
    /// `memory`, or a file or folder of the laboratory.
    place: Vec<String>,
    /// Of one secret at most so many finds, forms of it included; the key schedule counts as one.
    #[serde(default)]
    copies: Option<usize>,
    /// It need not be there; else a scan that does not find it fails, since then it shows nothing.
    #[serde(default)]
    sometimes: bool,
    /// Why.
    why: String,
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// What kind of secret.
    pub kind: &'static str,
    pub process: String,
    pub place: String,
    /// Which one of its kind.
    pub name: String,
    pub form: &'static str,
    /// Where it began, for people.
    pub at: String,
}

/// What was found, against the list.
pub struct Verdict {
    /// What the list does not allow.
    pub wrong: Vec<String>,
    /// A line for each kind, process and place.
    pub table: Vec<String>,
}

/// Holds the finds against the list.
pub fn judge(list: &Path, found: &[Found]) -> Verdict {
    let list: List = toml::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut used = vec![false; list.allowed.len()];
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&Found>> = BTreeMap::new();
    for one in found {
        groups.entry((one.kind, &one.process, &one.place)).or_default().push(one);
    }
    let mut table = Vec::new();
    for ((kind, process, place), finds) in &groups {
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
        for find in finds {
            *forms.entry(find.form).or_default() += 1;
            let counts = copies.entry(&find.name).or_default();
            *counts += usize::from(find.form != "schedule");
        }
        let most = copies.values().max().copied().unwrap_or_default();
        table.push(format!(
            "{kind:<16} {process:<18} {place:<34} {:>5} secrets, at most {most:>2} copies {forms:?}",
            copies.len()
        ));
        let allowed = list.allowed.iter().position(|entry| entry.covers(kind, process, place));
        let limit = allowed.map_or(Some(0), |entry| {
            used[entry] = true;
            list.allowed[entry].copies
        });
        if allowed.is_none() || limit.is_some_and(|limit| most > limit) {
            let first: Vec<String> = finds
                .iter()
                .take(12)
                .map(|find| format!("{} {} at {}", find.name, find.form, find.at))
                .collect();
            let limit = limit.map_or(String::new(), |limit| format!(", {limit} allowed"));
            wrong.push(format!(
                "{kind} in {place} of {process}: {most} copies{limit}:\n    {}",
                first.join("\n    ")
            ));
        }
    }
    for (entry, used) in list.allowed.iter().zip(used) {
        assert!(!entry.why.is_empty());
        if !used && !entry.sometimes {
            wrong.push(format!(
                "nothing of {:?} {:?} {:?} was found: does the scan still see it?",
                entry.secret, entry.process, entry.place
            ));
        }
    }
    Verdict { wrong, table }
}

impl Allowed {
    fn covers(&self, kind: &str, process: &str, place: &str) -> bool {
        let within = |folder: &String| Path::new(place).starts_with(folder);
        self.secret.iter().any(|other| other == kind)
            && self.process.iter().any(|other| other == process)
            && self.place.iter().any(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: &'static str, place: &str, name: &str, form: &'static str) -> Found {
        let (process, place) = ("head-end".into(), place.into());
        Found { kind, process, place, name: name.into(), form, at: "0".into() }
    }

    fn wrong(found: &[Found]) -> Vec<String> {
        let list = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            list.path(),
            "[[allowed]]\nsecret = ['a']\nprocess = ['head-end']\nplace = ['state/x']\ncopies = 2\nwhy = 'so'\n\
             [[allowed]]\nsecret = ['b']\nprocess = ['head-end']\nplace = ['memory']\nsometimes = true\nwhy = 'so'\n",
        )
        .unwrap();
        judge(list.path(), found).wrong
    }

    #[test]
    fn what_is_not_listed_or_too_often_there_is_wrong() {
        let (one, two) = (found("a", "state/x/y", "1", "raw"), found("a", "state/x/y", "1", "hex"));
        assert!(wrong(&[one.clone(), two.clone()]).is_empty());
        let expanded = found("a", "state/x/y", "1", "schedule");
        assert!(wrong(&[one.clone(), two.clone(), expanded.clone(), expanded]).is_empty());
        let other = found("a", "state/x/y", "2", "raw");
        assert!(wrong(&[one.clone(), two.clone(), other]).is_empty());
        assert!(wrong(&[one.clone(), two.clone(), one.clone()])[0].contains("3 copies, 2 allowed"));
        assert!(wrong(&[one.clone(), found("a", "state/xy", "1", "raw")])[0].contains("state/xy"));
        assert!(wrong(&[one, found("b", "state/x", "1", "raw")])[0].contains("b in state/x"));
    }

    #[test]
    fn what_is_listed_must_be_found() {
        assert!(wrong(&[])[0].contains("does the scan still see it?"));
        assert_eq!(wrong(&[found("b", "memory", "1", "raw")]).len(), 1);
    }
}
