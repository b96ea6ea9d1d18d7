//! The numbers of one transport, touched once a turn.

use std::collections::BTreeMap;

use node::{Counter, Env, Gauge};
use transport_sdk::Reason;
use transport_sdk::abi::Stats;

/// Why a frame that was to be sent was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsent {
    /// Its time passed first.
    Expired,
    /// The link's queue had no room.
    Full,
    /// No such link, or it went down first.
    LinkDown,
    /// The driver could not send it.
    Failed,
    /// It belongs to another transport.
    Misrouted,
    /// The driver broke down with it.
    Lost,
}

impl Unsent {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Expired, Self::Full, Self::LinkDown, Self::Failed, Self::Misrouted, Self::Lost];

    /// The word in metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Full => "full",
            Self::LinkDown => "link-down",
            Self::Failed => "failed",
            Self::Misrouted => "misrouted",
            Self::Lost => "lost",
        }
    }

    /// The word in events.
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            Self::Expired => "tx-expired",
            Self::Full => "tx-full",
            Self::LinkDown => "tx-link-down",
            Self::Failed => "tx-failed",
            Self::Misrouted => "tx-misrouted",
            Self::Lost => "tx-lost",
        }
    }
}

/// The numbers of one transport.
#[derive(Debug)]
pub struct Counts {
    env: Env,
    /// Calls of the driver that took too long.
    pub late: Counter,
    batches: Counter,
    received: Counter,
    received_octets: Counter,
    sent: Counter,
    sent_octets: Counter,
    unsent: BTreeMap<Unsent, Counter>,
    dropped: Counter,
    refused_octets: Counter,
    links: Gauge,
    refused: BTreeMap<Reason, Counter>,
    ended: BTreeMap<Reason, Counter>,
    last: Stats,
    /// Frames that the driver took.
    taken: u64,
}

impl Counts {
    /// The numbers of the transport that `env` belongs to; a restarted one counts on.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let unsent = |why: Unsent| {
            let about = "Frames that a transport could not send, by reason.";
            (why, env.counter("metergraph_transport_unsent_frames_total", about, &[("reason", why.word())]))
        };
        let counter = |name, about| env.counter(name, about, &[]);
        Self {
            late: counter(
                "metergraph_transport_late_calls_total",
                "Calls of a plugin that took longer than allowed.",
            ),
            batches: counter("metergraph_transport_received_batches_total", "Batches of received frames."),
            received: counter("metergraph_transport_received_frames_total", "Frames received."),
            received_octets: counter(
                "metergraph_transport_received_octets_total",
                "Octets of frames received.",
            ),
            sent: counter("metergraph_transport_sent_frames_total", "Frames sent."),
            sent_octets: counter("metergraph_transport_sent_octets_total", "Octets of frames sent."),
            unsent: Unsent::ALL.into_iter().map(unsent).collect(),
            dropped: env.counter(
                "metergraph_frames_dropped_total",
                "Frames given up, by the place where.",
                &[("where", "driver")],
            ),
            refused_octets: counter(
                "metergraph_transport_refused_octets_total",
                "Octets received that are no frame.",
            ),
            links: env.gauge("metergraph_transport_links", "Links that are up.", &[]),
            refused: BTreeMap::new(),
            ended: BTreeMap::new(),
            last: Stats::default(),
            taken: 0,
            env: env.clone(),
        }
    }

    /// A batch of received frames.
    pub fn received(&self, frames: u64, octets: u64) {
        self.batches.add(1);
        self.received.add(frames);
        self.received_octets.add(octets);
    }

    /// The driver took frames to send.
    pub fn taken(&mut self, frames: u64) {
        self.taken = self.taken.saturating_add(frames);
    }

    /// Frames that the driver took and that are not at an end, as far as it has said.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.taken.saturating_sub(ended(&self.last))
    }

    /// Frames that will not be sent.
    pub fn unsent(&self, why: Unsent, frames: u64) {
        if let Some(counter) = self.unsent.get(&why) {
            counter.add(frames);
        }
    }

    /// The driver's sums as they stand; answers what has become unsent since the last time.
    pub fn update(&mut self, stats: Stats) -> impl Iterator<Item = (Unsent, u64)> + use<> {
        let last = std::mem::replace(&mut self.last, stats);
        let grown = |field: fn(&Stats) -> u64| field(&stats).saturating_sub(field(&last));
        self.sent.add(grown(|stats| stats.tx_sent));
        self.sent_octets.add(grown(|stats| stats.tx_bytes));
        self.dropped.add(grown(|stats| stats.dropped));
        self.links.set(i64::from(stats.links));
        let unsent = [
            (Unsent::Expired, grown(|stats| stats.tx_expired)),
            (Unsent::Full, grown(|stats| stats.tx_full)),
            (Unsent::LinkDown, grown(|stats| stats.tx_link_down)),
            (Unsent::Failed, grown(|stats| stats.tx_failed)),
        ];
        for (why, frames) in unsent {
            self.unsent(why, frames);
        }
        unsent.into_iter().filter(|(_, frames)| *frames > 0)
    }

    /// No links any more: the driver is gone.
    pub fn gone(&self) {
        self.links.set(0);
    }

    /// A frame that was begun, or octets that begin none, were refused.
    pub fn refused(&mut self, reason: Reason, octets: u64) {
        self.refused_octets.add(octets);
        let env = &self.env;
        let counter = self.refused.entry(reason).or_insert_with(|| {
            env.counter(
                "metergraph_frames_refused_total",
                "Frames refused, by reason.",
                &[("reason", reason.word())],
            )
        });
        counter.add(1);
    }

    /// A link went down.
    pub fn link_ended(&mut self, reason: Reason) {
        let env = &self.env;
        let counter = self.ended.entry(reason).or_insert_with(|| {
            env.counter(
                "metergraph_transport_links_ended_total",
                "Links that went down, by reason.",
                &[("reason", reason.word())],
            )
        });
        counter.add(1);
    }
}

fn ended(stats: &Stats) -> u64 {
    [stats.tx_sent, stats.tx_expired, stats.tx_full, stats.tx_link_down, stats.tx_failed]
        .into_iter()
        .fold(0, u64::saturating_add)
}
