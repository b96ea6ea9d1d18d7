//! What the plugins of a graph say of themselves.
//!
//! A plugin is loaded to be asked, and then its start-up code runs; so that is done in a child process,
//! `metergraph plugin describe FILE`, where a plugin that crashes or hangs harms nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use graph::{Described, PluginSchemas};
use node::Value;
use serde_json::Value as Json;
use transport::{Grant, Grants, find_plugin};

/// How long a plugin may take to say what it is.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the child is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Octets of the longest answer.
const ANSWER_MAX: u64 = 4 << 20;

/// What is known of plugins, by the name in the graph file. Of one that is not in here nobody asked.
#[derive(Debug, Default)]
pub struct Plugins(BTreeMap<String, Described>);

impl Plugins {
    /// Asks each of these plugins.
    #[must_use]
    pub fn describe(names: &BTreeSet<String>, folders: &[PathBuf]) -> Self {
        let ask = |name: &String| match find_plugin(name, folders) {
            Ok(path) => ask(&path).unwrap_or_else(Described::Unusable),
            Err(_) if name.contains('/') => Described::NotFound(format!("`{name}` itself: it is a path")),
            Err(_) => {
                let folders: Vec<String> =
                    folders.iter().map(|folder| folder.display().to_string()).collect();
                Described::NotFound(folders.join(", "))
            }
        };
        Self(names.iter().map(|name| (name.clone(), ask(name))).collect())
    }
}

impl PluginSchemas for Plugins {
    fn describe(&self, plugin: &str) -> Described {
        self.0.get(plugin).cloned().unwrap_or(Described::NotLooked)
    }

    fn grant_kinds(&self) -> &[&'static str] {
        &Grant::KINDS
    }

    fn check_grant(&self, kind: &str, value: &Value) -> Result<(), String> {
        let grant = Value::Table([(kind.to_owned(), value.clone())].into());
        let grants = Grants::from_value(&Value::Table([("it".to_owned(), grant)].into()));
        grants.map(drop).map_err(|error| error.what)
    }
}

fn ask(path: &Path) -> Result<Described, String> {
    let answer = asked(path)?;
    let sha256 = answer.get("sha256").and_then(Json::as_str).and_then(read_hex);
    let sha256 = sha256.ok_or("its description holds no `sha256`")?;
    let schema = answer.get("config_schema").cloned().unwrap_or_default();
    Ok(Described::Plugin { sha256, schema })
}

/// This program, when it is `metergraph` itself.
fn own_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    (program.file_stem()? == "metergraph").then_some(program)
}

/// What a plugin says of itself, asked in a child process where this program is `metergraph` itself.
///
/// # Errors
/// One line for people.
pub fn asked(path: &Path) -> Result<Json, String> {
    let answer = match own_program() {
        Some(program) => ask_child(&program, path, LIMIT)?,
        // Another program that embeds the library answers for itself.
        None => {
            let plugin = crate::plugin::described(path).map_err(|error| error.to_string())?;
            serde_json::to_value(plugin).map_err(|error| error.to_string())?
        }
    };
    match answer.get("error").and_then(Json::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

fn ask_child(program: &Path, path: &Path, limit: Duration) -> Result<Json, String> {
    let child = Command::new(program)
        .args(["plugin", "describe"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| format!("no process could be started to ask it: {error}"))?;
    let answer = answer(&mut child, limit);
    // A child that has ended needs neither; its end is looked at here, so that none is left behind.
    drop(child.kill());
    let ended = child.wait();
    let answer = answer?;
    serde_json::from_slice(&answer).map_err(|_| match ended {
        Ok(status) if !status.success() => format!("it ends the process that loads it ({status})"),
        _ => "its description is no JSON".to_owned(),
    })
}

/// All that the child says within the limit.
fn answer(child: &mut Child, limit: Duration) -> Result<Vec<u8>, String> {
    let mut stdout = child.stdout.take().ok_or("its answer cannot be read")?.take(ANSWER_MAX);
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        stdout.read_to_end(&mut answer).map(|_| answer)
    });
    let until = Instant::now() + limit;
    while !reader.is_finished() {
        if Instant::now() >= until {
            return Err(format!("it does not say what it is within {} s", limit.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
    let read = reader.join().map_err(|_| "its answer cannot be read".to_owned())?;
    read.map_err(|error| format!("its answer cannot be read: {error}"))
}

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let octets: Vec<u8> = digits?
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |octet, digit| (octet << 4) | u8::try_from(*digit).unwrap_or(0)))
        .collect();
    octets.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_is_not_known() {
        let plugins = Plugins::default();
        assert_eq!(plugins.describe("x.so"), Described::NotLooked);
        let names = BTreeSet::from(["x.so".to_owned(), "./x.so".to_owned()]);
        let plugins = Plugins::describe(&names, &[PathBuf::from("/nowhere")]);
        assert_eq!(plugins.describe("x.so"), Described::NotFound("/nowhere".into()));
        assert_eq!(plugins.describe("./x.so"), Described::NotFound("`./x.so` itself: it is a path".into()));
    }

    #[test]
    fn a_child_that_crashes_hangs_or_talks_nonsense_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let program = |script: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join("program");
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
            path
        };
        let ask = |program: &Path| ask_child(program, Path::new("x.so"), Duration::from_secs(1));
        assert_eq!(ask(&program("echo '{\"error\": \"no\"}'; exit 1")).unwrap()["error"], "no");
        assert!(ask(&program("kill -SEGV $$")).is_err_and(|why| why.contains("ends the process")));
        assert!(ask(&program("echo hello")).is_err_and(|why| why.contains("no JSON")));
        assert!(ask(&program("exec sleep 60")).is_err_and(|why| why.contains("within 1 s")));
        assert!(ask(Path::new("/nowhere")).is_err_and(|why| why.contains("no process")));
    }

    #[test]
    fn grants_are_judged_by_whoever_opens_them() {
        let plugins = Plugins::default();
        assert_eq!(plugins.check_grant("tcp_listen", &"127.0.0.1:1153".into()), Ok(()));
        assert!(plugins.check_grant("tcp_listen", &"localhost:1153".into()).is_err());
        assert!(plugins.grant_kinds().contains(&"tcp_connect"));
    }
}
