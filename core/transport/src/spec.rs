//! What a graph says of one transport.

use std::path::PathBuf;

use node::{Config, Value};

use crate::module::Sha256Digest;

/// One `[transport.NAME]` of a graph, and where its plugin is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportSpec {
    /// Its name.
    pub name: String,
    /// Its number: its place among the transports of the graph. Frames carry it.
    pub number: u8,
    /// The plugin's file: a name to be looked for in the folders, or a path.
    pub plugin: String,
    /// The digest that the file must have.
    pub sha256: Option<Sha256Digest>,
    /// The plugin's own configuration.
    pub config: Config,
    /// The `grants` table: all that the plugin may reach.
    pub grants: Value,
    /// Folders in which the plugin is looked for, in order.
    pub plugin_dirs: Vec<PathBuf>,
}

impl TransportSpec {
    /// The configuration as the plugin gets it: a JSON object.
    #[must_use]
    pub fn config_json(&self) -> String {
        json(&Value::Table(self.config.0.clone())).to_string()
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_becomes_a_json_object() {
        let inner = [("address".to_owned(), Value::from("10.0.0.1:1153"))];
        let values = [
            ("idle_timeout_s", 900.into()),
            ("ratio", Value::Float(0.5)),
            ("strict", true.into()),
            ("connect", Value::List(vec![Value::Table(inner.into())])),
        ];
        let spec = TransportSpec {
            name: "wan".into(),
            number: 0,
            plugin: "libmetergraph_tcp.so".into(),
            sha256: None,
            config: Config(values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            grants: Value::Table(Default::default()),
            plugin_dirs: vec![],
        };
        assert_eq!(
            spec.config_json(),
            r#"{"connect":[{"address":"10.0.0.1:1153"}],"idle_timeout_s":900,"ratio":0.5,"strict":true}"#
        );
    }
}
