//! A command counter that is used up.

use commands::front::CommandId;
use commands::intent::addressee;
use commands::signer::Reservation;

use super::Record;
use crate::fields::Fields;

/// A counter was reserved for an intent: written, and durable, before it is signed.
///
/// `skid 1 ‖ kind 1 ‖ scope 8 ‖ ctr 4 ‖ intent id 16 ‖ at u64 s`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ctr(pub Reservation);

impl Ctr {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let reservation = Reservation {
            skid: fields.u8()?,
            addressee: addressee(fields.u8()?, fields.take()?)?,
            ctr: fields.u32()?,
            id: CommandId(fields.take()?),
            at: fields.u64()?,
        };
        fields.end().map(|()| Self(reservation))
    }
}

impl Record for Ctr {
    const KIND: u8 = super::CTR;

    fn write(&self, out: &mut Vec<u8>) {
        let Reservation { skid, addressee, ctr, id, at } = self.0;
        out.extend_from_slice(&[skid, addressee.kind()]);
        out.extend_from_slice(&addressee.scope().0);
        out.extend_from_slice(&ctr.to_be_bytes());
        out.extend_from_slice(&id.0);
        out.extend_from_slice(&at.to_be_bytes());
    }
}
