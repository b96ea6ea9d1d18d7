//! The signer's rules (security layer §7), without I/O: what is signed, with which counter, and why not.
//!
//! ```text
//! authorise   policy -> approvals -> class -> counter reserved, in memory
//! (write)     the reservation, durable; then the audit entry, durable
//! sign        by the token
//! (write)     the signed command, durable
//! signed      the id has signed, for ever; or cancel, where one of these failed
//! ```
//! What it knows is a function of the log: reservations, signed commands, RESULTs of end devices. So it is
//! rebuilt from a checkpoint and the log after it, and no counter repeats.

mod authorised;
mod books;
mod checkpoint;
#[cfg(test)]
mod tests;
mod watch;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use seal::command::{Addressee, BODY_MAX, Class};
use seal::ids::{Dev, System};

pub use authorised::{Authorised, Reservation};
use books::Books;
pub use watch::ClockLook;
use watch::Watch;

use crate::approval::{Approval, approvers};
use crate::class::{ProfileClassifier, universal};
use crate::code::{Computed, SignRefusal};
use crate::front::CommandId;
use crate::intent::{Intent, SigningRequest};
use crate::policy::Policy;

/// Different approvers of class 3 to a group.
const APPROVERS_NEEDED: usize = 2;
/// The longest life of a class-3 command, in minutes.
const TTL_LOAD_MAX: u16 = 1440;
/// The clock may stand so many seconds before what it said; other clocks are corrected by as much.
const CLOCK_SLACK_S: u64 = 2;
/// Ids that are kept until their time has passed, at most.
const IDS_MAX: usize = 1 << 23;

/// What the signer asks about end devices.
pub trait Fleet {
    /// One that is known.
    fn member(&self, dev: Dev) -> Option<Member>;
    /// A device profile by the number that members have it by.
    fn profile(&self, profile: u32) -> Option<&ProfileClassifier>;
}

/// What the signer must know of an end device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its device profile.
    pub profile: u32,
    /// Whether it is a classic (EAX') one.
    pub classic: bool,
}

/// What became of a request.
#[derive(Debug)]
pub enum Verdict {
    /// A counter is reserved for it, in memory: make it durable, audit it, sign it.
    Authorised(Box<Authorised>),
    /// It is not signed.
    Refused {
        /// The intent, where the octets are one.
        intent: Option<Box<Intent>>,
        /// Why.
        refusal: SignRefusal,
    },
    /// It is on its way already.
    InFlight,
}

/// One signing key's sequences, and what it signed.
#[derive(Debug)]
pub struct Signer {
    system: System,
    skid: u8,
    policy: Option<Arc<Policy>>,
    books: Books,
    /// Until when each id that has signed is kept, Unix seconds.
    ids: HashMap<CommandId, u64>,
    in_flight: HashSet<CommandId>,
    /// Reserved according to the log, and not signed so far.
    reserved: HashMap<CommandId, Reservation>,
    /// The latest time that the clock said, Unix seconds.
    clock: u64,
    watch: Watch,
    /// By how many milliseconds the clock has stepped: signing is closed.
    stepped: Option<i64>,
    /// When ids were last looked through.
    purged: u64,
    /// The incarnation that the last restore of the state made.
    restored: u64,
}

impl Signer {
    /// A signer that has signed nothing.
    #[must_use]
    pub fn new(system: System, skid: u8) -> Self {
        Self {
            system,
            skid,
            policy: None,
            books: Books::default(),
            ids: HashMap::new(),
            in_flight: HashSet::new(),
            reserved: HashMap::new(),
            clock: 0,
            watch: Watch::default(),
            stepped: None,
            purged: 0,
            restored: 0,
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// Puts a policy in force that was accepted.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = Some(Arc::new(policy));
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Looks at the clock. While it has stepped, forward or back, nothing is signed (security layer §10), and what
    /// it says is not taken for the time. Answers the refusal when signing closes for that.
    pub fn look(&mut self, look: ClockLook) -> Option<SignRefusal> {
        // A start that finds it before the time of the log says so of each command, and does not believe it.
        let early = (look.wall / 1000).saturating_add(CLOCK_SLACK_S) < self.clock;
        if early && self.watch.is_new() {
            return None;
        }
        let before = std::mem::replace(&mut self.stepped, self.watch.look(look));
        self.stepped.filter(|_| before.is_none()).map(SignRefusal::Stepped)
    }

    /// Decides over a request, the octets of a [`SigningRequest`]. `now` is Unix seconds.
    pub fn authorise(&mut self, octets: &[u8], now: u64, fleet: &dyn Fleet) -> Verdict {
        let Some(SigningRequest { intent, approvals }) = SigningRequest::read(octets) else {
            return Verdict::Refused { intent: None, refusal: SignRefusal::Foreign("not an intent") };
        };
        if self.in_flight.contains(&intent.id) {
            return Verdict::InFlight;
        }
        match self.decide(&intent, &approvals, now, fleet) {
            Ok(Decided { digest, approvers, reach }) => {
                match self.books.reserve(intent.addressee, intent.class, intent.nbf, intent.ends_at(), now) {
                    Ok(reserved) => {
                        self.in_flight.insert(intent.id);
                        if intent.class == Class::Keys {
                            self.books.expect(intent.addressee, reserved.ctr, &intent.body);
                        }
                        Verdict::Authorised(Box::new(Authorised {
                            intent,
                            digest,
                            approvers,
                            reach,
                            at: now,
                            reserved,
                        }))
                    }
                    Err(refusal) => Verdict::Refused { intent: Some(Box::new(intent)), refusal },
                }
            }
            Err(refusal) => Verdict::Refused { intent: Some(Box::new(intent)), refusal },
        }
    }

    /// All steps but the counter.
    fn decide(
        &mut self,
        intent: &Intent,
        approvals: &[Approval],
        now: u64,
        fleet: &dyn Fleet,
    ) -> Result<Decided, SignRefusal> {
        if let Some(by) = self.stepped {
            return Err(SignRefusal::Stepped(by));
        }
        let back = self.clock.saturating_sub(now);
        if back > CLOCK_SLACK_S {
            return Err(SignRefusal::Clock(back));
        }
        self.clock = self.clock.max(now);
        self.purge();
        let policy = self.policy.clone().ok_or(SignRefusal::NoPolicy)?;
        if intent.system != self.system {
            return Err(SignRefusal::Foreign("the intent is for another installation"));
        }
        if intent.skid != self.skid {
            return Err(SignRefusal::Foreign("the intent is for another signing key"));
        }
        if intent.body.len() > BODY_MAX {
            return Err(SignRefusal::Foreign("the body does not fit a frame"));
        }
        if self.ids.contains_key(&intent.id) {
            return Err(SignRefusal::Signed);
        }
        if !policy.permits(&intent.requester, intent.class) {
            return Err(SignRefusal::Requester {
                version: policy.version(),
                requester: intent.requester.clone(),
                class: intent.class.octet(),
            });
        }
        timely(intent, now, policy.horizon_s())?;
        let digest = intent.digest();
        let named = approvers(&policy, intent, &digest, approvals);
        let group = matches!(intent.addressee, Addressee::Group(_));
        let need = if group && intent.class == Class::Load { APPROVERS_NEEDED } else { 0 };
        if named.len() < need {
            return Err(SignRefusal::Approval { have: named.len(), need });
        }
        let approvers = named.into_iter().map(str::to_owned).collect();
        let reach = self.judge(intent, &policy, now, fleet)?;
        if self.ids.len().saturating_add(self.in_flight.len()) >= IDS_MAX {
            return Err(SignRefusal::Exhausted("too many ids are kept until their time has passed"));
        }
        Ok(Decided { digest, approvers, reach })
    }

    /// Whether the body is what its class says, for every device that it reaches; answers how many.
    fn judge(
        &self,
        intent: &Intent,
        policy: &Policy,
        now: u64,
        fleet: &dyn Fleet,
    ) -> Result<u64, SignRefusal> {
        let class = intent.class;
        let wrong = |computed: Option<Class>| SignRefusal::Class {
            computed: Computed(computed.map(Class::octet)),
            class: class.octet(),
        };
        if let Some(fits) = universal(class, &intent.body) {
            fits.map_err(wrong)?;
        }
        let admits = |profile: u32| {
            if matches!(class, Class::Keys | Class::Time) {
                return Ok(());
            }
            let unknown = SignRefusal::Nobody("the device profile cannot be read");
            fleet.profile(profile).ok_or(unknown)?.admits(class, &intent.body).map_err(wrong)
        };
        match intent.addressee {
            Addressee::Device(dev) => {
                let member = fleet.member(dev).ok_or(SignRefusal::Nobody("no such end device"))?;
                if member.classic && class == Class::Load && !policy.excepts(dev, now) {
                    return Err(SignRefusal::Legacy(dev));
                }
                admits(member.profile).map(|()| 1)
            }
            Addressee::Group(gid) => {
                let ledger = self.books.membership(gid).version();
                if intent.membership != ledger {
                    return Err(SignRefusal::Membership { gid, intent: intent.membership, ledger });
                }
                let mut profiles = HashSet::new();
                let mut reach = 0_u64;
                for dev in self.books.members(gid) {
                    reach = reach.saturating_add(1);
                    let Some(member) = fleet.member(dev) else { continue };
                    if profiles.insert(member.profile) {
                        admits(member.profile)?;
                    }
                }
                if profiles.is_empty() {
                    return Err(SignRefusal::Nobody("the group has no member"));
                }
                Ok(reach)
            }
        }
    }

    /// The signed command is durable.
    pub fn signed(&mut self, authorised: &Authorised) {
        let intent = &authorised.intent;
        self.in_flight.remove(&intent.id);
        self.ids.insert(intent.id, intent.ends_at());
    }

    /// It was not signed, or what was signed is lost: the counter stays used, the intent may come again.
    pub fn cancel(&mut self, authorised: &Authorised) {
        let intent = &authorised.intent;
        self.in_flight.remove(&intent.id);
        self.books.cancel(intent.addressee, intent.class, intent.nbf, &authorised.reserved);
    }

    /// Takes in a reservation of the log, while it is rebuilt.
    pub fn replay_reservation(&mut self, reservation: Reservation) {
        if reservation.skid == self.skid {
            self.clock = self.clock.max(reservation.at);
            self.books.replay(reservation.addressee, reservation.ctr);
            self.reserved.insert(reservation.id, reservation);
        }
    }

    /// Takes in a signed command of the log, while it is rebuilt.
    pub fn replay_signed(&mut self, id: CommandId, signed: &[u8]) {
        let Some(reservation) = self.reserved.remove(&id) else { return };
        let Some(read) = seal::command::SignedCommand::read(signed) else { return };
        let Some(class) = Class::from_octet(read.command.class) else { return };
        let (nbf, ttl) = (read.command.nbf, read.command.ttl);
        let ends_at = u64::from(nbf).saturating_add(u64::from(ttl).saturating_mul(60));
        self.books.replay_signed(reservation.addressee, class, nbf, ends_at, reservation.ctr);
        self.ids.insert(id, ends_at);
        if class == Class::Keys {
            self.books.expect(reservation.addressee, reservation.ctr, read.command.body);
        }
    }

    /// The log says that the state is that of a backup: counters skip what a copy of it may have used since
    /// (beyond security layer §8: a device refuses a `ctr` that it knows, whoever signed it). A restore that is
    /// known says nothing new.
    pub fn restored(&mut self, incarnation: u64, skip: u32) {
        if incarnation > self.restored {
            self.restored = incarnation;
            self.books.skip(skip);
        }
    }

    /// The log has been read to its end: what was reserved and not signed never will be.
    pub fn rebuilt(&mut self) {
        self.reserved.clear();
    }

    /// Takes in an end device's RESULT.
    pub fn result(&mut self, dev: Dev, outcome: &seal::control::Outcome<'_>) {
        if outcome.skid == self.skid {
            self.books.result(dev, outcome.kind, outcome.ctr, outcome.result);
        }
    }

    /// An end device is believed no longer: it is no member of any group.
    pub fn revoked(&mut self, dev: Dev) {
        self.books.revoked(dev);
    }

    /// Forgets ids whose time has passed: they are refused for that.
    fn purge(&mut self) {
        const EVERY_S: u64 = 60;
        if self.clock >= self.purged.saturating_add(EVERY_S) {
            self.purged = self.clock;
            let clock = self.clock.saturating_sub(CLOCK_SLACK_S);
            self.ids.retain(|_, until| *until >= clock);
        }
    }
}

struct Decided {
    digest: [u8; 32],
    approvers: Vec<String>,
    reach: u64,
}

fn timely(intent: &Intent, now: u64, horizon_s: u64) -> Result<(), SignRefusal> {
    let when = |right: bool, why| if right { Ok(()) } else { Err(SignRefusal::When(why)) };
    when(intent.ttl > 0, "ttl is 0")?;
    when(
        intent.class != Class::Load || intent.ttl <= TTL_LOAD_MAX,
        "class 3 has a ttl of 1,440 minutes at most",
    )?;
    when(now <= intent.ends_at(), "its time has passed")?;
    when(
        u64::from(intent.nbf) <= now.saturating_add(horizon_s),
        "nbf is further ahead than the policy lets it",
    )
}
