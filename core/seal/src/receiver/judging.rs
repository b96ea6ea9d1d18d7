//! The steps from the signature on.

use alloc::vec::Vec;

use super::{Classifier, FLOORS_MAX, Floor, Order, Received, Receiver, Refusal};
use crate::command::{Addressee, Class, Command, KeyItem, SetTime, SignedCommand};
use crate::control::Items;

/// A command may be so much ahead of the device's clock, in seconds.
const SKEW_S: u64 = 300;
/// The longest life of a class-3 command, in minutes.
const TTL_LOAD_MAX: u16 = 1440;

/// A body that is what its class says.
enum Content<'f> {
    Services(&'f [u8]),
    Keys(Items<'f, KeyItem<'f>>),
    Time(SetTime),
}

impl Receiver {
    /// The steps in their order. Where all pass, the counter and what goes with it are in the state.
    pub(super) fn judge<'f, C: Classifier>(
        &mut self,
        read: &SignedCommand<'f>,
        addressee: Addressee,
        now: Option<u64>,
        profile: &C,
    ) -> Result<Received<'f>, Refusal> {
        let command = &read.command;
        let signer = *self
            .signers
            .get(command.skid)
            .filter(|signer| command.nbf >= signer.not_before)
            .filter(|signer| read.verifies(&signer.key, self.system, addressee))
            .ok_or(Refusal::Signature)?;
        let class = Class::from_octet(command.class)
            .filter(|class| signer.classes.contain(*class) && self.may_order(addressee, *class))
            .ok_or(Refusal::Class)?;
        let content = content(class, command.body, profile).ok_or(Refusal::Class)?;
        let digest = read.digest();
        if let Some(answer) = self.above_the_floor(command, addressee, &digest)? {
            return Ok(Received::Repeat { answer });
        }
        if !self.is_valid_now(command, class, &content, now) {
            return Err(Refusal::Time);
        }
        if class == Class::Load && command.nbf <= self.class3_nbf {
            return Err(Refusal::Order);
        }
        self.raise_the_floor(command, addressee);
        let (skid, ctr) = (command.skid, command.ctr);
        Ok(match content {
            Content::Services(body) => {
                if class == Class::Load {
                    self.class3_nbf = command.nbf;
                }
                Received::Order(Order { skid, addressee, ctr, class, digest, body })
            }
            Content::Keys(items) => {
                let result = self.act(&items, &signer);
                let mut answer = self.proofs(&items);
                answer.extend(self.answer(skid, addressee, ctr, digest, result, &[]));
                Received::Keys { result, answer }
            }
            Content::Time(time) => {
                if time.echo().is_some() {
                    self.time_nonce = None;
                }
                let answer = self.answer(skid, addressee, ctr, digest, 0, &[]);
                Received::Time { time, answer }
            }
        })
    }

    fn may_order(&self, addressee: Addressee, class: Class) -> bool {
        match addressee {
            Addressee::Device(_) => true,
            Addressee::Group(gid) => self.groups.classes(gid).is_some_and(|classes| classes.contain(class)),
        }
    }

    /// `None` for a new counter; the stored RESULT for the last command once more.
    fn above_the_floor(
        &self,
        command: &Command<'_>,
        addressee: Addressee,
        digest: &[u8; 32],
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let sequence = (command.skid, addressee.scope());
        let Some(floor) = self.floors.iter().find(|floor| (floor.skid, floor.scope) == sequence) else {
            let room = self.floors.len() < FLOORS_MAX;
            return if command.ctr > 0 && room { Ok(None) } else { Err(Refusal::Ctr) };
        };
        if command.ctr > floor.last {
            return Ok(None);
        }
        let same = floor.answered.as_ref().filter(|answered| answered.digest == *digest);
        let same = same.filter(|_| command.ctr == floor.last).ok_or(Refusal::Ctr)?;
        Ok(Some(same.result.clone()))
    }

    fn raise_the_floor(&mut self, command: &Command<'_>, addressee: Addressee) {
        let (skid, scope, last) = (command.skid, addressee.scope(), command.ctr);
        let raised = Floor { skid, scope, last, answered: None };
        match self.floors.iter_mut().find(|floor| (floor.skid, floor.scope) == (skid, scope)) {
            Some(floor) => *floor = raised,
            None => self.floors.push(raised),
        }
    }

    fn is_valid_now(
        &self,
        command: &Command<'_>,
        class: Class,
        content: &Content<'_>,
        now: Option<u64>,
    ) -> bool {
        if let Content::Time(time) = content {
            if time.seconds() < u64::from(self.class3_nbf) {
                return false;
            }
            if let Some(nonce) = time.echo() {
                return self.time_nonce == Some(nonce);
            }
        }
        if command.ttl == 0 || (class == Class::Load && command.ttl > TTL_LOAD_MAX) {
            return false;
        }
        let nbf = u64::from(command.nbf);
        let end = nbf.saturating_add(u64::from(command.ttl).saturating_mul(60));
        now.map_or(class == Class::Read, |now| nbf <= now.saturating_add(SKEW_S) && now <= end)
    }
}

/// The body as its class has it, or `None`: it does not parse, or does more than its class says.
fn content<'f, C: Classifier>(class: Class, body: &'f [u8], profile: &C) -> Option<Content<'f>> {
    match class {
        Class::Keys => Items::read(body).ok().map(Content::Keys),
        Class::Time => SetTime::read(body).map(Content::Time),
        Class::Read | Class::Write | Class::Firmware | Class::Load => {
            profile.class(body).filter(|computed| *computed <= class).map(|_| Content::Services(body))
        }
    }
}
