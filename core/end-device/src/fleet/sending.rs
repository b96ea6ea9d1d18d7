//! Making reports, a batch at a time, and repeating them.

use std::time::{SystemTime, UNIX_EPOCH};

use c1222::SecurityMode;
use seal::frame::TAG_LEN;
use seal::profile1::{Job, seal_batch};

use super::list::Origin;
use super::{Fleet, FleetError};
use crate::classic_reporter::ClassicError;
use crate::reporter::Begun;

/// Reports that are sealed together.
pub(super) const BATCH: usize = 512;
/// Devices that are looked at for a batch.
const LOOKS_MAX: usize = 8 * BATCH;
/// Devices behind one relay that have their turn one after the other.
const BURST: usize = 32;
/// All devices are looked at for repeats in so many turns.
const REPEAT_TURNS: usize = 25;

/// A report whose plaintext stands in the batch.
pub(super) struct Sealing {
    device: usize,
    relay: usize,
    begun: Begun,
    start: usize,
    len: usize,
}

/// Room that is used again for each batch.
#[derive(Default)]
pub(super) struct Making {
    octets: Vec<u8>,
    sealing: Vec<Sealing>,
    sealed: Vec<bool>,
    scratch: crate::report::Scratch,
    /// Whose turn it is to report.
    turn: usize,
    /// Whose turn it is to be looked at for repeats.
    repeat_turn: usize,
}

impl Fleet {
    /// Makes up to `due` reports, at most a batch of them; answers how many.
    pub(super) fn make(&mut self, now_us: u64, due: usize) -> Result<usize, FleetError> {
        self.making.octets.clear();
        self.making.sealing.clear();
        let (devices, relays, wanted) = (self.devices.len(), self.relays.len(), due.min(BATCH));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_s = u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX);
        let (mut made, mut looks) = (0, 0);
        while made < wanted && looks < devices.min(LOOKS_MAX) {
            looks += 1;
            let turn = in_bursts(self.making.turn, devices, relays);
            self.making.turn = if self.making.turn + 1 < devices { self.making.turn + 1 } else { 0 };
            let relay = turn % relays.max(1);
            if !self.relays.get(relay).is_some_and(|relay| relay.has_room()) {
                continue;
            }
            let begun = match turn.checked_sub(self.devices.reporters.len()) {
                None => self.begin(turn, relay, now_us),
                Some(place) => self.report_classic(place, turn, relay, now_us, unix_s)?,
            };
            made += usize::from(begun);
        }
        self.seal(now_us)?;
        Ok(made)
    }

    /// Writes the plaintext of a profile-1 device's next report, if it may send one.
    fn begin(&mut self, device: usize, relay: usize, now_us: u64) -> bool {
        let Some(simulated) = self.devices.reporters.get_mut(device) else { return false };
        simulated.reserve(device, self.ledger.as_mut());
        if simulated.ended {
            return false;
        }
        let Some(begun) = simulated.reporter.begin(now_us) else { return false };
        let Some(layout) = self.devices.layouts.get(simulated.layout) else { return false };
        let Making { octets, scratch, sealing, .. } = &mut self.making;
        let start = octets.len();
        if layout.write(SecurityMode::Clear, simulated.meter, begun.number, scratch, octets).is_err() {
            simulated.ended = true;
            self.counts.ended += 1;
            return false;
        }
        octets.extend_from_slice(&[0; TAG_LEN]);
        sealing.push(Sealing { device, relay, begun, start, len: octets.len() - start });
        true
    }

    /// Seals the batch and hands each report to its relay.
    fn seal(&mut self, now_us: u64) -> Result<(), FleetError> {
        let Making { octets, sealing, sealed, .. } = &mut self.making;
        let reporters = &mut self.devices.reporters;
        let jobs: Vec<Job<'_>> = sealing
            .iter()
            .filter_map(|sealing| {
                let channel = reporters.get(sealing.device)?.reporter.upstream(self.settings.system);
                Some(channel.job(&sealing.begun.head, sealing.start, sealing.len))
            })
            .collect();
        seal_batch(octets, &jobs, sealed);
        let host = self.settings.head_end.as_title();
        for (sealing, sealed) in sealing.iter().zip(sealed.iter()) {
            let Sealing { device, relay, begun, start, len } = sealing;
            let body = octets.get(*start..start.saturating_add(*len)).filter(|_| *sealed);
            let (Some(body), Some(simulated), Some(relay)) =
                (body, reporters.get_mut(*device), self.relays.get_mut(*relay))
            else {
                continue;
            };
            simulated.reporter.keep(begun, body, now_us);
            self.counts.made += 1;
            simulated.reporter.write_apdu(host, &begun.head, body, relay.out(now_us))?;
            self.counts.sent += 1;
        }
        Ok(())
    }

    /// Sends the next report of the classic device at `place`, which has this number, if it may.
    fn report_classic(
        &mut self,
        place: usize,
        device: usize,
        relay: usize,
        now_us: u64,
        unix_s: u32,
    ) -> Result<bool, FleetError> {
        let (Some(simulated), Some(relay)) =
            (self.devices.classics.get_mut(place), self.relays.get_mut(relay))
        else {
            return Ok(false);
        };
        simulated.reserve(device, self.ledger.as_mut());
        let Some(layout) = self.devices.layouts.get(simulated.layout).filter(|_| !simulated.ended) else {
            return Ok(false);
        };
        let (meter, host, scratch) =
            (simulated.meter, self.settings.head_end.as_title(), &mut self.making.scratch);
        let out = relay.out(now_us);
        let message = match simulated.reporter.report(layout, meter, host, unix_s, scratch, out) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(false),
            Err(ClassicError::Write(_)) => {
                simulated.ended = true;
                self.counts.ended += 1;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        self.counts.classic += 1;
        self.counts.sent += 1;
        if let Some(list) = &mut self.list {
            let device = simulated.reporter.device();
            list.classic(Origin { dev: device.dev, layout, meter }, device.key_id, &message);
        }
        Ok(true)
    }

    /// Repeats what is due, of a part of all devices.
    pub(super) fn repeat(&mut self, now_us: u64) -> Result<(), FleetError> {
        let (count, relays) = (self.devices.reporters.len(), self.relays.len().max(1));
        let first = if self.making.repeat_turn < count { self.making.repeat_turn } else { 0 };
        let looks = count.div_ceil(REPEAT_TURNS);
        self.making.repeat_turn = first + looks;
        let host = self.settings.head_end.as_title();
        for (place, simulated) in self.devices.reporters.iter_mut().enumerate().skip(first).take(looks) {
            if simulated.reporter.due_us() > now_us {
                continue;
            }
            let Some(relay) = self.relays.get_mut(place % relays).filter(|relay| relay.has_room()) else {
                continue;
            };
            let repeated = simulated.reporter.repeat(host, now_us, relay.out(now_us))? as u64;
            self.counts.repeats += repeated;
            self.counts.sent += repeated;
        }
        Ok(())
    }
}

/// Whose turn it is. Devices behind one relay have theirs together, as a relay gathers from its meters before it
/// sends: else each report would be a segment of its own where relays are many.
fn in_bursts(turn: usize, devices: usize, relays: usize) -> usize {
    let span = BURST.saturating_mul(relays).max(1);
    let place = turn % span;
    let first = turn - place;
    if devices.saturating_sub(first) < span {
        return turn;
    }
    first + place % BURST * relays + place / BURST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_one_turn_in_a_round_and_those_of_a_relay_together() {
        for (devices, relays) in [(1000, 10), (7, 10), (320, 10), (641, 10), (33, 1)] {
            let round: Vec<usize> = (0..devices).map(|turn| in_bursts(turn, devices, relays)).collect();
            assert!(
                round
                    .chunks_exact(BURST)
                    .take(devices / (BURST * relays))
                    .all(|burst| { burst.iter().all(|device| device % relays == burst[0] % relays) })
            );
            let mut sorted = round;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..devices));
        }
    }
}
