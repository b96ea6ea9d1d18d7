//! The durable position: a number that the writer publishes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::position::Position;

type Call = dyn Fn() + Send + Sync;

/// How far the log is durable. Clones share the number; it outlives the writers that publish it, so a
/// reader keeps following when a writer is opened anew.
#[derive(Clone, Default)]
pub struct Durable {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    position: AtomicU64,
    calls: RwLock<Vec<Weak<Call>>>,
}

/// A call that the [`Durable`] makes each time it advances, until this is dropped.
#[must_use = "the call is forgotten when this is dropped"]
pub struct Subscription {
    _call: Arc<Call>,
}

impl Durable {
    /// All before this position is durable and stays readable. [`Position::START`] until a writer has
    /// opened the log.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.shared.position.load(Ordering::Acquire))
    }

    /// Has `call` called, in the writer's thread, after each advance; it must be cheap and not block.
    ///
    /// An advance before the subscription is not told: look at [`Self::position`] after subscribing.
    pub fn subscribe(&self, call: impl Fn() + Send + Sync + 'static) -> Subscription {
        let call: Arc<Call> = Arc::new(call);
        let mut calls = self.shared.calls.write().unwrap_or_else(PoisonError::into_inner);
        calls.retain(|call| call.strong_count() > 0);
        calls.push(Arc::downgrade(&call));
        Subscription { _call: call }
    }

    pub(crate) fn publish(&self, position: Position) {
        self.shared.position.fetch_max(position.0, Ordering::AcqRel);
        let calls = self.shared.calls.read().unwrap_or_else(PoisonError::into_inner);
        for call in calls.iter().filter_map(Weak::upgrade) {
            call();
        }
    }
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Durable").field(&self.position()).finish()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn an_advance_is_told_until_the_subscription_goes() {
        let durable = Durable::default();
        let told = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&told);
        let subscription = durable.subscribe(move || {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        durable.clone().publish(Position(7));
        assert_eq!((durable.position(), told.load(Ordering::Relaxed)), (Position(7), 1));
        drop(subscription);
        durable.publish(Position(6));
        assert_eq!((durable.position(), told.load(Ordering::Relaxed)), (Position(7), 1));
    }
}
