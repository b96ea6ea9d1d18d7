//! What the registrar is called, takes, gives and may be told.

use std::sync::Arc;

use c1222::ApTitleBuf;
use keystore::Directory;
use node::{
    BuildError, Config, Env, FieldSpec, FieldType, InputSpec, KindSpec, NodeKind, OutputSpec, PortType,
    Problem, Worker,
};
use seal::edhoc::HeadEndKid;
use seal::ids::Sid;

use super::admission::{Limits, Link};
use super::means::Means;
use super::registrations::{Registrations, Terms};
use super::{Registrar, Setup, means};
use crate::decrypt::{self, Heard, RegistrationService};
use crate::key_store;

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct RegistrarKind;

impl NodeKind for RegistrarKind {
    fn spec(&self) -> KindSpec {
        let output =
            |name, port_type, required, max, about| OutputSpec { name, port_type, required, max, about };
        KindSpec {
            name: "registrar",
            about: "Registers end devices: agrees on keys with those that prove who they are.",
            fields: vec![
                key_store::field(),
                FieldSpec::or(
                    "aptitle",
                    FieldType::Text,
                    ".1",
                    "The head-end's own ApTitle, the sender of what goes down.",
                ),
                FieldSpec::integer(
                    "kid",
                    (0, 0x37),
                    0,
                    "The name of the head-end's credential, as devices know it: 0 to 23 or 32 to 55.",
                ),
                FieldSpec::integer(
                    "per_second",
                    (1, 100_000),
                    500,
                    "Registrations begun a second, of all links together.",
                ),
                FieldSpec::integer(
                    "per_link_per_second",
                    (1, 100_000),
                    50,
                    "Registrations begun a second over one link, at most.",
                ),
                FieldSpec::integer(
                    "pending_max",
                    (1, 1 << 20),
                    20_000,
                    "Registrations under way; each lives 60 s.",
                ),
                FieldSpec::integer(
                    "period_s",
                    (300, 0x00ff_fffe),
                    86_400,
                    "How often a node registers by the C12.22 service, in seconds.",
                ),
                FieldSpec::integer(
                    "delay_s",
                    (0, 65_535),
                    300,
                    "Up to how long a node waits, at random, before it does so after an outage, in seconds.",
                ),
                FieldSpec::integer(
                    "nodes_max",
                    (1, 1 << 26),
                    1 << 24,
                    "Nodes registered by the C12.22 service.",
                ),
            ],
            inputs: vec![InputSpec::some(PortType::Registrations), InputSpec::one(PortType::Log)],
            outputs: vec![
                output("orders", PortType::Orders, true, 1, "New and replaced associations, for the shards."),
                output("sealed", PortType::Sealed, true, 16, "Answers to devices, for downlinks."),
                output("events", PortType::Events, false, 8, "Refused messages and alarms."),
            ],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |code, field, message: String, help: Option<&str>, warning| {
            let help = help.map(str::to_owned);
            problems.push(Problem { code, field: Some(field), message, help, warning });
        };
        if let Err(error) = ApTitleBuf::parse(config.text("aptitle")) {
            problem("node::ap_title", "aptitle", error.to_string(), None, false);
        }
        if kid(config).is_none() {
            let message = format!("{} is no kid of a head-end", config.integer("kid"));
            problem("node::kid", "kid", message, Some("write 0 to 23 or 32 to 55"), false);
        }
        if config.integer("per_link_per_second") > config.integer("per_second") {
            let message = "one link may begin more than all links together".to_owned();
            let help = "lower `per_link_per_second`, or raise `per_second`";
            problem("node::admission", "per_link_per_second", message, Some(help), true);
        }
        problems
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let title = ApTitleBuf::parse(config.text("aptitle"))
            .map_err(|error| BuildError::caused(env, "aptitle", error))?;
        let kid = kid(config).ok_or_else(|| BuildError::new(env, "kid"))?;
        let means = means::find(config, env)?;
        let limit = |key| u32::try_from(config.integer(key)).unwrap_or(1);
        // A restart goes on with the nodes that the first run registered.
        let registrations = env.services.find(&env.node).unwrap_or_else(|| {
            let terms = Terms {
                period_s: limit("period_s"),
                delay_s: u16::try_from(config.integer("delay_s")).unwrap_or(u16::MAX),
                max: config.count("nodes_max"),
            };
            let made = Arc::new(Registrations::new(means.clone(), terms));
            env.services.provide(&env.node, Arc::clone(&made));
            let service = Service { registrations: Arc::clone(&made), means: Arc::clone(&means) };
            env.services.provide(&env.node, Arc::new(RegistrationService(Arc::new(service))));
            made
        });
        let setup = Setup {
            title,
            kid,
            limits: Limits {
                per_second: limit("per_second"),
                per_link_per_second: limit("per_link_per_second"),
            },
            pending_max: config.count("pending_max"),
        };
        Ok(Box::new(Registrar::new(env, means, registrations, setup)))
    }
}

fn kid(config: &Config) -> Option<HeadEndKid> {
    u8::try_from(config.integer("kid")).ok().and_then(HeadEndKid::new)
}

/// What the shards are answered from.
struct Service {
    registrations: Arc<Registrations>,
    means: Arc<dyn Means>,
}

impl decrypt::Registrations for Service {
    fn answer(&self, sid: Sid, _: &Directory, service: &[u8], heard: Heard) -> Option<Vec<u8>> {
        let link = Link { transport: heard.transport, link: heard.link };
        self.registrations.answer(sid, service, link, self.means.now())
    }
}
