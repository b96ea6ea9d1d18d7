//! Fills in the values that the environment and secret files give, just before a graph runs.

use std::collections::BTreeMap;

use node::{Config, FieldType, Registry, Value};

use crate::codes;
use crate::compile::problem;
use crate::diagnostic::Diagnostic;
use crate::document::ItemValue;
use crate::fields::{Checker, scalar, show};
use crate::plan::{Origin, Owner, Plan, Step, Unresolved};
use crate::plugin::PluginSchemas;

/// Where values come from.
pub trait Sources {
    /// The value of an environment variable; `None` when it is not set or no UTF-8.
    fn env(&self, name: &str) -> Option<String>;

    /// The text of a secret's file without the line break at its end.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn secret(&self, file: &str) -> Result<Secret, String>;
}

/// The text of a secret's file.
pub struct Secret {
    /// The text.
    pub text: String,
    /// Other users of the machine can read the file.
    pub exposed: bool,
}

/// Fills in every open value of a plan and checks it. The answer holds no value, only places.
#[must_use]
pub fn resolve(
    plan: &mut Plan,
    registry: &Registry,
    plugins: &dyn PluginSchemas,
    sources: &dyn Sources,
) -> Vec<Diagnostic> {
    let open = std::mem::take(&mut plan.unresolved);
    let mut checker = Checker::default();
    for value in &open {
        let name = format!("`{}` of {}", show(&value.path), owner_name(plan, value.owner));
        if let Some(text) = fetch(value, &name, sources, &mut checker) {
            fill(plan, value, &name, text, &mut checker);
        }
    }
    if checker.diagnostics.iter().any(Diagnostic::is_error) {
        return checker.diagnostics;
    }
    for (index, node) in plan.nodes.iter().enumerate() {
        let mut mine = open.iter().filter(|value| value.owner == Owner::Node(index));
        let (Some(first), Some(kind)) = (mine.next(), registry.find(&node.kind)) else { continue };
        for found in kind.check(&node.config) {
            let key = found.field.map(|key| Step::Key(key.to_owned()));
            let place =
                [first].into_iter().chain(mine.clone()).find(|value| value.path.first() == key.as_ref());
            let span = place.map_or(&node.span, |value| &value.span).clone();
            let diagnostic = problem(&format!("node `{}`", node.name), found, span);
            checker.push(match place.map(|value| &value.origin) {
                Some(origin @ Origin::Secret(_)) => hidden(diagnostic, &node.name, origin),
                _ => diagnostic,
            });
        }
    }
    for value in &open {
        if let Some(diagnostic) = granted(plan, value, plugins) {
            checker.push(diagnostic);
        }
    }
    checker.diagnostics
}

/// What a kind says of a secret may repeat it.
fn hidden(diagnostic: Diagnostic, node: &str, origin: &Origin) -> Diagnostic {
    let message = format!("node `{node}` cannot use a secret");
    Diagnostic { message, help: None, ..diagnostic }.label(gives(origin))
}

/// The fault of a grant that came from elsewhere. It does not say why: that would show what was read.
fn granted(plan: &Plan, value: &Unresolved, plugins: &dyn PluginSchemas) -> Option<Diagnostic> {
    let (Owner::Grants(index), [Step::Key(name), Step::Key(kind), ..]) = (value.owner, value.path.as_slice())
    else {
        return None;
    };
    let transport = plan.transports.get(index)?;
    let Value::Table(grants) = &transport.grants else { return None };
    let Some(Value::Table(kinds)) = grants.get(name) else { return None };
    plugins.check_grant(kind, kinds.get(kind)?).err()?;
    let message = format!("grant `{name}` of transport `{}` is no `{kind}`", transport.name);
    Some(Diagnostic::new(&codes::BAD_GRANT, value.span.clone(), message).label(gives(&value.origin)))
}

fn gives(origin: &Origin) -> String {
    match origin {
        Origin::Env(variable) => format!("what the environment variable `{variable}` gives does not fit"),
        Origin::Secret(file) => format!("what `{file}` gives does not fit"),
    }
}

fn owner_name(plan: &Plan, owner: Owner) -> String {
    let transport = |index: usize| plan.transports.get(index).map(|transport| transport.name.as_str());
    match owner {
        Owner::Http => "`[http]`".to_owned(),
        Owner::Node(index) => {
            format!("node `{}`", plan.nodes.get(index).map(|node| node.name.as_str()).unwrap_or_default())
        }
        Owner::Transport(index) => format!("transport `{}`", transport(index).unwrap_or_default()),
        Owner::Grants(index) => format!("the grants of transport `{}`", transport(index).unwrap_or_default()),
    }
}

fn fetch(value: &Unresolved, name: &str, sources: &dyn Sources, checker: &mut Checker) -> Option<String> {
    let span = value.span.clone();
    match &value.origin {
        Origin::Env(variable) => {
            let text = sources.env(variable);
            if text.is_none() {
                let message = format!("{name}: the environment variable `{variable}` is not set");
                checker.push(Diagnostic::new(&codes::ENV_NOT_SET, span, message).label("not set"));
            }
            text
        }
        Origin::Secret(file) => match sources.secret(file) {
            Ok(secret) => {
                if secret.exposed {
                    let message = format!("{name}: everybody on this machine can read `{file}`");
                    checker.push(
                        Diagnostic::new(&codes::SECRET_EXPOSED, span, message)
                            .label("this file")
                            .help(format!("chmod 600 {file}")),
                    );
                }
                Some(secret.text)
            }
            Err(why) => {
                let message = format!("{name}: `{file}` cannot be read: {why}");
                checker.push(Diagnostic::new(&codes::SECRET_UNREADABLE, span, message).label("this file"));
                None
            }
        },
    }
}

fn fill(plan: &mut Plan, open: &Unresolved, name: &str, text: String, checker: &mut Checker) {
    let value = match &open.field_type {
        None => Value::Text(text),
        Some(field_type) => match scalar(field_type, &typed(field_type, text)) {
            Ok(value) => value,
            Err(fault) => {
                // What was read is not shown: it may be a secret.
                let diagnostic = fault.diagnostic(name, field_type, &ItemValue::Broken, &open.span);
                checker.push(diagnostic.label(gives(&open.origin)));
                return;
            }
        },
    };
    match open.owner {
        Owner::Http => {
            if let Value::Text(address) = value {
                plan.http = Some(address);
            }
        }
        Owner::Node(index) => {
            if let Some(node) = plan.nodes.get_mut(index) {
                put(&mut node.config, &open.path, value);
            }
        }
        Owner::Transport(index) => {
            if let (Some(transport), Some((_, path))) =
                (plan.transports.get_mut(index), open.path.split_first())
            {
                // The first step is the key `config` itself.
                put(&mut transport.config, path, value);
            }
        }
        Owner::Grants(index) => {
            if let Some(transport) = plan.transports.get_mut(index) {
                replace(&mut transport.grants, &open.path, value);
            }
        }
    }
}

/// The text as the type that it is meant to be; as it is where it is none.
fn typed(field_type: &FieldType, text: String) -> ItemValue {
    let trimmed = text.trim();
    let typed = match field_type {
        FieldType::Bool => trimmed.parse().ok().map(ItemValue::Bool),
        FieldType::Integer { .. } => trimmed.parse().ok().map(ItemValue::Integer),
        FieldType::Float { .. } => trimmed.parse().ok().map(ItemValue::Float),
        _ => None,
    };
    typed.unwrap_or(ItemValue::Text(text))
}

fn put(config: &mut Config, path: &[Step], value: Value) {
    let mut table = Value::Table(std::mem::take(&mut config.0));
    replace(&mut table, path, value);
    if let Value::Table(values) = table {
        config.0 = values;
    }
}

fn replace(at: &mut Value, path: &[Step], value: Value) {
    let mut at = Some(at);
    for step in path {
        at = match (at, step) {
            (Some(Value::Table(table)), Step::Key(key)) => table_entry(table, key),
            (Some(Value::List(list)), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        };
    }
    if let Some(at) = at {
        *at = value;
    }
}

fn table_entry<'t>(table: &'t mut BTreeMap<String, Value>, key: &str) -> Option<&'t mut Value> {
    table.get_mut(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;
    use crate::testing::{Plugins, registry};

    /// `GOOD` and `good` hold a value, `BAD` and `bad` one that is none, `open` can be read by all.
    struct Outside(&'static str);

    impl Sources for Outside {
        fn env(&self, name: &str) -> Option<String> {
            match name {
                "GOOD" => Some(self.0.to_owned()),
                "BAD" => Some("hunter2".to_owned()),
                _ => None,
            }
        }

        fn secret(&self, file: &str) -> Result<Secret, String> {
            match file {
                "good" | "open" => Ok(Secret { text: self.0.to_owned(), exposed: file == "open" }),
                "bad" => Ok(Secret { text: "hunter2".to_owned(), exposed: false }),
                _ => Err("there is no such file".to_owned()),
            }
        }
    }

    fn resolved(from: &str, to: &str, value: &'static str) -> (Plan, Vec<Diagnostic>) {
        let engine = include_str!("testing/engine.toml");
        let text = engine.replace(from, to);
        assert_ne!(text, engine);
        let compiled = compile(&text, &registry(), &Plugins);
        let mut plan = compiled.plan.unwrap_or_else(|| panic!("{:#?}", compiled.diagnostics));
        let diagnostics = resolve(&mut plan, &registry(), &Plugins, &Outside(value));
        for diagnostic in &diagnostics {
            assert!(!format!("{diagnostic:?}").contains("hunter2"), "{diagnostic:?} shows a secret");
            assert!(
                text.get(diagnostic.span()).is_some_and(|place| place.starts_with('{')),
                "{diagnostic:?}"
            );
        }
        (plan, diagnostics)
    }

    const LISTEN: &str = "\"127.0.0.1:9153\"";

    #[test]
    fn values_reach_their_places() {
        let (plan, diagnostics) = resolved(LISTEN, "{ env = \"GOOD\" }", "[::1]:80");
        assert_eq!((plan.http.as_deref(), diagnostics), (Some("[::1]:80"), vec![]));
        let (plan, _) = resolved("idle_timeout_s = 900", "idle_timeout_s = { secret = \"good\" }", "77\n");
        assert_eq!(plan.transports[0].config.integer("idle_timeout_s"), 77);
        let (plan, _) = resolved("[\"wan\"]", "[\"wan\", { env = \"GOOD\" }]", "wan2");
        assert_eq!(plan.transports[0].config.list("listen")[1], Value::Text("wan2".into()));
        let (plan, _) = resolved("\"0.0.0.0:1153\"", "{ env = \"GOOD\" }", "127.0.0.1:5");
        let granted = Value::Table([("tcp_listen".to_owned(), "127.0.0.1:5".into())].into());
        assert_eq!(plan.transports[0].grants, Value::Table([("wan".to_owned(), granted)].into()));
    }

    #[test]
    fn faults_name_the_place_and_not_the_value() {
        for (from, to, code) in [
            (LISTEN, "{ env = \"GONE\" }", "graph::env_not_set"),
            (LISTEN, "{ secret = \"gone\" }", "graph::secret_unreadable"),
            (LISTEN, "{ env = \"BAD\" }", "graph::bad_address"),
            ("= 900", "= { secret = \"bad\" }", "graph::wrong_type"),
            ("= 900", "= { env = \"GOOD\" }", "graph::out_of_range"),
            ("\"0.0.0.0:1153\"", "{ secret = \"bad\" }", "graph::bad_grant"),
            ("= 900", "= { secret = \"open\" }", "graph::secret_exposed"),
            ("[\"journal\"]", "[\"journal\"]\nclose_s = { env = \"GOOD\" }", "node::restless"),
            ("[\"journal\"]", "[\"journal\"]\npath = { secret = \"bad\" }", "node::restless"),
        ] {
            let value = match code {
                "graph::out_of_range" => "0",
                _ => "1",
            };
            let (_, diagnostics) = resolved(from, to, value);
            let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
            assert_eq!(codes, [code], "{to}");
        }
    }
}
