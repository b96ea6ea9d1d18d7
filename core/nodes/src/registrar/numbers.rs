//! What the registrar counts.

use node::{Counter, Env, Gauge, Reason};

/// Its counters and gauges.
pub struct Numbers {
    env: Env,
    message_1: Counter,
    message_3: Counter,
    error: Counter,
    clear: Counter,
    /// Repeats that were recognised.
    pub duplicates: Counter,
    /// Registrations that are done.
    pub registered: Counter,
    /// Registrations whose time was over.
    pub expired: Counter,
    /// Registrations under way.
    pub pending: Gauge,
    /// Nodes that are registered by the services of C12.22.
    pub nodes: Gauge,
}

/// A message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// message_1.
    First,
    /// message_3.
    Third,
    /// EDHOC's error message.
    Error,
    /// A request in clear.
    Clear,
}

impl Numbers {
    /// All of them.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let taken = |message| {
            env.counter(
                "metergraph_registration_messages_total",
                "Messages of devices that register, taken and answered.",
                &[("message", message)],
            )
        };
        Self {
            message_1: taken("message-1"),
            message_3: taken("message-3"),
            error: taken("error"),
            clear: taken("clear"),
            duplicates: env.counter(
                "metergraph_frames_duplicate_total",
                "Repeats of frames that were accepted before.",
                &[],
            ),
            registered: env.counter("metergraph_registrations_total", "Registrations that are done.", &[]),
            expired: env.counter(
                "metergraph_registrations_expired_total",
                "Registrations that were begun and not done in time.",
                &[],
            ),
            pending: env.gauge("metergraph_registrations_pending", "Registrations under way.", &[]),
            nodes: env.gauge(
                "metergraph_nodes_registered",
                "Nodes registered by the services of C12.22.",
                &[],
            ),
            env: env.clone(),
        }
    }

    /// A message was taken.
    pub fn took(&self, message: Message) {
        let counter = match message {
            Message::First => &self.message_1,
            Message::Third => &self.message_3,
            Message::Error => &self.error,
            Message::Clear => &self.clear,
        };
        counter.add(1);
    }

    /// An alarm about something that was accepted all the same. They are rare.
    pub fn alarmed(&self, reason: Reason) {
        let labels = [("reason", reason.0)];
        self.env.counter("metergraph_alarms_total", "What was accepted, but is alarming.", &labels).add(1);
    }
}
