//! What an end device stores (security layer §4): its associations, counters, signers, groups, and what waits
//! to be acknowledged. A versioned record whose parser takes any octets, sealed by the device's storage key.

use c1222::ApTitleBuf;
use seal::at_rest::{Dek, NONCE_LEN, OVERHEAD};
use seal::command::Classes;
use seal::edhoc::{Credential, HeadEndCredential, HeadEndKid, PublicKey};
use seal::frame::PLAINTEXT_MAX;
use seal::ids::{Dev, Epoch, Gid, Scope, Sid, System};
use seal::receiver::{
    Answered, DeviceAssociation, DownKeys, FLOORS_MAX, Floor, GROUPS_MAX, HELD_MAX, HeldKey, KEYS_MAX,
    Membership, Receiver, SignerKey, Signers,
};
use seal::secret::{Key128, Prk};
use seal::signature::VerifyingKey;
use seal::window::{View, Window};
use zeroize::Zeroizing;

use super::clock::Clock;
use super::entropy::Entropy;
use super::octets::{Reader, Writer};
use super::upstream::{Content, Key, WAITING_MAX};

/// The form of the record.
const VERSION: u8 = 1;
/// How a sealed record begins.
const HEAD: &[u8; 5] = b"MGED\x01";
/// Octets of a record, but for the results of commands and what the application keeps: mostly far fewer.
const ROOM: usize = 80 << 10;
/// Octets of a record that are sealed together.
const PIECE: usize = 32 << 10;

/// What an end device stores and works on.
pub(super) struct Memory {
    /// `None` before the first registration.
    pub receiver: Option<Receiver>,
    /// An association that was made anew, until the first valid downstream frame under it.
    pub next: Option<DeviceAssociation>,
    /// The head-end's present credential; the next one is the receiver's.
    pub credential: HeadEndCredential,
    /// The address.
    pub title: ApTitleBuf,
    pub clock: Clock,
    /// When the last valid downstream frame came, on the device's own clock: Unix seconds.
    pub heard_s: u64,
    /// When the last registration was completed.
    pub registered_s: u64,
}

/// What is stored beside it.
pub(super) struct Stored<'a> {
    pub reservation: Option<(Key, u32)>,
    /// The oldest report that is not acknowledged.
    pub number: u32,
    /// Type-5 frames that are not acknowledged.
    pub controls: Vec<(Content, &'a [u8])>,
    /// What the application keeps.
    pub application: Vec<u8>,
}

/// The record.
pub(super) fn write(memory: &Memory, stored: &Stored<'_>) -> Zeroizing<Vec<u8>> {
    // So large that it is never moved: nobody would wipe the place that it leaves.
    let results = memory.receiver.iter().flat_map(|receiver| &receiver.floors).count();
    let room = ROOM + results * (PLAINTEXT_MAX + 64) + stored.application.len();
    let mut octets = Zeroizing::new(Vec::with_capacity(room));
    let mut out = Writer(&mut octets);
    out.u8(VERSION);
    out.octets(memory.title.to_string().as_bytes());
    out.u8(u8::from(memory.clock.trusted));
    out.put(&memory.clock.offset_s.to_be_bytes());
    out.u64(memory.heard_s);
    out.u64(memory.registered_s);
    credential(&mut out, &memory.credential);
    out.option(memory.receiver.as_ref(), receiver);
    out.option(memory.next.as_ref(), association);
    out.option(stored.reservation, |out, (key, floor)| {
        out.u32(key.sid.0);
        out.u16(key.epoch.0);
        out.u32(floor);
    });
    out.u32(stored.number);
    out.list(&stored.controls, |out, (content, plaintext)| {
        let (answer_to, event) = match content {
            Content::Control { answer_to, event } => (*answer_to, *event),
            _ => (None, false),
        };
        out.option(answer_to, Writer::u32);
        out.u8(u8::from(event));
        out.octets(plaintext);
    });
    out.octets(&stored.application);
    octets
}

fn receiver(out: &mut Writer<'_>, receiver: &Receiver) {
    association(out, &receiver.association);
    out.list(receiver.signers.keys(), |out, signer| {
        out.u8(signer.skid);
        let [_, xy @ ..] = signer.key.uncompressed();
        out.put(&xy);
        out.u8(signer.classes.0);
        out.u32(signer.not_before);
    });
    out.list(receiver.signers.revoked(), |out, skid| out.u8(*skid));
    out.list(&receiver.floors, |out, floor| {
        out.u8(floor.skid);
        out.put(&floor.scope.0);
        out.u32(floor.last);
        out.option(floor.answered.as_ref(), |out, answered| {
            out.put(&answered.digest);
            out.octets(&answered.result);
        });
    });
    out.u32(receiver.class3_nbf);
    out.u32(receiver.campaign);
    out.option(receiver.time_nonce, |out, nonce| out.put(&nonce));
    out.list(receiver.groups.all(), |out, group| {
        out.u32(group.gid.0);
        out.u8(group.classes.0);
        out.option(group.current, |out, epoch| out.u16(epoch.0));
        out.list(&group.held, |out, held| {
            out.u16(held.epoch().0);
            out.put(held.gms.expose());
            out.u32(held.activate_at);
        });
    });
    out.option(receiver.credential_next.as_ref(), credential);
}

fn association(out: &mut Writer<'_>, association: &DeviceAssociation) {
    out.u32(association.sid().0);
    out.u16(association.epoch().0);
    out.put(association.prk().expose());
    out.list(association.held(), |out, held| {
        out.u16(held.epoch.0);
        out.put(held.key.expose());
        out.put(&held.common_iv);
        out.option(held.window.live(), |out, view| {
            out.u32(view.highest);
            out.u64(view.bits);
        });
    });
}

fn credential(out: &mut Writer<'_>, credential: &HeadEndCredential) {
    out.u8(credential.kid.octet());
    let [_, xy @ ..] = credential.key.uncompressed();
    out.put(&xy);
}

/// What the record says; `None` when it is none of this device.
pub(super) fn read(octets: &[u8], system: System, dev: Dev) -> Option<(Memory, Stored<'_>)> {
    let mut fields = Reader(octets);
    if fields.u8()? != VERSION {
        return None;
    }
    let title = ApTitleBuf::parse(std::str::from_utf8(fields.octets()?).ok()?).ok()?;
    let clock = Clock { trusted: fields.flag()?, offset_s: i64::from_be_bytes(fields.array()?) };
    let memory = Memory {
        title,
        clock,
        heard_s: fields.u64()?,
        registered_s: fields.u64()?,
        credential: read_credential(&mut fields)?,
        receiver: fields.option(|fields| read_receiver(fields, system, dev))?,
        next: fields.option(read_association)?,
    };
    let stored = Stored {
        reservation: fields.option(|fields| {
            let key = Key { sid: Sid(fields.u32()?), epoch: Epoch(fields.u16()?) };
            Some((key, fields.u32()?))
        })?,
        number: fields.u32()?,
        controls: fields.list(WAITING_MAX, |fields| {
            let answer_to = fields.option(Reader::u32)?;
            Some((Content::Control { answer_to, event: fields.flag()? }, fields.octets()?))
        })?,
        application: fields.octets()?.to_vec(),
    };
    fields.0.is_empty().then_some((memory, stored))
}

fn read_receiver(fields: &mut Reader<'_>, system: System, dev: Dev) -> Option<Receiver> {
    let association = read_association(fields)?;
    let mut signers = Signers::default();
    let keys = fields.list(256, |fields| {
        let (skid, key) = (fields.u8()?, VerifyingKey::from_xy(&fields.array()?, &fields.array()?)?);
        Some(SignerKey { skid, key, classes: Classes(fields.u8()?), not_before: fields.u32()? })
    })?;
    if !keys.into_iter().all(|key| signers.add(key)) {
        return None;
    }
    fields.list(256, |fields| fields.u8())?.into_iter().for_each(|skid| signers.revoke(skid));
    let mut receiver = Receiver::new(system, dev, association, signers);
    receiver.floors = fields.list(FLOORS_MAX, |fields| {
        let (skid, scope, last) = (fields.u8()?, Scope(fields.array()?), fields.u32()?);
        let answered = fields
            .option(|fields| Some(Answered { digest: fields.array()?, result: fields.octets()?.to_vec() }))?;
        Some(Floor { skid, scope, last, answered })
    })?;
    receiver.class3_nbf = fields.u32()?;
    receiver.campaign = fields.u32()?;
    receiver.time_nonce = fields.option(|fields| fields.array())?;
    let groups = fields.list(GROUPS_MAX, |fields| {
        let (gid, classes) = (Gid(fields.u32()?), Classes(fields.u8()?));
        let current = fields.option(|fields| Some(Epoch(fields.u16()?)))?;
        let held = fields.list(KEYS_MAX, |fields| {
            let (epoch, gms) = (Epoch(fields.u16()?), Key128::from_octets(fields.array()?));
            Some(HeldKey::new(gid, epoch, gms, fields.u32()?))
        })?;
        let ascending = held.windows(2).all(|pair| match pair {
            [one, other] => one.epoch() < other.epoch(),
            _ => true,
        });
        ascending.then_some(Membership { gid, classes, current, held })
    })?;
    if !groups.into_iter().all(|group| receiver.groups.restore(group)) {
        return None;
    }
    receiver.credential_next = fields.option(read_credential)?;
    Some(receiver)
}

fn read_association(fields: &mut Reader<'_>) -> Option<DeviceAssociation> {
    let (sid, epoch, prk) = (Sid(fields.u32()?), Epoch(fields.u16()?), Prk::from_octets(fields.array()?));
    let mut association = DeviceAssociation::new(sid, epoch, prk);
    for keys in fields.list(HELD_MAX, |fields| {
        let (epoch, key, common_iv) =
            (Epoch(fields.u16()?), Key128::from_octets(fields.array()?), fields.array()?);
        let view = fields.option(|fields| Some(View { highest: fields.u32()?, bits: fields.u64()? }))?;
        let window = view.map_or(Some(Window::default()), Window::from_durable)?;
        Some(DownKeys { epoch, key, common_iv, window })
    })? {
        // The present epoch is the last; a later one would be none of its own.
        if keys.epoch > epoch {
            return None;
        }
        association.hold(keys);
    }
    Some(association)
}

fn read_credential(fields: &mut Reader<'_>) -> Option<HeadEndCredential> {
    let kid = HeadEndKid::new(fields.u8()?)?;
    Some(Credential { kid, key: PublicKey::from_xy(&fields.array()?, &fields.array()?)? })
}

/// Seals a record in pieces: `MGED 01`, then `length u16 ‖ sealed piece` each. `None` when one of them cannot
/// be sealed, which their length does not allow to happen.
pub(super) fn seal(record: &[u8], dek: &Dek, dev: Dev, entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(record.len().saturating_add(2 * OVERHEAD));
    out.extend(HEAD);
    let pieces = record.len().div_ceil(PIECE);
    for (at, piece) in record.chunks(PIECE).enumerate() {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        out.extend(u16::try_from(piece.len().saturating_add(OVERHEAD)).ok()?.to_be_bytes());
        dek.seal(nonce, &about(dev, at, pieces), piece, &mut out).ok()?;
    }
    Some(out)
}

/// The record of a sealed one.
pub(super) fn open(mut sealed: Vec<u8>, dek: &Dek, dev: Dev) -> Option<Zeroizing<Vec<u8>>> {
    let mut rest = sealed.strip_prefix(HEAD)?;
    let mut pieces = 0_usize;
    while !rest.is_empty() {
        let (len, after) = rest.split_first_chunk()?;
        (_, rest) = after.split_at_checked(u16::from_be_bytes(*len).into())?;
        pieces = pieces.saturating_add(1);
    }
    let mut record = Zeroizing::new(Vec::with_capacity(sealed.len()));
    let mut rest = sealed.get_mut(HEAD.len()..)?;
    for at in 0..pieces {
        let (len, after) = rest.split_first_chunk_mut()?;
        let (piece, after) = after.split_at_mut_checked(u16::from_be_bytes(*len).into())?;
        let piece = dek.open(&about(dev, at, pieces), piece).ok()?;
        record.extend_from_slice(piece);
        piece.fill(0);
        rest = after;
    }
    Some(record)
}

/// Which piece of which device's record it is.
fn about(dev: Dev, at: usize, pieces: usize) -> Vec<u8> {
    [&b"end device"[..], &dev.0, &(at as u64).to_be_bytes(), &(pieces as u64).to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::super::tests::support;
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use seal::command::ROOT;

    const DEV: Dev = support::DEV;
    const SYSTEM: System = support::SYSTEM;

    /// A device with something in every field.
    fn memory() -> Memory {
        let association = |sid, epoch| {
            let mut association =
                DeviceAssociation::new(Sid(sid), Epoch(epoch), Prk::from_octets([sid as u8; 32]));
            let window = Window::from_durable(View { highest: 70, bits: 0b1011 }).unwrap();
            let older = DownKeys {
                epoch: Epoch(epoch - 1),
                key: Key128::from_octets([3; 16]),
                common_iv: [4; 13],
                window,
            };
            association.hold(older);
            association
        };
        let mut signers = support::signers();
        signers.revoke(200);
        let mut receiver = Receiver::new(SYSTEM, DEV, association(5, 7), signers);
        let answered = Answered { digest: [9; 32], result: vec![1; 600] };
        receiver.floors = (0..60)
            .map(|number| Floor {
                skid: ROOT,
                scope: Scope([number; 8]),
                last: 8,
                answered: (number % 2 == 0).then(|| answered.clone()),
            })
            .collect();
        receiver.class3_nbf = 11;
        receiver.campaign = 12;
        receiver.time_nonce = Some([13; 8]);
        let gid = Gid(0x8000_0001);
        let held = [1, 2].map(|epoch| HeldKey::new(gid, Epoch(epoch), Key128::from_octets([6; 16]), 9));
        let current = Some(Epoch(1));
        receiver.groups.restore(Membership { gid, classes: Classes(9), current, held: held.into() });
        let credential = support::head_end_credential(0x13, &support::head_end_key());
        receiver.credential_next = Some(credential);
        Memory {
            receiver: Some(receiver),
            next: Some(association(6, 1)),
            credential,
            title: support::title(".75.1.2"),
            clock: Clock { trusted: true, offset_s: -5 },
            heard_s: 14,
            registered_s: 15,
        }
    }

    fn stored() -> Stored<'static> {
        let key = Key { sid: Sid(5), epoch: Epoch(7) };
        let control = |answer_to, event| Content::Control { answer_to, event };
        Stored {
            reservation: Some((key, 33)),
            number: 16,
            controls: vec![(control(Some(17), false), b"result"), (control(None, true), b"event")],
            application: vec![18; 1000],
        }
    }

    #[test]
    fn a_record_reads_back_in_pieces_and_only_at_its_device() {
        let record = write(&memory(), &stored());
        assert!(record.len() > PIECE / 2);
        let (read_memory, read_stored) = read(&record, SYSTEM, DEV).unwrap();
        assert_eq!(*write(&read_memory, &read_stored), *record);
        let long = [record.to_vec(), vec![0; 3 * PIECE]].concat();
        let (identity, mut entropy) = (support::identity(), support::entropy(1));
        for record in [&record[..], &long, &[]] {
            let sealed = seal(record, &identity.storage, DEV, &mut *entropy).unwrap();
            assert_eq!(*open(sealed.clone(), &identity.storage, DEV).unwrap(), record);
            assert!(open(sealed.clone(), &identity.storage, Dev([0; 8])).is_none() || record.is_empty());
            if !record.is_empty() {
                let cut = sealed[..sealed.len() - 1].to_vec();
                assert!(open(cut, &identity.storage, DEV).is_none());
            }
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            octets in vec(any::<u8>(), 0..400), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut record = write(&memory(), &stored());
            for (at, octet) in flips {
                let at = at.index(record.len());
                record[at] = octet;
            }
            let _ = read(&record, SYSTEM, DEV);
            let _ = read(&octets, SYSTEM, DEV);
            let identity = support::identity();
            let _ = open([&HEAD[..], &octets].concat(), &identity.storage, DEV);
        }
    }
}
