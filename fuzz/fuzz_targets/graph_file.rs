//! Any text as a graph file: a plan or at least one fault, each at a place inside the text.
#![no_main]

use graph::{Described, PluginSchemas};
use libfuzzer_sys::fuzz_target;
use node::Value;

struct NoPlugins;

impl PluginSchemas for NoPlugins {
    fn describe(&self, _: &str) -> Described {
        Described::NotLooked
    }

    fn grant_kinds(&self) -> &[&'static str] {
        &["tcp_listen", "tcp_connect"]
    }

    fn check_grant(&self, _: &str, _: &Value) -> Result<(), String> {
        Ok(())
    }
}

fuzz_target!(|text: &str| {
    let compiled = graph::compile(text, &nodes::registry(), &NoPlugins);
    assert!(compiled.plan.is_some() || !compiled.diagnostics.is_empty());
    for diagnostic in &compiled.diagnostics {
        assert!(diagnostic.span().end <= text.len());
    }
    let _ = graph::render::text("fuzz.toml", text, &compiled.diagnostics, false);
    let _ = graph::render::json("fuzz.toml", text, &compiled.diagnostics);
    if let Some(plan) = compiled.plan {
        let _ = (graph::draw::mermaid(&plan), graph::draw::dot(&plan));
    }
});
