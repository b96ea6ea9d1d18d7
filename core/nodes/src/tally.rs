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
        self.refuse_as(Severity::Warning, context, reason, source, detail);
    }

    /// As [`Self::refuse`], where the head-end is at fault and somebody should look.
    pub fn alarm(
        &mut self,
        context: &mut Context,
        reason: Reason,
        source: Source,
        detail: impl FnOnce() -> String,
    ) {
        self.refuse_as(Severity::Alarm, context, reason, source, detail);
    }

    fn refuse_as(
        &mut self,
        severity: Severity,
        context: &mut Context,
        reason: Reason,
        source: Source,
        detail: impl FnOnce() -> String,
    ) {
        self.counter(reason).add(1);
        context.let_go(1);
        context.events.report(reason, severity, source, detail);
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
    /// The device or its association is revoked.
    pub const UP_REVOKED: Reason = Reason("SEC-UP-REVOKED");
    /// Below the replay window; for classic devices stale or seen before.
    pub const UP_REPLAY: Reason = Reason("SEC-UP-REPLAY");
    /// The tag or MAC does not fit.
    pub const UP_AUTH: Reason = Reason("SEC-UP-AUTH");
    /// Seen before: not delivered, acknowledged again.
    pub const UP_DUP: Reason = Reason("SEC-UP-DUP");
    /// The body is not what its type says; the report is kept all the same.
    pub const UP_BODY: Reason = Reason("SEC-UP-BODY");
    /// Too many failures from one (link, sid).
    pub const UP_LIMIT: Reason = Reason("SEC-UP-LIMIT");
    /// A counter is at its end.
    pub const SEQ: Reason = Reason("SEC-SEQ");
    /// What the key store keeps cannot be used.
    pub const STORE: Reason = Reason("SEC-STORE");
    /// This head-end may be a copy of another: it seals nothing.
    pub const FENCE: Reason = Reason("SEC-FENCE");
    /// An association should go on to its next epoch.
    pub const EPOCH_DUE: Reason = Reason("epoch-due");
    /// A rule for legacy (EAX') devices.
    pub const LEGACY: Reason = Reason("SEC-LEGACY");
    /// A message in clear from a node that must not send one.
    pub const CLEAR: Reason = Reason("clear");
    /// A message of a session, and no session is open.
    pub const NO_SESSION: Reason = Reason("no-session");
    /// A registration message, and the graph has no registrar.
    pub const NO_REGISTRAR: Reason = Reason("no-registrar");
    /// A device completed a registration again inside ten minutes; it is accepted all the same.
    pub const REG_DUP: Reason = Reason("SEC-REG-DUP");
    /// More registrations than are admitted.
    pub const REG_BUSY: Reason = Reason("SEC-REG-BUSY");
    /// A token does not answer.
    pub const HSM: Reason = Reason("SEC-HSM");
    /// Another node where this serial number or title was before; or somebody says so.
    pub const MOVED: Reason = Reason("moved");

    /// The reason for a message of a registration that the security layer refuses.
    #[must_use]
    pub fn of_registration(refusal: seal::edhoc::Refusal) -> Reason {
        Reason(refusal.code())
    }

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
