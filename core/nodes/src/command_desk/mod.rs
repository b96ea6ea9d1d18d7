//! `command-desk`: takes commands, has them signed, has them sent until they are answered, and says how each
//! ended; keeps groups and epoch campaigns.
//!
//! All that it knows is in the journal: it tells itself by records, and acts on what it reads there. So an
//! intent is durable before it is answered, and after a crash everything goes on from what was written.

mod asking;
mod entering;
mod fleet;
mod kind;
mod outgoing;
mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use commands::approval::Approval;
use commands::campaign::CampaignChange;
use commands::desk::{Action, Desk, Ended, Heard, Settings, Taken, Why};
use commands::front::{Front, Refusal, Reply};
use commands::intent::SigningRequest;
use journal::{Position, Reader};
use keystore::GroupKeySource;
use node::{
    BatchPool, Context, Counter, Doorbell, Env, Frame, Gauge, Next, NodeError, Reason, Severity, Source,
    Worker,
};
use seal::command::{Addressee, Class};
use seal::ids::{Dev, Epoch, Gid, Sid};

use crate::clock::unix_s;
use crate::in_flight::Settled;
use crate::journal::Log;
use crate::order::Order;
use crate::record::DeskEntry;
use asking::After;
use entering::Entered;
use fleet::Known;
pub use kind::{CommandDeskKind, SERVICE};
use outgoing::Outgoing;

/// How long the journal is waited for between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Records read between two looks at anything else.
const RECORDS_A_TURN: usize = 20_000;
/// Actions of each kind in one turn.
const ACTIONS_A_TURN: usize = 1000;
/// How long a disk that took no checkpoint is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Associations in one order to issue epochs.
const SIDS_AN_ORDER: usize = 4096;

/// What an order to a shard was for.
enum Ordered {
    /// A part of a campaign's candidates.
    Issue(u32),
    /// A revocation that somebody waits for.
    Revoke(Arc<Revocation>),
}

/// Somebody waits until all associations of a device are revoked: each order holds it, the last one answers.
struct Revocation {
    reply: Reply<()>,
    failed: AtomicBool,
}

impl Revocation {
    fn new(reply: Reply<()>) -> Self {
        Self { reply, failed: AtomicBool::new(false) }
    }

    /// One order is settled.
    fn settled(self: Arc<Self>, outcome: Settled) {
        if outcome == Settled::Failed {
            self.failed.store(true, Ordering::Relaxed);
        }
        if let Some(Self { reply, failed }) = Arc::into_inner(self) {
            let failed = failed.into_inner();
            reply.send(if failed { Err(Refusal::Store) } else { Ok(()) });
        }
    }
}

/// The edges of a running desk.
struct Ways {
    intents: Outgoing<()>,
    orders: Outgoing<Ordered>,
    records: Outgoing<After>,
    audit: Outgoing<Entered>,
}

struct CommandDesk {
    settings: Settings,
    skid: u8,
    desk: Desk,
    known: Known,
    keys: Arc<GroupKeySource>,
    front: Arc<Front>,
    /// Orders of a campaign's candidates that are not settled.
    issuing: HashMap<u32, usize>,
    /// Request ids on their way to the log, with what was asked for: nothing is taken twice.
    offered: HashMap<String, [u8; 32]>,
    /// When class-3 commands of this and later seconds begin.
    begun: HashMap<Addressee, u32>,
    /// None begins before: what the life before it has begun may be in a checkpoint, which does not say when.
    opens: u32,
    /// Associations that found no room among those that are due, and were told of.
    dropped: u64,
    /// Names a procedure's call.
    sequence: u8,
    /// The journal's node.
    journal: String,
    checkpoint_octets: u64,
    checkpointed: Option<Position>,
    /// No checkpoint before this.
    checkpoint_at: Instant,
    numbers: Numbers,
    pool: BatchPool,
    env: Env,
}

/// What the desk counts.
struct Numbers {
    ended: BTreeMap<(u8, &'static str), Counter>,
    taken: Counter,
    unsent: Counter,
    pending: Gauge,
    /// In the order of [`Why::ALL`].
    due: [Gauge; Why::ALL.len()],
    due_dropped: Counter,
    env: Env,
}

impl Numbers {
    fn new(env: &Env) -> Self {
        Self {
            ended: BTreeMap::new(),
            taken: env.counter("metergraph_commands_taken_total", "Commands taken.", &[]),
            unsent: env.counter(
                "metergraph_commands_unsent_total",
                "Times a command could not be given to a shard: its device has no association.",
                &[],
            ),
            pending: env.gauge("metergraph_commands_pending", "Commands that have not ended.", &[]),
            due: Why::ALL.map(|why| {
                env.gauge(
                    "metergraph_epochs_due",
                    "Associations that should leave their epoch, and have not.",
                    &[("why", why.word())],
                )
            }),
            due_dropped: env.counter(
                "metergraph_epochs_due_dropped_total",
                "Associations that should leave their epoch, and found no room among those that wait.",
                &[],
            ),
            env: env.clone(),
        }
    }

    fn ended(&mut self, ended: &Ended) {
        let env = &self.env;
        let counter = self.ended.entry((ended.class, ended.outcome)).or_insert_with(|| {
            let class = ended.class.to_string();
            env.counter(
                "metergraph_commands_ended_total",
                "Commands that ended, by class and outcome.",
                &[("class", class.as_str()), ("outcome", ended.outcome)],
            )
        });
        counter.add(1);
    }
}

impl Worker for CommandDesk {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let log: Arc<Log> = self
            .env
            .services
            .find(&self.journal)
            .ok_or_else(|| NodeError::new(format!("the journal `{}` is not open", self.journal)))?;
        let mut ways = Ways {
            intents: Outgoing::new(context, "intents", &self.pool)?,
            orders: Outgoing::new(context, "orders", &self.pool)?,
            records: Outgoing::new(context, "records", &self.pool)?,
            audit: Outgoing::new(context, "audit", &self.pool)?,
        };
        // What an earlier run sent is settled first, and known for certain only in a log that was opened again.
        while log.has_ended() || !ways.records.is_settled(context) {
            context.wait(LOOK)?;
        }
        let mut reader = self.rebuild(&log)?;
        let bell: Doorbell = context.doorbell();
        self.front.set_bell(move || bell.ring());
        loop {
            let more = self.turn(context, &mut ways, &mut reader)?;
            self.checkpoint(context, &log, &reader, false)?;
            match context.next(if more { Duration::ZERO } else { LOOK })? {
                Next::Finished => break,
                Next::Batch { .. } | Next::Event(_) | Next::Idle => {}
            }
        }
        // The journal waits for this node to end: nothing new is begun, what is under way is settled.
        self.close_front();
        while !ways.are_empty() {
            self.hear(context, &mut ways, &mut reader)?;
            ways.send(context);
            context.wait(LOOK)?;
        }
        while self.follow(context, &mut reader)? {}
        self.checkpoint(context, &log, &reader, true)
    }
}

impl Ways {
    fn send(&mut self, context: &mut Context) {
        self.records.send(context);
        self.audit.send(context);
        self.intents.send(context);
        self.orders.send(context);
    }

    fn are_empty(&self) -> bool {
        self.records.is_empty() && self.audit.is_empty() && self.intents.is_empty() && self.orders.is_empty()
    }
}

impl CommandDesk {
    fn new(
        env: &Env,
        settings: Settings,
        skid: u8,
        (known, keys): (Known, Arc<GroupKeySource>),
        front: Arc<Front>,
        checkpoint_octets: u64,
    ) -> Self {
        Self {
            settings,
            skid,
            desk: kind::empty(settings),
            known,
            keys,
            front,
            issuing: HashMap::new(),
            offered: HashMap::new(),
            begun: HashMap::new(),
            opens: 0,
            dropped: 0,
            sequence: 0,
            journal: env.readers("records").into_iter().next().unwrap_or_default().to_owned(),
            checkpoint_octets,
            checkpointed: None,
            checkpoint_at: Instant::now(),
            numbers: Numbers::new(env),
            pool: env.pool.clone(),
            env: env.clone(),
        }
    }

    fn rebuild(&mut self, log: &Log) -> Result<Reader, NodeError> {
        let failed = |error| NodeError::caused("rebuild the desk from the journal", error);
        let mut desk = kind::empty(self.settings);
        // What the life before has begun is not begun in the same second once more.
        self.opens = u32::try_from(unix_s()).unwrap_or(u32::MAX).saturating_add(1);
        let begun = &mut self.begun;
        let mut taken = |command: &Taken| {
            if command.class == Class::Load {
                let last = begun.entry(command.addressee).or_default();
                *last = command.nbf.max(*last);
            }
        };
        let (reader, stored) =
            state::rebuild(log, &self.env.node, &mut desk, &self.known, &mut taken).map_err(failed)?;
        desk.begin(unix_s());
        self.dropped = desk.due_dropped();
        self.desk = desk;
        self.issuing.clear();
        self.offered.clear();
        self.checkpointed = stored;
        if stored.is_some() {
            log.mark(&self.env.node);
        }
        // It follows the log and writes to it, and keeps one mark for both.
        log.mark(&format!("{}.records", self.env.node));
        Ok(reader)
    }

    /// Answers those who wait, and those who come later, that the desk is closed.
    fn close_front(&self) {
        let front = Arc::downgrade(&self.front);
        self.front.set_bell(move || drop(front.upgrade().and_then(|front| front.take())));
        while let Some(asked) = self.front.take() {
            drop(asked);
        }
    }

    /// Reads, hears, answers, acts, sends. Answers whether there is more to be done at once.
    fn turn(
        &mut self,
        context: &mut Context,
        ways: &mut Ways,
        reader: &mut Reader,
    ) -> Result<bool, NodeError> {
        let mut more = self.hear(context, ways, reader)?;
        while !ways.records.is_full()
            && let Some(asked) = self.front.take()
        {
            more = true;
            self.asked(ways, asked);
        }
        let full = ways.intents.is_full() || ways.orders.is_full() || ways.records.is_full();
        let now = unix_s();
        if !full && self.desk.due().is_some_and(|due| due <= now) {
            for action in self.desk.act(now, ACTIONS_A_TURN, &self.known) {
                self.act(context, ways, action);
            }
        }
        ways.send(context);
        self.tell_numbers(context);
        Ok(more)
    }

    fn tell_numbers(&mut self, context: &mut Context) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.numbers.pending.set(number(self.desk.pending()));
        for (why, gauge) in Why::ALL.into_iter().zip(&self.numbers.due) {
            gauge.set(number(self.desk.due_for(why)));
        }
        let dropped = self.desk.due_dropped();
        let new = dropped.saturating_sub(std::mem::replace(&mut self.dropped, dropped));
        self.numbers.due_dropped.add(new);
        let max = self.settings.due_max;
        context.events.report_many(Reason("epochs-due-full"), Severity::Alarm, Source::Node, new, || {
            format!("{max} end devices wait for their next epoch: no more are kept")
        });
    }

    /// Hears what is settled and what the log tells, and answers who waited for it. Answers whether there may
    /// be more to read.
    fn hear(
        &mut self,
        context: &mut Context,
        ways: &mut Ways,
        reader: &mut Reader,
    ) -> Result<bool, NodeError> {
        let mut settled = Vec::new();
        ways.records.settle(context, |after, outcome| settled.push((after, outcome)))?;
        ways.intents.settle(context, |(), _| {})?;
        let mut entered = Vec::new();
        ways.audit.settle(context, |entry, outcome| entered.push((entry, outcome)))?;
        let mut ordered = Vec::new();
        ways.orders.settle(context, |order, outcome| ordered.push((order, outcome)))?;
        // What was settled stands in the log: it is heard before anybody is answered.
        let mut more = self.follow(context, reader)?;
        while more && !settled.is_empty() {
            more = self.follow(context, reader)?;
        }
        self.offered.retain(|request_id, _| self.desk.requested(request_id).is_none());
        if ways.records.is_empty() && ways.audit.is_empty() {
            // What is not heard by now was not written.
            self.offered.clear();
        }
        for (after, outcome) in settled {
            self.answer(after, outcome);
        }
        for (entry, outcome) in entered {
            self.entered(context, ways, entry, outcome);
        }
        for (order, outcome) in ordered {
            self.ordered(ways, order, outcome);
        }
        Ok(more)
    }

    /// Reads on in the log. Answers whether there may be more.
    fn follow(&mut self, context: &mut Context, reader: &mut Reader) -> Result<bool, NodeError> {
        let mut ended = Vec::new();
        let more =
            state::follow(reader, &mut self.desk, &self.known, RECORDS_A_TURN, &mut |end| ended.push(end))
                .map_err(|error| NodeError::caused("read the journal", error))?;
        for end in ended {
            self.numbers.ended(&end);
            if let Some(dev) = end.due {
                let (reason, severity) = match end.outcome {
                    "done" => (Reason("epoch-advanced"), Severity::Info),
                    _ => (Reason("epoch-not-advanced"), Severity::Warning),
                };
                let detail = || format!("the advance of {dev}: {}", end.outcome);
                context.events.report(reason, severity, Source::Node, detail);
            }
            if end.unproven {
                context.events.report(Reason("result-unproven"), Severity::Alarm, Source::Node, || {
                    "a class-3 command ended without its device's signature".to_owned()
                });
            }
        }
        Ok(more)
    }

    /// Does what the desk wants done.
    fn act(&mut self, context: &mut Context, ways: &mut Ways, action: Action) {
        match action {
            Action::Sign { intent, approvals, .. } => {
                let approvals: Vec<Approval> = approvals
                    .into_iter()
                    .map(|(approver, signature)| Approval { approver, signature })
                    .collect();
                let request = SigningRequest::join(&intent, &approvals);
                ways.intents.push(0, |batch| _ = batch.push(&request, Frame::default()), None);
            }
            Action::Send { dev, signed, .. } => match self.known.directory.sid(dev) {
                Some(sid) => ways.orders.order(&Order::Send { sid, signed: &signed }, None),
                None => self.numbers.unsent.add(1),
            },
            Action::Broadcast { gid, signed, .. } => {
                ways.orders.order(&Order::Broadcast { gid, signed: &signed }, None);
            }
            Action::Close { id, outcome, receipt } => {
                self.record(ways, Heard::Closed { id, outcome, receipt, filed: true }, None);
            }
            Action::DrawKey { gid, epoch, activate_at } => self.draw_key(ways, gid, epoch, activate_at),
            Action::Deliver { dev, gid, epoch, activate_at, sealed } => {
                if let Some(sid) = self.known.directory.sid(dev) {
                    let sealed = sealed.as_slice();
                    ways.orders.order(&Order::Deliver { sid, gid, epoch, activate_at, sealed }, None);
                }
            }
            Action::Issue { campaign, delta, challenge, devs } => {
                self.issue(ways, (campaign, delta, challenge), &devs);
            }
            Action::Campaign(change) => self.record(ways, Heard::Campaign(change), None),
            Action::Begin { delta, wave } => match self.new_campaign(delta, wave, None) {
                Ok(change) => self.record(ways, Heard::Campaign(change), None),
                Err(_) => self.numbers.unsent.add(1),
            },
            Action::Advance { dev, campaign, why, request_id } => {
                let detail = || format!("{dev} is told to leave its epoch: {}", why.word());
                context.events.report(Reason("epoch-advance"), Severity::Info, Source::Node, detail);
                match asking::random() {
                    Ok(challenge) => {
                        let advance = commands::desk::advance(dev, campaign, challenge, request_id);
                        self.act(context, ways, Action::Submit(advance));
                    }
                    Err(_) => self.numbers.unsent.add(1),
                }
            }
            // A command of the desk's own: who would be told that it is refused?
            Action::Submit(submission) if self.repeated(&submission).is_some() => {}
            Action::Submit(submission) => match self.taken(&submission) {
                Ok(taken) => self.record(ways, Heard::Taken(Box::new(taken)), None),
                Err(_) => self.numbers.unsent.add(1),
            },
        }
    }

    fn draw_key(&mut self, ways: &mut Ways, gid: Gid, epoch: Epoch, activate_at: u32) {
        if let Ok(sealed) = self.keys.draw(gid, epoch) {
            ways.orders.order(&Order::GroupKey { gid, epoch, activate_at, sealed: &sealed }, None);
        }
    }

    /// Has the shards issue candidates.
    fn issue(&mut self, ways: &mut Ways, (campaign, delta, challenge): (u32, u8, [u8; 8]), devs: &[Dev]) {
        let shards = ways.orders.ways().max(1);
        let mut by_shard: Vec<Vec<Sid>> = vec![Vec::new(); shards];
        for sid in devs.iter().filter_map(|dev| self.known.directory.sid(*dev)) {
            if let Some(sids) = by_shard.get_mut(sid.partition() as usize % shards) {
                sids.push(sid);
            }
        }
        let mut orders = 0;
        for (way, sids) in by_shard.iter().enumerate() {
            for part in sids.chunks(SIDS_AN_ORDER) {
                let sids: Vec<u8> = part.iter().flat_map(|sid| sid.0.to_be_bytes()).collect();
                let order = Order::Issue { sids: &sids, campaign, delta, challenge };
                ways.orders.push(way, |batch| order.push(batch), Some(Ordered::Issue(campaign)));
                orders += 1;
            }
        }
        if orders == 0 {
            self.record(ways, Heard::Campaign(CampaignChange::Issued { campaign }), None);
        } else {
            self.issuing.insert(campaign, orders);
        }
    }

    /// A shard has done what it was told, or could not.
    fn ordered(&mut self, ways: &mut Ways, order: Ordered, outcome: Settled) {
        match order {
            Ordered::Revoke(revocation) => revocation.settled(outcome),
            Ordered::Issue(campaign) => {
                if outcome == Settled::Failed {
                    self.issuing.remove(&campaign);
                    self.desk.issue_failed();
                    return;
                }
                let Some(left) = self.issuing.get_mut(&campaign) else { return };
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.issuing.remove(&campaign);
                    self.record(ways, Heard::Campaign(CampaignChange::Issued { campaign }), None);
                }
            }
        }
    }

    /// Writes something to the journal; `then` is answered when it is durable.
    fn record(&mut self, ways: &mut Ways, heard: Heard, then: Option<After>) {
        if let Heard::Taken(taken) = &heard {
            self.offered.insert(taken.request_id.clone(), taken.content);
            self.numbers.taken.add(1);
        }
        let entry = DeskEntry { at: unix_s(), heard };
        ways.records.push(0, |batch| entry.push(batch), then);
    }

    fn checkpoint(
        &mut self,
        context: &mut Context,
        log: &Log,
        reader: &Reader,
        last: bool,
    ) -> Result<(), NodeError> {
        let position = reader.position();
        let grown = self.checkpointed.map_or(u64::MAX, |stored| position.since(stored));
        let aged = self.checkpointed.is_some_and(|stored| log.wants_mark(stored));
        let wanted = grown >= self.checkpoint_octets || (grown > 0 && (aged || last));
        if !wanted || (Instant::now() < self.checkpoint_at && !last) {
            return Ok(());
        }
        match state::write(log, &self.env.node, position, &self.desk) {
            Ok(()) => self.checkpointed = Some(position),
            Err(error) => {
                self.checkpoint_at = Instant::now() + PAUSE;
                let what = || format!("checkpoint of the desk: {error}");
                context.events.report(Reason("checkpoint-failed"), Severity::Alarm, Source::Node, what);
            }
        }
        Ok(())
    }
}
