//! The gate of a restored state (security layer §8).
//!
//! What came up after the backup was made is not in it, so that a repeat cannot be told from a new frame. An
//! association of such a state is gated: nothing of it is delivered or acknowledged, until its device ratchets
//! for a command that was issued after the restore, and says so under the new epoch. No frame under that
//! epoch can be older, so its window begins empty, and the epochs before are not opened again.

use std::collections::VecDeque;

use seal::command::KeyItem;
use seal::control::{Items, Up};
use seal::frame::FrameType;
use seal::ids::Epoch;

/// Challenges that are remembered; the oldest goes, and the desk asks again.
const CHALLENGES_MAX: usize = 64;

/// The challenges of commands that this run sent, in a state that has something gated. A start forgets them:
/// what is still gated then is asked again, and by then they are known again.
#[derive(Default)]
pub(super) struct Challenges {
    issued: VecDeque<[u8; 8]>,
}

impl Challenges {
    /// A command with this challenge is sent.
    pub(super) fn issue(&mut self, challenge: [u8; 8]) {
        if self.issued.contains(&challenge) {
            return;
        }
        if self.issued.len() >= CHALLENGES_MAX {
            self.issued.pop_front();
        }
        self.issued.push_back(challenge);
    }

    /// Those of a command's items.
    pub(super) fn issue_all<'a>(&mut self, items: impl Iterator<Item = KeyItem<'a>>) {
        for item in items {
            if let KeyItem::Advance { challenge, .. } = item {
                self.issue(*challenge);
            }
        }
    }

    /// Whether a body that opened under this candidate epoch opens the gate. A device that did not ratchet
    /// proves its challenge too, but under an epoch that others may have used.
    pub(super) fn open(&self, frame_type: FrameType, epoch: Epoch, body: &[u8]) -> bool {
        if frame_type == FrameType::Report {
            return false;
        }
        let Ok(items) = Items::<Up<'_>>::read(body) else { return false };
        let (mut proved, mut done) = (false, false);
        for item in items {
            match item {
                Up::Proof { epoch: of, challenge } => {
                    proved |= of == epoch && self.issued.contains(challenge);
                }
                Up::Result(outcome) => done |= outcome.result == 0,
                _ => {}
            }
        }
        proved && done
    }
}
