//! The head-end's side of one association: the steps of security layer §6 over its state.
//!
//! ```text
//! admit    length, type -> sid -> revoked -> low epoch octet -> not below the window
//! (open)   the whole batch at once, `profile1::open_batch`
//! accept   still not below -> opened -> seen before: duplicate -> window bit pending
//! (write)  report, window change, reservation in one durable write
//! committed / failed
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::control::Ack;
use crate::counter::{Counter, HEAD_END_BLOCK};
use crate::frame::{Bound, Head};
use crate::ids::{Dev, Epoch, Sid, System};
use crate::oscore::CommonIv;
use crate::profile1::Channel;
use crate::refusal::Refusal;
use crate::schedule::AssociationKeys;
use crate::secret::Key128;
use crate::window::{Place, View, Window};

/// Epochs that were issued and are not proven, at most.
pub const CANDIDATES_MAX: usize = 4;
/// Epochs that are still opened after a newer one was proven, at most ...
pub const RETIRING_MAX: usize = 2;
/// ... and for so long, in seconds.
pub const RETIRING_S: u64 = 72 * 3600;

/// Of an association that was erased: no frame has it.
const NOBODY: Sid = Sid(u32::MAX);

/// In the place of keys that were erased.
fn no_keys() -> AssociationKeys {
    AssociationKeys {
        up: Key128::from_octets([0; Key128::LEN]),
        dn: Key128::from_octets([0; Key128::LEN]),
        common_iv: [0; _],
    }
}

/// What became of a frame that opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Never seen before: pending now, to be written, and then told to [`Association::committed`] or
    /// [`Association::failed`] exactly once.
    Fresh(Epoch),
    /// Seen before (SEC-UP-DUP): not delivered. With `durable` it may be acknowledged again; else the
    /// first one's write is still on its way.
    Duplicate {
        /// The epoch of the frame.
        epoch: Epoch,
        /// Whether the first one is durable.
        durable: bool,
    },
}

/// The keys of one epoch, and the window of its upstream frames.
struct Generation {
    window: Window,
    keys: AssociationKeys,
    epoch: Epoch,
}

impl Generation {
    fn new(epoch: Epoch, keys: AssociationKeys) -> Self {
        Self { window: Window::default(), keys, epoch }
    }
}

/// Epochs before and after the active one. Most associations have none.
///
/// They are boxed, so that a vector that closes its gaps leaves no copies of keys behind.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "see above")]
struct Others {
    /// Issued, not proven; ascending.
    candidates: Vec<Box<Generation>>,
    /// Proven once, with the second from which on they are gone; oldest first.
    retiring: Vec<(Box<Generation>, u64)>,
}

/// One association as its shard holds it: at most 112 octets, but for epochs in transition.
pub struct Association {
    active: Generation,
    others: Option<Box<Others>>,
    dev: Dev,
    sid: Sid,
    counter: Counter,
    revoked: bool,
}

impl Association {
    /// An association in this epoch, with an empty window and nothing reserved.
    #[must_use]
    pub fn new(sid: Sid, dev: Dev, epoch: Epoch, keys: AssociationKeys) -> Self {
        Self {
            active: Generation::new(epoch, keys),
            others: None,
            dev,
            sid,
            counter: Counter::default(),
            revoked: false,
        }
    }

    /// No association: what stands in the place of one that was moved away.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(NOBODY, Dev([0; 8]), Epoch(0), no_keys())
    }

    /// Its number.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// The end device.
    #[must_use]
    pub fn dev(&self) -> Dev {
        self.dev
    }

    /// The active epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.active.epoch
    }

    /// Refuses all its frames from now on, and erases its keys.
    pub fn revoke(&mut self) {
        self.revoked = true;
        self.others = None;
        self.active = Generation::new(self.active.epoch, no_keys());
        self.counter = Counter::default();
    }

    /// Whether it was revoked.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked
    }

    /// Erases it: no frame is its own from now on.
    pub fn erase(&mut self) {
        self.revoke();
        self.sid = NOBODY;
    }

    /// All steps before opening. The answer is what the frame has to be opened with.
    ///
    /// # Errors
    /// [`Refusal::Format`] for a type that end devices do not send, [`Refusal::Unknown`] for another
    /// `sid` or generation of it, [`Refusal::Revoked`], [`Refusal::Epoch`], [`Refusal::Replay`].
    #[inline]
    pub fn admit(&self, head: &Head, system: System) -> Result<Channel<'_>, Refusal> {
        if !head.frame_type.is_upstream() {
            return Err(Refusal::Format);
        }
        if head.id != self.sid.0 {
            return Err(Refusal::Unknown);
        }
        if self.revoked {
            return Err(Refusal::Revoked);
        }
        let generation = self.by_low_octet(head.epoch_low).ok_or(Refusal::Epoch)?;
        if generation.window.place(head.seq) == Place::Below {
            return Err(Refusal::Replay);
        }
        let bound = Bound { system, scope: self.dev.into(), epoch: generation.epoch };
        Ok(Channel { key: &generation.keys.up, common_iv: &generation.keys.common_iv, bound })
    }

    /// All steps after opening, for each admitted frame of a batch in its order.
    ///
    /// The window is looked at once more: earlier frames of the batch may have moved it, and the
    /// verdicts are those of one frame after the other.
    ///
    /// # Errors
    /// [`Refusal::Epoch`], [`Refusal::Replay`]; [`Refusal::Auth`] when the frame was not `opened`.
    #[inline]
    pub fn accept(&mut self, head: &Head, opened: bool) -> Result<Accepted, Refusal> {
        let generation = self.by_low_octet_mut(head.epoch_low).ok_or(Refusal::Epoch)?;
        let (epoch, window) = (generation.epoch, &mut generation.window);
        match (window.place(head.seq), opened) {
            (Place::Below, _) => Err(Refusal::Replay),
            (_, false) => Err(Refusal::Auth),
            (Place::Seen, true) => Ok(Accepted::Duplicate { epoch, durable: window.is_durable(head.seq) }),
            (Place::Fresh, true) => {
                window.mark(head.seq);
                Ok(Accepted::Fresh(epoch))
            }
        }
    }

    /// The write that holds this frame is durable. A candidate's first one proves it: it becomes the
    /// active epoch, the old one retires, skipped ones are erased. Answers whether that happened.
    ///
    /// `now` is in seconds; it only has to be the same clock as that of [`Self::expire`].
    pub fn committed(&mut self, epoch: Epoch, seq: u32, now: u64) -> bool {
        if let Some(generation) = self.by_epoch_mut(epoch) {
            generation.window.committed(seq);
        }
        self.promote(epoch, now)
    }

    /// The write that holds this frame failed.
    pub fn failed(&mut self, epoch: Epoch, seq: u32) {
        if let Some(generation) = self.by_epoch_mut(epoch) {
            generation.window.failed(seq);
        }
    }

    /// At a start: the journal says that this candidate was proven. As [`Self::committed`].
    pub fn promoted(&mut self, epoch: Epoch, now: u64) -> bool {
        self.promote(epoch, now)
    }

    /// Takes in a frame that the journal holds, at a start: as [`Self::committed`].
    pub fn restore(&mut self, epoch: Epoch, seq: u32, now: u64) -> bool {
        if let Some(generation) = self.by_epoch_mut(epoch) {
            generation.window.restore(seq);
        }
        self.promote(epoch, now)
    }

    /// Whether frames of this epoch are opened: it is active, a candidate, or retiring.
    #[must_use]
    pub fn holds(&self, epoch: Epoch) -> bool {
        self.by_epoch(epoch).is_some()
    }

    /// The durable window of an epoch, for a checkpoint.
    #[must_use]
    pub fn durable(&self, epoch: Epoch) -> Option<View> {
        self.by_epoch(epoch)?.window.durable()
    }

    /// The window of an epoch, pending frames included.
    #[must_use]
    pub fn live(&self, epoch: Epoch) -> Option<View> {
        self.by_epoch(epoch)?.window.live()
    }

    /// Sets the window of an epoch to that of a checkpoint. Answers whether the epoch and the view are
    /// such that it could be.
    pub fn set_durable(&mut self, epoch: Epoch, view: View) -> bool {
        match (self.by_epoch_mut(epoch), Window::from_durable(view)) {
            (Some(generation), Some(window)) => {
                generation.window = window;
                true
            }
            _ => false,
        }
    }

    /// At a start: adds the frames of a checkpoint to what is known of an epoch.
    pub fn merge(&mut self, epoch: Epoch, view: View) {
        let Some(generation) = self.by_epoch_mut(epoch) else { return };
        match (generation.window.durable(), Window::from_durable(view)) {
            (None, Some(window)) => generation.window = window,
            (Some(_), Some(_)) => {
                let seen = (0..u64::BITS).filter(|down| view.bits >> down & 1 == 1);
                seen.filter_map(|down| view.highest.checked_sub(down))
                    .for_each(|seq| generation.window.restore(seq));
            }
            (_, None) => {}
        }
    }

    /// What may be acknowledged of an epoch: durable frames only.
    #[must_use]
    pub fn ack(&self, epoch: Epoch) -> Option<Ack> {
        let View { highest, bits } = self.durable(epoch)?;
        Some(Ack { epoch, highest, bitmap: bits >> 1 })
    }

    /// What downstream frames are sealed with: K_dn of the active epoch.
    #[must_use]
    pub fn downstream(&self, system: System) -> Channel<'_> {
        let Generation { keys, epoch, .. } = &self.active;
        let bound = Bound { system, scope: self.dev.into(), epoch: *epoch };
        Channel { key: &keys.dn, common_iv: &keys.common_iv, bound }
    }

    /// The next downstream counter of the active epoch; `None` when no durable reservation covers it.
    pub fn take_seq(&mut self) -> Option<u32> {
        self.counter.take()
    }

    /// The floor that the next write should reserve downstream counters up to, if any.
    #[must_use]
    pub fn wanted_floor(&self) -> Option<u32> {
        self.counter.wanted(HEAD_END_BLOCK)
    }

    /// The write that reserves downstream counters of `epoch` up to `floor` is durable.
    pub fn reserved(&mut self, epoch: Epoch, floor: u32) {
        if epoch == self.active.epoch {
            self.counter.reserved(floor);
        }
    }

    /// At a start: downstream counters of `epoch` below `floor` may have been used.
    pub fn restore_floor(&mut self, epoch: Epoch, floor: u32) {
        if epoch == self.active.epoch {
            self.counter = Counter::resume(self.counter.floor().max(floor));
        }
    }

    /// The downstream counter of the active epoch.
    #[must_use]
    pub fn counter(&self) -> Counter {
        self.counter
    }

    /// How many epochs may still be issued before one is proven.
    #[must_use]
    pub fn candidates_left(&self) -> usize {
        let issued = self.newest().0.saturating_sub(self.active.epoch.0);
        CANDIDATES_MAX.saturating_sub(usize::from(issued))
    }

    /// Adds the epoch after the newest as a candidate; `None` when [`CANDIDATES_MAX`] are unproven, or
    /// after the last epoch.
    pub fn issue(&mut self, keys: impl FnOnce(Epoch) -> AssociationKeys) -> Option<Epoch> {
        if self.candidates_left() == 0 {
            return None;
        }
        let epoch = self.newest().next()?;
        let others = self.others.get_or_insert_default();
        others.candidates.push(Box::new(Generation::new(epoch, keys(epoch))));
        Some(epoch)
    }

    /// Adds an epoch that retires at `until`, as a store holds it: without K_dn.
    pub fn add_retiring(&mut self, epoch: Epoch, up: Key128, common_iv: CommonIv, until: u64) {
        let keys = AssociationKeys { up, common_iv, ..no_keys() };
        let others = self.others.get_or_insert_default();
        others.retiring.push((Box::new(Generation::new(epoch, keys)), until));
        others.crop();
    }

    /// Erases the epochs before the active one at once: after a restore nobody knows what of theirs was seen.
    pub fn forget_retiring(&mut self) {
        self.expire(u64::MAX);
    }

    /// The newest epoch that was issued; the active one when none is unproven.
    #[must_use]
    pub fn newest(&self) -> Epoch {
        let newest = self.others.as_ref().and_then(|others| others.candidates.last());
        newest.map_or(self.active.epoch, |candidate| candidate.epoch)
    }

    /// Whether this epoch is issued and not proven.
    #[must_use]
    #[inline]
    pub fn is_candidate(&self, epoch: Epoch) -> bool {
        epoch > self.active.epoch
    }

    /// The epochs whose frames are opened beside those of the active one.
    pub fn other_epochs(&self) -> impl Iterator<Item = Epoch> {
        self.others.iter().flat_map(|others| others.iter()).map(|generation| generation.epoch)
    }

    /// Erases epochs that have retired long enough.
    pub fn expire(&mut self, now: u64) {
        if let Some(others) = &mut self.others {
            others.retiring.retain(|(_, until)| *until > now);
            if others.retiring.is_empty() && others.candidates.is_empty() {
                self.others = None;
            }
        }
    }

    fn promote(&mut self, epoch: Epoch, now: u64) -> bool {
        let Some(others) = &mut self.others else { return false };
        let Some(place) = others.candidates.iter().position(|candidate| candidate.epoch == epoch) else {
            return false;
        };
        let Some(mut proven) = others.candidates.drain(..=place).next_back() else { return false };
        core::mem::swap(&mut self.active, &mut *proven);
        // Nothing is sealed under it any more.
        proven.keys.dn = no_keys().dn;
        others.retiring.push((proven, now.saturating_add(RETIRING_S)));
        others.crop();
        // The new epoch's K_dn has counted nothing yet.
        self.counter = Counter::default();
        true
    }

    /// At most one live epoch has this low octet: they lie within a few steps of the active one.
    #[inline]
    fn by_low_octet(&self, low: u8) -> Option<&Generation> {
        if self.active.epoch.low() == low {
            return Some(&self.active);
        }
        self.others.as_ref()?.iter().find(|generation| generation.epoch.low() == low)
    }

    #[inline]
    fn by_low_octet_mut(&mut self, low: u8) -> Option<&mut Generation> {
        if self.active.epoch.low() == low {
            return Some(&mut self.active);
        }
        self.others.as_mut()?.iter_mut().find(|generation| generation.epoch.low() == low)
    }

    fn by_epoch(&self, epoch: Epoch) -> Option<&Generation> {
        self.by_low_octet(epoch.low()).filter(|generation| generation.epoch == epoch)
    }

    fn by_epoch_mut(&mut self, epoch: Epoch) -> Option<&mut Generation> {
        self.by_low_octet_mut(epoch.low()).filter(|generation| generation.epoch == epoch)
    }
}

impl Others {
    /// Of more than so many retiring epochs the oldest is erased at once.
    fn crop(&mut self) {
        let surplus = self.retiring.len().saturating_sub(RETIRING_MAX);
        self.retiring.drain(..surplus);
    }

    fn iter(&self) -> impl Iterator<Item = &Generation> {
        self.candidates.iter().chain(self.retiring.iter().map(|(generation, _)| generation)).map(Box::as_ref)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        let retiring = self.retiring.iter_mut().map(|(generation, _)| generation);
        self.candidates.iter_mut().chain(retiring).map(Box::as_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameType, HEAD_LEN};
    use crate::profile1::{open_batch, open_one};
    use crate::schedule;
    use crate::secret::Prk;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const SYSTEM: System = System([9; 8]);
    const DEV: Dev = Dev([8; 8]);
    const SID: Sid = Sid(0x0012_3456);
    const ACTIVE: Epoch = Epoch(255);

    fn keys(epoch: Epoch) -> AssociationKeys {
        schedule::derive(&Prk::from_octets([epoch.low(); 32]), SID)
    }

    /// Active 255, candidates 256 and 257.
    fn association() -> Association {
        let mut association = Association::new(SID, DEV, ACTIVE, keys(ACTIVE));
        assert_eq!(association.issue(keys), Some(Epoch(256)));
        assert_eq!(association.issue(keys), Some(Epoch(257)));
        association
    }

    fn frame(epoch: Epoch, seq: u32) -> Vec<u8> {
        let keys = keys(epoch);
        let bound = Bound { system: SYSTEM, scope: DEV.into(), epoch };
        let channel = Channel { key: &keys.up, common_iv: &keys.common_iv, bound };
        let head = channel.head(FrameType::Report, SID.0, seq);
        let mut frame = head.octets().to_vec();
        assert!(channel.seal(&head, b"plaintext", &mut frame));
        frame
    }

    /// Receives frames as a shard does: admitted, opened all at once, accepted in order.
    fn receive(association: &mut Association, frames: &[Vec<u8>]) -> Vec<Result<Accepted, Refusal>> {
        let mut data = frames.concat();
        let (mut jobs, mut admitted, mut at) = (Vec::new(), Vec::new(), 0);
        for frame in frames {
            let start = at + HEAD_LEN;
            at += frame.len();
            let head = Head::read(&frame[..HEAD_LEN], frame.len() - HEAD_LEN);
            admitted.push(head.and_then(|head| {
                jobs.push(association.admit(&head, SYSTEM)?.job(&head, start, at - start));
                Ok(head)
            }));
        }
        let mut opened = Vec::new();
        open_batch(&mut data, &jobs, &mut opened);
        let mut opened = opened.into_iter();
        admitted
            .into_iter()
            .map(|admitted| admitted.and_then(|head| association.accept(&head, opened.next().unwrap())))
            .collect()
    }

    fn commit(association: &mut Association, verdicts: &[Result<Accepted, Refusal>], frames: &[Vec<u8>]) {
        for (verdict, frame) in verdicts.iter().zip(frames) {
            if let Ok(Accepted::Fresh(epoch)) = verdict {
                association.committed(*epoch, Head::split(frame).unwrap().0.seq, 0);
            }
        }
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let seq = prop_oneof![0..150_u32, 60..70_u32];
        let frame = (255..259_u16, seq, prop::bool::weighted(0.2)).prop_map(|(epoch, seq, forged)| {
            let mut frame = frame(Epoch(epoch), seq);
            *frame.last_mut().unwrap() ^= u8::from(forged);
            frame
        });
        vec(frame, 1..60)
    }

    proptest! {
        #[test]
        fn a_batch_gets_the_verdicts_of_one_by_one(batches in vec(frames(), 1..5)) {
            let (mut together, mut alone) = (association(), association());
            for batch in batches {
                let verdicts = receive(&mut together, &batch);
                let single: Vec<_> =
                    batch.chunks(1).flat_map(|frame| receive(&mut alone, frame)).collect();
                prop_assert_eq!(&verdicts, &single);
                commit(&mut together, &verdicts, &batch);
                commit(&mut alone, &verdicts, &batch);
                prop_assert_eq!(together.epoch(), alone.epoch());
                prop_assert_eq!(together.ack(together.epoch()), alone.ack(alone.epoch()));
            }
        }
    }

    #[test]
    fn a_shard_holds_ten_million_of_them() {
        assert!(size_of::<Association>() <= 112, "{}", size_of::<Association>());
    }

    #[test]
    fn another_generation_and_a_revoked_association_are_refused() {
        let mut association = association();
        let frame = frame(ACTIVE, 1);
        let head = Head::split(&frame).unwrap().0;
        let other = Head { id: Sid::new(1, SID.slot()).unwrap().0, ..head };
        assert_eq!(association.admit(&other, SYSTEM).err(), Some(Refusal::Unknown));
        let down = Head { frame_type: FrameType::DownControl, ..head };
        assert_eq!(association.admit(&down, SYSTEM).err(), Some(Refusal::Format));
        association.revoke();
        assert_eq!(receive(&mut association, &[frame]), [Err(Refusal::Revoked)]);
    }

    #[test]
    fn a_proven_epoch_starts_a_new_downstream_counter() {
        let mut association = association();
        assert_eq!((association.take_seq(), association.wanted_floor()), (None, Some(64)));
        association.reserved(ACTIVE, 64);
        assert_eq!(association.take_seq(), Some(0));
        let frames = [frame(Epoch(257), 5)];
        let verdicts = receive(&mut association, &frames);
        assert_eq!(verdicts, [Ok(Accepted::Fresh(Epoch(257)))]);
        commit(&mut association, &verdicts, &frames);
        assert_eq!((association.epoch(), association.candidates_left()), (Epoch(257), 4));
        // A reservation of the old epoch that comes late does not count for the new one.
        association.reserved(ACTIVE, 128);
        assert_eq!(association.take_seq(), None);
        association.reserved(Epoch(257), 64);
        assert_eq!(association.take_seq(), Some(0));
        // The skipped candidate is gone, the old epoch is not.
        let late = [frame(Epoch(256), 0), frame(ACTIVE, 9)];
        assert_eq!(receive(&mut association, &late), [Err(Refusal::Epoch), Ok(Accepted::Fresh(ACTIVE))]);
    }

    #[test]
    fn a_start_rebuilds_window_and_floor() {
        let mut before = association();
        let frames: Vec<_> = [3, 70, 69].map(|seq| frame(ACTIVE, seq)).to_vec();
        let verdicts = receive(&mut before, &frames);
        commit(&mut before, &verdicts, &frames);
        let mut after = association();
        assert!(after.set_durable(ACTIVE, before.durable(ACTIVE).unwrap()));
        assert!(!after.set_durable(Epoch(7), before.durable(ACTIVE).unwrap()));
        after.restore(ACTIVE, 71, 0);
        after.restore_floor(ACTIVE, 64);
        after.restore_floor(ACTIVE, 128);
        after.restore_floor(Epoch(7), 256);
        assert_eq!(after.ack(ACTIVE), Some(Ack { epoch: ACTIVE, highest: 71, bitmap: 0b11 }));
        let repeat = Accepted::Duplicate { epoch: ACTIVE, durable: true };
        assert_eq!(receive(&mut after, &frames), [Err(Refusal::Replay), Ok(repeat), Ok(repeat)]);
        assert_eq!((after.take_seq(), after.wanted_floor()), (None, Some(192)));
    }

    #[test]
    fn an_acknowledgement_opens_at_the_end_device() {
        let association = association();
        let channel = association.downstream(SYSTEM);
        let head = channel.head(FrameType::DownControl, SID.0, 0);
        let mut body = Vec::new();
        assert!(channel.seal(&head, b"items", &mut body));
        let keys = keys(ACTIVE);
        let device = Channel { key: &keys.dn, ..channel };
        assert!(open_one(&mut body, &device.job(&head, 0, 13)));
        assert_eq!(&body[..5], b"items");
        let wrong = Key128::from_octets(*keys.up.expose());
        assert!(!open_one(&mut body, &Channel { key: &wrong, ..channel }.job(&head, 0, 13)));
    }
}
