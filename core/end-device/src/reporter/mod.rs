//! The device half of profile 1, as far as reports need it: sans I/O and clock.
//!
//! A [`Reporter`] seals reports under counters that are durably reserved, keeps each frame until it is
//! acknowledged, and says when to repeat it: as the identical octets, in an APDU with a new A8 (security layer
//! §3). What comes down is opened with K_dn behind a replay window of its own.
//!
//! Moments are microseconds on any clock that does not go back.

mod downstream;
mod resume;

use std::collections::VecDeque;

use c1222::{ApTitle, ApTitleBuf, DecodeError, Envelope, InvocationId, Qualifier, carriage};
use seal::control::Ack;
use seal::counter::{Counter, END_DEVICE_BLOCK};
use seal::frame::{Bound, FrameType, Head};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::Channel;
use seal::schedule::AssociationKeys;
use seal::window::Window;

use crate::mix::{mix, mix_below};
pub use downstream::{DownRefusal, Heard};
pub use resume::{KeptFrame, Saved};

/// At most so many frames of a device are unacknowledged.
pub const UNACKNOWLEDGED_MAX: usize = 32;
/// No counter is used above the oldest unacknowledged one and this.
pub const SEQ_SPAN: u32 = 63;
/// A frame is repeated when it was not acknowledged for so long; then after twice that, and so on ...
pub const REPEAT_MIN_US: u64 = 5_000_000;
/// ... up to this. All give or take a quarter, so that devices do not repeat as one.
pub const REPEAT_MAX_US: u64 = 80_000_000;
/// Within so long after its link is made again a device repeats what may have been lost with the old one.
pub const RELINK_SPREAD_US: u64 = 500_000;

/// Who the device is, to itself and to the head-end.
pub struct Association {
    /// The device.
    pub dev: Dev,
    /// Its association.
    pub sid: Sid,
    /// The epoch of the keys.
    pub epoch: Epoch,
    /// The keys.
    pub keys: AssociationKeys,
    /// Its address, which it always sends.
    pub title: ApTitleBuf,
}

/// A sealed report that is not acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unacknowledged {
    /// The counter of its frame.
    pub seq: u32,
    /// Which of the device's reports it is.
    pub number: u32,
    /// When it was sealed.
    pub made_us: u64,
    /// Ciphertext and tag.
    body: Box<[u8]>,
}

/// A report that is to be sealed now: [`Reporter::begin`] gives it, [`Reporter::keep`] takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The head of its frame.
    pub head: Head,
    /// Which of the device's reports it is.
    pub number: u32,
}

/// One device of profile 1 that reports.
pub struct Reporter {
    association: Association,
    down: Window,
    /// Oldest first.
    unacknowledged: VecDeque<Unacknowledged>,
    counter: Counter,
    /// The number of the next report.
    number: u32,
    /// The A8 of the last message.
    invocation: u16,
    /// How often the shortest pause is doubled after the next repeat.
    doublings: u8,
    linked_us: u64,
    repeated_us: u64,
    repeat_at_us: u64,
    /// A WAIT holds everything back until then.
    wait_until_us: u64,
}

impl Reporter {
    /// A device that has never reported.
    #[must_use]
    pub fn new(association: Association) -> Self {
        Self::at(association, Counter::default(), 0)
    }

    /// A device that goes on with these counters.
    fn at(association: Association, counter: Counter, number: u32) -> Self {
        // Anywhere, and not again where an earlier run began: relays drop a message whose A8 came just before.
        let invocation = mix(u64::from(association.sid.0), u64::from(counter.floor())) as u16;
        Self {
            association,
            down: Window::default(),
            unacknowledged: VecDeque::new(),
            counter,
            number,
            invocation,
            doublings: 0,
            linked_us: 0,
            repeated_us: 0,
            repeat_at_us: u64::MAX,
            wait_until_us: 0,
        }
    }

    /// Who it is.
    #[must_use]
    pub fn association(&self) -> &Association {
        &self.association
    }

    /// What it waits to be acknowledged, oldest first.
    pub fn unacknowledged(&self) -> impl ExactSizeIterator<Item = &Unacknowledged> {
        self.unacknowledged.iter()
    }

    /// Whether a new report may be sent: no WAIT holds it back, fewer than [`UNACKNOWLEDGED_MAX`] are on their
    /// way, and the next counter is reserved and within [`SEQ_SPAN`] of the oldest unacknowledged one.
    #[must_use]
    pub fn may_report(&self, now_us: u64) -> bool {
        now_us >= self.wait_until_us
            && self.unacknowledged.len() < UNACKNOWLEDGED_MAX
            && self.counter.is_reserved()
            && self
                .unacknowledged
                .front()
                .is_none_or(|oldest| self.counter.next_seq() <= oldest.seq.saturating_add(SEQ_SPAN))
    }

    /// Takes a counter and a number for a new report; `None` when it [may not](Self::may_report) be sent. A
    /// counter that was taken is never used for anything else.
    pub fn begin(&mut self, now_us: u64) -> Option<Begun> {
        if !self.may_report(now_us) {
            return None;
        }
        let seq = self.counter.take()?;
        let number = self.number;
        self.number = number.saturating_add(1);
        Some(Begun { head: self.head(seq), number })
    }

    /// What reports are sealed with.
    #[must_use]
    pub fn upstream(&self, system: System) -> Channel<'_> {
        let Association { dev, epoch, keys, .. } = &self.association;
        let bound = Bound { system, scope: (*dev).into(), epoch: *epoch };
        Channel { key: &keys.up, common_iv: &keys.common_iv, bound }
    }

    /// Keeps a sealed report until it is acknowledged.
    pub fn keep(&mut self, begun: &Begun, body: &[u8], now_us: u64) {
        if self.unacknowledged.is_empty() {
            self.repeat_at_us = now_us.saturating_add(self.pause_us(0));
            self.doublings = 1;
        }
        let Begun { head: Head { seq, .. }, number } = *begun;
        self.unacknowledged.push_back(Unacknowledged { seq, number, made_us: now_us, body: body.into() });
    }

    /// Appends the APDU of a frame, addressed to `head_end`, with an A8 of its own.
    ///
    /// # Errors
    /// None: the head of a report always fits its carriage.
    pub fn write_apdu(
        &mut self,
        head_end: ApTitle<'_>,
        head: &Head,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        self.invocation = self.invocation.wrapping_add(1);
        let envelope = Envelope {
            called: Some(head_end),
            calling: Some(self.association.title.as_title()),
            qualifier: Some(Qualifier::NOTIFICATION),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        carriage::write_head(out, &envelope, &head.octets(), body.len())?;
        out.extend_from_slice(body);
        Ok(())
    }

    /// When [`Self::repeat`] has something to do; `u64::MAX` for never.
    #[must_use]
    pub fn due_us(&self) -> u64 {
        self.repeat_at_us.max(self.wait_until_us)
    }

    /// Appends an APDU for each frame that is to be repeated now, and answers how many.
    ///
    /// # Errors
    /// As [`Self::write_apdu`].
    pub fn repeat(
        &mut self,
        head_end: ApTitle<'_>,
        now_us: u64,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecodeError> {
        if now_us < self.due_us() {
            return Ok(0);
        }
        // What was made before the present link came may be lost, the rest gets the time that it has.
        let waited_us = self.pause_us(self.doublings.saturating_sub(1));
        let linked_us = self.linked_us;
        let lost = |frame: &Unacknowledged| {
            frame.made_us < linked_us || now_us.saturating_sub(frame.made_us) >= waited_us
        };
        let frames = std::mem::take(&mut self.unacknowledged);
        let mut count = 0;
        let mut written = Ok(());
        for frame in frames.iter().filter(|frame| lost(frame)) {
            let head = self.head(frame.seq);
            written = written.and(self.write_apdu(head_end, &head, &frame.body, out));
            count += 1;
        }
        self.unacknowledged = frames;
        self.repeated_us = now_us;
        self.repeat_at_us = now_us.saturating_add(self.pause_us(self.doublings));
        self.doublings = self.doublings.saturating_add(1);
        written.map(|()| count)
    }

    /// Its link was made, or made again: what was on its way may be lost.
    pub fn linked(&mut self, now_us: u64) {
        self.linked_us = now_us;
        self.doublings = 0;
        if !self.unacknowledged.is_empty() {
            let spread = mix_below(u64::from(self.association.sid.0), now_us, RELINK_SPREAD_US);
            self.repeat_at_us = now_us.saturating_add(spread);
        }
    }

    /// Gives every frame that is now known to be durable to `acknowledged`; answers whether there was one.
    fn acknowledge(&mut self, ack: &Ack, acknowledged: &mut impl FnMut(Unacknowledged)) -> bool {
        let before = self.unacknowledged.len();
        for _ in 0..before {
            let Some(frame) = self.unacknowledged.pop_front() else { break };
            if ack.covers(frame.seq) {
                acknowledged(frame);
            } else {
                self.unacknowledged.push_back(frame);
            }
        }
        let progress = self.unacknowledged.len() < before;
        match self.unacknowledged.front() {
            None => self.repeat_at_us = u64::MAX,
            // What the old link may have lost is still to be repeated, soon.
            Some(oldest) if oldest.made_us.max(self.repeated_us) < self.linked_us => {}
            Some(oldest) if progress => {
                let sent_us = oldest.made_us.max(self.repeated_us);
                self.repeat_at_us = sent_us.saturating_add(self.pause_us(0));
                self.doublings = 1;
            }
            Some(_) => {}
        }
        progress
    }

    fn head(&self, seq: u32) -> Head {
        let Association { sid, epoch, .. } = &self.association;
        Head { frame_type: FrameType::Report, id: sid.0, epoch_low: epoch.low(), seq }
    }

    /// The shortest pause, so often doubled, and this device's share of a quarter more or less.
    fn pause_us(&self, doublings: u8) -> u64 {
        let pause = REPEAT_MIN_US.saturating_mul(1 << doublings.min(30)).min(REPEAT_MAX_US);
        let sid = u64::from(self.association.sid.0);
        pause - pause / 4 + mix_below(sid, u64::from(doublings), pause / 2)
    }

    /// The counter floor that should be made durable now, in blocks of 32; `None` when enough is reserved.
    #[must_use]
    pub fn wanted_floor(&self) -> Option<u32> {
        self.counter.wanted(END_DEVICE_BLOCK)
    }

    /// Counters up to `floor` are durably reserved.
    pub fn reserved(&mut self, floor: u32) {
        self.counter.reserved(floor);
    }
}

#[cfg(test)]
mod tests;
