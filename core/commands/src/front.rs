//! The desk's counter: where the interface of people asks for commands and gets its answers.
//!
//! Any thread may ask; it waits for the answer, no longer than the front's limit. Requests stand in a bounded
//! queue until the desk takes them; an [`Accepted`] is answered only when the command is durable.

mod refusal;
mod reply;
mod submission;
mod view;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seal::command::Classes;
use seal::ids::{Dev, Gid};

pub use refusal::Refusal;
pub use reply::Reply;
pub use submission::{OrderKind, Part, Roles, SignedSubmission, Submission, TableRead};
pub use view::{
    Accepted, By, CampaignState, CampaignView, CommandId, CommandState, CommandView, DeviceResult,
    DeviceView, Filter, GroupView, Outcome, Page, Receipted, ResultCounts, Step, Word,
};

/// Wakes the desk.
type Bell = Arc<dyn Fn() + Send + Sync>;

/// What the desk is asked, with the place for its answer.
#[derive(Debug)]
pub enum Asked {
    /// A command is wanted.
    Submit(Submission, Reply<Accepted>),
    /// A command that root signed is to be sent.
    SubmitSigned(SignedSubmission, Reply<Accepted>),
    /// Somebody approves of a command.
    Approve {
        /// The command.
        id: CommandId,
        /// Who approves, as the policy names him.
        approver: String,
        /// ES256 over the intent's digest.
        signature: [u8; 64],
        /// For the answer.
        reply: Reply<()>,
    },
    /// One command; for a group's, a page of the members' results.
    Command(CommandId, Page, Reply<CommandView>),
    /// Commands, the newest first.
    Commands(Filter, Page, Reply<Vec<CommandView>>),
    /// One end device.
    Device(Dev, Reply<DeviceView>),
    /// All groups.
    Groups(Reply<Vec<GroupView>>),
    /// One group; a page of its members.
    Group(Gid, Page, Reply<GroupView>),
    /// A new group.
    CreateGroup {
        /// For people.
        name: String,
        /// What its members let it order.
        classes: Classes,
        /// For the answer.
        reply: Reply<GroupView>,
    },
    /// Devices are to become members: a signed JOIN to each.
    Join(Gid, Vec<Dev>, String, Reply<Vec<Accepted>>),
    /// Members are to leave: a signed LEAVE to each.
    Leave(Gid, Vec<Dev>, String, Reply<Vec<Accepted>>),
    /// A group's next epoch, at once.
    Rekey(Gid, Reply<GroupView>),
    /// All associations are to go to a later epoch.
    StartCampaign {
        /// Steps, 1 to 4.
        delta: u8,
        /// Devices that are told one by one at the same time, at most.
        wave: u32,
        /// The group that is told at once; the others are told one by one.
        group: Option<Gid>,
        /// For the answer.
        reply: Reply<CampaignView>,
    },
    /// No device is told any more until [`Self::ResumeCampaign`].
    PauseCampaign(u32, Reply<CampaignView>),
    /// Goes on.
    ResumeCampaign(u32, Reply<CampaignView>),
    /// How far it is; a page of the devices that missed it.
    Campaign(u32, Page, Reply<CampaignView>),
    /// An end device is not believed any more.
    Revoke(Dev, String, Reply<()>),
}

/// Between those who ask and the desk. Shared.
pub struct Front {
    waiting: Mutex<VecDeque<Asked>>,
    waiting_max: usize,
    limit: Duration,
    bell: Mutex<Option<Bell>>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("waiting_max", &self.waiting_max).finish_non_exhaustive()
    }
}

impl Front {
    /// A front where at most `waiting_max` requests wait, each for at most `limit`.
    #[must_use]
    pub fn new(waiting_max: usize, limit: Duration) -> Self {
        Self { waiting: Mutex::default(), waiting_max, limit, bell: Mutex::default() }
    }

    /// Sets how the desk is woken when somebody asks; `ring` must be cheap and must not block.
    pub fn set_bell(&self, ring: impl Fn() + Send + Sync + 'static) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(ring));
    }

    /// The oldest request that waits: the desk's side.
    #[must_use]
    pub fn take(&self) -> Option<Asked> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Asks for a command. The same request id with the same content is the same command.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn submit(&self, submission: Submission) -> Result<Accepted, Refusal> {
        self.ask(|reply| Asked::Submit(submission, reply))
    }

    /// Has a command sent that the offline root signed. The same command again is the same.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn submit_signed(&self, submission: SignedSubmission) -> Result<Accepted, Refusal> {
        self.ask(|reply| Asked::SubmitSigned(submission, reply))
    }

    /// Adds an approval: ES256 over the intent's digest, by the key that the policy has of this approver.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn approve(&self, id: CommandId, approver: String, signature: [u8; 64]) -> Result<(), Refusal> {
        self.ask(|reply| Asked::Approve { id, approver, signature, reply })
    }

    /// One command; for a group's, a page of the members' results.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn command(&self, id: CommandId, page: Page) -> Result<CommandView, Refusal> {
        self.ask(|reply| Asked::Command(id, page, reply))
    }

    /// Commands, the newest first, without results by device.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn commands(&self, filter: Filter, page: Page) -> Result<Vec<CommandView>, Refusal> {
        self.ask(|reply| Asked::Commands(filter, page, reply))
    }

    /// One end device.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn device(&self, dev: Dev) -> Result<DeviceView, Refusal> {
        self.ask(|reply| Asked::Device(dev, reply))
    }

    /// All groups, without their members.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn groups(&self) -> Result<Vec<GroupView>, Refusal> {
        self.ask(Asked::Groups)
    }

    /// One group with a page of its members.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn group(&self, gid: Gid, page: Page) -> Result<GroupView, Refusal> {
        self.ask(|reply| Asked::Group(gid, page, reply))
    }

    /// A new group of a random gid, without members.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn create_group(&self, name: String, classes: Classes) -> Result<GroupView, Refusal> {
        self.ask(|reply| Asked::CreateGroup { name, classes, reply })
    }

    /// Sends each device a signed JOIN. It is a member when it has answered with result 0.
    ///
    /// # Errors
    /// [`Refusal`]: then none was sent.
    pub fn join(&self, gid: Gid, devs: Vec<Dev>, requester: String) -> Result<Vec<Accepted>, Refusal> {
        self.ask(|reply| Asked::Join(gid, devs, requester, reply))
    }

    /// Sends each device a signed LEAVE. It is a member until it has answered with result 0.
    ///
    /// # Errors
    /// [`Refusal`]: then none was sent.
    pub fn leave(&self, gid: Gid, devs: Vec<Dev>, requester: String) -> Result<Vec<Accepted>, Refusal> {
        self.ask(|reply| Asked::Leave(gid, devs, requester, reply))
    }

    /// Begins the group's next epoch at once, as after a member was opened.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn rekey(&self, gid: Gid) -> Result<GroupView, Refusal> {
        self.ask(|reply| Asked::Rekey(gid, reply))
    }

    /// Begins to move all profile-1 associations `delta` (1 to 4) epochs on: the members of `group` by one
    /// signed command, the others one by one, at most `wave` of them at a time.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn start_epoch_campaign(
        &self,
        delta: u8,
        wave: u32,
        group: Option<Gid>,
    ) -> Result<CampaignView, Refusal> {
        self.ask(|reply| Asked::StartCampaign { delta, wave, group, reply })
    }

    /// Tells no further device until it is resumed.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn pause_campaign(&self, campaign: u32) -> Result<CampaignView, Refusal> {
        self.ask(|reply| Asked::PauseCampaign(campaign, reply))
    }

    /// Goes on with a campaign that was paused.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn resume_campaign(&self, campaign: u32) -> Result<CampaignView, Refusal> {
        self.ask(|reply| Asked::ResumeCampaign(campaign, reply))
    }

    /// How far a campaign is, with a page of the devices that must register anew.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn campaign(&self, campaign: u32, page: Page) -> Result<CampaignView, Refusal> {
        self.ask(|reply| Asked::Campaign(campaign, page, reply))
    }

    /// Refuses an end device from now on, and takes it out of all groups.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn revoke(&self, dev: Dev, requester: String) -> Result<(), Refusal> {
        self.ask(|reply| Asked::Revoke(dev, requester, reply))
    }

    fn ask<T>(&self, asked: impl FnOnce(Reply<T>) -> Asked) -> Result<T, Refusal> {
        let (reply, answer) = Reply::pair();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= self.waiting_max {
                return Err(Refusal::Busy);
            }
            waiting.push_back(asked(reply));
        }
        let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(ring) = bell {
            ring();
        }
        answer.wait(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_request_is_answered_from_another_thread() {
        let front = Arc::new(Front::new(2, Duration::from_secs(20)));
        let (rang, rung) = std::sync::mpsc::channel();
        front.set_bell(move || rang.send(()).unwrap());
        let desk = {
            let front = Arc::clone(&front);
            thread::spawn(move || {
                rung.recv().unwrap();
                let Some(Asked::Revoke(dev, requester, reply)) = front.take() else { panic!("no request") };
                assert_eq!((dev, &*requester), (Dev([7; 8]), "eve"));
                reply.send(Err(Refusal::NoDevice(dev)));
            })
        };
        assert_eq!(front.revoke(Dev([7; 8]), "eve".into()), Err(Refusal::NoDevice(Dev([7; 8]))));
        desk.join().unwrap();
    }

    #[test]
    fn nobody_waits_for_ever_and_the_queue_has_an_end() {
        let front = Front::new(1, Duration::from_millis(5));
        assert_eq!(front.groups(), Err(Refusal::TimedOut));
        assert_eq!(front.groups(), Err(Refusal::Busy), "the first still waits for the desk");
        assert!(matches!(front.take(), Some(Asked::Groups(_))));
        assert!(front.take().is_none());
    }

    #[test]
    fn a_desk_that_ends_answers_so() {
        let front = Arc::new(Front::new(1, Duration::from_secs(20)));
        let desk = Arc::clone(&front);
        front.set_bell(move || drop(desk.take()));
        assert_eq!(front.groups(), Err(Refusal::Closed));
    }
}
