//! All of it, and what can happen next.

use std::collections::BTreeSet;

use stateright::{Model, Property as Checked};

use crate::bounds::Bounds;
use crate::end_device::EndDevice;
use crate::frame::{Direction, Frame};
use crate::head_end::{HeadEnd, Kept};
use crate::property::Property;
use crate::rule::{Rule, Rules};

/// The state of everybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The head-end, and a copy of it.
    pub head_ends: [HeadEnd; 2],
    /// The end device.
    pub end_device: EndDevice,
    /// The incarnation in the HSM.
    pub hsm: u8,
    /// All frames that were ever sent: any may arrive at any time.
    pub sent: BTreeSet<Frame>,
    /// A backup of the head-end.
    backup: Option<Kept>,
    /// Reports that are durable at a head-end, and so reach the MDM.
    pub delivered: BTreeSet<u8>,
    /// Upstream frames that were accepted by whichever head-end.
    accepted: BTreeSet<(u8, u8)>,
    /// One of them was accepted again.
    pub accepted_twice: bool,
    /// Disconnects asked for.
    disconnects: u8,
    /// Restores done.
    pub restores: u8,
    head_end_cuts: u8,
    end_device_cuts: u8,
    sealed: u8,
    anew: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A head-end loses its power.
    CutHeadEnd(usize),
    /// A head-end starts.
    Start(usize),
    /// The end device loses its power and starts.
    CutEndDevice,
    /// The end device seals something new.
    Send,
    /// The end device seals an unacknowledged report anew.
    SendAnew,
    /// A frame arrives at the end device.
    Down(Frame),
    /// A frame arrives at a head-end.
    Up(usize, Frame),
    /// A head-end's write is durable.
    Commit(usize),
    /// A head-end acknowledges.
    Acknowledge(usize),
    /// A head-end sends a disconnect.
    Disconnect(usize),
    /// A head-end issues the next epoch, or repeats that to the device.
    Advance(usize),
    /// The first head-end's state is saved.
    Backup,
    /// A second head-end gets the saved state.
    Copy,
    /// The first head-end's machine is cloned, and the clone started.
    Clone,
    /// The first head-end is restored from the saved state.
    Restore,
}

/// The machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// The rules that hold.
    pub rules: Rules,
    /// How much happens.
    pub bounds: Bounds,
}

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            head_ends: Default::default(),
            end_device: EndDevice::default(),
            hsm: 0,
            sent: BTreeSet::new(),
            backup: None,
            delivered: BTreeSet::new(),
            accepted: BTreeSet::new(),
            accepted_twice: false,
            disconnects: 0,
            restores: 0,
            head_end_cuts: 0,
            end_device_cuts: 0,
            sealed: 0,
            anew: 0,
        };
        let [head_end, _] = &mut world.head_ends;
        head_end.start(&mut world.hsm, self.rules);
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let bounds = &self.bounds;
        for (number, head_end) in world.head_ends.iter().enumerate() {
            if !head_end.runs() {
                if number == 0 || world.head_ends[1].kept.incarnation > 0 {
                    actions.push(Action::Start(number));
                }
                continue;
            }
            if world.head_end_cuts < bounds.head_end_cuts {
                actions.push(Action::CutHeadEnd(number));
            }
            let up = world.sent.iter().filter(|frame| frame.direction == Direction::Up);
            actions.extend(up.map(|frame| Action::Up(number, *frame)));
            actions.push(Action::Commit(number));
            if world.sealed < bounds.sealed {
                actions.extend([Action::Acknowledge(number), Action::Advance(number)]);
                if world.disconnects < bounds.disconnects {
                    actions.push(Action::Disconnect(number));
                }
            }
        }
        if world.end_device_cuts < bounds.end_device_cuts {
            actions.push(Action::CutEndDevice);
        }
        if world.end_device.may_send(bounds.reports) {
            actions.push(Action::Send);
            if world.anew < world.end_device_cuts {
                actions.push(Action::SendAnew);
            }
        }
        let down = world.sent.iter().filter(|frame| frame.direction == Direction::Down);
        actions.extend(down.map(|frame| Action::Down(*frame)));
        if (bounds.copy || bounds.restores > 0) && world.backup.is_none() && world.head_ends[0].runs() {
            actions.push(Action::Backup);
        }
        if bounds.clone && world.head_ends[0].runs() && world.head_ends[1] == HeadEnd::default() {
            actions.push(Action::Clone);
        }
        if world.backup.is_some() {
            if bounds.copy && world.head_ends[1] == HeadEnd::default() {
                actions.push(Action::Copy);
            }
            let again = world.restores == 0 || !self.rules.hold(Rule::OneRestore);
            if world.restores < bounds.restores && again && !world.head_ends[0].runs() {
                actions.push(Action::Restore);
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.happen(action, self).then_some(next)
    }

    fn properties(&self) -> Vec<Checked<Self>> {
        fn check<const N: usize>(machine: &Machine, world: &World) -> bool {
            Property::ALL[N].holds(world, machine.rules)
        }
        let checks: [fn(&Machine, &World) -> bool; 6] =
            [check::<0>, check::<1>, check::<2>, check::<3>, check::<4>, check::<5>];
        Property::ALL
            .iter()
            .zip(checks)
            .map(|(property, check)| Checked::always(property.name(), check))
            .collect()
    }
}

impl World {
    /// Lets something happen; `false` when it changes nothing.
    fn happen(&mut self, action: Action, machine: &Machine) -> bool {
        let Machine { rules, bounds } = *machine;
        let Self { head_ends, end_device, hsm, .. } = self;
        match action {
            Action::CutHeadEnd(number) => {
                head_ends[number].cut();
                self.head_end_cuts += 1;
            }
            Action::Start(number) => {
                if head_ends[number].refused {
                    return false;
                }
                head_ends[number].start(hsm, rules);
            }
            Action::CutEndDevice => {
                end_device.cut(rules);
                self.end_device_cuts += 1;
            }
            Action::Send => {
                let frame = end_device.send(bounds.reports, false);
                return frame.is_some_and(|frame| self.sent.insert(frame));
            }
            Action::SendAnew => {
                self.anew += 1;
                let frame = end_device.send(bounds.reports, true);
                return frame.is_some_and(|frame| self.sent.insert(frame));
            }
            Action::Down(frame) => return end_device.receive(&frame, rules),
            Action::Up(number, frame) => return head_ends[number].receive(&frame, rules),
            Action::Commit(number) => {
                let Some(frame) = head_ends[number].commit(rules) else { return false };
                self.accepted_twice |= !self.accepted.insert((frame.epoch, frame.seq));
                if let crate::Content::Report(report) = frame.content {
                    self.delivered.insert(report);
                }
            }
            Action::Acknowledge(number) => {
                let frame = head_ends[number].acknowledge(*hsm, rules);
                return self.send(frame);
            }
            Action::Disconnect(number) => {
                let frame = head_ends[number].disconnect(self.disconnects + 1, *hsm, rules);
                self.disconnects += 1;
                return self.send(frame);
            }
            Action::Advance(number) => {
                let frame = head_ends[number].advance(bounds.campaigns, *hsm, rules);
                return self.send(frame);
            }
            Action::Backup => {
                let [head_end, _] = head_ends;
                self.backup = Some(head_end.kept.clone());
                if rules.hold(Rule::BackupRaises) {
                    head_end.raise(hsm);
                }
            }
            Action::Copy => head_ends[1].kept = self.backup.clone().unwrap_or_default(),
            Action::Clone => {
                head_ends[1].kept = head_ends[0].kept.clone();
                head_ends[1].start(hsm, rules);
            }
            Action::Restore => {
                let Some(backup) = &self.backup else { return false };
                self.restores += 1;
                head_ends[0].restore(backup, *hsm, 100 + self.restores, rules);
            }
        }
        true
    }

    fn send(&mut self, frame: Option<Frame>) -> bool {
        self.sealed += 1;
        frame.is_some_and(|frame| self.sent.insert(frame))
    }
}
