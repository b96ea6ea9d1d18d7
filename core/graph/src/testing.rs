//! Node kinds with the names, ports and keys of the real ones, for tests of this crate alone.

use node::spec::TransportEnd;
use node::{
    BuildError, Config, Env, FieldSpec, FieldType, InputSpec, KindSpec, NodeKind, OutputSpec, PortType,
    Problem, Registry, Value, Worker,
};

use crate::plugin::{Described, PluginSchemas};

/// A kind that can be described and checked, not built.
struct Fake(KindSpec);

impl NodeKind for Fake {
    fn spec(&self) -> KindSpec {
        self.0.clone()
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        let restless = |field, message: String| Problem {
            code: "node::restless",
            field: Some(field),
            message,
            help: Some("10 is often enough".into()),
            warning: true,
        };
        match (config.integer("close_s"), config.text("path")) {
            (1, _) => vec![restless("close_s", "closes a file every second".into())],
            (_, path @ "hunter2") => vec![restless("path", format!("closes `{path}` every second"))],
            _ => vec![],
        }
    }

    fn build(&self, _: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        Err(BuildError::new(env, "a kind for tests"))
    }
}

fn kind(name: &'static str) -> KindSpec {
    KindSpec {
        name,
        about: "For tests.",
        fields: vec![],
        inputs: vec![],
        outputs: vec![],
        provides: vec![],
        instances: None,
        transport: None,
    }
}

fn port(name: &'static str, port_type: PortType, required: bool) -> OutputSpec {
    OutputSpec { name, port_type, required, max: if required { 1 } else { 8 }, about: "For tests." }
}

fn events() -> OutputSpec {
    port("events", PortType::Events, false)
}

fn keys() -> FieldSpec {
    FieldSpec::required("keys", FieldType::Node { service: "keys" }, "Where keys are.")
}

/// The kinds.
pub(crate) fn registry() -> Registry {
    let path = |default: &'static str| FieldSpec::or("path", FieldType::Path, default, "Where.");
    let echo = FieldSpec::optional("peer", FieldType::Node { service: "echo" }, "Another one.");
    [
        KindSpec {
            outputs: vec![port("apdus", PortType::Apdus, true), events()],
            transport: Some(TransportEnd::Source),
            ..kind("ingress")
        },
        KindSpec {
            fields: vec![keys()],
            inputs: vec![InputSpec::some(PortType::Apdus)],
            outputs: vec![port("frames", PortType::Frames, true), events()],
            ..kind("load-balancer")
        },
        KindSpec {
            fields: vec![keys(), FieldSpec::integer("shards", (1, 64), 1, "How many.")],
            inputs: vec![InputSpec::some(PortType::Frames)],
            outputs: vec![
                port("records", PortType::Records, true),
                port("sealed", PortType::Sealed, false),
                events(),
            ],
            instances: Some("shards"),
            ..kind("decrypt")
        },
        KindSpec {
            fields: vec![path("journal")],
            inputs: vec![InputSpec::some(PortType::Records)],
            outputs: vec![port("log", PortType::Log, false), events()],
            ..kind("journal")
        },
        KindSpec {
            fields: vec![keys(), path("mdm"), FieldSpec::integer("close_s", (1, 86_400), 60, "How often.")],
            inputs: vec![InputSpec::one(PortType::Log)],
            outputs: vec![events()],
            ..kind("mdm-egress")
        },
        KindSpec {
            inputs: vec![InputSpec::some(PortType::Sealed)],
            outputs: vec![port("transmit", PortType::Transmit, true)],
            transport: Some(TransportEnd::Sink),
            ..kind("downlink")
        },
        KindSpec {
            fields: vec![path("events")],
            inputs: vec![InputSpec::some(PortType::Events)],
            ..kind("event-monitor")
        },
        KindSpec { fields: vec![path("keystore")], provides: vec!["keys"], ..kind("key-store") },
        KindSpec {
            fields: vec![echo],
            inputs: vec![InputSpec { min: 0, ..InputSpec::some(PortType::Apdus) }],
            outputs: vec![port("apdus", PortType::Apdus, false)],
            provides: vec!["echo"],
            ..kind("echo")
        },
    ]
    .into_iter()
    .fold(Registry::default(), |registry, spec| registry.with(Fake(spec)))
}

/// One plugin, `libmetergraph_tcp.so`.
pub(crate) struct Plugins;

impl PluginSchemas for Plugins {
    fn describe(&self, plugin: &str) -> Described {
        let schema = include_str!("../../../plugins/tcp/src/config.schema.json");
        match plugin {
            "libmetergraph_tcp.so" => Described::Plugin {
                sha256: [0xab; 32],
                schema: serde_json::from_str(schema).unwrap_or_default(),
            },
            _ => Described::NotFound("plugins".into()),
        }
    }

    fn grant_kinds(&self) -> &[&'static str] {
        &["tcp_listen", "tcp_connect"]
    }

    fn check_grant(&self, _: &str, value: &Value) -> Result<(), String> {
        match value {
            Value::Text(text) if text.parse::<std::net::SocketAddr>().is_err() => {
                Err(format!("`{text}` is not IP:PORT"))
            }
            _ => Ok(()),
        }
    }
}
