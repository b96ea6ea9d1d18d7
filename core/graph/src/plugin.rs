//! What a transport plugin says of itself, and its JSON Schema as a specification of keys.

use std::collections::BTreeSet;

use node::{FieldSpec, FieldType, Value};
use serde_json::{Map, Value as Json};

use crate::document;

/// Tables in tables that a schema may have.
const DEPTH_MAX: usize = 16;
/// Keywords that say nothing about what is allowed.
const REMARKS: [&str; 9] =
    ["$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "format"];

/// What is known of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub enum Described {
    /// Nobody looked.
    NotLooked,
    /// Its file is in none of the folders; they are named for people.
    NotFound(String),
    /// It cannot be loaded; one line says why.
    Unusable(String),
    /// It has answered.
    Plugin {
        /// SHA-256 of its file.
        sha256: [u8; 32],
        /// JSON Schema of its configuration.
        schema: Json,
    },
}

/// What a graph is checked against beside the node kinds. All of it is known before the check.
pub trait PluginSchemas {
    /// What is known of the plugin of this file name, as written in the graph.
    fn describe(&self, plugin: &str) -> Described;

    /// The words for the kinds of grant.
    fn grant_kinds(&self) -> &[&'static str];

    /// Whether a grant of this kind can be read.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    fn check_grant(&self, kind: &str, value: &Value) -> Result<(), String>;
}

/// The plugins that a graph file names, each once: what must be described before it is compiled.
#[must_use]
pub fn plugins_named(text: &str) -> BTreeSet<String> {
    let (root, _) = document::read(text);
    let transports = root.as_ref().and_then(|root| root.get("transport")?.item.as_table());
    let plugins = transports.into_iter().flat_map(|transports| transports.iter()).filter_map(|transport| {
        let plugin = transport.item.as_table()?.get("plugin")?.item.as_text()?;
        Some(plugin.to_owned()).filter(|plugin| !plugin.is_empty())
    });
    plugins.collect()
}

/// A schema that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    /// The keys.
    pub fields: Vec<FieldSpec>,
    /// Conditions that are not looked at.
    pub unread: BTreeSet<String>,
}

impl Schema {
    /// Reads the schema of a configuration. The error says what cannot be read, and where.
    pub fn read(schema: &Json) -> Result<Self, String> {
        let mut unread = BTreeSet::new();
        match read(schema, "/", 0, &mut unread)? {
            FieldType::Table(fields) => Ok(Self { fields, unread }),
            _ => Err("`/` must be of type `object` with `properties`".into()),
        }
    }
}

fn read(schema: &Json, at: &str, depth: usize, unread: &mut BTreeSet<String>) -> Result<FieldType, String> {
    let Json::Object(keywords) = schema else { return Err(format!("`{at}` is no object")) };
    if depth > DEPTH_MAX {
        return Err(format!("`{at}` is nested too deeply"));
    }
    let inside = |key: &str| format!("{}/{key}", at.trim_end_matches('/'));
    let word = keywords.get("type").and_then(Json::as_str);
    let mut used = vec!["type"];
    let field_type = match word {
        Some("boolean") => FieldType::Bool,
        Some("integer") => {
            used.extend(["minimum", "maximum"]);
            let bound = |key: &str, or: i64| keywords.get(key).map_or(Some(or), Json::as_i64);
            let bounds = (bound("minimum", i64::MIN), bound("maximum", i64::MAX));
            let (Some(min), Some(max)) = bounds else {
                return Err(format!("`{at}` has a bound that is no whole number"));
            };
            FieldType::Integer { min, max }
        }
        Some("number") => {
            used.extend(["minimum", "maximum"]);
            let bound = |key: &str, or: f64| keywords.get(key).and_then(Json::as_f64).unwrap_or(or);
            FieldType::Float { min: bound("minimum", f64::MIN), max: bound("maximum", f64::MAX) }
        }
        Some("string") => {
            used.push("enum");
            match keywords.get("enum") {
                None => FieldType::Text,
                Some(words) => FieldType::Choice(texts(words, at)?.into_iter().map(Into::into).collect()),
            }
        }
        Some("array") => {
            used.push("items");
            let items = keywords.get("items").ok_or_else(|| format!("`{at}` has no `items`"))?;
            FieldType::List(Box::new(read(items, &inside("items"), depth + 1, unread)?))
        }
        Some("object") => {
            used.extend(["properties", "required", "additionalProperties"]);
            object(keywords, &inside, depth, unread)?
        }
        Some(other) => return Err(format!("`{at}` is of type `{other}`")),
        None => {
            let instead = keywords.keys().find(|key| !REMARKS.contains(&key.as_str()));
            let instead = instead.map(|key| format!(", but `{key}`")).unwrap_or_default();
            return Err(format!("`{at}` has no `type`{instead}"));
        }
    };
    let is_known = |key: &&String| used.contains(&key.as_str()) || REMARKS.contains(&key.as_str());
    unread.extend(keywords.keys().filter(|key| !is_known(key)).cloned());
    Ok(field_type)
}

fn object(
    keywords: &Map<String, Json>,
    inside: &impl Fn(&str) -> String,
    depth: usize,
    unread: &mut BTreeSet<String>,
) -> Result<FieldType, String> {
    let none = Map::new();
    let properties = match keywords.get("properties") {
        None => &none,
        Some(Json::Object(properties)) => properties,
        Some(_) => return Err(format!("`{}` is no object", inside("properties"))),
    };
    match keywords.get("additionalProperties") {
        Some(each @ Json::Object(_)) if properties.is_empty() => {
            let each = read(each, &inside("additionalProperties"), depth + 1, unread)?;
            return Ok(FieldType::Map(Box::new(each)));
        }
        None | Some(Json::Bool(false)) => {}
        Some(_) => {
            return Err(format!("`{}` must be `false`: every key is stated", inside("additionalProperties")));
        }
    }
    let required = match keywords.get("required") {
        None => Vec::new(),
        Some(names) => texts(names, &inside("required"))?,
    };
    let mut fields = Vec::with_capacity(properties.len());
    for (name, property) in properties {
        let about = property.get("description").and_then(Json::as_str).unwrap_or_default();
        fields.push(FieldSpec {
            name: name.clone().into(),
            about: about.to_owned().into(),
            field_type: read(property, &inside(name), depth + 1, unread)?,
            default: None,
            optional: !required.contains(name),
        });
    }
    Ok(FieldType::Table(fields))
}

fn texts(list: &Json, at: &str) -> Result<Vec<String>, String> {
    let texts =
        list.as_array().map(|list| list.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    texts.flatten().ok_or_else(|| format!("`{at}` holds a list of something else than texts"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_schema_of_the_tcp_plugin_is_read_whole() {
        let schema: Json =
            serde_json::from_str(include_str!("../../../plugins/tcp/src/config.schema.json")).unwrap();
        let schema = Schema::read(&schema).unwrap();
        assert_eq!(schema.unread, BTreeSet::new());
        let field = |name: &str| schema.fields.iter().find(|field| field.name == name).unwrap();
        assert_eq!(field("idle_timeout_s").field_type, FieldType::Integer { min: 1, max: 604_800 });
        let FieldType::List(peer) = &field("connect").field_type else { panic!() };
        let FieldType::Table(peer) = &**peer else { panic!() };
        assert!(peer.iter().any(|field| field.name == "address" && field.is_required()));
        assert!(schema.fields.iter().all(|field| !field.is_required() && !field.about.is_empty()));
    }

    #[test]
    fn the_plugins_of_a_file_are_known_before_it_is_right() {
        let text =
            "[transport.a]\nplugin = 'x.so'\n[transport.b]\nplugin = 7\n[transport.c]\nplugin = 'x.so'\n";
        assert_eq!(plugins_named(text), BTreeSet::from(["x.so".to_owned()]));
        assert_eq!(plugins_named("[transport"), BTreeSet::new());
    }

    #[test]
    fn what_is_not_looked_at_is_told() {
        let schema = json!({ "type": "object", "properties": {
            "apn": { "type": "string", "pattern": "a", "minLength": 1 },
            "mode": { "type": "string", "enum": ["a", "b"] },
            "more": { "type": "object", "additionalProperties": { "type": "number" } },
        } });
        let schema = Schema::read(&schema).unwrap();
        assert_eq!(schema.unread.iter().map(String::as_str).collect::<Vec<_>>(), ["minLength", "pattern"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        for (schema, words) in [
            (json!([]), "`/` is no object"),
            (json!({ "type": "array", "items": { "type": "string" } }), "type `object`"),
            (
                json!({ "type": "object", "properties": { "a": { "oneOf": [] } } }),
                "`/a` has no `type`, but `oneOf`",
            ),
            (json!({ "type": "object", "additionalProperties": true }), "every key is stated"),
            (
                json!({ "type": "object", "properties": { "a": { "type": "null" } } }),
                "`/a` is of type `null`",
            ),
            (json!({ "type": "object", "properties": { "a": { "type": "array" } } }), "`/a` has no `items`"),
            (json!({ "type": "object", "required": [1] }), "`/required`"),
        ] {
            let error = Schema::read(&schema).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let mut deep = json!({ "type": "string" });
        for _ in 0..100 {
            deep = json!({ "type": "array", "items": deep });
        }
        assert!(Schema::read(&json!({ "type": "object", "properties": { "a": deep } })).is_err());
    }
}
