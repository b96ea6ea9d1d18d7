//! `command-signer`: signs commands that the policy lets through, and nothing else.
//!
//! ```text
//! intents -> policy -> approvals -> class -> CTR durable -> audit entry durable -> token signs -> SIGNED durable
//! ```
//! Batches go through one after the other, each step for all of a batch at once. Where policy, clock, counters,
//! audit log or token are missing it refuses with the code (security layer §10); reading goes on without it.

mod means;
mod policy_file;
mod state;
mod work;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use commands::code::SignRefusal;
use commands::signer::{ClockLook, Signer, Verdict};
use journal::{Position, Reader};
use node::{
    Batch, BatchPool, BuildError, Config, Context, Counter, Env, FieldSpec, FieldType, InputSpec, KindSpec,
    Next, NodeError, NodeKind, OutputSpec, PortType, Reason, Severity, Source, Worker,
};

use crate::in_flight::{InFlight, Settled};
use crate::journal::Log;
use crate::key_store;
use crate::record::{self, Signed};
use crate::tally::Tally;
use means::{Hand, Meters};
pub use means::{Lent, Means};
use policy_file::PolicyFile;
pub use policy_file::RootKey;
use work::{Step, Work};

/// How long the edges are waited for between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Batches on their way at the same time.
const WORKS_MAX: usize = 16;
/// How long a disk that took no checkpoint is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommandSignerKind;

impl NodeKind for CommandSignerKind {
    fn spec(&self) -> KindSpec {
        let output =
            |name, port_type, required, max, about| OutputSpec { name, port_type, required, max, about };
        KindSpec {
            name: "command-signer",
            about: "Signs the commands that the policy lets through, with a key that never leaves its token.",
            fields: vec![
                key_store::field(),
                FieldSpec::required(
                    "policy",
                    FieldType::Path,
                    "The policy file; its signatures are beside it, `.sig` behind its name.",
                ),
                FieldSpec::optional(
                    "root",
                    FieldType::Path,
                    "The root's public key: `04`, x and y in hexadecimal. Root signs the first policy.",
                ),
                FieldSpec::integer("skid", (1, 255), 1, "The signing key."),
                FieldSpec::integer(
                    "checkpoint_mib",
                    (1, 65_536),
                    64,
                    "Journal written between two checkpoints of the counters, in MiB.",
                ),
            ],
            inputs: vec![InputSpec::some(PortType::Intents)],
            outputs: vec![
                output(
                    "records",
                    PortType::Records,
                    true,
                    1,
                    "Counters and signed commands, for the journal.",
                ),
                output("audit", PortType::Audit, true, 1, "What is about to be signed, for the audit log."),
                output("events", PortType::Events, false, 8, "Refused commands, a closed signer."),
            ],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let skid = u8::try_from(config.integer("skid")).unwrap_or(1);
        let means = means::find(config, env, skid)?;
        let place = |path: &str| env.state.join(path);
        let folder: PathBuf = place(&format!("signer-{skid}"));
        let root = config.text_opt("root").map(place);
        Ok(Box::new(CommandSigner {
            skid,
            signer: Signer::new(means.system(), skid),
            means,
            policy_file: PolicyFile::new(place(config.text("policy")), root, &folder),
            journal: env.readers("records").into_iter().next().unwrap_or_default().to_owned(),
            works: VecDeque::new(),
            serial: 0,
            records: InFlight::default(),
            audit: InFlight::default(),
            checkpoint_octets: u64::try_from(config.integer("checkpoint_mib")).unwrap_or(1) << 20,
            checkpointed: None,
            checkpoint_at: Instant::now(),
            numbers: Numbers {
                signed: env.counter("metergraph_commands_signed_total", "Commands signed.", &[]),
                policy: env.gauge("metergraph_policy_version", "The policy in force; 0 for none.", &[]),
            },
            tally: Tally::new(env),
            pool: env.pool.clone(),
            env: env.clone(),
        }))
    }
}

struct Numbers {
    signed: Counter,
    policy: node::Gauge,
}

struct CommandSigner {
    skid: u8,
    means: Arc<dyn Means>,
    signer: Signer,
    policy_file: PolicyFile,
    /// The journal's node.
    journal: String,
    /// Oldest first.
    works: VecDeque<Work>,
    serial: u64,
    /// Serials of works by what they sent to the journal, and to the audit log.
    records: InFlight<u64>,
    audit: InFlight<u64>,
    checkpoint_octets: u64,
    checkpointed: Option<Position>,
    /// No checkpoint before this.
    checkpoint_at: Instant,
    numbers: Numbers,
    tally: Tally,
    pool: BatchPool,
    env: Env,
}

/// Where the edges are.
#[derive(Clone, Copy)]
struct Ports {
    records: usize,
    audit: usize,
}

impl Worker for CommandSigner {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let port = |name: &str| {
            let output = context
                .output(name)
                .filter(|output| context.outputs.get(*output).is_some_and(|output| !output.edges.is_empty()));
            output.ok_or_else(|| NodeError::new(format!("nobody reads `{name}`")))
        };
        let ports = Ports { records: port("records")?, audit: port("audit")? };
        let log: Arc<Log> = self
            .env
            .services
            .find(&self.journal)
            .ok_or_else(|| NodeError::new(format!("the journal `{}` is not open", self.journal)))?;
        let mut reader = self.rebuild(context, ports, &log)?;
        let means = Arc::clone(&self.means);
        let meters = Meters::read(&means, |profile| {
            let what = || format!("device profile {profile} cannot be read");
            context.events.report(Reason("device-profile"), Severity::Alarm, Source::Node, what);
        });
        loop {
            self.keep_up(context, ports, &mut reader)?;
            self.look_at_clock(context);
            self.look_at_policy(context, ports)?;
            self.checkpoint(context, &log, &mut reader, false)?;
            if self.works.len() >= WORKS_MAX {
                context.wait(LOOK)?;
                continue;
            }
            match context.next(Duration::from_secs(1))? {
                Next::Batch { input, number, batch } => {
                    // What the desk has heard of must be known before it is asked for more.
                    self.keep_up(context, ports, &mut reader)?;
                    self.take(context, ports, (input, number), &batch, &meters)?;
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished if self.works.is_empty() => {
                    return self.checkpoint(context, &log, &mut reader, true);
                }
                Next::Finished => context.wait(LOOK)?,
            }
        }
    }
}

impl CommandSigner {
    fn rebuild(&mut self, context: &mut Context, ports: Ports, log: &Log) -> Result<Reader, NodeError> {
        // What an earlier run sent is settled first, and known for certain only in a log that was opened again.
        while log.has_ended() || [ports.records, ports.audit].iter().any(|port| !is_settled(context, *port)) {
            context.wait(LOOK)?;
        }
        let (reader, stored) = state::rebuild(log, self.skid, &mut self.signer)
            .map_err(|error| NodeError::caused("rebuild counters from the journal", error))?;
        self.checkpointed = stored;
        match self.policy_file.in_force() {
            Ok(policy) => policy.into_iter().for_each(|policy| self.put_in_force(policy)),
            Err(why) => self.policy_refused(context, why),
        }
        Ok(reader)
    }

    /// Hears what is settled and what end devices have answered.
    fn keep_up(&mut self, context: &mut Context, ports: Ports, reader: &mut Reader) -> Result<(), NodeError> {
        state::follow(reader, &mut self.signer)
            .map_err(|error| NodeError::caused("follow the journal", error))?;
        let (mut settled, mut known) = (Vec::new(), true);
        for (port, in_flight) in [(ports.records, &mut self.records), (ports.audit, &mut self.audit)] {
            let edge = context.outputs.get(port).and_then(|output| output.edges.first());
            known &=
                edge.is_none_or(|edge| in_flight.settle(edge, |serial, what| settled.push((serial, what))));
        }
        if !known {
            return Err(NodeError::Rebuild("nobody knows what became of counters or audit entries".into()));
        }
        for (serial, settled) in settled {
            self.advance(context, ports, serial, settled)?;
        }
        self.end_works(context);
        Ok(())
    }

    /// Decides over a batch of intents, and sends its counters to the journal.
    fn take(
        &mut self,
        context: &mut Context,
        ports: Ports,
        from: (usize, u64),
        batch: &Batch,
        meters: &Meters,
    ) -> Result<(), NodeError> {
        let now = self.look_at_clock(context) / 1000;
        let mut work = self.work(Some(from), batch.len() as u64);
        let mut fence = None;
        for frame in &batch.frames {
            let octets = batch.octets(frame).unwrap_or_default();
            match self.signer.authorise(octets, now, meters) {
                Verdict::Authorised(authorised) => {
                    // Read again before each reservation: one for the batch.
                    if let Err(refusal) = fence.get_or_insert_with(|| self.means.fence()).clone() {
                        self.signer.cancel(&authorised);
                        let intent = Some(Box::new(authorised.intent));
                        self.refuse(context, &mut work, intent, refusal);
                    } else {
                        work.authorised.push(*authorised);
                    }
                }
                Verdict::Refused { intent, refusal } => self.refuse(context, &mut work, intent, refusal),
                Verdict::InFlight => {}
            }
        }
        if work.authorised.is_empty() {
            self.audit(context, ports, &mut work)?;
        } else {
            let batch = work.reservations(self.pool.take());
            work.step = Step::Reserved;
            self.records(context, ports, &mut work, batch)?;
        }
        self.works.push_back(work);
        self.end_works(context);
        Ok(())
    }

    /// Compares the clocks; answers wall time, Unix milliseconds.
    fn look_at_clock(&mut self, context: &mut Context) -> u64 {
        let before = self.means.running_ms();
        let wall = self.means.now_ms();
        let look = ClockLook { before, wall, after: self.means.running_ms() };
        if let Some(refusal) = self.signer.look(look) {
            let reason = Reason(refusal.code());
            context.events.report(reason, Severity::Alarm, Source::Node, || refusal.to_string());
        }
        wall
    }

    fn work(&mut self, from: Option<(usize, u64)>, frames: u64) -> Work {
        self.serial = self.serial.saturating_add(1);
        let (authorised, refused) = (Vec::new(), Vec::new());
        Work { serial: self.serial, from, frames, authorised, refused, policy: None, step: Step::Ended }
    }

    fn refuse(
        &mut self,
        context: &mut Context,
        work: &mut Work,
        intent: Option<Box<commands::intent::Intent>>,
        refusal: SignRefusal,
    ) {
        let detail = || match &intent {
            Some(intent) => format!("command {} of `{}`: {refusal}", intent.id, intent.requester),
            None => refusal.to_string(),
        };
        self.tally.refuse(context, Reason(refusal.code()), Source::Node, detail);
        work.refused.push((intent, refusal));
    }

    /// None of what was authorised is signed.
    fn refuse_all(&mut self, context: &mut Context, work: &mut Work, refusal: &SignRefusal) {
        for authorised in std::mem::take(&mut work.authorised) {
            self.signer.cancel(&authorised);
            self.refuse(context, work, Some(Box::new(authorised.intent)), refusal.clone());
        }
    }

    /// What a work waited for is settled: the next step.
    fn advance(
        &mut self,
        context: &mut Context,
        ports: Ports,
        serial: u64,
        settled: Settled,
    ) -> Result<(), NodeError> {
        let Some(at) = self.works.iter().position(|work| work.serial == serial) else { return Ok(()) };
        let Some(mut work) = self.works.remove(at) else { return Ok(()) };
        match (work.step, settled) {
            (Step::Reserved, Settled::Committed) => self.audit(context, ports, &mut work)?,
            (Step::Reserved | Step::Signed, Settled::Failed) => {
                self.refuse_all(context, &mut work, &SignRefusal::Store);
                self.fail(context, &mut work);
            }
            (Step::Audited, Settled::Committed) => self.sign(context, ports, &mut work)?,
            (Step::Audited, Settled::Failed) => {
                self.refuse_all(context, &mut work, &SignRefusal::Audit);
                if work.policy.take().is_some() {
                    self.policy_file.forget();
                }
                self.conclude(context, ports, &mut work)?;
            }
            (Step::Signed, Settled::Committed) => {
                self.numbers.signed.add(work.authorised.len() as u64);
                work.authorised.iter().for_each(|authorised| self.signer.signed(authorised));
                work.step = Step::Ended;
            }
            (Step::Ended, _) => {}
        }
        self.works.insert(at, work);
        Ok(())
    }

    /// Sends what is about to be signed to the audit log.
    fn audit(&mut self, context: &mut Context, ports: Ports, work: &mut Work) -> Result<(), NodeError> {
        let batch = work.entries(self.means.now_ms(), self.pool.take());
        work.step = Step::Audited;
        match context.send(ports.audit, 0, batch)? {
            Some(number) => self.audit.add(number, &mut vec![work.serial]),
            // Nothing to be told: all of it is on its way already.
            None => work.step = Step::Ended,
        }
        Ok(())
    }

    /// Signs all that is authorised; past a token that fails none is tried.
    fn sign(&mut self, context: &mut Context, ports: Ports, work: &mut Work) -> Result<(), NodeError> {
        if let Some(accepted) = work.policy.take() {
            match self.policy_file.keep(&accepted) {
                Ok(()) => self.put_in_force(accepted.policy),
                Err(error) => {
                    self.policy_file.forget();
                    self.policy_refused(context, format!("keep the policy: {error}"));
                }
            }
            work.step = Step::Ended;
            return Ok(());
        }
        let means = Arc::clone(&self.means);
        let mut batch = self.pool.take();
        let mut signed = Vec::with_capacity(work.authorised.len());
        let mut failed = None;
        for authorised in std::mem::take(&mut work.authorised) {
            let refusal = match &failed {
                Some(why) => SignRefusal::Hsm(String::clone(why)),
                None => match authorised.sign(&Hand(&*means)) {
                    Ok(octets) => {
                        record::push(&mut batch, &Signed { id: authorised.intent.id, octets: &octets });
                        signed.push(authorised);
                        continue;
                    }
                    Err(why) => SignRefusal::Hsm(failed.insert(why).clone()),
                },
            };
            self.signer.cancel(&authorised);
            self.refuse(context, work, Some(Box::new(authorised.intent)), refusal);
        }
        work.authorised = signed;
        work.refusals(&mut batch);
        work.step = Step::Signed;
        self.records(context, ports, work, batch)
    }

    /// Nothing is signed: the journal hears of the refusals.
    fn conclude(&mut self, context: &mut Context, ports: Ports, work: &mut Work) -> Result<(), NodeError> {
        let mut batch = self.pool.take();
        work.refusals(&mut batch);
        work.step = Step::Signed;
        self.records(context, ports, work, batch)
    }

    fn records(
        &mut self,
        context: &mut Context,
        ports: Ports,
        work: &mut Work,
        batch: Batch,
    ) -> Result<(), NodeError> {
        match context.send(ports.records, 0, batch)? {
            Some(number) => self.records.add(number, &mut vec![work.serial]),
            None => work.step = Step::Ended,
        }
        Ok(())
    }

    /// The journal takes nothing: who asked is told so by the edge, and asks again.
    fn fail(&self, context: &Context, work: &mut Work) {
        if let Some((input, number)) = work.from {
            context.inputs.get(input).into_iter().for_each(|edge| edge.fail(number));
        }
        work.step = Step::Ended;
    }

    /// Says what is done, in the order in which it was asked for.
    fn end_works(&mut self, context: &mut Context) {
        while let Some(work) = self.works.pop_front_if(|work| work.step == Step::Ended) {
            if let Some((input, number)) = work.from {
                context.inputs.get(input).into_iter().for_each(|edge| edge.settle(number));
            }
        }
        context.hold(self.works.iter().map(|work| work.frames).sum());
    }

    fn look_at_policy(&mut self, context: &mut Context, ports: Ports) -> Result<(), NodeError> {
        if self.works.iter().any(|work| work.policy.is_some()) {
            return Ok(());
        }
        match self.policy_file.look(self.signer.policy().map(|policy| &**policy)) {
            None => {}
            Some(Ok(accepted)) => {
                let mut work = self.work(None, 0);
                work.policy = Some(accepted);
                self.audit(context, ports, &mut work)?;
                self.works.push_back(work);
            }
            Some(Err(why)) => self.policy_refused(context, why),
        }
        Ok(())
    }

    fn put_in_force(&mut self, policy: commands::policy::Policy) {
        self.numbers.policy.set(i64::try_from(policy.version()).unwrap_or(i64::MAX));
        // The desk asks it who approves.
        self.env.services.provide(&self.env.node, Arc::new(policy.clone()));
        // It also takes what root itself signed; without the key it says that it has none.
        if let Some(Ok(root)) = self.policy_file.root() {
            self.env.services.provide(&self.env.node, Arc::new(RootKey(root)));
        }
        self.signer.set_policy(policy);
    }

    fn policy_refused(&self, context: &mut Context, why: String) {
        context.events.report(Reason("SEC-CMD-POLICY"), Severity::Alarm, Source::Node, || why);
    }

    /// Writes a checkpoint when enough was written since the last one; with `last` in any case.
    fn checkpoint(
        &mut self,
        context: &mut Context,
        log: &Log,
        reader: &mut Reader,
        last: bool,
    ) -> Result<(), NodeError> {
        let since = self.checkpointed.map(|before| reader.position().since(before));
        let due = since.is_none_or(|octets| octets >= self.checkpoint_octets)
            || (self.checkpointed.is_some_and(|before| log.wants_mark(before))
                && since.is_some_and(|octets| octets > 0));
        if !(due || last) || !self.signer.is_idle() || Instant::now() < self.checkpoint_at {
            return Ok(());
        }
        state::follow(reader, &mut self.signer)
            .map_err(|error| NodeError::caused("follow the journal", error))?;
        match state::write(log, self.skid, reader.position(), &self.signer) {
            Ok(()) => self.checkpointed = Some(reader.position()),
            Err(error) => {
                self.checkpoint_at = Instant::now() + PAUSE;
                let what = || error.to_string();
                context.events.report(Reason("checkpoint-failed"), Severity::Alarm, Source::Node, what);
            }
        }
        Ok(())
    }
}

/// Whether all that was ever sent is settled.
fn is_settled(context: &Context, port: usize) -> bool {
    let edge = context.outputs.get(port).and_then(|output| output.edges.first());
    edge.is_none_or(|edge| edge.settled() >= edge.pushed())
}
