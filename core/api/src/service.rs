//! What all calls share: the desk, the tokens, the limits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use commands::front::Front;
use node::{Counter, Env};

use crate::bucket::{Bucket, Rate};
use crate::refusal::Refusals;
use crate::role::Role;
use crate::tokens::Tokens;

/// The limits of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a request's body.
    pub body_max: usize,
    /// Requests in flight, those that wait for a command's end included.
    pub requests_max: usize,
    /// Calls of one token.
    pub rate: Rate,
    /// Time that a request may take, without what it asks to wait for.
    pub time: Duration,
    /// The longest wait for a command's end.
    pub wait_max: Duration,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub name: String,
    /// What its holder may do.
    pub roles: Vec<Role>,
    /// The Unix second from which the token is refused.
    pub expires: u64,
}

/// What all calls share.
pub struct Service {
    /// Who carries out what is asked.
    pub desk: Arc<Front>,
    /// The limits.
    pub limits: Limits,
    /// Calls refused at the door.
    pub refusals: Arc<Refusals>,
    tokens: RwLock<Arc<Tokens>>,
    buckets: Mutex<HashMap<String, Bucket>>,
    in_flight: AtomicUsize,
    answers: [Counter; 4],
}

impl Service {
    /// A service with these tokens.
    #[must_use]
    pub fn new(desk: Arc<Front>, tokens: Tokens, limits: Limits, env: &Env) -> Self {
        let answers = ["2xx", "3xx", "4xx", "5xx"].map(|class| {
            env.counter("metergraph_api_answers_total", "Answers, by class of status.", &[("status", class)])
        });
        Self {
            desk,
            limits,
            refusals: Refusals::new(env),
            tokens: RwLock::new(Arc::new(tokens)),
            buckets: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            answers,
        }
    }

    /// Takes other tokens from now on.
    pub fn set_tokens(&self, tokens: Tokens) {
        // Whoever is gone takes the bucket along.
        let gone = |name: &str| !tokens.entries().iter().any(|entry| entry.name == name);
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| !gone(name));
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    /// Whose token this is, if it is one of ours and has not expired at `now` (Unix seconds).
    #[must_use]
    pub fn caller(&self, presented: &str, now: u64) -> Option<Caller> {
        let tokens = Arc::clone(&self.tokens.read().unwrap_or_else(PoisonError::into_inner));
        let entry = tokens.find(presented, now)?;
        Some(Caller { name: entry.name.clone(), roles: entry.roles.clone(), expires: entry.expires })
    }

    /// Takes one call out of a caller's bucket.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take_call(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || Bucket::full(self.limits.rate, now);
        buckets.entry(name.to_owned()).or_insert_with(full).take(self.limits.rate, now)
    }

    /// A place among the requests in flight; `None` when all are taken.
    #[must_use]
    pub fn enter(&self) -> Option<Place<'_>> {
        let place = Place(&self.in_flight);
        // The place is given back where it is one too many.
        (self.in_flight.fetch_add(1, Ordering::AcqRel) < self.limits.requests_max).then_some(place)
    }

    /// Counts an answer of this HTTP status.
    pub fn count_answer(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2);
        if let Some(counter) = self.answers.get(class) {
            counter.add(1);
        }
    }
}

/// A place among the requests in flight, given back on drop.
pub struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
