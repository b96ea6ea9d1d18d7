//! The classic security of a device: EAX', with a freshness window and a replay cache.

use c1222::authentication::AuthenticationValue;
use c1222::canonified::{self, KeyIv};
use c1222::epsem::MAC_LEN;
use c1222::{ApTitleBuf, Apdu, EpsemControl, Leniency, SecurityMode, ap_title};
use seal::eax_prime::{EaxPrime, Mode};
use seal::secret::Key128;

use super::Moment;
use super::recent::Recent;
use super::refusal::Refusal;

/// 2.16.124.113620.1.22.2.1: the mechanism that is meant where none is named.
pub(super) const MECHANISM: [u8; 9] = [0x60, 0x7c, 0x86, 0xf7, 0x54, 0x01, 0x16, 0x02, 0x01];
/// Messages that the replay cache holds.
const REPLAYS_MAX: usize = 1 << 16;
const NS_PER_S: u64 = 1_000_000_000;

/// The keys of a classic device and what it has seen under them.
pub struct Classic {
    keys: Vec<(u8, EaxPrime)>,
    /// How far the IV of a message may be from now, in seconds; 0 takes any.
    freshness_s: u32,
    replays: Recent<Seen>,
    /// The latest IV of what the replay cache had to forget: nothing up to it is fresh any more.
    forgotten: Option<u32>,
    /// The last IV of our own.
    last_iv: u32,
    /// The canonified cleartext of the message in hand.
    header: Vec<u8>,
}

/// What tells one message from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    key_iv: (u8, u32),
    calling: ApTitleBuf,
    invocation: u32,
}

impl Classic {
    /// Keys by their ids, each id once, and how far the IV of a message may be from now, in seconds; 0 takes any.
    #[must_use]
    pub fn new<'k>(keys: impl IntoIterator<Item = (u8, &'k Key128)>, freshness_s: u32) -> Self {
        // An IV further in the future than the window is stale too, so this is how long a message is fresh.
        let life_ns = match freshness_s {
            0 => u64::MAX,
            seconds => u64::from(seconds) * 2 * NS_PER_S,
        };
        Self {
            keys: keys.into_iter().map(|(id, key)| (id, EaxPrime::new(key))).collect(),
            freshness_s,
            replays: Recent::new(REPLAYS_MAX, life_ns),
            forgotten: None,
            last_iv: 0,
            header: Vec::new(),
        }
    }

    /// Verifies a secured message and appends its plaintext. `session` is the key and IV of its caller's session.
    pub(super) fn open(
        &mut self,
        apdu: &Apdu<'_>,
        session: Option<KeyIv>,
        now: Moment,
        plaintext: &mut Vec<u8>,
    ) -> Result<KeyIv, Refusal> {
        let envelope = &apdu.envelope;
        // Without titles or IV two messages could share a header, and a short header can be forged.
        let (Some(_), Some(calling)) = (envelope.called, envelope.calling) else {
            return Err(Refusal::NoTitles);
        };
        let own_iv = match envelope.authentication.map(|authentication| authentication.value) {
            Some(AuthenticationValue::C1222 { iv, .. }) => iv.is_some(),
            Some(_) => return Err(Refusal::UnknownMechanism),
            None => false,
        };
        if envelope.mechanism.is_some_and(|mechanism| mechanism.octets() != MECHANISM) {
            return Err(Refusal::UnknownMechanism);
        }
        if !own_iv && session.is_none() {
            return Err(Refusal::NoSession);
        }
        self.header.clear();
        let key_iv = canonified::canonify(apdu, session, &ap_title::ROOT, &mut self.header)?;
        let places = canonified::sealed_places(apdu)?.ok_or(Refusal::WrongMac)?;
        let mac = apdu.octets().get(places.mac).and_then(|mac| mac.first_chunk::<MAC_LEN>());
        let start = plaintext.len();
        plaintext.extend_from_slice(apdu.octets().get(places.payload).unwrap_or_default());
        let payload = plaintext.get_mut(start..).unwrap_or_default();
        let key = key_of(&self.keys, key_iv.key_id)?;
        key.open(mode(places.mode), &self.header, payload, *mac.ok_or(Refusal::WrongMac)?)
            .map_err(|_| Refusal::WrongMac)?;

        let iv = u32::from_be_bytes(key_iv.iv);
        let recovery = apdu.epsem().and_then(|epsem| epsem.first()).map(|octet| EpsemControl(*octet));
        let recovery = recovery.is_some_and(|control| control.has(EpsemControl::RECOVERY_SESSION));
        if own_iv && !recovery && !self.is_fresh(iv, now) {
            return Err(Refusal::Stale { iv, now: now.unix_s });
        }
        let seen = Seen {
            key_iv: (key_iv.key_id, iv),
            calling: calling.canonical().into(),
            invocation: envelope.invocation.value(),
        };
        if self.replays.contains(&seen, now.steady_ns) {
            return Err(Refusal::Replayed);
        }
        if let Some(early) = self.replays.insert(seen, now.steady_ns)
            && self.freshness_s > 0
        {
            self.forgotten = self.forgotten.max(Some(early.key_iv.1));
        }
        Ok(key_iv)
    }

    fn is_fresh(&self, iv: u32, now: Moment) -> bool {
        self.freshness_s == 0
            || (u64::from(iv).abs_diff(now.unix_s) <= u64::from(self.freshness_s)
                && self.forgotten.is_none_or(|forgotten| iv > forgotten))
    }

    /// An IV that no message of ours had before: the time, or the one after the last.
    pub(super) fn next_iv(&mut self, now: Moment) -> [u8; 4] {
        let time = u32::try_from(now.unix_s).unwrap_or(u32::MAX);
        self.last_iv = time.max(self.last_iv.wrapping_add(1));
        self.last_iv.to_be_bytes()
    }

    /// Seals an APDU of ours that leaves room for its MAC. `session` is the key and IV where it has none itself.
    pub(super) fn seal(&mut self, apdu: &mut [u8], session: Option<KeyIv>) -> Result<(), Refusal> {
        // A draft-era caller's titles stand in it as that caller wrote them.
        let decoded = Apdu::decode(apdu, Leniency::Draft)?;
        self.header.clear();
        let key_iv = canonified::canonify(&decoded, session, &ap_title::ROOT, &mut self.header)?;
        let places = canonified::sealed_places(&decoded)?.ok_or(Refusal::WrongMac)?;
        let key = key_of(&self.keys, key_iv.key_id)?;
        let payload = apdu.get_mut(places.payload).unwrap_or_default();
        let mac = key.seal(mode(places.mode), &self.header, payload).map_err(|_| Refusal::WrongMac)?;
        let place = apdu.get_mut(places.mac).unwrap_or_default();
        place.iter_mut().zip(mac).for_each(|(place, octet)| *place = octet);
        Ok(())
    }
}

fn key_of(keys: &[(u8, EaxPrime)], id: u8) -> Result<&EaxPrime, Refusal> {
    keys.iter().find(|(other, _)| *other == id).map(|(_, key)| key).ok_or(Refusal::UnknownKey(id))
}

fn mode(mode: SecurityMode) -> Mode {
    if mode == SecurityMode::Cipher { Mode::Cipher } else { Mode::Clear }
}
