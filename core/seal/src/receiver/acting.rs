//! Acting on a class-4 list: all of it or nothing (security layer §7, Annex A).

use alloc::vec::Vec;

use super::{GROUPS_MAX, Receiver, SignerKey};
use crate::command::{KeyItem, ROOT};
use crate::control::{Item, Items, Up};
use crate::edhoc::{Credential, HeadEndKid};
use crate::ids::Gid;

/// All items had effect.
const DONE: u8 = 0;
/// A parameter that no device can take.
const BAD_PARAMETER: u8 = 2;
/// A parameter that this device cannot take as it is.
const CONFLICT: u8 = 3;
/// Not for this signer to order.
const NOT_AUTHORISED: u8 = 5;

/// What the list changes as far as its later items depend on it.
struct Plan {
    campaign: u32,
    steps: u16,
    gids: Vec<Gid>,
    added: Vec<u8>,
    revoked: Vec<u8>,
}

impl Receiver {
    /// Acts on the list, unless one of its items has a fault: then on none. The result as RESULT has it.
    pub(super) fn act(&mut self, items: &Items<'_, KeyItem<'_>>, signer: &SignerKey) -> u8 {
        let mut plan = Plan {
            campaign: self.campaign,
            steps: 0,
            gids: self.groups.all().iter().map(|group| group.gid).collect(),
            added: Vec::new(),
            revoked: Vec::new(),
        };
        if let Err(fault) = items.into_iter().try_for_each(|item| self.plan(&mut plan, &item, signer)) {
            return fault;
        }
        items.into_iter().for_each(|item| self.apply(&item));
        DONE
    }

    /// One PROOF of the present epoch for each ADVANCE, whether it had effect or not.
    pub(super) fn proofs(&self, items: &Items<'_, KeyItem<'_>>) -> Vec<u8> {
        let mut proofs = Vec::new();
        for item in *items {
            if let KeyItem::Advance { challenge, .. } = item {
                Up::Proof { epoch: self.association.epoch(), challenge }.write(&mut proofs);
            }
        }
        proofs
    }

    fn plan(&self, plan: &mut Plan, item: &KeyItem<'_>, signer: &SignerKey) -> Result<(), u8> {
        let parameter = |good: bool| if good { Ok(()) } else { Err(BAD_PARAMETER) };
        let setup = |good: bool| if good { Ok(()) } else { Err(CONFLICT) };
        let authority = |good: bool| if good { Ok(()) } else { Err(NOT_AUTHORISED) };
        match *item {
            KeyItem::Advance { campaign, delta, .. } => {
                parameter((1..=4).contains(&delta))?;
                plan.steps = plan.steps.saturating_add(delta.into());
                setup(campaign > plan.campaign && self.association.can_advance(plan.steps))?;
                plan.campaign = campaign;
            }
            KeyItem::Join { gid, .. } => {
                parameter(gid.is_valid())?;
                if !plan.gids.contains(&gid) {
                    setup(plan.gids.len() < GROUPS_MAX)?;
                    plan.gids.push(gid);
                }
            }
            KeyItem::Leave { gid } => {
                parameter(gid.is_valid())?;
                plan.gids.retain(|joined| *joined != gid);
            }
            KeyItem::SignerAdd { skid, point, classes, .. } => {
                parameter(skid != ROOT && point.verifying_key().is_some())?;
                authority(signer.classes.cover(classes))?;
                let known = self.signers.knows(skid) || plan.added.contains(&skid);
                setup(!known && !plan.revoked.contains(&skid))?;
                plan.added.push(skid);
            }
            KeyItem::SignerRevoke { skid } => {
                parameter(skid != ROOT)?;
                authority(signer.skid == ROOT)?;
                setup(!self.signers.is_revoked(skid) && !plan.revoked.contains(&skid))?;
                plan.revoked.push(skid);
            }
            KeyItem::CredentialNext { kid, point } => {
                parameter(HeadEndKid::new(kid).is_some() && point.public_key().is_some())?;
            }
        }
        Ok(())
    }

    /// What was planned has no fault left.
    fn apply(&mut self, item: &KeyItem<'_>) {
        match *item {
            KeyItem::Advance { campaign, delta, .. } => {
                self.campaign = campaign;
                (0..delta).for_each(|_| self.association.advance());
            }
            KeyItem::Join { gid, classes } => self.groups.join(gid, classes),
            KeyItem::Leave { gid } => self.groups.leave(gid),
            KeyItem::SignerAdd { skid, point, classes, not_before } => {
                if let Some(key) = point.verifying_key() {
                    self.signers.add(SignerKey { skid, key, classes, not_before });
                }
            }
            KeyItem::SignerRevoke { skid } => self.signers.revoke(skid),
            KeyItem::CredentialNext { kid, point } => {
                if let Some((kid, key)) = HeadEndKid::new(kid).zip(point.public_key()) {
                    self.credential_next = Some(Credential { kid, key });
                }
            }
        }
    }
}
