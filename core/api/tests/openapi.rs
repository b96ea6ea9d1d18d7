//! The committed description is that of the routes. `METERGRAPH_BLESS=1` writes it anew.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use metergraph_api::openapi;
use serde_json::Value as Json;

fn document() -> Json {
    serde_json::from_str(openapi::text()).unwrap()
}

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("METERGRAPH_BLESS").is_some() {
        std::fs::write(&path, openapi::text()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == openapi::text(),
        "core/api/openapi.json has drifted; `METERGRAPH_BLESS=1 cargo test -p metergraph-api` writes it anew"
    );
}

#[test]
fn every_operation_says_roles_refusals_and_has_a_name_of_its_own() {
    let document = document();
    let mut names = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            names.push(operation["operationId"].as_str().unwrap().to_owned());
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{place}");
            let security = operation["security"].as_array().unwrap();
            assert!(security.iter().all(|one| one["bearer"].as_array().unwrap().len() == 1), "{place}");
            assert_eq!(security.len() == 4, method == "get", "{place}");
            let responses = operation["responses"].as_object().unwrap();
            for status in ["401", "408", "429", "503"] {
                assert_eq!(responses[status]["$ref"], "#/components/responses/Problem", "{place}");
            }
            assert_eq!(responses.contains_key("403"), method != "get", "{place}");
            assert_eq!(responses.contains_key("404"), path.contains('{'), "{place}");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
        }
    }
    assert_eq!(names.len(), 19);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 19);
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Json, found: &mut Vec<String>) {
        match value {
            Json::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Json::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Json::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let problem = &document["components"]["responses"]["Problem"]["content"]["application/problem+json"];
    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem");
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
}
