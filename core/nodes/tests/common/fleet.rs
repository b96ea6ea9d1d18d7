//! Devices that report, repeat and hear acknowledgements; and the books over all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use end_device::report::ReportLayout;
use seal::ids::{Dev, Sid};

use super::device::layout;
use super::graph::Graph;
use super::site::Site;
use super::wait_for;

/// Frames that a device has on their way at most.
const UNACKNOWLEDGED_MAX: usize = 32;

#[derive(Default)]
struct State {
    next: u32,
    unacknowledged: BTreeMap<u32, Vec<u8>>,
    acknowledged: BTreeSet<u32>,
}

/// All profile-1 devices of a site.
pub struct Fleet {
    states: Vec<State>,
    layout: ReportLayout,
    /// Every frame that came down, by association and counter: the key of an epoch never seals two under
    /// one counter.
    ledger: HashMap<(Sid, u32), Vec<u8>>,
    pub sent: u64,
}

impl Fleet {
    pub fn of(site: &Site) -> Self {
        let states = site.devices.iter().map(|_| State::default()).collect();
        Self { states, layout: layout(), ledger: HashMap::new(), sent: 0 }
    }

    /// One fresh report of each device that may send one, as one batch.
    pub fn report(&mut self, site: &Site, graph: &Graph, link: u32) {
        self.report_among(site, graph, link, &[]);
    }

    /// As [`Self::report`], in one batch with other frames.
    pub fn report_among(&mut self, site: &Site, graph: &Graph, link: u32, others: &[Vec<u8>]) {
        let mut apdus = others.to_vec();
        for (device, state) in site.devices.iter().zip(&mut self.states) {
            let oldest = state.unacknowledged.first_key_value().map_or(state.next, |(seq, _)| *seq);
            if state.unacknowledged.len() < UNACKNOWLEDGED_MAX && state.next <= oldest + 63 {
                let apdu = device.report(state.next, &device.readings(&self.layout, state.next));
                state.unacknowledged.insert(state.next, apdu.clone());
                state.next += 1;
                apdus.push(apdu);
            }
        }
        self.send(graph, link, &apdus);
    }

    /// Everything that is not acknowledged, again.
    pub fn repeat(&mut self, graph: &Graph, link: u32) {
        let apdus: Vec<Vec<u8>> =
            self.states.iter().flat_map(|state| state.unacknowledged.values().cloned()).collect();
        self.send(graph, link, &apdus);
    }

    fn send(&mut self, graph: &Graph, link: u32, apdus: &[Vec<u8>]) {
        if !apdus.is_empty() {
            self.sent += apdus.len() as u64;
            graph.send(link, apdus);
        }
    }

    /// Hears what came down so far.
    pub fn hear(&mut self, site: &Site, graph: &Graph) {
        self.hear_all(site, graph.sent().into_iter().map(|(_, apdu)| apdu));
    }

    /// As [`Self::hear`], of what somebody else took.
    pub fn hear_all(&mut self, site: &Site, apdus: impl IntoIterator<Item = Vec<u8>>) {
        for apdu in apdus {
            let mut devices = site.devices.iter().zip(&mut self.states);
            let (head, ack, state) = devices
                .find_map(|(device, state)| device.open(&apdu).map(|(head, ack)| (head, ack, state)))
                .expect("it is for one of them");
            let before = self.ledger.insert((head.sid(), head.seq), apdu);
            assert!(before.is_none(), "{:?} was sealed twice under {}", head.sid(), head.seq);
            let (heard, rest) = std::mem::take(&mut state.unacknowledged)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(seq, _)| ack.covers(*seq));
            state.unacknowledged = rest;
            state.acknowledged.extend(heard.into_keys());
            let sent = |seq: &u32| *seq < state.next;
            assert!(std::iter::once(&ack.highest).all(sent), "nothing is acknowledged that was never sent");
        }
    }

    pub fn unacknowledged(&self) -> usize {
        self.states.iter().map(|state| state.unacknowledged.len()).sum()
    }

    pub fn acknowledged(&self) -> usize {
        self.states.iter().map(|state| state.acknowledged.len()).sum()
    }

    /// Repeats until everything is acknowledged.
    pub fn finish(&mut self, site: &Site, graph: &Graph) {
        wait_for("every acknowledgement", || {
            self.hear(site, graph);
            if self.unacknowledged() == 0 {
                return Some(());
            }
            self.repeat(graph, 99);
            std::thread::sleep(Duration::from_millis(50));
            None
        });
    }

    /// Judges journal and exports of a head-end that has ended: every acknowledged report exactly once,
    /// every other one at most once.
    pub fn judge(&self, site: &Site, exported: bool) {
        self.judge_beside(site, exported, None);
    }

    /// As [`Self::judge`], beside a device that is none of the fleet's.
    pub fn judge_beside(&self, site: &Site, exported: bool, other: Option<Dev>) {
        let mut journaled: HashMap<String, usize> = HashMap::new();
        for (report, _) in site.reports().into_iter().filter(|(report, _)| Some(report.dev) != other) {
            *journaled.entry(report.message_id()).or_default() += 1;
        }
        let mut rows: HashMap<String, usize> = HashMap::new();
        for id in site.exported() {
            *rows.entry(id).or_default() += 1;
        }
        let meter = end_device::meter::Meter::new(1, site.devices[0].dev);
        let mut rows_each = 0;
        self.layout.rows(meter, 0, |_, _, _| rows_each += 1);
        for (device, state) in site.devices.iter().zip(&self.states) {
            for seq in 0..state.next {
                let id = device.message_id(seq);
                let times = journaled.remove(&id).unwrap_or(0);
                let least = usize::from(state.acknowledged.contains(&seq));
                assert!((least..=1).contains(&times), "{id} is in the journal {times} times");
                if exported {
                    let rows = rows.remove(&id).unwrap_or(0);
                    assert_eq!(rows, times * rows_each, "{id}: rows in the files");
                }
            }
        }
        assert!(journaled.is_empty() && rows.is_empty(), "what was never sent: {journaled:?} {rows:?}");
    }
}
