//! Refused frames: counted by reason, reported as events.

use std::collections::HashMap;

use node::{Context, Counter, Env, Reason, Severity, Source};

/// The refused frames of one node.
#[derive(Debug)]
pub struct Tally {
    env: Env,
    counters: HashMap<Reason, Counter>,
}

impl Tally {
    /// Nothing is refused yet.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        Self { env: env.clone(), counters: HashMap::new() }
    }

    /// Counts one refused frame, which leaves the worker's hand, and reports it; `detail` is called only
    /// when an event record begins.
    pub fn refuse(
        &mut self,
        context: &mut Context,
        reason: Reason,
        source: Source,
        detail: impl FnOnce() -> String,
    ) {
        self.counter(reason).add(1);
        context.let_go(1);
        context.events.report(reason, Severity::Warning, source, detail);
    }

    /// The counter of a reason.
    fn counter(&mut self, reason: Reason) -> &Counter {
        let env = &self.env;
        self.counters.entry(reason).or_insert_with(|| {
            env.counter(
                "metergraph_frames_refused_total",
                "Frames refused, by reason.",
                &[("reason", reason.0)],
            )
        })
    }
}

/// Codes of the security layer §10 that this crate gives.
pub mod reasons {
    use node::Reason;

    /// Length, type or version of a frame.
    pub const FORMAT: Reason = Reason("SEC-FORMAT");
    /// No such association, or its generation is another.
    pub const UP_UNKNOWN: Reason = Reason("SEC-UP-UNKNOWN");
    /// Below the replay window; for classic devices stale or seen before.
    pub const UP_REPLAY: Reason = Reason("SEC-UP-REPLAY");
    /// The tag or MAC does not fit.
    pub const UP_AUTH: Reason = Reason("SEC-UP-AUTH");
    /// The body is not what its type says; the report is kept all the same.
    pub const UP_BODY: Reason = Reason("SEC-UP-BODY");
    /// Too many failures from one (link, sid).
    pub const UP_LIMIT: Reason = Reason("SEC-UP-LIMIT");
    /// A rule for legacy (EAX') devices.
    pub const LEGACY: Reason = Reason("SEC-LEGACY");
    /// A message in clear from a node that must not send one.
    pub const CLEAR: Reason = Reason("clear");
    /// A message of a session, and no session is open.
    pub const NO_SESSION: Reason = Reason("no-session");
    /// A registration message, and the graph has no registrar.
    pub const NO_REGISTRAR: Reason = Reason("no-registrar");

    /// The reason for octets that the codec refuses.
    #[must_use]
    pub fn of_decode(error: &c1222::DecodeError) -> Reason {
        use c1222::DecodeError as E;
        match error {
            E::FrameVersion | E::FrameType | E::FrameHeadLength | E::OuterControl => FORMAT,
            other => Reason(other.name()),
        }
    }
}
