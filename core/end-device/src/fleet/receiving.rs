//! What comes down: cut, routed by title, opened as one batch, heard by its device.

use c1222::{Apdu, Leniency, carriage};
use seal::frame::{Head, TAG_LEN};
use seal::profile1::{Job, open_batch};

use super::Fleet;
use super::device::Devices;
use super::list::Origin;
use super::relay::{ReadEnd, first};

/// Reads from one relay before the next one has its turn.
const READS: usize = 4;

/// A downstream frame and the device that its title names.
struct Arrival {
    device: usize,
    head: Head,
    /// Where its body stands.
    start: usize,
    len: usize,
}

/// Room that is used again for each read.
#[derive(Default)]
pub(super) struct Hearing {
    inbox: Vec<u8>,
    arrivals: Vec<Arrival>,
    opened: Vec<bool>,
}

impl Fleet {
    /// Reads what a relay brings; a connection that has ended is made again later.
    pub(super) fn read(&mut self, number: usize, now_us: u64) {
        for _ in 0..READS {
            let Some(relay) = self.relays.get_mut(number) else { return };
            let held = relay.held();
            let (filled, end) = relay.read(&mut self.hearing.inbox);
            self.counts.octets_received += filled.saturating_sub(held) as u64;
            let (used, sound) = self.hear(filled, now_us);
            if !sound || end == ReadEnd::Ended {
                self.lose(number, now_us);
                return;
            }
            let rest = self.hearing.inbox.get(used..filled).unwrap_or_default();
            if let Some(relay) = self.relays.get_mut(number) {
                relay.keep(rest);
            }
            if end == ReadEnd::Empty {
                return;
            }
        }
    }

    /// Hears all whole APDUs of the inbox; answers how many octets they have, and whether what follows can be
    /// the beginning of another one.
    fn hear(&mut self, filled: usize, now_us: u64) -> (usize, bool) {
        let Hearing { inbox, arrivals, opened } = &mut self.hearing;
        let data = inbox.get_mut(..filled).unwrap_or_default();
        let (mut used, mut sound) = (0, true);
        arrivals.clear();
        loop {
            let rest = data.get(used..).unwrap_or_default();
            match first(rest) {
                Ok(Some(len)) => {
                    match arrival(rest.get(..len).unwrap_or_default(), used, &mut self.devices) {
                        Ok(arrival) => arrivals.push(arrival),
                        Err(reason) => self.counts.refuse(reason),
                    }
                    used += len;
                }
                Ok(None) => break,
                Err(error) => {
                    self.counts.refuse(error.name());
                    sound = false;
                    break;
                }
            }
        }
        let Devices { reporters, layouts, .. } = &mut self.devices;
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(arrivals.len());
        arrivals.retain(|arrival| {
            let Some(simulated) = reporters.get(arrival.device) else { return false };
            match simulated.reporter.admit(&arrival.head, self.settings.system) {
                Ok(channel) => jobs.push(channel.job(&arrival.head, arrival.start, arrival.len)),
                Err(refusal) => {
                    self.counts.refuse(refusal.code());
                    return false;
                }
            }
            true
        });
        open_batch(data, &jobs, opened);
        for (arrival, opened) in arrivals.iter().zip(opened.iter()) {
            let Some(simulated) = reporters.get_mut(arrival.device) else { continue };
            let end = arrival.start.saturating_add(arrival.len).saturating_sub(TAG_LEN);
            let plaintext = data.get(arrival.start..end).filter(|_| *opened);
            let (meter, layout) = (simulated.meter, layouts.get(simulated.layout));
            let (dev, epoch) = (simulated.reporter.association().dev, simulated.reporter.association().epoch);
            let (list, latency, counts) = (&mut self.list, &mut self.latency, &mut self.counts);
            let heard = simulated.reporter.accept(&arrival.head, plaintext, now_us, |frame| {
                counts.acked += 1;
                self.last_ack_us = now_us;
                // What an earlier run sealed has no time of this one.
                if frame.made_us > 0 {
                    latency.add(now_us.saturating_sub(frame.made_us));
                }
                if let (Some(list), Some(layout)) = (list.as_mut(), layout) {
                    list.report(Origin { dev, layout, meter }, epoch, frame.seq, frame.number, true);
                }
            });
            match heard {
                Ok(heard) => self.counts.skipped_items += u64::from(heard.skipped),
                Err(refusal) => self.counts.refuse(refusal.code()),
            }
        }
        (used, sound)
    }
}

/// The frame in an APDU that stands at `at`, and its device; the name of what is wrong otherwise.
fn arrival(apdu: &[u8], at: usize, devices: &mut Devices) -> Result<Arrival, &'static str> {
    let apdu = Apdu::decode(apdu, Leniency::Strict).map_err(|error| error.name())?;
    let carried = carriage::read(&apdu).map_err(|error| error.name())?.ok_or("no-frame")?;
    let head = Head::read(carried.head, carried.body.len()).map_err(|_| "SEC-DN-FORMAT")?;
    let device = apdu.envelope.called.and_then(|title| devices.find(title)).ok_or("unknown-title")?;
    // The body follows the outer control octet.
    let start = at.saturating_add(apdu.user_at()).saturating_add(1);
    Ok(Arrival { device, head, start, len: carried.body.len() })
}
