//! What a node says of itself.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Built, not running.
    Built,
    /// Running.
    Running,
    /// Running, but something holds it up: a full disk, for one.
    Stalled,
    /// Failed; waits for its next start.
    Restarting,
    /// Finishes what it has.
    Draining,
    /// Ended.
    Stopped,
    /// Failed too often; not started again.
    Failed,
}

impl NodeState {
    /// The word in `status` and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Running => "running",
            Self::Stalled => "stalled",
            Self::Restarting => "restarting",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Built,
            1 => Self::Running,
            2 => Self::Stalled,
            3 => Self::Restarting,
            4 => Self::Draining,
            5 => Self::Stopped,
            _ => Self::Failed,
        }
    }
}

/// The state of a node and why, shared between its worker and the runtime.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    starts: AtomicU64,
    in_hand: AtomicU64,
    note: Mutex<String>,
}

impl NodeStatus {
    /// The state.
    #[must_use]
    pub fn state(&self) -> NodeState {
        NodeState::from_number(self.0.state.load(Ordering::Acquire))
    }

    /// Sets the state with a note for people (`""` for none).
    pub fn set(&self, state: NodeState, note: &str) {
        self.0.state.store(state as u8, Ordering::Release);
        let mut text = self.0.note.lock().unwrap_or_else(PoisonError::into_inner);
        text.clear();
        text.push_str(note);
    }

    /// The note.
    #[must_use]
    pub fn note(&self) -> String {
        self.0.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was started; the present run's number.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.0.starts.load(Ordering::Acquire)
    }

    /// Counts a start and answers its number, from 1.
    #[must_use]
    pub fn count_start(&self) -> u64 {
        self.0.starts.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    /// Frames that the worker holds and has not yet passed on, refused or counted: what a panic loses.
    #[must_use]
    pub fn in_hand(&self) -> u64 {
        self.0.in_hand.load(Ordering::Acquire)
    }

    /// Sets the frames in hand.
    pub fn set_in_hand(&self, frames: u64) {
        self.0.in_hand.store(frames, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_way_through_its_number() {
        use NodeState::{Built, Draining, Failed, Restarting, Running, Stalled, Stopped};
        let status = NodeStatus::default();
        assert_eq!(status.state(), Built);
        for state in [Built, Running, Stalled, Restarting, Draining, Stopped, Failed] {
            status.set(state, state.word());
            assert_eq!((status.state(), status.note()), (state, state.word().to_owned()));
        }
        assert_eq!((status.starts(), status.count_start(), status.starts()), (0, 1, 1));
    }
}
