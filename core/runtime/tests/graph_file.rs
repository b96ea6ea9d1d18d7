//! From the text of a graph file to a running graph.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::{Fake, Seen, each, pass, sink, source, try_kind, until};
use graph::{Described, PluginSchemas};
use metergraph_runtime::Options;
use node::{
    BuildError, Config, Counter, Env, FieldSpec, FieldType, InputSpec, KindSpec, NodeKind, OutputSpec,
    PortType, Registry, Value, Worker,
};

const GRAPH: &str = r#"
graph = 1
name  = "from-a-file"

[http]
listen = "127.0.0.1:0"

[runtime]
restarts_max = 1
backoff_ms   = 1

[node.ingress]
kind = "source"

[node.middle]
kind   = "pass"
input  = ["ingress"]
shards = 3
keys   = "keys"

[node.mdm]
kind  = "sink"
input = [{ from = "middle", batches_max = 2, when_full = "wait" }]

[node.keys]
kind = "keys"
"#;

/// A fake with its ports, and a key for its number of instances.
struct Typed {
    fake: Fake,
    spec: KindSpec,
}

fn typed(fake: Fake, reads: bool, writes: bool, fields: Vec<FieldSpec>) -> Typed {
    let out = OutputSpec { name: "out", port_type: PortType::Apdus, required: true, max: 8, about: "" };
    let has_shards = fields.iter().any(|field| field.name == "shards");
    let spec = KindSpec {
        fields,
        inputs: if reads { vec![InputSpec::some(PortType::Apdus)] } else { vec![] },
        outputs: if writes { vec![out] } else { vec![] },
        instances: has_shards.then_some("shards"),
        ..fake.spec()
    };
    Typed { fake, spec }
}

impl NodeKind for Typed {
    fn spec(&self) -> KindSpec {
        self.spec.clone()
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        self.fake.build(config, env)
    }
}

/// This graph has no transport.
struct NoPlugins;

impl PluginSchemas for NoPlugins {
    fn describe(&self, _: &str) -> Described {
        Described::NotLooked
    }

    fn grant_kinds(&self) -> &[&'static str] {
        &[]
    }

    fn check_grant(&self, _: &str, _: &Value) -> Result<(), String> {
        Ok(())
    }
}

#[test]
fn a_graph_file_runs_with_its_instances_edges_limits_and_services() {
    let (sent, seen) = (Counter::default(), Seen::default());
    let keys = try_kind("keys", |env| {
        env.services.provide(&env.node, std::sync::Arc::new("keys".to_owned()));
        Ok(each(|_, _| Ok(())))
    });
    let mut keys = typed(keys, false, false, vec![]);
    keys.spec.provides = vec!["keys"];
    let shards = FieldSpec::integer("shards", (1, 8), 1, "");
    let service = FieldSpec::required("keys", FieldType::Node { service: "keys" }, "");
    let registry = Registry::default()
        .with(typed(source(&sent, 10, 100), false, true, vec![]))
        .with(typed(pass(), true, true, vec![shards, service]))
        .with(typed(sink(&seen), true, false, vec![]))
        .with(keys);
    let compiled = graph::compile(GRAPH, &registry, &NoPlugins);
    assert!(compiled.diagnostics.is_empty(), "{:#?}", compiled.diagnostics);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { state: folder.path().into(), ..Options::default() };
    let running = metergraph_runtime::start(&compiled.plan.unwrap(), &registry, options).unwrap();
    until("all arrive", || seen.lock().unwrap().len() == 100);
    assert!(running.http().is_some());
    assert!(running.services().find::<String>("keys").is_some());
    let status = running.status();
    assert_eq!((status.graph.as_str(), status.ready), ("from-a-file", true));
    assert_eq!(status.nodes.iter().filter(|node| node.node == "middle").count(), 3);
    let to_mdm = status.edges.iter().filter(|edge| edge.edge.ends_with("->mdm[0]"));
    assert_eq!(to_mdm.map(|edge| edge.batches_max).collect::<Vec<_>>(), [2, 2, 2]);
    assert!(!running.stop().0.forced);
}
