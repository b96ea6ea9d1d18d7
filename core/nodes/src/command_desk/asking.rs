//! What people ask the desk, and what they are answered.

use std::sync::Arc;

use commands::approval::{Approval, prehash};
use commands::campaign::CampaignChange;
use commands::desk::{Heard, OfRoot, Taken};
use commands::front::{
    Accepted, Asked, CampaignView, CommandId, DeviceView, GroupView, OrderKind, Page, Refusal, Reply, Roles,
    SignedSubmission, Submission,
};
use commands::group::GroupChange;
use commands::intent::Intent;
use commands::policy::Policy;
use seal::command::{Addressee, Class, Classes};
use seal::ids::{Dev, Gid, Sid};
use seal::signature::sha256;

use super::{CommandDesk, Ordered, Revocation, Ways, entering};
use crate::clock::{unix_ms, unix_s};
use crate::command_signer::RootKey;
use crate::in_flight::Settled;
use crate::order::Order;
use crate::record::{self, Revoked};

/// How long a JOIN or LEAVE is in force, in minutes.
const MEMBERSHIP_TTL_MIN: u16 = 1440;

/// What is answered when a record is durable.
pub(super) enum After {
    Accepted(Reply<Accepted>, Accepted),
    All(Reply<Vec<Accepted>>, Vec<Accepted>),
    Approved(Reply<()>),
    Group(Gid, Reply<GroupView>),
    Campaign(u32, Reply<CampaignView>),
    Revoked(Reply<()>),
}

impl CommandDesk {
    /// Answers what waited for a record.
    pub(super) fn answer(&self, after: After, outcome: Settled) {
        let durable = outcome == Settled::Committed;
        match after {
            After::Accepted(reply, accepted) => {
                reply.send(if durable { Ok(accepted) } else { Err(Refusal::Store) })
            }
            After::All(reply, all) => reply.send(if durable { Ok(all) } else { Err(Refusal::Store) }),
            After::Approved(reply) | After::Revoked(reply) => {
                reply.send(if durable { Ok(()) } else { Err(Refusal::Store) });
            }
            After::Group(gid, reply) => {
                let view = || self.desk.group(gid, unix_s(), Page::NONE);
                reply.send(if durable { view() } else { Err(Refusal::Store) });
            }
            After::Campaign(campaign, reply) => {
                let view = || self.desk.campaign(campaign, &self.known, Page::NONE);
                reply.send(if durable { view() } else { Err(Refusal::Store) });
            }
        }
    }

    /// Takes a request.
    pub(super) fn asked(&mut self, ways: &mut Ways, asked: Asked) {
        match asked {
            Asked::Submit(submission, reply) => match self.repeated(&submission) {
                Some(answer) => reply.send(answer),
                None => match self.taken(&submission) {
                    Ok(taken) => self.accept(ways, taken, reply),
                    Err(refusal) => reply.send(Err(refusal)),
                },
            },
            Asked::SubmitSigned(submission, reply) => match self.of_root(&submission) {
                Ok(Ok(taken)) => self.enter(ways, taken, reply),
                Ok(Err(repeated)) => reply.send(Ok(repeated)),
                Err(refusal) => {
                    if let Refusal::Root(error) = &refusal {
                        entering::tell(ways, &error.audit(&submission, unix_ms()), None);
                    }
                    reply.send(Err(refusal));
                }
            },
            Asked::Approve { id, approver, signature, reply } => match self.approval(id, approver, signature)
            {
                Ok(Approval { approver, signature }) => {
                    let heard = Heard::Approved { id, approver, signature };
                    self.record(ways, heard, Some(After::Approved(reply)));
                }
                Err(refusal) => reply.send(Err(refusal)),
            },
            Asked::Command(id, page, reply) => reply.send(self.desk.command(id, page)),
            Asked::Commands(filter, page, reply) => reply.send(Ok(self.desk.commands(&filter, page))),
            Asked::Device(dev, reply) => reply.send(self.device(dev)),
            Asked::Groups(reply) => {
                let view = |gid| self.desk.group(gid, unix_s(), Page::NONE).ok();
                reply.send(Ok(self.desk.groups().gids().filter_map(view).collect()));
            }
            Asked::Group(gid, page, reply) => reply.send(self.desk.group(gid, unix_s(), page)),
            Asked::CreateGroup { name, classes, reply } => match self.new_group(&name, classes) {
                Ok(gid) => {
                    let created = GroupChange::Created { gid, name, classes };
                    self.record(ways, Heard::Group(created), Some(After::Group(gid, reply)));
                }
                Err(refusal) => reply.send(Err(refusal)),
            },
            Asked::Join(gid, devs, requester, reply) => match self.desk.groups().classes(gid) {
                Some(classes) => {
                    let order = OrderKind::Join { gid: gid.0, classes: classes.0 };
                    self.membership(ways, &order, &devs, &requester, reply);
                }
                None => reply.send(Err(Refusal::NoGroup(gid))),
            },
            Asked::Leave(gid, devs, requester, reply) => {
                if self.desk.groups().contain(gid) {
                    self.membership(ways, &OrderKind::Leave { gid: gid.0 }, &devs, &requester, reply);
                } else {
                    reply.send(Err(Refusal::NoGroup(gid)));
                }
            }
            Asked::Rekey(gid, reply) => {
                if self.desk.groups().contain(gid) {
                    let change = GroupChange::Rekey { gid, at: Some(unix_s()) };
                    self.record(ways, Heard::Group(change), Some(After::Group(gid, reply)));
                } else {
                    reply.send(Err(Refusal::NoGroup(gid)));
                }
            }
            Asked::StartCampaign { delta, wave, group, reply } => {
                match self.new_campaign(delta, wave, group) {
                    Ok(change) => {
                        let campaign = change.campaign();
                        self.record(ways, Heard::Campaign(change), Some(After::Campaign(campaign, reply)));
                    }
                    Err(refusal) => reply.send(Err(refusal)),
                }
            }
            Asked::PauseCampaign(campaign, reply) => {
                self.change_campaign(ways, CampaignChange::Paused { campaign }, reply);
            }
            Asked::ResumeCampaign(campaign, reply) => {
                self.change_campaign(ways, CampaignChange::Resumed { campaign }, reply);
            }
            Asked::Campaign(campaign, page, reply) => {
                reply.send(self.desk.campaign(campaign, &self.known, page));
            }
            Asked::Revoke(dev, _, reply) => self.revoke(ways, dev, reply),
        }
    }

    /// Takes a command; it is answered when it is durable.
    pub(super) fn accept(&mut self, ways: &mut Ways, taken: Taken, reply: Reply<Accepted>) {
        let accepted = Accepted { id: taken.id, digest: taken.digest, repeated: false };
        self.record(ways, Heard::Taken(Box::new(taken)), Some(After::Accepted(reply, accepted)));
    }

    /// A command that root signed, as it is to be written; the error within: it was taken earlier.
    ///
    /// # Errors
    /// [`Refusal`]
    fn of_root(&self, submission: &SignedSubmission) -> Result<Result<Taken, Accepted>, Refusal> {
        let root = self.signer().and_then(|signer| self.env.services.find::<RootKey>(signer));
        let root = root.as_deref().map(|RootKey(key)| key);
        let read = OfRoot::read(submission, self.known.directory.system(), root)?;
        match self.used(&read.request_id(), &read.content()) {
            Some(Err(Refusal::RequestId(_))) => return Err(read.used()),
            Some(answer) => return answer.map(Err),
            None => {}
        }
        let membership = match submission.addressee {
            Addressee::Device(dev) => self.known.device(dev).map(|_| 0)?,
            Addressee::Group(gid) => self.desk.groups().membership(gid).unwrap_or_default().version(),
        };
        self.desk.of_root(&read, membership, unix_s()).map(Ok)
    }

    /// The node that signs; it lends the desk what it goes by.
    fn signer(&self) -> Option<&str> {
        self.env.readers("intents").into_iter().next()
    }

    /// The next campaign, with a challenge that nobody knows.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(super) fn new_campaign(
        &self,
        delta: u8,
        wave: u32,
        group: Option<Gid>,
    ) -> Result<CampaignChange, Refusal> {
        let campaign = self.desk.check_campaign(delta, wave, group, unix_s())?;
        Ok(CampaignChange::Started { campaign, delta, wave, group, challenge: random()? })
    }

    fn change_campaign(&mut self, ways: &mut Ways, change: CampaignChange, reply: Reply<CampaignView>) {
        let campaign = change.campaign();
        match self.desk.campaign(campaign, &self.known, Page::NONE) {
            Ok(_) => self.record(ways, Heard::Campaign(change), Some(After::Campaign(campaign, reply))),
            Err(refusal) => reply.send(Err(refusal)),
        }
    }

    /// An approval that counts: one that does not would end the command where it is signed.
    fn approval(&self, id: CommandId, approver: String, signature: [u8; 64]) -> Result<Approval, Refusal> {
        self.desk.awaits_approval(id)?;
        let policy = self.signer().and_then(|signer| self.env.services.find::<Policy>(signer));
        let policy = policy.ok_or(Refusal::NoPolicy)?;
        let view = self.desk.command(id, Page::NONE)?;
        let approval = Approval { approver, signature };
        approval.check(&policy, &view.requester, &prehash(&view.digest))?;
        Ok(approval)
    }

    /// The answer to a request id that was used before.
    pub(super) fn repeated(&self, submission: &Submission) -> Option<Result<Accepted, Refusal>> {
        self.used(&submission.request_id, &content(submission))
    }

    fn used(&self, request_id: &str, content: &[u8; 32]) -> Option<Result<Accepted, Refusal>> {
        let before = self.desk.requested(request_id);
        let used_for = before.map(|before| &before.content).or_else(|| self.offered.get(request_id))?;
        if used_for != content {
            return Some(Err(Refusal::RequestId(request_id.to_owned())));
        }
        // While it is not durable yet, nobody can be told that it is.
        let accepted = |before: &Taken| Accepted { id: before.id, digest: before.digest, repeated: true };
        Some(before.map(accepted).ok_or(Refusal::TimedOut))
    }

    /// The command of a submission, as it is to be written.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(super) fn taken(&mut self, submission: &Submission) -> Result<Taken, Refusal> {
        self.desk.check(submission)?;
        let Submission { request_id, addressee, order, nbf, ttl_min, requester, .. } = submission;
        self.sequence = self.sequence.wrapping_add(1);
        let now_ms = unix_ms();
        let groups = self.desk.groups();
        let (membership, members) = match addressee {
            Addressee::Group(gid) => {
                let (_, members) = groups.version(*gid).ok_or(Refusal::NoGroup(*gid))?;
                (groups.membership(*gid).unwrap_or_default().version(), members)
            }
            Addressee::Device(_) => (0, 0),
        };
        let mut of_group: Box<dyn Iterator<Item = Dev>> = match addressee {
            Addressee::Group(gid) => Box::new(groups.members(*gid)),
            Addressee::Device(_) => Box::new(std::iter::empty()),
        };
        let body = self.known.body(order, *addressee, &mut *of_group, self.sequence, now_ms)?;
        drop(of_group);
        self.desk.check_class(submission, body.class)?;
        let now = u32::try_from(now_ms / 1000).unwrap_or(u32::MAX);
        let nbf = nbf.unwrap_or_else(|| self.begins(*addressee, body.class, now));
        let intent = Intent {
            id: CommandId(random()?),
            system: self.known.directory.system(),
            skid: self.skid,
            class: body.class,
            addressee: *addressee,
            membership,
            body: body.octets,
            nbf,
            ttl: *ttl_min,
            requester: requester.clone(),
        };
        let octets = intent.octets();
        Ok(Taken {
            id: intent.id,
            request_id: request_id.clone(),
            content: content(submission),
            word: order.word(),
            members,
            addressee: *addressee,
            class: body.class,
            nbf: intent.nbf,
            ttl_min: intent.ttl,
            requester: intent.requester,
            digest: sha256(&octets),
            body: intent.body,
            intent: octets,
            signed: None,
        })
    }

    /// When a command begins that is to begin now: of class 3 a device carries out each only after the one
    /// before, told by whole seconds, whether it was told alone or in a group.
    fn begins(&mut self, addressee: Addressee, class: Class, now: u32) -> u32 {
        if class != Class::Load {
            return now;
        }
        self.begun.retain(|_, nbf| *nbf >= now);
        let groups = self.desk.groups();
        let concerns = |other: &Addressee| match (addressee, *other) {
            (Addressee::Device(dev), Addressee::Device(other)) => dev == other,
            (Addressee::Device(dev), Addressee::Group(gid))
            | (Addressee::Group(gid), Addressee::Device(dev)) => groups.is_member(gid, dev),
            // They may have members in common.
            (Addressee::Group(_), Addressee::Group(_)) => true,
        };
        let last = self.begun.iter().filter(|(other, _)| concerns(other)).map(|(_, nbf)| *nbf).max();
        let nbf = last.map_or(now, |last| last.saturating_add(1).max(now)).max(self.opens);
        self.begun.insert(addressee, nbf);
        nbf
    }

    fn new_group(&self, name: &str, classes: Classes) -> Result<Gid, Refusal> {
        self.desk.check_group(name, classes)?;
        loop {
            let gid = Gid(u32::from_be_bytes(random()?) | 1 << 31);
            if !self.desk.groups().contain(gid) {
                return Ok(gid);
            }
        }
    }

    /// A JOIN or LEAVE to each of the devices: all of them, or none.
    fn membership(
        &mut self,
        ways: &mut Ways,
        order: &OrderKind,
        devs: &[Dev],
        requester: &str,
        reply: Reply<Vec<Accepted>>,
    ) {
        let all: Result<Vec<Taken>, Refusal> = devs
            .iter()
            .map(|dev| {
                self.taken(&Submission {
                    request_id: CommandId(random()?).to_string(),
                    addressee: Addressee::Device(*dev),
                    order: order.clone(),
                    nbf: None,
                    ttl_min: MEMBERSHIP_TTL_MIN,
                    requester: requester.to_owned(),
                    roles: Roles::SECURITY,
                })
            })
            .collect();
        let mut all = match all {
            Ok(all) => all,
            Err(refusal) => return reply.send(Err(refusal)),
        };
        let accepted = all
            .iter()
            .map(|taken| Accepted { id: taken.id, digest: taken.digest, repeated: false })
            .collect();
        let Some(last) = all.pop() else { return reply.send(Ok(Vec::new())) };
        for taken in all {
            self.record(ways, Heard::Taken(Box::new(taken)), None);
        }
        // Records are settled in their order: with the last one all are.
        self.record(ways, Heard::Taken(Box::new(last)), Some(After::All(reply, accepted)));
    }

    fn revoke(&mut self, ways: &mut Ways, dev: Dev, reply: Reply<()>) {
        let credential = self.known.credentials.find(dev).ok().flatten();
        if credential.is_none() && self.known.directory.associations(dev).is_empty() {
            return reply.send(Err(Refusal::NoDevice(dev)));
        }
        self.known.credentials.revoke(dev);
        // All of them: also one that is replaced, and one that it was given and has not used.
        let sids = self.known.directory.revoke(dev);
        if sids.is_empty() {
            // It has not registered: nobody has keys of it, and it will get none.
            let revoked = Revoked { dev, sid: Sid(u32::MAX) };
            ways.records.push(0, |batch| record::push(batch, &revoked), Some(After::Revoked(reply)));
            return;
        }
        let revocation = Arc::new(Revocation::new(reply));
        for sid in sids {
            ways.orders.order(&Order::Revoke { dev, sid }, Some(Ordered::Revoke(Arc::clone(&revocation))));
        }
    }

    fn device(&self, dev: Dev) -> Result<DeviceView, Refusal> {
        let credential = self.known.credentials.find(dev).ok().flatten();
        let sid = self.known.directory.sid(dev);
        let device = sid.and_then(|sid| self.known.directory.device(sid));
        if credential.is_none() && device.is_none() {
            return Err(Refusal::NoDevice(dev));
        }
        let heard = sid.and_then(|sid| self.desk.seen(sid));
        let (pending, waiting) = self.desk.of_device(dev);
        let title = match (&device, &credential) {
            (Some(device), _) => device.title().to_string(),
            (None, Some(credential)) => credential.title.to_string(),
            (None, None) => String::new(),
        };
        let profile = device.as_ref().map(|device| device.profile);
        let profile = profile.or_else(|| credential.as_ref().map(|credential| credential.profile));
        Ok(DeviceView {
            dev,
            kind: device.as_ref().map_or("profile1", |device| device.kind.word()),
            sid,
            epoch: heard.map(|(_, epoch)| epoch),
            last_heard: heard.map(|(at, _)| at),
            revoked: self.known.directory.is_revoked(dev)
                || credential.is_some_and(|credential| credential.revoked),
            pending,
            waiting,
            groups: self.desk.groups().of(dev).collect(),
            title,
            profile: profile.map(|profile| profile.to_string()).unwrap_or_default(),
        })
    }
}

/// SHA-256 over what is asked for, but for its name and its requester's rights.
fn content(submission: &Submission) -> [u8; 32] {
    let Submission { addressee, order, nbf, ttl_min, requester, .. } = submission;
    sha256(format!("{addressee:?} {order:?} {nbf:?} {ttl_min} {requester}").as_bytes())
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|_| Refusal::Closed)?;
    Ok(octets)
}
