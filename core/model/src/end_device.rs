//! The end device.

use std::collections::BTreeSet;

use crate::frame::{Content, Direction, Frame, Scope};
use crate::rule::{Rule, Rules};

/// The end device: what it stored, what it has only in memory, and what is known of it from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndDevice {
    /// Its epoch.
    pub epoch: u8,
    /// Epochs whose K_dn it holds.
    pub held: BTreeSet<u8>,
    /// The greatest campaign it followed.
    pub campaign: u8,
    /// The last `ctr` by scope, as it stored them.
    stored_ctr: [u8; 2],
    /// The same in memory.
    ctr: [u8; 2],
    /// The first `seq` of its epoch that is not reserved.
    floor: u8,
    /// The next one.
    next: u8,
    /// Readings made.
    reports: u8,
    /// Downstream frames seen since the last loss of power.
    seen: BTreeSet<(u8, u8)>,
    /// A proof that is to be sent.
    proof: Option<u8>,
    /// Reports that it let go of, since they were acknowledged.
    pub acknowledged: BTreeSet<u8>,
    /// Reports by the epoch and `seq` under which they were sealed last.
    sealed: BTreeSet<(u8, u8, u8)>,
    /// The disconnects that it carried out, in order.
    pub carried_out: Vec<u8>,
}

impl Default for EndDevice {
    fn default() -> Self {
        Self {
            epoch: 0,
            held: BTreeSet::from([0]),
            campaign: 0,
            stored_ctr: [0; 2],
            ctr: [0; 2],
            floor: 0,
            next: 0,
            reports: 0,
            seen: BTreeSet::new(),
            proof: None,
            acknowledged: BTreeSet::new(),
            sealed: BTreeSet::new(),
            carried_out: Vec::new(),
        }
    }
}

impl EndDevice {
    /// Loses its power: what was only in memory is gone.
    pub fn cut(&mut self, rules: Rules) {
        self.ctr = self.stored_ctr;
        self.seen.clear();
        self.next = if rules.hold(Rule::EndDeviceReserves) { self.floor } else { 0 };
    }

    /// Whether it has something to say: an order's proof, or a reading.
    #[must_use]
    pub fn may_send(&self, reports_max: u8) -> bool {
        self.proof.is_some() || self.reports < reports_max || self.unacknowledged().is_some()
    }

    fn unacknowledged(&self) -> Option<u8> {
        (1..=self.reports).find(|report| !self.acknowledged.contains(report))
    }

    /// Seals one frame: a proof that is due, the next reading, or an unacknowledged one anew.
    pub fn send(&mut self, reports_max: u8, anew: bool) -> Option<Frame> {
        let content = match self.proof.take() {
            Some(challenge) => Content::Proof(challenge),
            None if anew => Content::Report(self.unacknowledged()?),
            None if self.reports < reports_max => {
                self.reports += 1;
                Content::Report(self.reports)
            }
            None => return None,
        };
        let seq = self.next;
        self.next += 1;
        self.floor = self.floor.max(self.next);
        if let Content::Report(report) = content {
            self.sealed.insert((self.epoch, seq, report));
        }
        Some(Frame { direction: Direction::Up, epoch: self.epoch, seq, content })
    }

    /// Takes a downstream frame. Answers whether anything changed.
    pub fn receive(&mut self, frame: &Frame, rules: Rules) -> bool {
        if !self.held.contains(&frame.epoch) || !self.seen.insert((frame.epoch, frame.seq)) {
            return false;
        }
        self.held.retain(|epoch| *epoch >= frame.epoch);
        match frame.content {
            Content::Acknowledgement(epoch, seq) => {
                let mut sealed = self.sealed.iter();
                let report = sealed.find(|(e, s, _)| (*e, *s) == (epoch, seq)).map(|(.., report)| *report);
                self.acknowledged.extend(report);
            }
            Content::Advance { scope, ctr, campaign, challenge } => {
                if self.take(scope, ctr, rules) {
                    self.advance(campaign, challenge, rules);
                }
            }
            Content::Disconnect { ctr, number } => {
                if self.take(Scope::Device, ctr, rules) {
                    self.carried_out.push(number);
                }
            }
            Content::Report(_) | Content::Proof(_) => {}
        }
        true
    }

    /// Whether a command's counter is fresh; then it is stored.
    fn take(&mut self, scope: Scope, ctr: u8, rules: Rules) -> bool {
        let Some(last) = self.ctr.get_mut(scope as usize) else { return false };
        if rules.hold(Rule::CtrRises) && ctr <= *last {
            return false;
        }
        *last = ctr.max(*last);
        if rules.hold(Rule::StoreBeforeAct) {
            self.stored_ctr = self.ctr;
        }
        true
    }

    fn advance(&mut self, campaign: u8, challenge: u8, rules: Rules) {
        if campaign > self.campaign || !rules.hold(Rule::CampaignRises) {
            self.campaign = self.campaign.max(campaign);
            self.epoch += 1;
            if !rules.hold(Rule::HoldOlderKeys) {
                self.held.clear();
            }
            self.held.insert(self.epoch);
            (self.floor, self.next) = (0, 0);
        }
        self.proof = Some(challenge);
    }
}
