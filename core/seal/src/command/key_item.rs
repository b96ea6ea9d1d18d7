//! The items of a class-4 body (security layer, Annex A): keys, groups, signers, the next credential.

use alloc::vec::Vec;

use super::Classes;
use crate::control::{ControlError, Fields, Item};
use crate::edhoc::PublicKey;
use crate::ids::Gid;
use crate::signature::VerifyingKey;

/// Coordinates as they were sent: perhaps those of no point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point<'a> {
    /// x.
    pub x: &'a [u8; 32],
    /// y.
    pub y: &'a [u8; 32],
}

impl Point<'_> {
    /// The key that verifies signatures, if the point is on the curve.
    #[must_use]
    pub fn verifying_key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_xy(self.x, self.y)
    }

    /// The key of a Diffie-Hellman, if the point is on the curve.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        PublicKey::from_xy(self.x, self.y)
    }
}

/// An item of a class-4 body; read whole with [`crate::control::Items`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyItem<'a> {
    /// 1: to a later epoch; answered by a PROOF.
    Advance {
        /// Above all before it.
        campaign: u32,
        /// Steps, 1 to 4.
        delta: u8,
        /// To be echoed.
        challenge: &'a [u8; 8],
    },
    /// 2: be a member.
    Join {
        /// The group.
        gid: Gid,
        /// What the group may order.
        classes: Classes,
    },
    /// 3: be no member any more.
    Leave {
        /// The group.
        gid: Gid,
    },
    /// 4: a further signing key.
    SignerAdd {
        /// Its name.
        skid: u8,
        /// The public key.
        point: Point<'a>,
        /// What it may sign.
        classes: Classes,
        /// Unix seconds; a command with an earlier `nbf` is not its.
        not_before: u32,
    },
    /// 5: a signing key is not believed any more; by the root only.
    SignerRevoke {
        /// Its name.
        skid: u8,
    },
    /// 6: the head-end's next credential.
    CredentialNext {
        /// Its name.
        kid: u8,
        /// The static public key.
        point: Point<'a>,
    },
}

impl<'a> Item<'a> for KeyItem<'a> {
    fn read(octets: &'a [u8]) -> Result<(Self, &'a [u8]), ControlError> {
        let mut fields = Fields::of(octets)?;
        let item = match fields.code {
            1 => Self::Advance { campaign: fields.u32()?, delta: fields.u8()?, challenge: fields.take()? },
            2 => Self::Join { gid: Gid(fields.u32()?), classes: Classes(fields.u8()?) },
            3 => Self::Leave { gid: Gid(fields.u32()?) },
            4 => Self::SignerAdd {
                skid: fields.u8()?,
                point: point(&mut fields)?,
                classes: Classes(fields.u8()?),
                not_before: fields.u32()?,
            },
            5 => Self::SignerRevoke { skid: fields.u8()? },
            6 => Self::CredentialNext { kid: fields.u8()?, point: point(&mut fields)? },
            code => return Err(ControlError::Unknown(code)),
        };
        Ok((item, fields.rest))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Advance { campaign, delta, challenge } => {
                out.push(1);
                out.extend(campaign.to_be_bytes());
                out.push(delta);
                out.extend(challenge);
            }
            Self::Join { gid, classes } => {
                out.push(2);
                out.extend(gid.0.to_be_bytes());
                out.push(classes.0);
            }
            Self::Leave { gid } => {
                out.push(3);
                out.extend(gid.0.to_be_bytes());
            }
            Self::SignerAdd { skid, point, classes, not_before } => {
                out.extend([4, skid]);
                out.extend(point.x);
                out.extend(point.y);
                out.push(classes.0);
                out.extend(not_before.to_be_bytes());
            }
            Self::SignerRevoke { skid } => out.extend([5, skid]),
            Self::CredentialNext { kid, point } => {
                out.extend([6, kid]);
                out.extend(point.x);
                out.extend(point.y);
            }
        }
    }
}

fn point<'a>(fields: &mut Fields<'a>) -> Result<Point<'a>, ControlError> {
    Ok(Point { x: fields.take()?, y: fields.take()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Items;
    use proptest::prelude::*;

    fn whole(body: &[u8]) -> Result<Vec<KeyItem<'_>>, ControlError> {
        Items::read(body).map(Iterator::collect)
    }

    proptest! {
        #[test]
        fn items_read_back(number: u32, octet: u8, classes: u8, challenge: [u8; 8], x: [u8; 32], y: [u8; 32]) {
            let (gid, classes, point) = (Gid(number), Classes(classes), Point { x: &x, y: &y });
            let items = vec![
                KeyItem::Advance { campaign: number, delta: octet, challenge: &challenge },
                KeyItem::Join { gid, classes },
                KeyItem::Leave { gid },
                KeyItem::SignerAdd { skid: octet, point, classes, not_before: number },
                KeyItem::SignerRevoke { skid: octet },
                KeyItem::CredentialNext { kid: octet, point },
            ];
            let mut body = Vec::new();
            items.iter().for_each(|item| item.write(&mut body));
            prop_assert_eq!(whole(&body), Ok(items));
            body.pop();
            prop_assert_eq!(whole(&body), Err(ControlError::Cut(6)));
        }

        #[test]
        fn whatever_reads_writes_the_same_octets(body: Vec<u8>, code in 0..8_u8) {
            let body = [vec![code], body].concat();
            if let Ok(items) = whole(&body) {
                let mut again = Vec::new();
                items.iter().for_each(|item| item.write(&mut again));
                prop_assert_eq!(body, again);
            }
        }
    }
}
