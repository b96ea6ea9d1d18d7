//! What the desk has to tell itself: its records in the journal, and the entries of its checkpoint.
//!
//! ```text
//! at u64 s  what u8  fields
//! ```
//! The record's kind says no more than `what` does; it is there so that other readers need not look inside.

use commands::campaign::CampaignChange;
use commands::desk::{Due, Heard, Taken, Why};
use commands::front::{By, CommandId, DeviceResult, Outcome, Receipted};
use commands::group::GroupChange;
use commands::intent::Intent;
use node::Batch;
use seal::command::Classes;
use seal::signature::sha256;

use crate::fields::Fields;

/// The words of orders ([`commands::front::OrderKind::word`]), in the order of their numbers here.
const WORDS: [&str; 17] = [
    "read-tables",
    "write-table",
    "procedure",
    "disconnect",
    "reconnect",
    "arm",
    "load-limit",
    "demand-response",
    "set-time",
    "firmware-block",
    "firmware-activate",
    "signer-add",
    "signer-revoke",
    "credential-next",
    "join",
    "leave",
    "advance-epoch",
];

/// Something that the desk tells itself, with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeskEntry {
    /// Unix seconds.
    pub at: u64,
    /// What.
    pub heard: Heard,
}

impl DeskEntry {
    /// Appends it to a batch for the journal.
    pub fn push(&self, batch: &mut Batch) {
        let kind = match self.heard {
            Heard::Taken(_) => super::INTENT,
            Heard::Approved { .. } => super::APPROVAL,
            Heard::Group(_) => super::GROUP,
            Heard::Campaign(_) => super::CAMPAIGN,
            _ => super::CLOSED,
        };
        batch.push_with(super::descriptor(kind), |data| self.write(data));
    }

    /// Whether a record of this kind is one.
    #[must_use]
    pub fn is_kind(kind: u8) -> bool {
        matches!(kind, super::INTENT | super::APPROVAL | super::GROUP | super::CAMPAIGN | super::CLOSED)
    }

    /// Appends its octets.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at.to_be_bytes());
        match &self.heard {
            Heard::Taken(taken) => taken_fields(taken, out),
            Heard::Approved { id, approver, signature } => {
                begin(2, *id, out);
                out.extend_from_slice(signature);
                out.extend_from_slice(approver.as_bytes());
            }
            Heard::Signed { id, octets } => {
                begin(3, *id, out);
                out.extend_from_slice(octets);
            }
            Heard::Refused { id, code } => {
                begin(4, *id, out);
                out.extend_from_slice(code.as_bytes());
            }
            Heard::Closed { id, outcome, receipt, filed } => {
                begin(5, *id, out);
                out.push(u8::from(*filed));
                receipt_fields(receipt.as_ref(), out);
                outcome_fields(outcome, out);
            }
            Heard::Answered { id, result } => {
                begin(6, *id, out);
                out.extend_from_slice(&result.dev.0);
                out.push(result.result);
                receipt_fields(result.receipt.as_ref(), out);
            }
            Heard::Late { id, result } => {
                begin(7, *id, out);
                out.push(*result);
            }
            Heard::Report { sid, dev, epoch } => {
                out.push(8);
                out.extend_from_slice(&sid.0.to_be_bytes());
                out.extend_from_slice(&dev.0);
                out.extend_from_slice(&epoch.0.to_be_bytes());
            }
            Heard::Result { dev, skid, kind, ctr, result, rest } => {
                out.push(9);
                out.extend_from_slice(&dev.0);
                out.extend_from_slice(&[*skid, *kind]);
                out.extend_from_slice(&ctr.to_be_bytes());
                out.push(*result);
                out.extend_from_slice(rest);
            }
            Heard::TimeRequest { dev, nonce } => {
                out.push(10);
                out.extend_from_slice(&dev.0);
                out.extend_from_slice(nonce);
            }
            Heard::Issued { sid, epoch, campaign } => {
                out.push(11);
                out.extend_from_slice(&sid.0.to_be_bytes());
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.extend_from_slice(&campaign.to_be_bytes());
            }
            Heard::Proved { dev } => {
                out.push(12);
                out.extend_from_slice(&dev.0);
            }
            Heard::Revoked { dev } => {
                out.push(13);
                out.extend_from_slice(&dev.0);
            }
            Heard::GroupKey { gid, epoch, activate_at, sealed } => {
                out.push(14);
                out.extend_from_slice(&gid.0.to_be_bytes());
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.extend_from_slice(&activate_at.to_be_bytes());
                out.extend_from_slice(sealed);
            }
            Heard::Due { sid, dev, epoch, why } => {
                out.push(16);
                out.extend_from_slice(&sid.0.to_be_bytes());
                out.extend_from_slice(&dev.0);
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.push(why.octet());
            }
            Heard::DueKept { dev, due } => {
                out.push(17);
                out.extend_from_slice(&dev.0);
                due_fields(due, out);
            }
            Heard::Advanced { campaign } => {
                out.push(18);
                out.extend_from_slice(&campaign.to_be_bytes());
            }
            Heard::Restored { incarnation, days } => {
                out.push(19);
                out.extend_from_slice(&incarnation.to_be_bytes());
                out.extend_from_slice(&days.to_be_bytes());
            }
            Heard::RestoreKept { incarnation, campaign } => {
                out.push(25);
                out.extend_from_slice(&incarnation.to_be_bytes());
                out.extend(campaign.iter().flat_map(|campaign| campaign.to_be_bytes()));
            }
            Heard::Group(change) => group_fields(change, out),
            Heard::Campaign(change) => campaign_fields(change, out),
            Heard::Clock => out.push(15),
        }
    }

    /// Reads what [`Self::write`] writes; `None` for anything else.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let at = fields.u64()?;
        let heard = match fields.u8()? {
            1 => Heard::Taken(Box::new(taken(fields, false)?)),
            2 => Heard::Approved {
                id: id(&mut fields)?,
                signature: fields.take()?,
                approver: text(fields.rest())?,
            },
            3 => Heard::Signed { id: id(&mut fields)?, octets: fields.rest().to_vec() },
            4 => Heard::Refused { id: id(&mut fields)?, code: text(fields.rest())? },
            5 => {
                let (id, filed) = (id(&mut fields)?, flag(&mut fields)?);
                let receipt = receipt(&mut fields)?;
                Heard::Closed { id, filed, receipt, outcome: outcome(fields)? }
            }
            6 => {
                let (id, dev, result) = (id(&mut fields)?, fields.dev()?, fields.u8()?);
                let receipt = receipt(&mut fields)?;
                fields.end()?;
                Heard::Answered { id, result: DeviceResult { dev, result, receipt } }
            }
            7 => ended(Heard::Late { id: id(&mut fields)?, result: fields.u8()? }, fields)?,
            8 => ended(
                Heard::Report { sid: fields.sid()?, dev: fields.dev()?, epoch: fields.epoch()? },
                fields,
            )?,
            9 => Heard::Result {
                dev: fields.dev()?,
                skid: fields.u8()?,
                kind: fields.u8()?,
                ctr: fields.u32()?,
                result: fields.u8()?,
                rest: fields.rest().to_vec(),
            },
            10 => ended(Heard::TimeRequest { dev: fields.dev()?, nonce: fields.take()? }, fields)?,
            11 => {
                let (sid, epoch, campaign) = (fields.sid()?, fields.epoch()?, fields.u32()?);
                ended(Heard::Issued { sid, epoch, campaign }, fields)?
            }
            12 => ended(Heard::Proved { dev: fields.dev()? }, fields)?,
            13 => ended(Heard::Revoked { dev: fields.dev()? }, fields)?,
            14 => Heard::GroupKey {
                gid: fields.gid()?,
                epoch: fields.epoch()?,
                activate_at: fields.u32()?,
                sealed: fields.rest().to_vec(),
            },
            15 => ended(Heard::Clock, fields)?,
            16 => {
                let (sid, dev, epoch) = (fields.sid()?, fields.dev()?, fields.epoch()?);
                ended(Heard::Due { sid, dev, epoch, why: Why::from_octet(fields.u8()?)? }, fields)?
            }
            17 => Heard::DueKept { dev: fields.dev()?, due: due(fields)? },
            18 => ended(Heard::Advanced { campaign: fields.u32()? }, fields)?,
            19 => ended(Heard::Restored { incarnation: fields.u64()?, days: fields.u32()? }, fields)?,
            25 => {
                let incarnation = fields.u64()?;
                let campaign = if fields.0.is_empty() { None } else { Some(fields.u32()?) };
                ended(Heard::RestoreKept { incarnation, campaign }, fields)?
            }
            26 => Heard::Taken(Box::new(taken(fields, true)?)),
            what @ 20..=24 => Heard::Group(group(what, fields)?),
            what @ 30..=39 => Heard::Campaign(campaign(what, fields)?),
            _ => return None,
        };
        Some(Self { at, heard })
    }
}

fn begin(what: u8, id: CommandId, out: &mut Vec<u8>) {
    out.push(what);
    out.extend_from_slice(&id.0);
}

fn id(fields: &mut Fields<'_>) -> Option<CommandId> {
    fields.take().map(CommandId)
}

fn flag(fields: &mut Fields<'_>) -> Option<bool> {
    match fields.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn text(octets: &[u8]) -> Option<String> {
    std::str::from_utf8(octets).ok().map(str::to_owned)
}

/// A value after which nothing is left.
fn ended<T>(value: T, fields: Fields<'_>) -> Option<T> {
    fields.end().map(|()| value)
}

/// `01  word u8  members u64  content 32  request id u8 length, text  intent`; for one that came signed `1a`, and
/// before the intent `signed command u16 length, octets`.
fn taken_fields(taken: &Taken, out: &mut Vec<u8>) {
    let word = WORDS.iter().position(|word| *word == taken.word).and_then(|at| u8::try_from(at).ok());
    let what = if taken.signed.is_some() { 26 } else { 1 };
    out.extend_from_slice(&[what, word.unwrap_or(u8::MAX)]);
    out.extend_from_slice(&taken.members.to_be_bytes());
    out.extend_from_slice(&taken.content);
    out.push(u8::try_from(taken.request_id.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(taken.request_id.as_bytes());
    if let Some(signed) = &taken.signed {
        // A frame's plaintext: far below 65,535 octets.
        out.extend_from_slice(&u16::try_from(signed.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend_from_slice(signed);
    }
    out.extend_from_slice(&taken.intent);
}

fn taken(mut fields: Fields<'_>, came_signed: bool) -> Option<Taken> {
    let word = WORDS.get(usize::from(fields.u8()?))?;
    let (members, content, length) = (fields.u64()?, fields.take()?, fields.u8()?);
    let (request_id, mut octets) = fields.rest().split_at_checked(length.into())?;
    let mut signed = None;
    if came_signed {
        let (length, rest) = octets.split_first_chunk::<2>()?;
        let (command, intent) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        (signed, octets) = (Some(command.to_vec()), intent);
    }
    let intent = Intent::read(octets)?;
    Some(Taken {
        id: intent.id,
        request_id: text(request_id)?,
        content,
        word,
        members,
        addressee: intent.addressee,
        class: intent.class,
        nbf: intent.nbf,
        ttl_min: intent.ttl,
        digest: sha256(octets),
        requester: intent.requester,
        body: intent.body,
        intent: octets.to_vec(),
        signed,
    })
}

fn receipt_fields(receipt: Option<&Receipted>, out: &mut Vec<u8>) {
    let Some(Receipted { executed_at, signature, verified }) = receipt else { return out.push(0) };
    out.push(if *verified { 2 } else { 1 });
    out.extend_from_slice(&executed_at.to_be_bytes());
    out.extend_from_slice(signature);
}

fn receipt(fields: &mut Fields<'_>) -> Option<Option<Receipted>> {
    let verified = match fields.u8()? {
        0 => return Some(None),
        1 => false,
        2 => true,
        _ => return None,
    };
    Some(Some(Receipted { executed_at: fields.u32()?, signature: fields.take()?, verified }))
}

fn outcome_fields(outcome: &Outcome, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Done { result, response } => {
            out.extend_from_slice(&[0, *result]);
            out.extend_from_slice(response);
        }
        Outcome::Refused { by, code } => {
            out.push(if *by == By::Signer { 1 } else { 2 });
            out.extend_from_slice(code.as_bytes());
        }
        Outcome::Expired => out.push(3),
        Outcome::Unknown => out.push(4),
    }
}

fn outcome(mut fields: Fields<'_>) -> Option<Outcome> {
    Some(match fields.u8()? {
        0 => Outcome::Done { result: fields.u8()?, response: fields.rest().to_vec() },
        1 => Outcome::Refused { by: By::Signer, code: text(fields.rest())? },
        2 => Outcome::Refused { by: By::Device, code: text(fields.rest())? },
        3 => ended(Outcome::Expired, fields)?,
        4 => ended(Outcome::Unknown, fields)?,
        _ => return None,
    })
}

/// `sid  epoch  why u8  flags u8: 1 waits, 2 open  campaign u32  tries u32  from u64  limited at u64`
fn due_fields(due: &Due, out: &mut Vec<u8>) {
    let Due { sid, epoch, why, waits, open, campaign, tries, from, limited_at } = *due;
    out.extend_from_slice(&sid.0.to_be_bytes());
    out.extend_from_slice(&epoch.0.to_be_bytes());
    out.extend_from_slice(&[why.octet(), u8::from(waits) | u8::from(open) << 1]);
    out.extend_from_slice(&campaign.to_be_bytes());
    out.extend_from_slice(&tries.to_be_bytes());
    out.extend_from_slice(&from.to_be_bytes());
    out.extend_from_slice(&limited_at.to_be_bytes());
}

fn due(mut fields: Fields<'_>) -> Option<Due> {
    let (sid, epoch, why) = (fields.sid()?, fields.epoch()?, Why::from_octet(fields.u8()?)?);
    let flags = fields.u8().filter(|flags| *flags < 4)?;
    let (campaign, tries) = (fields.u32()?, fields.u32()?);
    let (from, limited_at) = (fields.u64()?, fields.u64()?);
    let (waits, open) = (flags & 1 == 1, flags & 2 == 2);
    ended(Due { sid, epoch, why, waits, open, campaign, tries, from, limited_at }, fields)
}

fn group_fields(change: &GroupChange, out: &mut Vec<u8>) {
    let mut begin = |what: u8, gid: &seal::ids::Gid| {
        out.push(what);
        out.extend_from_slice(&gid.0.to_be_bytes());
    };
    match change {
        GroupChange::Created { gid, name, classes } => {
            begin(20, gid);
            out.push(classes.0);
            out.extend_from_slice(name.as_bytes());
        }
        GroupChange::Rekey { gid, at } => {
            begin(21, gid);
            out.extend(at.iter().flat_map(|at| at.to_be_bytes()));
        }
        GroupChange::Cleared { gid, version } => {
            begin(22, gid);
            out.extend_from_slice(&version.to_be_bytes());
        }
        GroupChange::Member { gid, dev } => {
            begin(23, gid);
            out.extend_from_slice(&dev.0);
        }
        GroupChange::Jump { gid, by } => {
            begin(24, gid);
            out.extend_from_slice(&by.to_be_bytes());
        }
    }
}

fn group(what: u8, mut fields: Fields<'_>) -> Option<GroupChange> {
    let gid = fields.gid()?;
    match what {
        20 => Some(GroupChange::Created { gid, classes: Classes(fields.u8()?), name: text(fields.rest())? }),
        21 if fields.0.is_empty() => Some(GroupChange::Rekey { gid, at: None }),
        21 => ended(GroupChange::Rekey { gid, at: Some(fields.u64()?) }, fields),
        22 => ended(GroupChange::Cleared { gid, version: fields.u64()? }, fields),
        24 => ended(GroupChange::Jump { gid, by: fields.u32()? }, fields),
        _ => ended(GroupChange::Member { gid, dev: fields.dev()? }, fields),
    }
}

fn campaign_fields(change: &CampaignChange, out: &mut Vec<u8>) {
    let what = match change {
        CampaignChange::Started { .. } => 30,
        CampaignChange::Issued { .. } => 31,
        CampaignChange::Paused { .. } => 32,
        CampaignChange::Resumed { .. } => 33,
        CampaignChange::Missed { .. } => 34,
        CampaignChange::Finished { .. } => 35,
        CampaignChange::Told { .. } => 36,
        CampaignChange::Proved { .. } => 37,
        CampaignChange::Tried { .. } => 38,
        CampaignChange::GroupTried { .. } => 39,
    };
    out.push(what);
    out.extend_from_slice(&change.campaign().to_be_bytes());
    match change {
        CampaignChange::Started { delta, wave, group, challenge, .. } => {
            out.push(*delta);
            out.extend_from_slice(&wave.to_be_bytes());
            out.extend_from_slice(challenge);
            out.extend(group.iter().flat_map(|gid| gid.0.to_be_bytes()));
        }
        CampaignChange::Missed { dev, .. } | CampaignChange::Proved { dev, .. } => {
            out.extend_from_slice(&dev.0);
        }
        CampaignChange::Finished { total, .. } => out.extend_from_slice(&total.to_be_bytes()),
        CampaignChange::Tried { dev, tries, refused, .. } => {
            out.extend_from_slice(&dev.0);
            out.extend_from_slice(&[*tries, *refused]);
        }
        CampaignChange::GroupTried { gid, tries, ended, .. } => {
            out.extend_from_slice(&gid.0.to_be_bytes());
            out.extend_from_slice(&[*tries, u8::from(*ended)]);
        }
        CampaignChange::Issued { .. }
        | CampaignChange::Paused { .. }
        | CampaignChange::Resumed { .. }
        | CampaignChange::Told { .. } => {}
    }
}

fn campaign(what: u8, mut fields: Fields<'_>) -> Option<CampaignChange> {
    let campaign = fields.u32()?;
    let change = match what {
        30 => {
            let (delta, wave, challenge) = (fields.u8()?, fields.u32()?, fields.take()?);
            let group = if fields.0.is_empty() { None } else { Some(fields.gid()?) };
            CampaignChange::Started { campaign, delta, wave, group, challenge }
        }
        31 => CampaignChange::Issued { campaign },
        32 => CampaignChange::Paused { campaign },
        33 => CampaignChange::Resumed { campaign },
        34 => CampaignChange::Missed { campaign, dev: fields.dev()? },
        35 => CampaignChange::Finished { campaign, total: fields.u64()? },
        36 => CampaignChange::Told { campaign },
        37 => CampaignChange::Proved { campaign, dev: fields.dev()? },
        38 => {
            let (dev, tries, refused) = (fields.dev()?, fields.u8()?, fields.u8()?);
            CampaignChange::Tried { campaign, dev, tries, refused }
        }
        _ => {
            let (gid, tries, ended) = (fields.gid()?, fields.u8()?, flag(&mut fields)?);
            CampaignChange::GroupTried { campaign, gid, tries, ended }
        }
    };
    ended(change, fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use commands::front::OrderKind;
    use proptest::prelude::*;
    use seal::command::{Addressee, Class};
    use seal::ids::{Dev, Epoch, Gid, Sid, System};

    fn all(dev: [u8; 8], number: u32, time: u64, octets: &[u8], name: &str) -> Vec<Heard> {
        let (dev, gid, epoch) = (Dev(dev), Gid(number | 1 << 31), Epoch(number as u16));
        let (sid, id) = (Sid(number >> 1), CommandId([octets.first().copied().unwrap_or(1); 16]));
        let receipt =
            Receipted { executed_at: number, signature: [7; 64], verified: number.is_multiple_of(2) };
        let (name, octets, campaign) = (name.to_owned(), octets.to_vec(), number);
        let intent = Intent {
            id,
            system: System([1; 8]),
            skid: 1,
            class: Class::Load,
            addressee: Addressee::Group(gid),
            membership: time,
            body: octets.clone(),
            nbf: number,
            ttl: 9,
            requester: name.clone(),
        };
        let taken = Taken {
            id,
            request_id: name.clone(),
            content: [9; 32],
            word: OrderKind::Disconnect.word(),
            members: time,
            addressee: intent.addressee,
            class: intent.class,
            nbf: intent.nbf,
            ttl_min: intent.ttl,
            digest: intent.digest(),
            requester: name.clone(),
            body: octets.clone(),
            intent: intent.octets(),
            signed: None,
        };
        let signed = Taken { signed: Some(octets.clone()), ..taken.clone() };
        let due = Due {
            sid,
            epoch,
            why: Why::Counters,
            waits: number.is_multiple_of(2),
            open: number.is_multiple_of(3),
            campaign,
            tries: 7,
            from: time,
            limited_at: !time,
        };
        let closed = |outcome, receipt| Heard::Closed { id, outcome, receipt, filed: number % 2 == 1 };
        vec![
            Heard::Taken(Box::new(taken)),
            Heard::Taken(Box::new(signed)),
            Heard::Approved { id, approver: name.clone(), signature: [3; 64] },
            Heard::Signed { id, octets: octets.clone() },
            Heard::Refused { id, code: name.clone() },
            closed(Outcome::Done { result: 3, response: octets.clone() }, Some(receipt)),
            closed(Outcome::Refused { by: By::Signer, code: name.clone() }, None),
            closed(Outcome::Refused { by: By::Device, code: name.clone() }, None),
            closed(Outcome::Expired, None),
            closed(Outcome::Unknown, Some(receipt)),
            Heard::Answered { id, result: DeviceResult { dev, result: 1, receipt: Some(receipt) } },
            Heard::Late { id, result: 4 },
            Heard::Report { sid, dev, epoch },
            Heard::Result { dev, skid: 1, kind: 2, ctr: number, result: 0, rest: octets.clone() },
            Heard::TimeRequest { dev, nonce: [4; 8] },
            Heard::Issued { sid, epoch, campaign },
            Heard::Proved { dev },
            Heard::Revoked { dev },
            Heard::GroupKey { gid, epoch, activate_at: number, sealed: octets.clone() },
            Heard::Group(GroupChange::Created { gid, name, classes: Classes(9) }),
            Heard::Group(GroupChange::Rekey { gid, at: None }),
            Heard::Group(GroupChange::Rekey { gid, at: Some(time) }),
            Heard::Group(GroupChange::Cleared { gid, version: time }),
            Heard::Group(GroupChange::Member { gid, dev }),
            Heard::Campaign(CampaignChange::Started {
                campaign,
                delta: 2,
                wave: 3,
                group: number.is_multiple_of(3).then_some(gid),
                challenge: [6; 8],
            }),
            Heard::Campaign(CampaignChange::Issued { campaign }),
            Heard::Campaign(CampaignChange::Paused { campaign }),
            Heard::Campaign(CampaignChange::Resumed { campaign }),
            Heard::Campaign(CampaignChange::Missed { campaign, dev }),
            Heard::Campaign(CampaignChange::Finished { campaign, total: time }),
            Heard::Campaign(CampaignChange::Told { campaign }),
            Heard::Campaign(CampaignChange::Proved { campaign, dev }),
            Heard::Campaign(CampaignChange::Tried { campaign, dev, tries: 2, refused: 1 }),
            Heard::Campaign(CampaignChange::GroupTried { campaign, gid, tries: 2, ended: true }),
            Heard::Due { sid, dev, epoch, why: Why::Failures },
            Heard::DueKept { dev, due },
            Heard::Advanced { campaign },
            Heard::Restored { incarnation: time, days: number },
            Heard::RestoreKept { incarnation: time, campaign: None },
            Heard::RestoreKept { incarnation: time, campaign: Some(campaign) },
            Heard::Group(GroupChange::Jump { gid, by: number }),
            Heard::Clock,
        ]
    }

    proptest! {
        #[test]
        fn every_entry_reads_back(
            dev: [u8; 8], number: u32, time: u64, octets in prop::collection::vec(any::<u8>(), 0..200),
            name in "[a-z]{1,60}",
        ) {
            for heard in all(dev, number, time, &octets, &name) {
                let entry = DeskEntry { at: time, heard };
                let mut written = Vec::new();
                entry.write(&mut written);
                prop_assert_eq!(DeskEntry::read(&written), Some(entry));
            }
        }

        #[test]
        fn any_octets_are_read_or_none(octets: Vec<u8>, what in 0..40_u8) {
            let octets = [&[0; 8][..], &[what], &octets].concat();
            if let Some(entry) = DeskEntry::read(&octets) {
                let mut again = Vec::new();
                entry.write(&mut again);
                prop_assert_eq!(again, octets);
            }
        }
    }
}
