//! The JSON Schema of graph files, for editors.

use node::{FieldSpec, FieldType, KindSpec, Registry, Value};
use serde_json::{Map, Value as Json, json};

use crate::compile::{FORMAT, http_fields, input_fields, runtime_fields, takes_input, transport_fields};

/// Where a value of the environment or of a secret may stand.
const ELSEWHERE: &str = "#/$defs/elsewhere";

/// The JSON Schema (2020-12) of graph files over the kinds of `registry`.
#[must_use]
pub fn schema(registry: &Registry) -> Json {
    let kinds: Vec<Json> = registry.kinds().map(|kind| node_schema(&kind.spec())).collect();
    const NAME: &str = "^[a-z][a-z0-9_-]{0,62}$";
    let name = json!({ "pattern": NAME });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Metergraph graph file",
        "type": "object",
        "additionalProperties": false,
        "required": ["graph", "name", "node"],
        "properties": {
            "graph": { "const": FORMAT, "description": "The format of the file." },
            "name": { "type": "string", "pattern": NAME, "description": "The graph's name in logs and drawings." },
            "http": section(&http_fields(), true),
            "runtime": section(&runtime_fields(), false),
            "transport": {
                "type": "object",
                "description": "The transports by name.",
                "propertyNames": name,
                "additionalProperties": transport_schema(),
            },
            "node": {
                "type": "object",
                "description": "The nodes by name.",
                "minProperties": 1,
                "propertyNames": name,
                "additionalProperties": { "oneOf": kinds },
            },
        },
        "$defs": {
            "elsewhere": {
                "description": "A whole value from the environment or from a file.",
                "oneOf": [
                    object(&[("env", json!({ "type": "string" }))], &["env"]),
                    object(&[("secret", json!({ "type": "string" }))], &["secret"]),
                ],
            },
            "input": {
                "description": "`NODE` for its first port, `NODE.PORT` for another one.",
                "oneOf": [{ "type": "string" }, section(&input_fields(), false)],
            },
        },
    })
}

fn object(properties: &[(&str, Json)], required: &[&str]) -> Json {
    let properties: Map<String, Json> =
        properties.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": required,
    })
}

fn section(fields: &[FieldSpec], elsewhere: bool) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in fields {
        properties.insert(field.name.clone().into_owned(), property(field, elsewhere));
        if field.is_required() {
            required.push(field.name.clone().into_owned());
        }
    }
    json!({
        "type": "object", "additionalProperties": false, "properties": properties, "required": required,
    })
}

fn transport_schema() -> Json {
    let mut schema = section(&transport_fields(), false);
    let grants = json!({
        "type": "object",
        "description": "All that the plugin may reach, by name.",
        "additionalProperties": { "type": "object", "minProperties": 1, "maxProperties": 1 },
    });
    if let Some(Json::Object(properties)) = schema.get_mut("properties") {
        let about = "The plugin's own keys: `metergraph plugin describe FILE`.";
        properties.insert("config".into(), json!({ "type": "object", "description": about }));
        properties.insert("grants".into(), grants);
    }
    schema
}

fn node_schema(spec: &KindSpec) -> Json {
    let mut properties = Map::new();
    let mut required = vec!["kind"];
    properties.insert("kind".into(), json!({ "const": spec.name, "description": spec.about }));
    if takes_input(spec) {
        let list = json!({
            "type": "array", "items": { "$ref": "#/$defs/input" }, "uniqueItems": true,
            "description": "What the node reads.",
        });
        properties.insert("input".into(), list);
        if spec.inputs.iter().any(|input| input.min > 0) {
            required.push("input");
        }
    }
    if spec.transport.is_some() {
        let about = "The transport that the node is an end of.";
        properties.insert("transport".into(), json!({ "type": "string", "description": about }));
        required.push("transport");
    }
    for field in &spec.fields {
        // The number of instances gives the graph its shape.
        let shape = Some(&*field.name) == spec.instances;
        properties.insert(field.name.clone().into_owned(), property(field, !shape));
        if field.is_required() {
            required.push(&field.name);
        }
    }
    json!({
        "title": spec.name, "description": spec.about, "type": "object", "additionalProperties": false,
        "properties": properties, "required": required,
    })
}

fn property(field: &FieldSpec, elsewhere: bool) -> Json {
    let mut schema = value_schema(&field.field_type, elsewhere);
    if let Json::Object(keywords) = &mut schema {
        keywords.insert("description".into(), json!(field.about));
        if let Some(default) = &field.default {
            keywords.insert("default".into(), default_json(default));
        }
    }
    schema
}

fn value_schema(field_type: &FieldType, elsewhere: bool) -> Json {
    let schema = match field_type {
        FieldType::Bool => json!({ "type": "boolean" }),
        FieldType::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        FieldType::Float { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        FieldType::Text | FieldType::Path => json!({ "type": "string", "minLength": 1 }),
        FieldType::Address => json!({ "type": "string", "pattern": "^.+:[0-9]{1,5}$" }),
        FieldType::Choice(words) => json!({ "type": "string", "enum": words }),
        FieldType::Node { .. } => return json!({ "type": "string", "minLength": 1 }),
        FieldType::List(item) => return json!({ "type": "array", "items": value_schema(item, elsewhere) }),
        FieldType::Table(fields) => return section(fields, elsewhere),
        FieldType::Map(item) => {
            return json!({ "type": "object", "additionalProperties": value_schema(item, elsewhere) });
        }
    };
    if elsewhere { json!({ "anyOf": [schema, { "$ref": ELSEWHERE }] }) } else { schema }
}

fn default_json(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => json!(truth),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::List(list) => Json::Array(list.iter().map(default_json).collect()),
        Value::Table(table) => {
            Json::Object(table.iter().map(|(key, value)| (key.clone(), default_json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::registry;

    #[test]
    fn every_kind_and_every_key_stands_in_the_schema() {
        let schema = schema(&registry());
        let kinds = schema["properties"]["node"]["additionalProperties"]["oneOf"].as_array().unwrap();
        assert_eq!(kinds.len(), registry().kinds().count());
        for kind in registry().kinds() {
            let spec = kind.spec();
            let found = kinds.iter().find(|kind| kind["title"] == spec.name).unwrap();
            for field in &spec.fields {
                assert!(
                    found["properties"][&*field.name]["description"].is_string(),
                    "{} {}",
                    spec.name,
                    field.name
                );
            }
        }
        let decrypt = kinds.iter().find(|kind| kind["title"] == "decrypt").unwrap();
        assert_eq!(decrypt["properties"]["shards"]["minimum"], 1);
        assert_eq!(decrypt["required"], json!(["kind", "input", "keys"]));
        assert_eq!(schema["properties"]["http"]["properties"]["listen"]["anyOf"][1]["$ref"], ELSEWHERE);
    }
}
