//! One answer, for one who waits.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use super::Refusal;

/// Where the desk puts its answer. Dropped without one, it says that the desk has closed.
pub struct Reply<T>(SyncSender<Result<T, Refusal>>);

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply(..)")
    }
}

/// The side that waits.
pub(super) struct Answer<T>(Receiver<Result<T, Refusal>>);

impl<T> Reply<T> {
    pub(super) fn pair() -> (Self, Answer<T>) {
        let (sender, receiver) = sync_channel(1);
        (Self(sender), Answer(receiver))
    }

    /// Answers. Who asked may have gone: then nobody hears it.
    pub fn send(self, answer: Result<T, Refusal>) {
        drop(self.0.try_send(answer));
    }
}

impl<T> Answer<T> {
    pub(super) fn wait(self, limit: Duration) -> Result<T, Refusal> {
        match self.0.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(Refusal::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(Refusal::Closed),
        }
    }
}
