//! Calls refused before they reach the desk: counted by reason, told to the worker for the event log.

use std::sync::{Arc, Mutex, PoisonError};

use node::{Context, Counter, Env, Reason, Severity, Source};

/// Why a call was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No token, an unknown or an expired one.
    Token,
    /// The token's roles do not allow it.
    Role,
    /// The token calls too often.
    Rate,
    /// Too many calls in flight.
    Busy,
    /// It took too long.
    Time,
    /// The body is too large.
    Size,
    /// Not what the route takes.
    Format,
}

impl Refusal {
    const ALL: [Self; 7] =
        [Self::Token, Self::Role, Self::Rate, Self::Busy, Self::Time, Self::Size, Self::Format];

    /// The code in problems, events and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Token => "api-token",
            Self::Role => "api-role",
            Self::Rate => "api-rate",
            Self::Busy => "api-busy",
            Self::Time => "api-time",
            Self::Size => "api-size",
            Self::Format => "api-format",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Self::Token | Self::Role => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

/// The refused calls of one node.
#[derive(Debug)]
pub struct Refusals(Vec<Kept>);

#[derive(Debug)]
struct Kept {
    refusal: Refusal,
    counter: Counter,
    /// How many the event log knows of, and what the first of the others was.
    told: Mutex<(u64, String)>,
}

impl Refusals {
    /// The counters of this node; calls refused in an earlier run were told by it.
    #[must_use]
    pub fn new(env: &Env) -> Arc<Self> {
        let kept = |refusal: Refusal| {
            let help = "Calls refused before they reached the desk, by reason.";
            let counter = env.counter("metergraph_api_refused_total", help, &[("reason", refusal.code())]);
            let told = Mutex::new((counter.get(), String::new()));
            Kept { refusal, counter, told }
        };
        Arc::new(Self(Refusal::ALL.into_iter().map(kept).collect()))
    }

    /// Counts one; `detail` says who and what, never a token.
    pub fn count(&self, refusal: Refusal, detail: impl FnOnce() -> String) {
        let Some(kept) = self.0.iter().find(|kept| kept.refusal == refusal) else { return };
        kept.counter.add(1);
        let mut told = kept.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.1.is_empty() {
            told.1 = detail();
        }
    }

    /// Reports what is new to the event log.
    pub fn tell(&self, context: &mut Context) {
        for kept in &self.0 {
            let mut told = kept.told.lock().unwrap_or_else(PoisonError::into_inner);
            let all = kept.counter.get();
            let (count, detail) = (all.saturating_sub(told.0), std::mem::take(&mut told.1));
            told.0 = all;
            let (reason, severity) = (Reason(kept.refusal.code()), kept.refusal.severity());
            context.events.report_many(reason, severity, Source::Node, count, || detail);
        }
    }
}
