//! The kind `command-desk`: what it is called, takes and gives.

use std::time::Duration;

use commands::desk::{Desk, Settings};
use commands::front::Front;
use commands::group::GroupSettings;
use node::{
    BuildError, Config, Env, FieldSpec, FieldType, InputSpec, KindSpec, NodeKind, OutputSpec, PortType,
    Value, Worker,
};

use super::{CommandDesk, Known};
use crate::key_store;

/// The service that an `api` names in its `desk`.
pub const SERVICE: &str = "commands";

/// Requests of the interface that wait, at most.
const ASKED_MAX: usize = 1024;
/// How long one waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandDeskKind;

impl NodeKind for CommandDeskKind {
    fn spec(&self) -> KindSpec {
        let output =
            |name, port_type, required, max, about| OutputSpec { name, port_type, required, max, about };
        let seconds = |name, bounds, default, about| FieldSpec::integer(name, bounds, default, about);
        KindSpec {
            name: "command-desk",
            about: "Takes commands, has them signed and sent, and says how each ended; keeps groups.",
            fields: vec![
                key_store::field(),
                FieldSpec::integer("skid", (1, 255), 1, "The signing key that commands are for."),
                FieldSpec::integer(
                    "pending_max",
                    (1, 10_000_000),
                    100_000,
                    "Commands that are pending, at most.",
                ),
                FieldSpec::integer(
                    "kept_max",
                    (1, 10_000_000),
                    200_000,
                    "Commands kept, ended ones among them.",
                ),
                seconds(
                    "repeat_s",
                    (1, 86_400),
                    30,
                    "An unanswered command is sent again after so many seconds, then after twice as many.",
                ),
                seconds("repeat_max_s", (1, 86_400), 900, "No repeat waits longer, in seconds."),
                seconds(
                    "grace_s",
                    (0, 604_800),
                    300,
                    "After its time has passed, a command still waits so long for its result.",
                ),
                FieldSpec::integer(
                    "broadcasts_max",
                    (1, 1000),
                    5,
                    "A group command is sent so often, at most.",
                ),
                seconds(
                    "group_epoch_s",
                    (3600, 2_592_000),
                    2_592_000,
                    "After a removal a group's key is new at the latest so many seconds after the last one.",
                ),
                seconds(
                    "group_lead_s",
                    (0, 86_400),
                    600,
                    "A group's key goes out so many seconds before it comes into force.",
                ),
                seconds(
                    "catch_up_s",
                    (1, 604_800),
                    900,
                    "An epoch campaign's command to a group has so many seconds before its silent members are told one by one.",
                ),
                FieldSpec::or(
                    "due_per_s",
                    FieldType::Float { min: 0.001, max: 1000.0 },
                    Value::Float(2.0),
                    "So many end devices a second are moved on to their next epoch alone; 1 % of what the token signs.",
                ),
                FieldSpec::integer(
                    "due_max",
                    (1, 10_000_000),
                    200_000,
                    "End devices that wait for their next epoch, at most.",
                ),
                FieldSpec::integer(
                    "checkpoint_mib",
                    (1, 65_536),
                    64,
                    "Journal between two checkpoints of the desk, in MiB.",
                ),
            ],
            inputs: vec![InputSpec::one(PortType::Log)],
            outputs: vec![
                output("intents", PortType::Intents, true, 1, "Commands to be signed."),
                output(
                    "audit",
                    PortType::Audit,
                    true,
                    1,
                    "What root signed, before it goes out, for the audit log.",
                ),
                output("orders", PortType::Orders, true, 1, "Signed commands and group keys, by shard."),
                output("records", PortType::Records, true, 1, "What it has to tell itself, for the journal."),
                output("events", PortType::Events, false, 8, "Commands that ended without an answer."),
            ],
            provides: vec![SERVICE],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let seconds = |name: &str| u64::try_from(config.integer(name)).unwrap_or(0);
        let settings = Settings {
            pending_max: config.count("pending_max"),
            kept_max: config.count("kept_max"),
            grace_s: seconds("grace_s"),
            repeat_s: seconds("repeat_s"),
            repeat_max_s: seconds("repeat_max_s"),
            broadcasts_max: u32::try_from(config.integer("broadcasts_max")).unwrap_or(1),
            catch_up_s: seconds("catch_up_s"),
            due_max: config.count("due_max"),
            due_per_s: config.float("due_per_s"),
            groups: GroupSettings { epoch_s: seconds("group_epoch_s"), lead_s: seconds("group_lead_s") },
            ..Settings::default()
        };
        let known = Known::new(key_store::lent(config, env)?, key_store::lent(config, env)?);
        let skid = u8::try_from(config.integer("skid")).unwrap_or(1);
        let front = env.services.find_or_provide(&env.node, Front::new(ASKED_MAX, ANSWER_WITHIN));
        let keys = key_store::lent(config, env)?;
        let checkpoint_octets = seconds("checkpoint_mib") << 20;
        Ok(Box::new(CommandDesk::new(env, settings, skid, (known, keys), front, checkpoint_octets)))
    }
}

/// A desk that has heard nothing.
pub(super) fn empty(settings: Settings) -> Desk {
    Desk::new(settings)
}
