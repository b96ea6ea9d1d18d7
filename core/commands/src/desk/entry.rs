//! One command in the table.

use std::collections::BTreeMap;

use seal::command::{Command, SignedCommand};
use seal::ids::Dev;

use super::heard::Taken;
use crate::front::{
    By, CommandState, CommandView, DeviceResult, Outcome, Page, Receipted, ResultCounts, Step, Word,
};

/// Steps that are kept of one command.
const STEPS_MAX: usize = 32;
/// Approvals that are kept of one command.
pub(super) const APPROVALS_MAX: usize = 8;

/// A command: what the log told of it, and how the desk goes about it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) told: Told,
    pub(super) going: Going,
}

/// What the log told: a function of its records alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) taken: Box<Taken>,
    /// Who approved, when and with which signature.
    pub(super) approvals: Vec<Approval>,
    pub(super) signed: Option<Signed>,
    pub(super) end: Option<End>,
    /// What members of a group answered.
    pub(super) results: BTreeMap<Dev, DeviceResult>,
    pub(super) history: Vec<Step>,
    /// Whether its CLOSED is durable.
    pub(super) filed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Approval {
    pub(super) approver: String,
    pub(super) signature: [u8; 64],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) octets: Vec<u8>,
    pub(super) skid: u8,
    pub(super) ctr: u32,
    pub(super) nbf: u32,
    /// Unix seconds after which the end device refuses it.
    pub(super) ends_at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) receipt: Option<Receipted>,
}

/// How the desk goes about it: gone with a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Going {
    /// How often it was given to a shard.
    pub(super) sent: u32,
    /// When it is looked at next, Unix seconds.
    pub(super) due: Option<u64>,
}

impl Signed {
    pub(super) fn read(octets: Vec<u8>) -> Option<Self> {
        let Command { skid, ctr, nbf, ttl, .. } = SignedCommand::read(&octets)?.command;
        let ends_at = u64::from(nbf).saturating_add(u64::from(ttl).saturating_mul(60));
        Some(Self { octets, skid, ctr, nbf, ends_at })
    }
}

impl Told {
    pub(super) fn new(taken: Box<Taken>, at: u64) -> Self {
        Self {
            taken,
            approvals: Vec::new(),
            signed: None,
            end: None,
            results: BTreeMap::new(),
            history: vec![Step { at, what: Word::Accepted }],
            filed: false,
        }
    }

    pub(super) fn step(&mut self, at: u64, what: Word) {
        if self.history.len() < STEPS_MAX {
            self.history.push(Step { at, what });
        }
    }

    /// Unix seconds after which the end device refuses it.
    pub(super) fn ends_at(&self) -> u64 {
        self.signed.as_ref().map_or_else(|| self.taken.ends_at(), |signed| signed.ends_at)
    }

    pub(super) fn approved(&self) -> bool {
        self.approvals.len() >= self.taken.approvals()
    }

    pub(super) fn state(&self, going: Going) -> CommandState {
        match (&self.end, &self.signed) {
            (Some(_), _) => CommandState::Ended,
            (None, Some(_)) if going.sent > 0 => CommandState::Sent,
            (None, Some(_)) => CommandState::Signed,
            (None, None) if !self.approved() => CommandState::AwaitingApproval,
            (None, None) => CommandState::Accepted,
        }
    }

    fn counts(&self) -> ResultCounts {
        let mut counts = ResultCounts { members: self.taken.members, ..ResultCounts::default() };
        for result in self.results.values() {
            let count = match result.result {
                0 | 1 => &mut counts.done,
                2..=6 => &mut counts.failed,
                18 => &mut counts.unknown,
                _ => &mut counts.refused,
            };
            *count = count.saturating_add(1);
        }
        counts.missing = counts.members.saturating_sub(self.results.len() as u64);
        counts
    }
}

impl Entry {
    pub(super) fn view(&self, page: Page) -> CommandView {
        let Told { taken, end, .. } = &self.told;
        CommandView {
            id: taken.id,
            request_id: taken.request_id.clone(),
            addressee: taken.addressee,
            order: taken.word,
            class: taken.class.octet(),
            requester: taken.requester.clone(),
            digest: taken.digest,
            intent: taken.intent.clone(),
            nbf: self.told.signed.as_ref().map_or(taken.nbf, |signed| signed.nbf),
            ttl_min: taken.ttl_min,
            state: self.told.state(self.going),
            sent: self.going.sent,
            history: self.told.history.clone(),
            outcome: end.as_ref().map(|end| end.outcome.clone()),
            receipt: end.as_ref().and_then(|end| end.receipt),
            counts: taken.device().is_none().then(|| self.told.counts()),
            results: page.of(self.told.results.values().copied()),
        }
    }
}

/// What a result octet says where the device did not act.
pub(super) fn refusal(result: u8) -> Outcome {
    let code = match result {
        16 => "SEC-DN-SIG",
        17 => "SEC-DN-CLASS",
        18 => return Outcome::Unknown,
        19 => "SEC-DN-TIME",
        20 => "SEC-DN-ORDER",
        _ => return Outcome::Refused { by: By::Device, code: format!("result-{result}") },
    };
    Outcome::Refused { by: By::Device, code: code.to_owned() }
}
