//! Golden diagnostics: each folder of `tests/diagnostics` holds a graph file and what is said of it.
//!
//! `METERGRAPH_BLESS=1 cargo test --test diagnostics` writes `expected.txt` anew; read the difference.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use graph::{Compiled, Described, Diagnostic, PluginSchemas, Secret, Sources, explain};
use metergraph::graph_file::plugins::Plugins;
use metergraph::kinds;
use node::{
    BuildError, Config, Env, FieldSpec, FieldType, InputSpec, KindSpec, NodeKind, OutputSpec, PortType,
    Value, Worker,
};

/// A kind that the shipped ones cannot replace: it can close a circle.
struct Echo;

impl NodeKind for Echo {
    fn spec(&self) -> KindSpec {
        let apdus = OutputSpec {
            name: "apdus",
            port_type: PortType::Apdus,
            required: false,
            max: 8,
            about: "What came in.",
        };
        KindSpec {
            name: "echo",
            about: "Gives back what it takes.",
            fields: vec![FieldSpec::optional("peer", FieldType::Node { service: "echo" }, "Another one.")],
            inputs: vec![InputSpec { port_type: PortType::Apdus, min: 0, max: 8 }],
            outputs: vec![apdus],
            provides: vec!["echo"],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, _: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        Err(BuildError::new(env, "it is only looked at"))
    }
}

/// Plugins that are always the same, one for each thing that can be known of one.
struct Known;

impl PluginSchemas for Known {
    fn describe(&self, plugin: &str) -> Described {
        let schema = match plugin {
            "libmetergraph_tcp.so" => include_str!("../plugins/tcp/src/config.schema.json"),
            "libmodem.so" => {
                r#"{ "type": "object", "properties": { "apn": { "type": "string", "pattern": "^[a-z.]+$" } } }"#
            }
            "libstrange.so" => r#"{ "type": "object", "properties": { "mode": { "oneOf": [] } } }"#,
            "libold.so" => return Described::Unusable("it speaks contract 0.1, this program 1.0".into()),
            "libunseen.so" => return Described::NotLooked,
            _ => return Described::NotFound("plugins".into()),
        };
        Described::Plugin { sha256: [0xab; 32], schema: serde_json::from_str(schema).unwrap_or_default() }
    }

    fn grant_kinds(&self) -> &[&'static str] {
        &["tcp_listen", "tcp_connect"]
    }

    fn check_grant(&self, kind: &str, value: &Value) -> Result<(), String> {
        Plugins::default().check_grant(kind, value)
    }
}

/// An environment with `LISTEN` in it, and the secret files `ours` and `everybodys`.
struct Outside;

impl Sources for Outside {
    fn env(&self, name: &str) -> Option<String> {
        (name == "LISTEN").then(|| "somewhere".to_owned())
    }

    fn secret(&self, file: &str) -> Result<Secret, String> {
        let text = "127.0.0.1:9153".to_owned();
        match file {
            "ours" | "everybodys" => Ok(Secret { text, exposed: file == "everybodys" }),
            _ => Err("there is no such file".to_owned()),
        }
    }
}

/// What `check` and then `run` say of a file.
fn diagnostics(text: &str) -> Vec<Diagnostic> {
    let registry = kinds::registry().with(Echo);
    let Compiled { plan, mut diagnostics } = graph::compile(text, &registry, &Known);
    if let Some(mut plan) = plan {
        diagnostics.extend(graph::resolve(&mut plan, &registry, &Known, &Outside));
    }
    diagnostics
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics")
}

#[test]
fn what_is_said_of_each_file_is_what_is_expected() {
    let bless = std::env::var_os("METERGRAPH_BLESS").is_some();
    let mut cases: Vec<PathBuf> = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    let (mut codes, mut several, mut differing) = (BTreeSet::new(), 0, Vec::new());
    for case in cases {
        let text = std::fs::read_to_string(case.join("graph.toml")).unwrap();
        let found = diagnostics(&text);
        let distinct: BTreeSet<&str> = found.iter().map(|diagnostic| diagnostic.code).collect();
        several += usize::from(distinct.len() >= 3);
        codes.extend(distinct);
        let shown = graph::render::text("graph.toml", &text, &found, false);
        let golden = case.join("expected.txt");
        if bless {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            differing.push(format!("{}: now\n{shown}", case.display()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(codes.len() >= 30, "only {} codes are shown: {codes:?}", codes.len());
    assert!(several >= 3, "only {several} files hold several faults at once");
}

#[test]
fn a_folder_is_named_after_the_one_code_it_shows() {
    for entry in folder().read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = std::fs::read_to_string(folder().join(&name).join("graph.toml")).unwrap();
        let found = diagnostics(&text);
        let shown: BTreeSet<&str> = found.iter().map(|diagnostic| diagnostic.code).collect();
        if name.starts_with("several_") {
            assert!(shown.len() >= 3, "{name}: {shown:?}");
        } else {
            assert_eq!(shown, BTreeSet::from([explain::find(&name).unwrap().name]), "{name}");
        }
    }
}

#[test]
fn every_code_that_is_shown_is_explained() {
    for entry in folder().read_dir().unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path().join("graph.toml")).unwrap();
        for diagnostic in diagnostics(&text) {
            assert_eq!(explain::find(diagnostic.code).map(|code| code.name), Ok(diagnostic.code));
        }
    }
}

#[test]
fn shipped_graphs_have_no_fault_but_the_missing_pin() {
    let graphs = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs");
    for name in ["collection-engine.toml", "demo.toml", "bench.toml"] {
        let found = diagnostics(&std::fs::read_to_string(graphs.join(name)).unwrap());
        let codes: Vec<&str> = found.iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, ["graph::plugin_not_pinned"], "{name}: {found:#?}");
    }
}
