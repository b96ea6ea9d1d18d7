//! What somebody wants to be signed (security layer §7): an intent, whose digest approvers sign, and the
//! request that takes it to the signer.

use seal::command::{Addressee, Class};
use seal::ids::{Dev, Gid, System};
use seal::signature::sha256;

use crate::approval::{APPROVALS_MAX, Approval};
use crate::cbor::{self, Reader};
use crate::front::CommandId;

/// The form of intents that this program reads and writes.
const VERSION: u64 = 1;
/// Items of an intent's array.
const ITEMS: usize = 12;
/// Octets of a requester's name, at most.
pub const REQUESTER_MAX: usize = 64;

/// A command that is to be signed, but for its counter. Its id signs once, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Random.
    pub id: CommandId,
    /// The installation.
    pub system: System,
    /// The signing key.
    pub skid: u8,
    /// The class that the body is said to have.
    pub class: Class,
    /// Whom it is for.
    pub addressee: Addressee,
    /// The version of the group's membership that the requester saw ([`crate::group::Membership`]); 0 to a
    /// single device.
    pub membership: u64,
    /// The body.
    pub body: Vec<u8>,
    /// Not before: Unix seconds.
    pub nbf: u32,
    /// Minutes after `nbf`.
    pub ttl: u16,
    /// Who asks, as the policy names him.
    pub requester: String,
}

impl Intent {
    /// Deterministic CBOR: `[1, id, system, skid, class, kind, scope, membership, body, nbf, ttl, requester]`.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len().saturating_add(100));
        cbor::array(ITEMS, &mut out);
        cbor::number(VERSION, &mut out);
        cbor::octets(&self.id.0, &mut out);
        cbor::octets(&self.system.0, &mut out);
        cbor::number(self.skid.into(), &mut out);
        cbor::number(self.class.octet().into(), &mut out);
        cbor::number(self.addressee.kind().into(), &mut out);
        cbor::octets(&self.addressee.scope().0, &mut out);
        cbor::number(self.membership, &mut out);
        cbor::octets(&self.body, &mut out);
        cbor::number(self.nbf.into(), &mut out);
        cbor::number(self.ttl.into(), &mut out);
        cbor::text(&self.requester, &mut out);
        out
    }

    /// Reads what [`Self::octets`] writes; `None` for anything else.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        if reader.array()? != ITEMS || reader.number()? != VERSION {
            return None;
        }
        let intent = Self {
            id: CommandId(reader.exactly()?),
            system: System(reader.exactly()?),
            skid: reader.small()?,
            class: Class::from_octet(reader.small()?)?,
            addressee: addressee(reader.small()?, reader.exactly()?)?,
            membership: reader.number()?,
            body: reader.octets()?.to_vec(),
            nbf: reader.small()?,
            ttl: reader.small()?,
            requester: reader.text()?.to_owned(),
        };
        let short = intent.requester.len() <= REQUESTER_MAX;
        reader.end().filter(|()| short).map(|()| intent)
    }

    /// SHA-256 of [`Self::octets`]: what approvers sign, and what the audit log has of it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.octets())
    }

    /// Unix seconds after which end devices refuse it.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        u64::from(self.nbf).saturating_add(u64::from(self.ttl).saturating_mul(60))
    }
}

/// Whom a kind and scope of §3 stand for.
#[must_use]
pub fn addressee(kind: u8, scope: [u8; 8]) -> Option<Addressee> {
    match (kind, scope) {
        (1, dev) => Some(Addressee::Device(Dev(dev))),
        (2, [a, b, c, d, 0, 0, 0, 0]) => {
            let gid = Gid(u32::from_be_bytes([a, b, c, d]));
            gid.is_valid().then_some(Addressee::Group(gid))
        }
        _ => None,
    }
}

/// An intent on its way to the signer, with what approvers said of it. One frame of an `intents` edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningRequest {
    /// What is to be signed.
    pub intent: Intent,
    /// Who approves.
    pub approvals: Vec<Approval>,
}

impl SigningRequest {
    /// Deterministic CBOR: `[intent, [[approver, signature], ...]]`, `intent` being the octets of one.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        Self::join(&self.intent.octets(), &self.approvals)
    }

    /// As [`Self::octets`], for who has the octets of an intent.
    #[must_use]
    pub fn join(intent: &[u8], approvals: &[Approval]) -> Vec<u8> {
        let mut out = Vec::with_capacity(intent.len().saturating_add(16));
        cbor::array(2, &mut out);
        cbor::octets(intent, &mut out);
        cbor::array(approvals.len(), &mut out);
        for approval in approvals {
            cbor::array(2, &mut out);
            cbor::text(&approval.approver, &mut out);
            cbor::octets(&approval.signature, &mut out);
        }
        out
    }

    /// Reads what [`Self::octets`] writes; `None` for anything else, and past [`APPROVALS_MAX`] approvals.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        if reader.array()? != 2 {
            return None;
        }
        let intent = Intent::read(reader.octets()?)?;
        let count = reader.array().filter(|count| *count <= APPROVALS_MAX)?;
        let mut approvals = Vec::with_capacity(count);
        for _ in 0..count {
            if reader.array()? != 2 {
                return None;
            }
            approvals.push(Approval { approver: reader.text()?.to_owned(), signature: reader.exactly()? });
        }
        reader.end().map(|()| Self { intent, approvals })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn intents() -> impl Strategy<Value = Intent> {
        let numbers = (any::<[u8; 16]>(), any::<[u8; 8]>(), any::<(u8, u64, u32, u16, u32)>(), 0..6_u8);
        (numbers, any::<bool>(), vec(any::<u8>(), 0..600), "\\PC{0,16}").prop_map(
            |((id, eight, (skid, membership, nbf, ttl, gid), class), group, body, requester)| Intent {
                id: CommandId(id),
                system: System(eight),
                skid,
                class: Class::from_octet(class).unwrap(),
                addressee: match group {
                    true => Addressee::Group(Gid(gid | 1 << 31)),
                    false => Addressee::Device(Dev(eight)),
                },
                membership,
                body,
                nbf,
                ttl,
                requester,
            },
        )
    }

    proptest! {
        #[test]
        fn an_intent_reads_back_and_every_bit_counts(
            intent in intents(), names in vec("[a-z]{0,8}", 0..4), at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let octets = intent.octets();
            prop_assert_eq!(Intent::read(&octets), Some(intent.clone()));
            let mut other = octets.clone();
            other[at.index(octets.len())] ^= 1 << bit;
            if let Some(other) = Intent::read(&other) {
                prop_assert_ne!(other.digest(), intent.digest());
            }
            let approvals = names.into_iter().map(|approver| Approval { approver, signature: [bit; 64] });
            let request = SigningRequest { intent, approvals: approvals.collect() };
            let mut octets = request.octets();
            prop_assert_eq!(SigningRequest::read(&octets), Some(request));
            octets.push(0);
            prop_assert_eq!(SigningRequest::read(&octets), None);
        }

        #[test]
        fn any_octets_are_an_intent_of_one_form_or_none(octets: Vec<u8>, cut: prop::sample::Index, intent in intents()) {
            for octets in [octets, intent.octets()[..cut.index(intent.octets().len())].to_vec()] {
                prop_assert!(SigningRequest::read(&octets).is_none_or(|read| read.octets() == octets));
                prop_assert!(Intent::read(&octets).is_none_or(|read| read.octets() == octets));
            }
        }
    }

    #[test]
    fn a_group_is_a_group() {
        assert_eq!(addressee(2, [0x80, 0, 0, 1, 0, 0, 0, 0]), Some(Addressee::Group(Gid(0x8000_0001))));
        for (kind, scope) in [(2, [0x80, 0, 0, 1, 0, 0, 0, 1]), (2, [0, 0, 0, 1, 0, 0, 0, 0]), (3, [0; 8])] {
            assert_eq!(addressee(kind, scope), None);
        }
    }
}
