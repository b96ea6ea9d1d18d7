//! What may be asked for: checked before anything is written.

use seal::command::{Addressee, Class, Classes};
use seal::ids::Gid;

use super::{Desk, root};
use crate::front::{CommandId, OrderKind, Refusal, Roles, Submission};

impl Desk {
    /// Checks what somebody asks for, before its body is made.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check(&self, submission: &Submission) -> Result<(), Refusal> {
        let Submission { request_id, addressee, order, ttl_min, requester, roles, .. } = submission;
        if request_id.is_empty() || request_id.len() > 64 {
            return Err(Refusal::Invalid("a request id has 1 to 64 octets"));
        }
        if request_id.starts_with(root::REQUESTS) {
            return Err(Refusal::Invalid(
                "request ids that begin with `root-` are of commands that root signed",
            ));
        }
        if requester.is_empty() || requester.len() > 64 {
            return Err(Refusal::Invalid("a requester's name has 1 to 64 octets"));
        }
        if *ttl_min == 0 {
            return Err(Refusal::Invalid("a command is in force for at least a minute"));
        }
        let role = role_of(order);
        if !roles.cover(role.0) {
            return Err(Refusal::Role(role.1));
        }
        if matches!(order, OrderKind::SignerRevoke { .. }) {
            return Err(Refusal::RootOnly);
        }
        self.check_addressee(*addressee, matches!(order, OrderKind::AdvanceEpoch { .. }))
    }

    /// Whether a command to it can be taken now; `moves_on`: one that tells it to leave its epoch.
    pub(super) fn check_addressee(&self, addressee: Addressee, moves_on: bool) -> Result<(), Refusal> {
        match addressee {
            Addressee::Group(gid) => match self.groups.version(gid) {
                None => return Err(Refusal::NoGroup(gid)),
                Some((_, 0)) => return Err(Refusal::EmptyGroup(gid)),
                Some(_) => {}
            },
            // Its answer would not count, and the command that makes it count would wait behind this one.
            Addressee::Device(dev) if !moves_on && self.campaigns.restores(dev) => {
                return Err(Refusal::Restored(dev));
            }
            Addressee::Device(_) => {}
        }
        if self.table.pending() >= self.settings.pending_max {
            return Err(Refusal::Full(self.settings.pending_max));
        }
        Ok(())
    }

    /// Checks the class that a command came to have.
    ///
    /// # Errors
    /// [`Refusal::GroupClass`], [`Refusal::Invalid`].
    pub fn check_class(&self, submission: &Submission, class: Class) -> Result<(), Refusal> {
        if class == Class::Load && submission.ttl_min > 1440 {
            return Err(Refusal::Invalid("a class-3 command is in force for 1,440 minutes at most"));
        }
        self.check_group_class(submission.addressee, class)
    }

    pub(super) fn check_group_class(&self, addressee: Addressee, class: Class) -> Result<(), Refusal> {
        match addressee {
            Addressee::Group(gid) if !self.groups.classes(gid).is_some_and(|all| all.contain(class)) => {
                Err(Refusal::GroupClass { gid, class: class.octet() })
            }
            _ => Ok(()),
        }
    }

    /// Whether a command waits for approvals.
    ///
    /// # Errors
    /// [`Refusal::NoCommand`], [`Refusal::NotAwaiting`].
    pub fn awaits_approval(&self, id: CommandId) -> Result<(), Refusal> {
        self.table.awaits(id)
    }

    /// Checks that a group of these classes may be created.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check_group(&self, name: &str, classes: Classes) -> Result<(), Refusal> {
        if name.is_empty() || name.len() > 64 {
            return Err(Refusal::Invalid("a group's name has 1 to 64 octets"));
        }
        if classes.0 == 0 || classes.0 >= 1 << 6 {
            return Err(Refusal::Invalid("a group orders some of the classes 0 to 5"));
        }
        if self.groups.len() >= crate::group::GROUPS_MAX {
            return Err(Refusal::Full(crate::group::GROUPS_MAX));
        }
        Ok(())
    }

    /// The next campaign's number, when one of this kind may begin; `now` in Unix seconds.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check_campaign(&self, delta: u8, wave: u32, group: Option<Gid>, now: u64) -> Result<u32, Refusal> {
        if !(1..=4).contains(&delta) {
            return Err(Refusal::Invalid("an epoch campaign has 1 to 4 steps"));
        }
        if wave == 0 {
            return Err(Refusal::Invalid("a wave is one device at least"));
        }
        if let Some(gid) = group {
            let classes = self.groups.classes(gid).ok_or(Refusal::NoGroup(gid))?;
            let class = Class::Keys;
            if !classes.contain(class) {
                return Err(Refusal::GroupClass { gid, class: class.octet() });
            }
        }
        match self.campaigns.running() {
            Some(running) => Err(Refusal::CampaignRuns(running)),
            None => Ok(self.campaigns.next_number(self.dues.last(), now)),
        }
    }
}

/// The role that an order needs, with its word.
fn role_of(order: &OrderKind) -> (Roles, &'static str) {
    match order {
        OrderKind::SignerAdd { .. }
        | OrderKind::SignerRevoke { .. }
        | OrderKind::CredentialNext { .. }
        | OrderKind::Join { .. }
        | OrderKind::Leave { .. }
        | OrderKind::AdvanceEpoch { .. } => (Roles::SECURITY, "security"),
        _ => (Roles::OPERATOR, "operator"),
    }
}
