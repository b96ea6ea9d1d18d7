//! What a device keeps over a restart.
//!
//! Counters go on at the end of the last durable block. Frames that were kept are repeated as they are; where
//! the device has lost them (it was cut off, or its keys are others), its oldest unacknowledged reports are
//! sealed anew under new counters, and the head-end tells them by device, table and period end (security layer
//! §3, §8).

use seal::counter::Counter;
use seal::ids::{Dev, Epoch, Sid, System};
use seal::window::{View, Window};

use super::{Association, Reporter, Unacknowledged};

/// A frame that a device kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFrame {
    /// Its counter.
    pub seq: u32,
    /// Which of the device's reports it is.
    pub number: u32,
    /// Ciphertext and tag.
    pub body: Vec<u8>,
}

/// What a device keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The device.
    pub dev: Dev,
    /// Its association.
    pub sid: Sid,
    /// The epoch of its counters.
    pub epoch: Epoch,
    /// Counters below this may have been used.
    pub floor: u32,
    /// Reports from this number on were not sealed, or are not known to be acknowledged and not in `frames`.
    pub number: u32,
    /// The highest downstream counter that was taken in, and one; 0 for none.
    pub mark: u32,
    /// Frames that are not acknowledged.
    pub frames: Vec<KeptFrame>,
}

impl Reporter {
    /// The device after a restart.
    #[must_use]
    pub fn resume(association: Association, saved: Saved, system: System) -> Self {
        let Saved { sid, epoch, floor, number, mark, frames, .. } = saved;
        // Without its frames the device has to seal anew from here on.
        let oldest = frames.iter().map(|frame| frame.number).fold(number, u32::min);
        if (sid, epoch) != (association.sid, association.epoch) {
            return Self::at(association, Counter::default(), oldest);
        }
        let mut reporter = Self::at(association, Counter::resume(floor), oldest);
        if let Some(highest) = mark.checked_sub(1)
            && let Some(window) = Window::from_durable(View { highest, bits: u64::MAX })
        {
            reporter.down = window;
        }
        // Sealed under other keys of the same epoch, as after a new shipment file, they are of no use.
        if frames.iter().all(|frame| reporter.is_own(frame, system)) {
            reporter.number = number;
            reporter.unacknowledged.extend(frames.into_iter().map(|frame| {
                let KeptFrame { seq, number, body } = frame;
                Unacknowledged { seq, number, made_us: 0, body: body.into() }
            }));
        }
        reporter
    }

    /// What to keep while running, before counters up to `floor` are used: no frames. Were it all that is left,
    /// everything not yet acknowledged would be sealed anew.
    #[must_use]
    pub fn reservation(&self, floor: u32) -> Saved {
        let oldest = self.unacknowledged.iter().map(|frame| frame.number).min();
        Saved { floor, number: oldest.unwrap_or(self.number), frames: Vec::new(), ..self.saved() }
    }

    /// What to keep at the end.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let Association { dev, sid, epoch, .. } = self.association;
        Saved {
            dev,
            sid,
            epoch,
            floor: self.counter.floor(),
            number: self.number,
            mark: self.down.live().map_or(0, |view| view.highest.saturating_add(1)),
            frames: self
                .unacknowledged
                .iter()
                .map(|frame| KeptFrame { seq: frame.seq, number: frame.number, body: frame.body.to_vec() })
                .collect(),
        }
    }

    fn is_own(&self, frame: &KeptFrame, system: System) -> bool {
        self.upstream(system).open(&self.head(frame.seq), &mut frame.body.clone()).is_some()
    }
}
