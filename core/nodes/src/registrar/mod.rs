//! `registrar`: end devices register here (security layer §5), and again when they must. It never touches a
//! reading: what comes too fast is refused by the balancer or here, and the token works on a thread of its
//! own.
//!
//! ```text
//! message_1 ─► admission ─► token (r·G_X) ─► message_2        reception, pending, agreeing
//! message_3 ─► credential ─► sealed record ─► order to the shard ─► durable ─► message_4
//! journal: PROVED ─► orders to retire the association before, and those that were never used
//! ```

mod admission;
mod agreeing;
mod answers;
mod clear;
mod kind;
mod means;
mod numbers;
mod pending;
mod proofs;
mod recent;
mod reception;
mod registrations;
mod shards;
mod unproven;

#[cfg(test)]
mod sample;

use std::sync::Arc;
use std::time::Duration;

use c1222::carriage::{self, FramePlace};
use c1222::{ApTitleBuf, Apdu, Leniency};
use node::{Batch, BatchPool, Context, Env, Frame, Next, NodeError, Reason, Severity, Source, Worker};
use seal::edhoc::{ErrorMessage, HeadEndCredential, HeadEndKid, Refusal};
use seal::ids::{Dev, Sid};
use seal::secret::scrubbed;

use crate::journal::Log;
use crate::located::Located;
use crate::record::Proved;
use crate::tally::{Tally, reasons};
use admission::Limits;
use agreeing::{Agreed, Agreeing};
use answers::{Answer, Answers};
use numbers::{Message, Numbers};
use pending::Caller;
use proofs::Proofs;
use reception::{Answer3, Declined, First, Reception};
use shards::{Given, Shards};
use unproven::Unproven;

pub use admission::Link;
pub use kind::RegistrarKind;
pub use means::{Closed, Lent, Means, NoKey};
pub use registrations::{Moved, Node, Provisioned, Provisioning, Registrations, Terms};

/// How long the journal is waited for between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// How often nodes that are silent are looked for.
const SWEEP_NS: u64 = 60_000_000_000;

/// What the configuration says.
struct Setup {
    /// The head-end's own title.
    title: ApTitleBuf,
    /// The name of its credential.
    kid: HeadEndKid,
    limits: Limits,
    pending_max: usize,
}

struct Registrar {
    env: Env,
    means: Arc<dyn Means>,
    credential: HeadEndCredential,
    registrations: Arc<Registrations>,
    reception: Reception,
    answers: Answers,
    shards: Shards,
    unproven: Unproven,
    tally: Tally,
    numbers: Numbers,
    /// The journal's node.
    journal: String,
    pool: BatchPool,
    /// Messages that wait for their association to be durable.
    writing: u64,
    /// When silent nodes are looked for.
    sweep_at: u64,
}

impl Worker for Registrar {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let orders = context.output("orders").ok_or_else(|| NodeError::new("no output `orders`"))?;
        let shards = context.outputs.get(orders).map_or(0, |output| output.edges.len());
        self.shards = Shards::new(shards);
        self.answers.connect(context, &self.env);
        let log = self.log()?;
        let mut proofs = Proofs::resume(&log, &self.env.node)
            .map_err(|error| NodeError::caused("follow the journal", error))?;
        let mut agreeing = Agreeing::start(Arc::clone(&self.means), self.credential, context.doorbell())
            .map_err(|error| NodeError::caused("start the thread of the token", error))?;
        let mut open = false;
        loop {
            self.hear(context, orders, &mut agreeing);
            let more = self.follow(context, &log, &mut proofs)?;
            self.shards.send(context, orders, &self.pool);
            self.answers.send(context);
            context.hold(self.writing.saturating_add(agreeing.asked() as u64));
            // Who comes before the start is over waits on the edge: a device that is refused may come back only
            // minutes later. What finds no room there is refused by the balancer.
            open = open || self.means.is_open() || context.orders.draining();
            if !open {
                if !more {
                    context.wait(LOOK)?;
                }
                continue;
            }
            match context.next(if more { Duration::ZERO } else { LOOK })? {
                Next::Batch { batch, .. } => scrubbed::<32, _>(|| self.take(context, &batch, &mut agreeing)),
                Next::Event(_) | Next::Idle => {}
                Next::Finished if agreeing.asked() == 0 && self.shards.is_empty() => {
                    self.answers.send(context);
                    return Ok(());
                }
                // The last devices are answered when their associations are durable.
                Next::Finished => context.wait(LOOK)?,
            }
        }
    }
}

impl Registrar {
    /// With empty tables.
    fn new(env: &Env, means: Arc<dyn Means>, registrations: Arc<Registrations>, setup: Setup) -> Self {
        let Setup { title, kid, limits, pending_max } = setup;
        let now = means.now();
        Self {
            credential: HeadEndCredential { kid, key: means.public_key() },
            reception: Reception::new(limits, pending_max, now),
            answers: Answers::new(env, title),
            shards: Shards::default(),
            unproven: Unproven::new(),
            tally: Tally::new(env),
            numbers: Numbers::new(env),
            journal: journal(env),
            pool: env.pool.clone(),
            writing: 0,
            sweep_at: now,
            registrations,
            means,
            env: env.clone(),
        }
    }

    fn log(&self) -> Result<Arc<Log>, NodeError> {
        let log = self.env.services.find(&self.journal);
        log.ok_or_else(|| NodeError::new(format!("the journal `{}` is not open", self.journal)))
    }

    /// Hears of the token, of the shards and of the time.
    fn hear(&mut self, context: &mut Context, orders: usize, agreeing: &mut Agreeing) {
        let now = self.means.now();
        self.expire(now);
        while let Some(agreed) = agreeing.next(now) {
            self.agreed(context, agreed);
        }
        let mut settled = Vec::new();
        let edges = context.outputs.get(orders).map(|output| output.edges.as_slice()).unwrap_or_default();
        self.shards.settle(edges, |given, durable| settled.push((given, durable)));
        for (given, durable) in settled {
            match given {
                Given::Register { sid, dev, .. } => self.settled(context, sid, dev, durable, now),
                Given::Retire(sid) if !durable => drop(self.shards.order(Given::Retire(sid))),
                Given::Retire(_) => {}
            }
        }
        for Moved { sid, link, detail } in self.registrations.take_moves() {
            let link = Source::Link { transport: link.transport, link: link.link };
            self.numbers.alarmed(reasons::MOVED);
            let source = sid.map_or(link, |sid| Source::Association(sid.0));
            context.events.report(reasons::MOVED, Severity::Alarm, source, || detail);
        }
        if now >= self.sweep_at {
            self.sweep_at = now.saturating_add(SWEEP_NS);
            self.registrations.sweep(now);
            self.numbers.nodes.set(i64::try_from(self.registrations.len()).unwrap_or(i64::MAX));
        }
        self.numbers.pending.set(i64::try_from(self.reception.pending.under_way()).unwrap_or(i64::MAX));
    }

    /// Ends what has had its time.
    fn expire(&mut self, now: u64) {
        let (means, expired) = (&self.means, &self.numbers.expired);
        self.reception.pending.expire(now, |sid| {
            means.free(sid);
            expired.add(1);
        });
    }

    /// The token has answered: message_2 goes out.
    fn agreed(&mut self, context: &mut Context, agreed: Agreed) {
        match agreed.run {
            Ok(run) => {
                if let Some((caller, message_2)) = self.reception.pending.agreed(run) {
                    self.answers.write(&caller, Answer::Message2(&message_2));
                }
                self.numbers.took(Message::First);
                context.let_go(1);
            }
            Err((reason, error)) => {
                self.reception.not_agreed(agreed.sid, &agreed.g_x);
                self.means.free(agreed.sid);
                self.tally.alarm(context, reason, Source::Node, || error);
            }
        }
    }

    /// The shard has settled a new association: message_4 goes out, if it is durable.
    fn settled(&mut self, context: &mut Context, sid: Sid, dev: Dev, durable: bool, now: u64) {
        self.writing = self.writing.saturating_sub(1);
        // Asked again: the device may have been revoked since its message_3 came.
        let revoked = self.means.device(dev) == Err(NoKey::Refused(Refusal::Revoked));
        if revoked {
            let caller = self.reception.pending.writing(sid).cloned();
            self.reception.pending.settle(sid, false, now);
            if let Some(caller) = caller {
                let detail = "a device that was revoked while it registered";
                self.decline(context, &caller, Declined::by(Refusal::Revoked, detail));
            }
            return;
        }
        let Some((caller, message_4)) = self.reception.pending.settle(sid, durable, now) else {
            return self.tally.alarm(context, reasons::STORE, Source::Association(sid.0), || {
                format!("the new association of device {dev} was not written")
            });
        };
        self.answers.write(&caller, Answer::Message4(&message_4));
        self.numbers.took(Message::Third);
        self.numbers.registered.add(1);
        context.let_go(1);
        let oldest = self.unproven.gave(dev, sid);
        let before = self.reception.completed(dev, sid, now);
        if before.is_some() {
            self.numbers.alarmed(reasons::REG_DUP);
            context.events.report(reasons::REG_DUP, Severity::Alarm, Source::Association(sid.0), || {
                format!("device {dev} registered again within ten minutes")
            });
        }
        // One that was never used holds its place no longer; one that was is replaced when the new one is.
        let current = self.means.association(dev);
        for sid in before.into_iter().chain(oldest).filter(|sid| current != Some(*sid)) {
            self.unproven.retired(dev, sid, now);
            self.shards.order(Given::Retire(sid));
        }
    }

    /// Follows the journal: what was used for the first time retires what it replaces. Answers whether there
    /// may be more to read.
    fn follow(&mut self, context: &mut Context, log: &Log, proofs: &mut Proofs) -> Result<bool, NodeError> {
        if proofs.wants_store(log) {
            // The cursor passes a proof when what it asked for is durable.
            if self.shards.retires() {
                return Ok(false);
            }
            if let Err(error) = proofs.store(log) {
                let detail = || error.to_string();
                context.events.report(Reason("cursor-failed"), Severity::Alarm, Source::Node, detail);
                return Ok(false);
            }
        }
        let (shards, reception, now) = (&mut self.shards, &mut self.reception, self.means.now());
        let unproven = &mut self.unproven;
        let read = proofs.read(|Proved { dev, sid, replaces }| {
            let before = reception.used(dev, sid, now);
            let Some(mut over) = unproven.proved(dev, sid, now) else { return };
            over.extend(replaces.into_iter().chain(before));
            over.sort_unstable();
            over.dedup();
            for sid in over {
                shards.order(Given::Retire(sid));
            }
        });
        read.map_err(|error| NodeError::caused("read the journal", error))
    }

    fn take(&mut self, context: &mut Context, batch: &Batch, agreeing: &mut Agreeing) {
        let now = self.means.now();
        self.expire(now);
        for frame in &batch.frames {
            let Some(octets) = batch.octets(frame) else {
                context.count_dropped(1);
                continue;
            };
            let source = Source::Link { transport: frame.transport(), link: frame.link };
            let Ok(apdu) = Apdu::decode(octets, Leniency::Draft) else {
                self.tally.refuse(context, reasons::FORMAT, source, || "no APDU".to_owned());
                continue;
            };
            match Located::get(frame) {
                Located::Registration { frame_type, head, body, body_len } => {
                    let head_len = carriage::head_len(0x10 | frame_type).unwrap_or(0);
                    let head_len = u8::try_from(head_len).unwrap_or(0);
                    let place = FramePlace { frame_type, head_len, head, body, body_len };
                    let caller = caller(frame, &apdu);
                    self.message(context, &place, octets, caller, agreeing, now);
                }
                Located::Clear => clear::take(self, context, frame, &apdu, now),
                Located::Profile1 { .. } | Located::Classic { .. } => {
                    self.tally.refuse(context, reasons::FORMAT, source, || "no registration".to_owned());
                }
            }
        }
    }

    /// Takes one EDHOC message.
    fn message(
        &mut self,
        context: &mut Context,
        place: &FramePlace,
        apdu: &[u8],
        caller: Caller,
        agreeing: &mut Agreeing,
        now: u64,
    ) {
        let message = place.body(apdu);
        match (place.frame_type, place.head(apdu)) {
            (0x8, _) => self.message_1(context, message, caller, agreeing, now),
            (0xa, [_, sid @ ..]) => {
                let sid = sid.try_into().map_or(Sid(u32::MAX), |octets| Sid(u32::from_be_bytes(octets)));
                self.message_3(context, sid, message, caller, now);
            }
            (0xc, _) => self.error(context, message, &caller),
            _ => {
                let detail = || "a message that only a head-end sends".to_owned();
                self.tally.refuse(context, reasons::FORMAT, source(&caller), detail);
            }
        }
    }

    fn message_1(
        &mut self,
        context: &mut Context,
        message_1: &[u8],
        caller: Caller,
        agreeing: &mut Agreeing,
        now: u64,
    ) {
        let (means, token) = (&self.means, agreeing.token(now));
        match self.reception.message_1(message_1, caller.clone(), token, now, || means.allocate()) {
            First::Ask(message_1, sid) => {
                let g_x = message_1.g_x();
                if !agreeing.ask(message_1, sid) {
                    self.reception.not_agreed(sid, &g_x);
                    self.means.free(sid);
                    let detail = || "the thread of the token is gone".to_owned();
                    self.tally.alarm(context, reasons::HSM, Source::Node, detail);
                }
            }
            First::Again(message_2) => {
                let answer = message_2.as_ref().map(|message| Answer::Message2(message));
                self.again(context, &caller, answer);
            }
            First::Declined(declined) => self.decline(context, &caller, declined),
        }
    }

    fn message_3(&mut self, context: &mut Context, sid: Sid, message_3: &[u8], caller: Caller, now: u64) {
        let (means, mut fault) = (&self.means, None);
        let device = |dev| {
            means.device(dev).map_err(|no_key| match no_key {
                NoKey::Refused(refusal) => refusal,
                NoKey::Fault(error) => {
                    fault = Some(error);
                    Refusal::Unknown
                }
            })
        };
        let answer = self.reception.message_3(sid, message_3, caller.clone(), now, device);
        if let Some(error) = fault {
            return self.tally.alarm(context, reasons::STORE, source(&caller), || error);
        }
        match answer {
            Answer3::New(registered) => {
                let dev = registered.dev;
                let sealed = self.means.seal(&registered);
                let given =
                    |sealed| Given::Register { sid, dev, replaces: self.means.association(dev), sealed };
                let ordered = sealed.map(given).and_then(|given| {
                    let ordered = self.shards.order(given);
                    ordered.then_some(()).ok_or_else(|| "there is no shard".to_owned())
                });
                match ordered {
                    Ok(()) => self.writing = self.writing.saturating_add(1),
                    Err(error) => {
                        self.reception.pending.settle(sid, false, now);
                        self.tally.alarm(context, reasons::STORE, source(&caller), || error);
                    }
                }
            }
            Answer3::Again(message_4) => {
                let answer = message_4.as_ref().map(|message| Answer::Message4(message));
                self.again(context, &caller, answer);
            }
            Answer3::Declined(declined) => self.decline(context, &caller, declined),
        }
    }

    /// A device says that it ends a registration. Nobody signs that, so it ends none here.
    fn error(&mut self, context: &mut Context, message: &[u8], caller: &Caller) {
        if ErrorMessage::read(message).is_err() {
            // An error is never answered by one.
            let reason = reasons::of_registration(Refusal::Format);
            return self.tally.refuse(context, reason, source(caller), || "an error message".to_owned());
        }
        self.numbers.took(Message::Error);
        context.let_go(1);
        context.events.report(Reason("registration-error"), Severity::Info, source(caller), || {
            "a device reports an error in a registration".to_owned()
        });
    }

    /// A repeat is answered as before.
    fn again(&mut self, context: &Context, caller: &Caller, answer: Option<Answer<'_>>) {
        self.numbers.duplicates.add(1);
        context.let_go(1);
        if let Some(answer) = answer {
            self.answers.write(caller, answer);
        }
    }

    fn decline(&mut self, context: &mut Context, caller: &Caller, declined: Declined) {
        self.tally.refuse(context, declined.reason, source(caller), || declined.detail.to_owned());
        if let Some(error) = declined.reply {
            self.answers.write(caller, Answer::Error(error));
        }
    }
}

impl Drop for Registrar {
    /// What no shard has heard of is free again, also after a failure.
    fn drop(&mut self) {
        let means = &self.means;
        self.reception.pending.end(|sid| means.free(sid));
    }
}

/// Whom an answer to a message goes to.
fn caller(frame: &Frame, apdu: &Apdu<'_>) -> Caller {
    Caller {
        link: Link::of(frame),
        title: apdu.envelope.calling.map(ApTitleBuf::from),
        invocation: apdu.envelope.invocation,
    }
}

fn source(caller: &Caller) -> Source {
    Source::Link { transport: caller.link.transport, link: caller.link.link }
}

/// The node whose log it follows.
fn journal(env: &Env) -> String {
    let log = env.wires.iter().find(|wire| wire.to == env.node && wire.port == "log");
    log.map(|wire| wire.from.clone()).unwrap_or_default()
}
