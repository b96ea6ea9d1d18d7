//! Registration by EDHOC (security layer §5), the end device's side: runs, their timers, and the pauses
//! between them.
//!
//! An error is unauthenticated: it ends no run. A run ends with its timer; the next one begins after 1 to 5
//! minutes, twice and then four times that, and not before a head-end that said `wait N` asked for.

use seal::edhoc::{AwaitMessage2, AwaitMessage4, Ephemeral, ErrorMessage, Refusal, Registered, initiate};
use seal::edhoc::{HeadEndKid, PublicKey, WAIT_MAX_S};
use zeroize::Zeroizing;

use super::entropy::{Entropy, below};
use super::identity::Identity;

const NS_PER_S: u64 = 1_000_000_000;
/// A run ends after this; the head-end keeps it no longer either.
const RUN_S: u64 = 60;
/// The message in hand is sent again after this: on its link the same answer comes.
const REPEAT_S: u64 = 10;
/// The shortest pause between two runs, and how much longer it may be.
const PAUSE_S: u64 = 60;
const PAUSE_SPREAD_S: u64 = 240;
/// The pause is doubled so often.
const DOUBLINGS_MAX: u8 = 2;

/// Message types, as octet 0 of a frame has them.
pub(super) const MESSAGE_1: u8 = 0x18;
pub(super) const MESSAGE_2: u8 = 0x19;
pub(super) const MESSAGE_3: u8 = 0x1a;
pub(super) const MESSAGE_4: u8 = 0x1b;
pub(super) const ERROR: u8 = 0x1c;

/// message_3 is sent.
struct Proving {
    /// The message_2 that it answers.
    answered: Vec<u8>,
    state: AwaitMessage4,
    /// The head-end's credential.
    kid: Option<HeadEndKid>,
}

struct Run {
    asked: AwaitMessage2,
    proving: Option<Proving>,
    /// The frame in hand.
    frame: Vec<u8>,
    repeat_at_ns: u64,
    until_ns: u64,
}

/// A registration that has been completed.
pub(super) struct Completed {
    pub registered: Registered,
    /// Which of the head-end's credentials it was.
    pub kid: Option<HeadEndKid>,
}

/// Registration of one device.
pub(super) struct Registration {
    run: Option<Run>,
    /// When the next run begins; `u64::MAX` for never.
    next_ns: u64,
    /// No run begins before this.
    hint_ns: u64,
    doublings: u8,
    /// How much faster than real all its times are.
    speedup: u64,
}

impl Registration {
    pub fn new(speedup: u32) -> Self {
        Self { run: None, next_ns: u64::MAX, hint_ns: 0, doublings: 0, speedup: u64::from(speedup.max(1)) }
    }

    fn ns(&self, seconds: u64) -> u64 {
        seconds.saturating_mul(NS_PER_S) / self.speedup
    }

    /// Whether a run is on its way, or will be.
    pub fn is_due_ever(&self) -> bool {
        self.run.is_some() || self.next_ns != u64::MAX
    }

    /// Begins a run then, unless one is on its way or begins sooner.
    pub fn begin_at(&mut self, at_ns: u64) {
        if self.run.is_none() {
            self.next_ns = self.next_ns.min(at_ns);
        }
    }

    /// When [`Self::poll`] has something to do.
    pub fn wake_ns(&self) -> u64 {
        match &self.run {
            Some(run) => run.repeat_at_ns.min(run.until_ns),
            None if self.next_ns == u64::MAX => u64::MAX,
            None => self.next_ns.max(self.hint_ns),
        }
    }

    /// The frame that is to be sent now.
    pub fn poll(&mut self, now_ns: u64, entropy: &mut dyn Entropy) -> Option<&[u8]> {
        if self.run.as_ref().is_some_and(|run| now_ns >= run.until_ns) {
            self.run = None;
            let pause = PAUSE_S.saturating_add(below(entropy, PAUSE_SPREAD_S.saturating_add(1)));
            self.next_ns = now_ns.saturating_add(self.ns(pause << self.doublings));
            self.doublings = self.doublings.saturating_add(1).min(DOUBLINGS_MAX);
            return None;
        }
        if self.run.is_none() {
            if now_ns < self.next_ns.max(self.hint_ns) || self.next_ns == u64::MAX {
                return None;
            }
            let (asked, message_1) = initiate(ephemeral(entropy));
            self.next_ns = u64::MAX;
            self.run = Some(Run {
                asked,
                proving: None,
                frame: [&[MESSAGE_1][..], &message_1].concat(),
                repeat_at_ns: now_ns,
                until_ns: now_ns.saturating_add(self.ns(RUN_S)),
            });
        }
        let repeat = self.ns(REPEAT_S);
        let run = self.run.as_mut().filter(|run| now_ns >= run.repeat_at_ns)?;
        run.repeat_at_ns = now_ns.saturating_add(repeat);
        Some(&run.frame)
    }

    /// Takes message_2; afterwards [`Self::poll`] sends message_3.
    pub fn message_2(
        &mut self,
        message_2: &[u8],
        identity: &Identity,
        key: impl Fn(HeadEndKid) -> Option<PublicKey>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let run = self.run.as_mut().ok_or(Refusal::Format)?;
        if run.proving.as_ref().is_some_and(|proving| proving.answered == message_2) {
            // The answer to a repeated message_1: message_3 was lost, or is still on its way.
            run.repeat_at_ns = now_ns;
            return Ok(());
        }
        let mut named = None;
        let (state, message_3) =
            run.asked.message_2(message_2, &identity.own, &identity.agreement, |kid| {
                named = Some(kid);
                key(kid)
            })?;
        run.frame = [&[MESSAGE_3][..], &state.sid().0.to_be_bytes(), &message_3].concat();
        run.proving = Some(Proving { answered: message_2.to_vec(), state, kid: named });
        run.repeat_at_ns = now_ns;
        Ok(())
    }

    /// Takes message_4, which ends the run.
    pub fn message_4(&mut self, message_4: &[u8]) -> Result<Completed, Refusal> {
        let proving = self.run.as_ref().and_then(|run| run.proving.as_ref()).ok_or(Refusal::Format)?;
        let completed = Completed { registered: proving.state.message_4(message_4)?, kid: proving.kid };
        (self.run, self.doublings, self.hint_ns) = (None, 0, 0);
        Ok(completed)
    }

    /// Takes an error: a hint, which ends no run before its timer. After a `wait N` the message in hand is
    /// repeated no earlier than in so many seconds.
    pub fn error(&mut self, error: &[u8], now_ns: u64) -> Result<ErrorMessage, Refusal> {
        let error = ErrorMessage::read(error)?;
        let run = self.run.as_mut().ok_or(Refusal::Format)?;
        if let ErrorMessage::Wait(seconds) = error {
            let seconds = u64::from(seconds.min(WAIT_MAX_S));
            self.hint_ns = now_ns.saturating_add(seconds.saturating_mul(NS_PER_S) / self.speedup);
            run.repeat_at_ns = run.repeat_at_ns.max(self.hint_ns);
        }
        Ok(error)
    }
}

/// A key pair for one run.
fn ephemeral(entropy: &mut dyn Entropy) -> Ephemeral {
    let mut octets = Zeroizing::new([0; 32]);
    loop {
        entropy.fill(&mut *octets);
        if let Some(ephemeral) = Ephemeral::from_octets(&octets) {
            return ephemeral;
        }
    }
}
