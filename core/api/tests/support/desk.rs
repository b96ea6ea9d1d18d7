//! A desk made up for tests: it keeps what it is told in memory and answers as the desk does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use commands::desk::RootError;
use commands::front::{
    Accepted, Asked, By, CampaignState, CampaignView, CommandId, CommandState, CommandView, DeviceResult,
    DeviceView, Front, GroupView, OrderKind, Outcome, Receipted, Refusal, ResultCounts, Roles,
    SignedSubmission, Step, Submission, Word,
};
use seal::command::Addressee;
use seal::ids::{Dev, Epoch, Gid, Sid, System};

/// The end device that exists.
pub const DEV: Dev = Dev([0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
/// The group that exists.
pub const GID: Gid = Gid(0x8000_0001);

/// The desk and the thread in which it works.
pub struct Desk {
    /// It takes no requests.
    pub deaf: AtomicBool,
    /// Looks at a command until it has ended.
    pub looks: AtomicU32,
    /// How commands end.
    pub end: Mutex<Outcome>,
    /// What was submitted.
    pub submitted: Mutex<Vec<Submission>>,
    /// What came signed; root's name is looked at, its signature not.
    pub signed: Mutex<Vec<SignedSubmission>>,
    /// Approvals: command, approver, signature.
    pub approvals: Mutex<Vec<(CommandId, String, [u8; 64])>>,
    /// The body of all intents.
    pub body: Mutex<Vec<u8>>,
    closed: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    commands: Vec<(Submission, CommandView)>,
    looked: HashMap<CommandId, u32>,
    revoked: bool,
    campaign: Option<CampaignView>,
    groups: Vec<GroupView>,
}

impl Desk {
    pub fn open(front: Arc<Front>) -> Arc<Self> {
        let desk = Arc::new(Self {
            deaf: AtomicBool::new(false),
            looks: AtomicU32::new(0),
            end: Mutex::new(Outcome::Done { result: 0, response: vec![0x80, 0] }),
            submitted: Mutex::default(),
            signed: Mutex::default(),
            approvals: Mutex::default(),
            body: Mutex::new(vec![0x90, 1, 2, 3]),
            closed: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let worker = Arc::clone(&desk);
        let body = move || {
            let mut state = State { groups: vec![group(GID, "wave 1")], ..State::default() };
            while !worker.closed.load(Ordering::Acquire) {
                match front.take().filter(|_| !worker.deaf.load(Ordering::Acquire)) {
                    Some(asked) => worker.answer(&mut state, asked),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        };
        *desk.thread.lock().unwrap() = Some(std::thread::spawn(body));
        desk
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(thread) = self.thread.lock().unwrap().take() {
            thread.join().unwrap();
        }
    }

    fn answer(&self, state: &mut State, asked: Asked) {
        match asked {
            Asked::Submit(submission, reply) => reply.send(self.submit(state, submission)),
            Asked::SubmitSigned(submission, reply) => reply.send(self.submit_signed(submission)),
            Asked::Approve { id, approver, signature, reply } => {
                let found = state.commands.iter_mut().find(|(_, view)| view.id == id);
                reply.send(match found {
                    None => Err(Refusal::NoCommand(id)),
                    Some((_, view)) if view.state == CommandState::Ended => Err(Refusal::NotAwaiting(id)),
                    Some((_, view)) => {
                        view.history.push(Step { at: 2, what: Word::Approved(approver.clone()) });
                        self.approvals.lock().unwrap().push((id, approver, signature));
                        Ok(())
                    }
                });
            }
            Asked::Command(id, page, reply) => {
                let looked = state.looked.entry(id).or_default();
                *looked += 1;
                let ended = *looked > self.looks.load(Ordering::Acquire);
                let found = state.commands.iter_mut().find(|(_, view)| view.id == id);
                reply.send(found.ok_or(Refusal::NoCommand(id)).map(|(_, view)| {
                    if ended && view.outcome.is_none() {
                        view.state = CommandState::Ended;
                        view.outcome = Some(self.end.lock().unwrap().clone());
                        view.history.push(Step { at: 3, what: Word::Ended });
                    }
                    let results = page.of(view.results.iter().copied());
                    CommandView { results, ..view.clone() }
                }));
            }
            Asked::Commands(filter, page, reply) => {
                let fits = |view: &&CommandView| {
                    filter.addressee.is_none_or(|addressee| view.addressee == addressee)
                        && (!filter.pending || view.outcome.is_none())
                        && filter.requester.as_ref().is_none_or(|requester| *requester == view.requester)
                };
                let newest = state.commands.iter().rev().map(|(_, view)| view);
                reply.send(Ok(page.of(newest.filter(fits).cloned())));
            }
            Asked::Device(dev, reply) => reply.send(device(state, dev)),
            Asked::Groups(reply) => reply.send(Ok(state.groups.clone())),
            Asked::Group(gid, page, reply) => reply.send(
                found(state, gid)
                    .map(|group| GroupView { page: page.of([DEV].into_iter()), ..group.clone() }),
            ),
            Asked::CreateGroup { name, classes, reply } => {
                let gid = Gid(GID.0 + state.groups.len() as u32);
                state.groups.push(GroupView { classes, members: 0, ..group(gid, &name) });
                reply.send(found(state, gid).cloned());
            }
            Asked::Join(gid, devs, requester, reply) => {
                let order = OrderKind::Join { gid: gid.0, classes: 12 };
                reply.send(self.each(state, gid, devs, &requester, &order));
            }
            Asked::Leave(gid, devs, requester, reply) => {
                let order = OrderKind::Leave { gid: gid.0 };
                reply.send(self.each(state, gid, devs, &requester, &order));
            }
            Asked::Rekey(gid, reply) => {
                let group = state.groups.iter_mut().find(|group| group.gid == gid);
                reply.send(group.ok_or(Refusal::NoGroup(gid)).map(|group| {
                    group.next_at = Some(1_800_000_000);
                    group.clone()
                }));
            }
            Asked::StartCampaign { delta, wave: _, group, reply } => {
                if !(1..=4).contains(&delta) {
                    return reply.send(Err(Refusal::Invalid("an epoch campaign has 1 to 4 steps")));
                }
                if let Some(running) = &state.campaign {
                    return reply.send(Err(Refusal::CampaignRuns(running.campaign)));
                }
                let begin = if group.is_some() { CampaignState::Broadcast } else { CampaignState::CatchUp };
                let campaign = campaign(delta, begin);
                state.campaign = Some(campaign.clone());
                reply.send(Ok(campaign));
            }
            Asked::PauseCampaign(id, reply) => reply.send(set(state, id, CampaignState::Paused)),
            Asked::ResumeCampaign(id, reply) => reply.send(set(state, id, CampaignState::CatchUp)),
            Asked::Campaign(id, page, reply) => {
                let campaign = state.campaign.as_ref().filter(|campaign| campaign.campaign == id);
                reply.send(campaign.ok_or(Refusal::NoCampaign(id)).map(|campaign| CampaignView {
                    reregister: page.of([DEV].into_iter()),
                    ..campaign.clone()
                }));
            }
            Asked::Revoke(dev, _, reply) => {
                state.revoked |= dev == DEV;
                reply.send(device(state, dev).map(|_| ()));
            }
        }
    }

    fn submit(&self, state: &mut State, submission: Submission) -> Result<Accepted, Refusal> {
        let keys = matches!(
            submission.order,
            OrderKind::SignerAdd { .. } | OrderKind::SignerRevoke { .. } | OrderKind::CredentialNext { .. }
        );
        let (role, word) = if keys { (Roles::SECURITY, "security") } else { (Roles::OPERATOR, "operator") };
        if !submission.roles.cover(role) {
            return Err(Refusal::Role(word));
        }
        match submission.addressee {
            Addressee::Device(dev) if dev != DEV => return Err(Refusal::NoDevice(dev)),
            Addressee::Group(gid) => drop(found(state, gid)?),
            Addressee::Device(_) => {}
        }
        let earlier = state.commands.iter().find(|(other, _)| other.request_id == submission.request_id);
        if let Some((other, view)) = earlier {
            if (&other.order, other.addressee) != (&submission.order, submission.addressee) {
                return Err(Refusal::RequestId(submission.request_id));
            }
            return Ok(Accepted { id: view.id, digest: view.digest, repeated: true });
        }
        let view = self.view(state.commands.len(), &submission);
        let accepted = Accepted { id: view.id, digest: view.digest, repeated: false };
        self.submitted.lock().unwrap().push(submission.clone());
        state.commands.push((submission, view));
        Ok(accepted)
    }

    fn submit_signed(&self, submission: SignedSubmission) -> Result<Accepted, Refusal> {
        let skid = submission.octets.first().copied().unwrap_or_default();
        if skid != 0 {
            return Err(RootError::Skid(skid).into());
        }
        let mut signed = self.signed.lock().unwrap();
        let repeated = signed.contains(&submission);
        signed.push(submission);
        Ok(Accepted { id: CommandId([0xb6; 16]), digest: [1; 32], repeated })
    }

    fn view(&self, number: usize, submission: &Submission) -> CommandView {
        let mut id = [0xa5; 16];
        id[15] = number as u8;
        let nbf = submission.nbf.unwrap_or(1_700_000_000);
        let class = if matches!(submission.order, OrderKind::ReadTables(_)) { 0 } else { 3 };
        let intent = commands::intent::Intent {
            id: CommandId(id),
            system: System([7; 8]),
            skid: 1,
            class: seal::command::Class::from_octet(class).unwrap(),
            addressee: submission.addressee,
            membership: 0,
            body: self.body.lock().unwrap().clone(),
            nbf,
            ttl: submission.ttl_min,
            requester: submission.requester.clone(),
        };
        let group = matches!(submission.addressee, Addressee::Group(_));
        let receipt = Receipted { executed_at: 5, signature: [9; 64], verified: true };
        let result = DeviceResult { dev: DEV, result: 0, receipt: Some(receipt) };
        let counts = ResultCounts { members: 2, done: 1, failed: 0, refused: 0, unknown: 0, missing: 1 };
        CommandView {
            id: CommandId(id),
            request_id: submission.request_id.clone(),
            addressee: submission.addressee,
            order: "disconnect",
            class,
            requester: submission.requester.clone(),
            digest: intent.digest(),
            intent: intent.octets(),
            nbf,
            ttl_min: submission.ttl_min,
            state: CommandState::AwaitingApproval,
            sent: 0,
            history: vec![Step { at: 1, what: Word::Accepted }],
            outcome: None,
            receipt: (class == 3 && !group).then_some(receipt),
            counts: group.then_some(counts),
            results: if group { vec![result; 3] } else { Vec::new() },
        }
    }

    fn each(
        &self,
        state: &mut State,
        gid: Gid,
        devs: Vec<Dev>,
        requester: &str,
        order: &OrderKind,
    ) -> Result<Vec<Accepted>, Refusal> {
        found(state, gid)?;
        let one = |(number, dev)| {
            self.submit(
                state,
                Submission {
                    request_id: format!("{order:?} {number}"),
                    addressee: Addressee::Device(dev),
                    order: order.clone(),
                    nbf: None,
                    ttl_min: 60,
                    requester: requester.to_owned(),
                    roles: Roles(u8::MAX),
                },
            )
        };
        devs.into_iter().enumerate().map(one).collect()
    }
}

/// How a device refuses.
pub fn refused_by_device() -> Outcome {
    Outcome::Refused { by: By::Device, code: "SEC-DN-TIME".to_owned() }
}

fn device(state: &State, dev: Dev) -> Result<DeviceView, Refusal> {
    if dev != DEV {
        return Err(Refusal::NoDevice(dev));
    }
    Ok(DeviceView {
        dev,
        kind: "profile1",
        sid: Some(Sid(0x0100_0002)),
        epoch: Some(Epoch(3)),
        last_heard: Some(1_700_000_000),
        revoked: state.revoked,
        pending: None,
        waiting: 0,
        groups: vec![GID],
        title: ".1.2".to_owned(),
        profile: "00".repeat(32),
    })
}

fn group(gid: Gid, name: &str) -> GroupView {
    GroupView {
        gid,
        name: name.to_owned(),
        classes: seal::command::Classes(0b1100),
        version: 1,
        members: 1,
        epoch: Some(Epoch(1)),
        next_at: None,
        page: Vec::new(),
    }
}

fn found(state: &State, gid: Gid) -> Result<&GroupView, Refusal> {
    state.groups.iter().find(|group| group.gid == gid).ok_or(Refusal::NoGroup(gid))
}

fn campaign(delta: u8, state: CampaignState) -> CampaignView {
    CampaignView {
        campaign: 7,
        delta,
        state,
        total: 10,
        proved: 4,
        pending: 5,
        missed: 1,
        reregister: Vec::new(),
    }
}

fn set(state: &mut State, id: u32, to: CampaignState) -> Result<CampaignView, Refusal> {
    let campaign = state.campaign.as_mut().filter(|campaign| campaign.campaign == id);
    let campaign = campaign.ok_or(Refusal::NoCampaign(id))?;
    campaign.state = to;
    Ok(campaign.clone())
}
