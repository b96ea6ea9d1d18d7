//! The node kind, and how a shard is built.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use c1222::ApTitleBuf;
use keystore::Directory;
use node::{
    BuildError, Config, Env, FieldSpec, FieldType, InputSpec, KindSpec, NodeKind, OutputSpec, PortType,
    Problem, Worker,
};

use super::acknowledgements::Acknowledgements;
use super::associations::Associations;
use super::checkpoint::ShardOf;
use super::classic::{Classics, Rules};
use super::downstream::Downstream;
use super::gate::Challenges;
use super::groups::Groups;
use super::lives::Lives;
use super::orders::Given;
use super::refusing::Refusing;
use super::reserving::Reserving;
use super::ways::Ways;
use super::{FRAMES, Numbers, Shard};
use crate::in_flight::InFlight;
use crate::key_store;
use crate::refusals::Refusals;

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct DecryptKind;

impl NodeKind for DecryptKind {
    fn spec(&self) -> KindSpec {
        let output =
            |name, port_type, required, max, about| OutputSpec { name, port_type, required, max, about };
        KindSpec {
            name: "decrypt",
            about: "Opens what end devices send, each with its own key, and acknowledges it when durable.",
            fields: vec![
                key_store::field(),
                FieldSpec::integer("shards", (1, 64), 1, "Instances; each owns a part of all devices."),
                FieldSpec::or(
                    "aptitle",
                    FieldType::Text,
                    ".1",
                    "The head-end's own ApTitle, the sender of what goes down.",
                ),
                FieldSpec::integer(
                    "acknowledgements_max",
                    (1, 1 << 24),
                    1 << 20,
                    "Acknowledgements that wait to be sealed; past that the device repeats its report.",
                ),
                FieldSpec::integer(
                    "commands_max",
                    (1, 1 << 20),
                    4096,
                    "Commands and other orders that wait to be sealed; past that whoever gave them repeats them.",
                ),
                FieldSpec::integer(
                    "checkpoint_mib",
                    (1, 65_536),
                    256,
                    "Journal written between two checkpoints of the windows, in MiB.",
                ),
            ],
            inputs: vec![InputSpec::some(PortType::Frames), InputSpec::any(PortType::Orders)],
            outputs: vec![
                output("records", PortType::Records, true, 1, "Accepted reports, for the journal."),
                output("sealed", PortType::Sealed, false, 16, "Sealed APDUs, for downlinks."),
                output("events", PortType::Events, false, 8, "Refused frames and alarms."),
            ],
            provides: vec![],
            instances: Some("shards"),
            transport: None,
        }
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        let Err(error) = ApTitleBuf::parse(config.text("aptitle")) else { return Vec::new() };
        vec![Problem {
            code: "node::ap_title",
            field: Some("aptitle"),
            message: error.to_string(),
            help: None,
            warning: false,
        }]
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let directory: Arc<Directory> = key_store::lent(config, env)?;
        let title = ApTitleBuf::parse(config.text("aptitle"))
            .map_err(|error| BuildError::caused(env, "aptitle", error))?;
        let keys = config.text("keys");
        let wire = |port: &str, from: Option<&str>, to: &str| {
            env.wires
                .iter()
                .find(|wire| wire.port == port && from.is_none_or(|from| wire.from == from) && wire.to == to)
        };
        let balancer = wire(FRAMES, None, &env.node).map(|wire| wire.from.clone()).unwrap_or_default();
        let journal = env.readers("records").into_iter().next().unwrap_or_default().to_owned();
        let own = ShardOf { shard: env.instance, shards: env.instances.max(1) };
        let followed = wire("log", Some(&journal), keys).is_some();
        Ok(Box::new(Shard {
            own,
            followed,
            vault: key_store::lent(config, env)?,
            refusing: Refusing::new(env, env.services.find_or_provide(&balancer, Refusals::default())),
            journal,
            associations: Associations::new(own.shard, own.shards),
            classics: Classics::new(Rules::default()),
            in_flight: InFlight::default(),
            acknowledgements: Acknowledgements::new(
                env,
                Arc::clone(&directory),
                config.count("acknowledgements_max"),
            ),
            ways: Ways::new(title),
            downstream: Downstream::new(env, config.count("commands_max")),
            reserving: Reserving::new(env.services.find(keys)),
            registrations: None,
            groups: Groups::default(),
            lives: Lives::default(),
            issuing: HashMap::new(),
            challenges: Challenges::default(),
            given: Given::default(),
            spoilt: false,
            numbers: Numbers::new(env),
            system: directory.system(),
            directory,
            pool: env.pool.clone(),
            sent: Vec::new(),
            candidates: Vec::new(),
            opened: Vec::new(),
            checkpoint_octets: u64::try_from(config.integer("checkpoint_mib")).unwrap_or(1) << 20,
            checkpointed: None,
            checkpoint_at: Instant::now(),
            since: Instant::now(),
            env: env.clone(),
        }))
    }
}
