//! Type 5: what an end device tells the head-end besides its reports.

use alloc::vec::Vec;

use super::{ControlError, Fields, Item};
use crate::ids::Epoch;

/// An item of a type-5 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up<'a> {
    /// 1: how a command ended; the last item.
    Result(Outcome<'a>),
    /// 2: the end device holds the keys of this epoch.
    Proof {
        /// The epoch.
        epoch: Epoch,
        /// From the command that asked.
        challenge: &'a [u8; 8],
    },
    /// 3: something happened; the last item.
    Event {
        /// As in C12.19; bit 15 says it is the manufacturer's.
        number: u16,
        /// Unix seconds.
        time: u32,
        /// What the event says further.
        data: &'a [u8],
    },
    /// 4: the end device has no trusted time.
    TimeRequest {
        /// To be echoed.
        nonce: &'a [u8; 8],
    },
}

/// How a command ended: it is that of this device with the same `skid`, `kind` and `ctr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Which key signed the command.
    pub skid: u8,
    /// 1 to one end device, 2 to a group.
    pub kind: u8,
    /// The command's counter.
    pub ctr: u32,
    /// 0 done, 1 pending, 2-6 as C12.19 table 8, 16-20 refused.
    pub result: u8,
    /// The response EPSEM; for class 3 see [`Self::executed`].
    pub rest: &'a [u8],
}

/// What a class-3 result says that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed<'a> {
    /// Unix seconds.
    pub executed_at: u32,
    /// The end device's own signature.
    pub signature: &'a [u8; 64],
    /// The response EPSEM, perhaps empty.
    pub response: &'a [u8],
}

impl<'a> Outcome<'a> {
    /// Reads the rest as class 3 has it; the class is that of the command, which the item does not
    /// name. `None` when the command was refused, and when the rest is cut.
    #[must_use]
    pub fn executed(&self) -> Option<Executed<'a>> {
        if self.result > 6 {
            return None;
        }
        let (executed_at, rest) = self.rest.split_first_chunk()?;
        let (signature, response) = rest.split_first_chunk()?;
        Some(Executed { executed_at: u32::from_be_bytes(*executed_at), signature, response })
    }
}

impl<'a> Item<'a> for Up<'a> {
    fn read(octets: &'a [u8]) -> Result<(Self, &'a [u8]), ControlError> {
        let mut fields = Fields::of(octets)?;
        let item = match fields.code {
            1 => Self::Result(Outcome {
                skid: fields.u8()?,
                kind: fields.u8()?,
                ctr: fields.u32()?,
                result: fields.u8()?,
                rest: fields.remainder(),
            }),
            2 => Self::Proof { epoch: Epoch(fields.u16()?), challenge: fields.take()? },
            3 => Self::Event { number: fields.u16()?, time: fields.u32()?, data: fields.remainder() },
            4 => Self::TimeRequest { nonce: fields.take()? },
            code => return Err(ControlError::Unknown(code)),
        };
        Ok((item, fields.rest))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Result(Outcome { skid, kind, ctr, result, rest }) => {
                out.extend_from_slice(&[1, skid, kind]);
                out.extend_from_slice(&ctr.to_be_bytes());
                out.push(result);
                out.extend_from_slice(rest);
            }
            Self::Proof { epoch, challenge } => {
                out.push(2);
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.extend_from_slice(challenge);
            }
            Self::Event { number, time, data } => {
                out.push(3);
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&time.to_be_bytes());
                out.extend_from_slice(data);
            }
            Self::TimeRequest { nonce } => {
                out.push(4);
                out.extend_from_slice(nonce);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Items;
    use super::*;
    use proptest::prelude::*;

    fn whole(body: &[u8]) -> Result<Vec<Up<'_>>, ControlError> {
        Items::read(body).map(Iterator::collect)
    }

    proptest! {
        #[test]
        fn items_read_back(
            epoch: u16, challenge: [u8; 8], number: u16, time: u32, data: Vec<u8>, head: [u8; 3], ctr: u32,
            last in 0..3,
        ) {
            let [skid, kind, result] = head;
            let mut items = vec![
                Up::Proof { epoch: Epoch(epoch), challenge: &challenge },
                Up::TimeRequest { nonce: &challenge },
            ];
            match last {
                0 => items.push(Up::Event { number, time, data: &data }),
                1 => items.push(Up::Result(Outcome { skid, kind, ctr, result, rest: &data })),
                _ => {}
            }
            let mut body = Vec::new();
            items.iter().for_each(|item| item.write(&mut body));
            prop_assert_eq!(whole(&body), Ok(items));
        }

        #[test]
        fn whatever_reads_writes_the_same_octets(body: Vec<u8>, code in 0..6_u8) {
            let body = [vec![code], body].concat();
            if let Ok(items) = whole(&body) {
                let mut again = Vec::new();
                items.iter().for_each(|item| item.write(&mut again));
                prop_assert_eq!(body, again);
            }
        }
    }

    #[test]
    fn one_bad_item_refuses_all() {
        let mut body = Vec::new();
        Up::TimeRequest { nonce: &[1; 8] }.write(&mut body);
        assert_eq!(whole(&[&body[..], &[7]].concat()), Err(ControlError::Unknown(7)));
        assert_eq!(whole(&[&body[..], &[4, 0]].concat()), Err(ControlError::Cut(4)));
        assert_eq!(whole(&[]), Err(ControlError::Empty));
    }

    #[test]
    fn a_class_3_result_carries_time_and_signature_unless_refused() {
        let rest = [&[0, 0, 0, 9][..], &[7; 64], b"epsem"].concat();
        let outcome = Outcome { skid: 3, kind: 1, ctr: 4, result: 6, rest: &rest };
        let executed = Executed { executed_at: 9, signature: &[7; 64], response: b"epsem" };
        assert_eq!(outcome.executed(), Some(executed));
        assert_eq!(Outcome { result: 16, ..outcome }.executed(), None);
        assert_eq!(Outcome { rest: &rest[..67], ..outcome }.executed(), None);
    }
}
