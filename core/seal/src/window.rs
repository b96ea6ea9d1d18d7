//! The replay window of one key and sender, 64 wide (security layer §6).
//!
//! A counter that was accepted is *pending* until the write that holds its frame is durable. Repeats
//! are recognised from the moment of acceptance; acknowledgements speak of durable frames only.

use core::fmt;

use crate::frame::SEQ_MAX;

/// What a window says about a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not seen before.
    Fresh,
    /// Accepted before; durable or pending.
    Seen,
    /// 64 or more below the highest: nobody knows.
    Below,
}

/// Which counters were accepted, as far back as a window looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The highest counter.
    pub highest: u32,
    /// Bit `n` is the counter `highest - n`.
    pub bits: u64,
}

impl View {
    /// No counter is this high, so it is above all and below none.
    const EMPTY: Self = Self { highest: u32::MAX, bits: 0 };

    fn is_empty(self) -> bool {
        self.highest == Self::EMPTY.highest
    }

    fn place(self, seq: u32) -> Place {
        if self.is_empty() || seq > self.highest {
            return Place::Fresh;
        }
        match 1_u64.checked_shl(self.highest.saturating_sub(seq)) {
            None => Place::Below,
            Some(bit) if self.bits & bit == 0 => Place::Fresh,
            Some(_) => Place::Seen,
        }
    }

    fn with(self, seq: u32) -> Self {
        if self.is_empty() {
            return Self { highest: seq, bits: 1 };
        }
        match seq.checked_sub(self.highest) {
            None | Some(0) => Self { bits: self.bits | self.bit(seq), ..self },
            Some(up) => Self { highest: seq, bits: self.bits.checked_shl(up).unwrap_or(0) | 1 },
        }
    }

    fn without(self, seq: u32) -> Self {
        Self { bits: self.bits & !self.bit(seq), ..self }
    }

    /// The bit of a counter, 0 when it lies outside.
    fn bit(self, seq: u32) -> u64 {
        self.highest.checked_sub(seq).and_then(|down| 1_u64.checked_shl(down)).unwrap_or(0)
    }
}

/// A replay window, 32 octets.
///
/// Call [`Self::mark`] when a frame has opened and goes to the journal, then for each such frame
/// exactly once [`Self::committed`] or [`Self::failed`]. Several writes may be on their way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Window {
    // Two views, laid out flat: nested ones would cost eight octets of padding.
    live_bits: u64,
    durable_bits: u64,
    live_highest: u32,
    durable_highest: u32,
    pending: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self::of(View::EMPTY)
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("live", &self.live())
            .field("durable", &self.durable())
            .field("pending", &self.pending)
            .finish()
    }
}

impl Window {
    /// The window after a restart: what is durable, and nothing pending.
    ///
    /// `None` when the view is none that [`Self::durable`] gives.
    #[must_use]
    pub fn from_durable(view: View) -> Option<Self> {
        (view.highest <= SEQ_MAX && view.bits & 1 == 1).then_some(Self::of(view))
    }

    /// Where a counter stands, pending ones included.
    #[must_use]
    pub fn place(&self, seq: u32) -> Place {
        self.live_view().place(seq)
    }

    /// Accepts a fresh counter: pending from now on.
    pub fn mark(&mut self, seq: u32) {
        self.set_live(self.live_view().with(seq));
        self.pending = self.pending.saturating_add(1);
    }

    /// The write that holds this counter's frame is durable.
    pub fn committed(&mut self, seq: u32) {
        self.set_durable(self.durable_view().with(seq));
        self.settle_one();
    }

    /// The write that holds this counter's frame failed: its repeat is fresh again.
    pub fn failed(&mut self, seq: u32) {
        self.set_live(self.live_view().without(seq));
        self.settle_one();
    }

    /// Takes in a counter that the journal holds; only while nothing is pending.
    pub fn restore(&mut self, seq: u32) {
        *self = Self::of(self.durable_view().with(seq));
    }

    /// What is accepted, pending counters included; `None` when nothing is.
    #[must_use]
    pub fn live(&self) -> Option<View> {
        Some(self.live_view()).filter(|view| !view.is_empty())
    }

    /// What is durable; `None` when nothing is.
    #[must_use]
    pub fn durable(&self) -> Option<View> {
        Some(self.durable_view()).filter(|view| !view.is_empty())
    }

    /// Whether this counter's frame is known to be durable, so that its repeat may be acknowledged.
    #[must_use]
    pub fn is_durable(&self, seq: u32) -> bool {
        self.durable_view().place(seq) == Place::Seen
    }

    fn settle_one(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        if self.pending == 0 {
            // After a failure the live view may stand too high and have lost durable counters.
            self.set_live(self.durable_view());
        }
    }

    fn of(view: View) -> Self {
        let View { highest, bits } = view;
        Self {
            live_bits: bits,
            durable_bits: bits,
            live_highest: highest,
            durable_highest: highest,
            pending: 0,
        }
    }

    fn live_view(&self) -> View {
        View { highest: self.live_highest, bits: self.live_bits }
    }

    fn durable_view(&self) -> View {
        View { highest: self.durable_highest, bits: self.durable_bits }
    }

    fn set_live(&mut self, view: View) {
        (self.live_highest, self.live_bits) = (view.highest, view.bits);
    }

    fn set_durable(&mut self, view: View) {
        (self.durable_highest, self.durable_bits) = (view.highest, view.bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The window as its definition reads: sets of counters, and writes on their way, oldest first.
    #[derive(Default)]
    struct Model {
        durable: BTreeSet<u32>,
        writes: Vec<Vec<u32>>,
    }

    impl Model {
        fn accepted(&self) -> BTreeSet<u32> {
            self.durable.iter().chain(self.writes.iter().flatten()).copied().collect()
        }

        fn place(&self, seq: u32) -> Place {
            let accepted = self.accepted();
            match accepted.last() {
                Some(highest) if seq + 64 <= *highest => Place::Below,
                _ if accepted.contains(&seq) => Place::Seen,
                _ => Place::Fresh,
            }
        }
    }

    fn view(accepted: &BTreeSet<u32>) -> Option<View> {
        let highest = *accepted.last()?;
        let bits = accepted.iter().filter(|seq| *seq + 64 > highest).map(|seq| 1 << (highest - seq)).sum();
        Some(View { highest, bits })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Frame(u32),
        /// Further frames go into another write.
        NextWrite,
        Settle(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0_u32..200).prop_map(Step::Frame),
            1 => (SEQ_MAX - 5..=SEQ_MAX).prop_map(Step::Frame),
            2 => Just(Step::NextWrite),
            2 => any::<bool>().prop_map(Step::Settle),
        ];
        proptest::collection::vec(step, 1..120)
    }

    fn settle(model: &mut Model, window: &mut Window, commit: bool) {
        if model.writes.is_empty() {
            return;
        }
        for seq in model.writes.remove(0) {
            if commit {
                model.durable.insert(seq);
                window.committed(seq);
            } else {
                window.failed(seq);
            }
        }
    }

    proptest! {
        /// One write at a time, as the definition has it: equal to the sets at every step.
        #[test]
        fn equals_the_sets(steps in steps()) {
            let (mut model, mut window) = (Model::default(), Window::default());
            for step in steps {
                match step {
                    Step::Frame(seq) => {
                        prop_assert_eq!(window.place(seq), model.place(seq));
                        if model.place(seq) == Place::Fresh {
                            window.mark(seq);
                            if model.writes.is_empty() {
                                model.writes.push(Vec::new());
                            }
                            model.writes[0].push(seq);
                        }
                    }
                    Step::NextWrite => {}
                    Step::Settle(commit) => settle(&mut model, &mut window, commit),
                }
                prop_assert_eq!(window.live(), view(&model.accepted()));
                prop_assert_eq!(window.durable(), view(&model.durable));
            }
        }

        /// Several writes on their way: never fresh twice, durable exact, equal again once all settled.
        #[test]
        fn is_safe_with_several_writes_on_their_way(steps in steps()) {
            let (mut model, mut window) = (Model::default(), Window::default());
            model.writes.push(Vec::new());
            for step in steps {
                match step {
                    Step::Frame(seq) => {
                        if window.place(seq) == Place::Fresh {
                            prop_assert!(!model.accepted().contains(&seq), "{} delivered twice", seq);
                            window.mark(seq);
                            model.writes.last_mut().unwrap().push(seq);
                        }
                    }
                    Step::NextWrite => model.writes.push(Vec::new()),
                    Step::Settle(commit) => {
                        settle(&mut model, &mut window, commit);
                        if model.writes.is_empty() {
                            model.writes.push(Vec::new());
                        }
                    }
                }
                prop_assert_eq!(window.durable(), view(&model.durable));
                if model.writes.iter().all(Vec::is_empty) {
                    prop_assert_eq!(window.live(), window.durable());
                }
            }
        }
    }

    #[test]
    fn a_failed_frame_is_fresh_again_while_a_later_write_waits() {
        let mut window = Window::default();
        window.mark(10);
        window.mark(11);
        window.failed(10);
        assert_eq!((window.place(10), window.place(11)), (Place::Fresh, Place::Seen));
        window.mark(10);
        window.committed(11);
        window.committed(10);
        assert_eq!(window.durable(), Some(View { highest: 11, bits: 3 }));
    }

    #[test]
    fn a_window_survives_a_restart() {
        let mut window = Window::default();
        for seq in [7, 3, 70] {
            window.restore(seq);
        }
        assert_eq!(Window::from_durable(window.durable().unwrap()), Some(window));
        assert!(window.is_durable(70) && window.is_durable(7) && !window.is_durable(3));
        assert!(Window::from_durable(View { highest: 5, bits: 2 }).is_none());
        assert!(Window::from_durable(View { highest: SEQ_MAX + 1, bits: 1 }).is_none());
        assert_eq!(size_of::<Window>(), 32);
    }
}
