//! Opening profile-1 frames, a batch at a time, in the order of the security layer §6.

use c1222::{Epsem, SecurityMode};
use node::event::unix_ns;
use node::{Batch, Context, Frame, Reason, Severity, Source};
use seal::association::Accepted;
use seal::control::{Items, Up};
use seal::frame::{FrameType, Head, TAG_LEN};
use seal::ids::Sid;
use seal::profile1::{self, Channel, Job};
use seal::refusal::Refusal;

use super::associations::{Entry, Heard, Place};
use super::{Sent, Shard};
use crate::clock::monotonic_ns;
use crate::located::Located;
use crate::record::{self, Origin, Report, Reservation};
use crate::refusals::Pair;
use crate::tally::reasons;

/// A frame that may be opened: who sent it, and where it stands.
struct Candidate {
    frame: Frame,
    place: Place,
    head: Head,
    /// Where its body begins in the batch's data.
    start: usize,
    /// Octets of ciphertext and tag.
    len: usize,
}

impl Shard {
    /// Opens the profile-1 frames of a batch in place; accepted reports become records in `out`.
    pub(super) fn open_reports(&mut self, context: &mut Context, batch: &mut Batch, out: &mut Batch) {
        let mut candidates = Vec::with_capacity(batch.len());
        for frame in &batch.frames {
            if let located @ Located::Profile1 { .. } = Located::get(frame) {
                match self.candidate(batch, frame, located) {
                    Ok(candidate) => candidates.push(candidate),
                    Err((refusal, sid)) => self.refuse(context, frame, sid, refusal),
                }
            }
        }
        let mut opened = std::mem::take(&mut self.opened);
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(candidates.len());
        jobs.extend(candidates.iter().filter_map(|candidate| self.job(candidate)));
        profile1::open_batch(&mut batch.data, &jobs, &mut opened);
        drop(jobs);
        let received = unix_ns();
        for (candidate, opened) in candidates.iter().zip(&opened) {
            if let Err(refusal) = self.accept(context, batch, candidate, *opened, received, out) {
                self.refuse(context, &candidate.frame, candidate.head.sid(), refusal);
            }
        }
        self.opened = opened;
    }

    /// Everything that is known of a frame before it is opened.
    fn candidate(&self, batch: &Batch, frame: &Frame, located: Located) -> Result<Candidate, (Refusal, Sid)> {
        let Located::Profile1 { head, body, body_len } = located else {
            return Err((Refusal::Format, Sid(0)));
        };
        let apdu = batch.octets(frame).unwrap_or_default();
        let octets = apdu.get(usize::from(head)..).and_then(|octets| octets.first_chunk::<9>());
        let octets = octets.ok_or((Refusal::Format, Sid(0)))?;
        let head = Head::read(octets, usize::from(body_len)).map_err(|refusal| (refusal, Sid(0)))?;
        let sid = head.sid();
        let place = self.associations.find(sid).ok_or((Refusal::Unknown, sid))?;
        let start = (frame.offset as usize).saturating_add(usize::from(body));
        let candidate = Candidate { frame: *frame, place, head, start, len: usize::from(body_len) };
        self.admit(&candidate).map(|_| candidate).map_err(|refusal| (refusal, sid))
    }

    /// What a candidate has to be opened with.
    fn admit(&self, candidate: &Candidate) -> Result<Channel<'_>, Refusal> {
        let entry = self.associations.get(candidate.place).ok_or(Refusal::Unknown)?;
        entry.association.admit(&candidate.head, self.system)
    }

    /// The job of opening a candidate: it was admitted a moment ago.
    fn job(&self, candidate: &Candidate) -> Option<Job<'_>> {
        let channel = self.admit(candidate).ok()?;
        Some(channel.job(&candidate.head, candidate.start, candidate.len))
    }

    /// A frame was opened or not: it is fresh, a repeat, or refused.
    fn accept(
        &mut self,
        context: &mut Context,
        batch: &Batch,
        candidate: &Candidate,
        opened: bool,
        received: u64,
        out: &mut Batch,
    ) -> Result<(), Refusal> {
        let second = self.second();
        let (place, seq) = (candidate.place, candidate.head.seq);
        let entry = self.associations.get_mut(place).ok_or(Refusal::Unknown)?;
        let epoch = match entry.association.accept(&candidate.head, opened)? {
            Accepted::Fresh(epoch) => epoch,
            Accepted::Duplicate { epoch, durable } => {
                self.numbers.duplicates.add(1);
                // Once durable it is acknowledged again, at most once a second.
                if durable && entry.repeated != second {
                    entry.repeated = second;
                    reserve(&mut self.sent, place, entry, out);
                    self.acknowledgements.due(place, epoch, entry);
                }
                return Ok(());
            }
        };
        entry.hear(Heard::on(&candidate.frame));
        let end = candidate.start.saturating_add(candidate.len).saturating_sub(TAG_LEN);
        let body = batch.data.get(candidate.start..end).unwrap_or_default();
        let origin = origin(candidate.head.frame_type, body);
        let report = Report {
            sid: entry.association.sid(),
            dev: entry.association.dev(),
            epoch,
            origin,
            seq,
            iv: 0,
            received,
        };
        out.push_with(record::descriptor(record::REPORT), |data| {
            data.extend_from_slice(&report.head());
            data.extend_from_slice(body);
        });
        self.sent.push(Sent::Report { place, epoch, seq });
        reserve(&mut self.sent, place, entry, out);
        match origin {
            Origin::Raw => {
                let source = Source::Association(report.sid.0);
                context.events.report(reasons::UP_BODY, Severity::Alarm, source, || {
                    format!(
                        "report {} opened, but its body does not parse; it is kept raw",
                        report.message_id()
                    )
                });
            }
            Origin::Control => report_events(context, report.sid, body),
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, context: &mut Context, frame: &Frame, sid: Sid, refusal: Refusal) {
        let pair = Pair { transport: frame.transport(), link: frame.link, sid: sid.0 };
        self.refusals.count(pair, monotonic_ns());
        self.tally.refuse(&mut context.events, Reason(refusal.code()), Source::Association(sid.0), || {
            format!("from link {}", frame.link)
        });
    }
}

/// Reserves the next block of downstream counters when the present one runs out.
fn reserve(sent: &mut Vec<Sent>, place: Place, entry: &mut Entry, out: &mut Batch) {
    if entry.reserving {
        return;
    }
    let Some(floor) = entry.association.wanted_floor() else { return };
    let (sid, epoch) = (entry.association.sid(), entry.association.epoch());
    let reservation = Reservation { sid, epoch, floor };
    if out.push(&reservation.octets(), record::descriptor(record::RESERVATION)) {
        entry.reserving = true;
        sent.push(Sent::Reserved { place, epoch, floor });
    }
}

/// What an opened body is.
fn origin(frame_type: FrameType, body: &[u8]) -> Origin {
    let sound = match frame_type {
        FrameType::Report => Epsem::decode(body).is_ok_and(|epsem| {
            epsem.control.security_mode() == Ok(SecurityMode::Clear) && epsem.check().is_ok()
        }),
        _ => Items::<Up<'_>>::read(body).is_ok(),
    };
    match (sound, frame_type) {
        (false, _) => Origin::Raw,
        (true, FrameType::Report) => Origin::Report,
        (true, _) => Origin::Control,
    }
}

/// Passes a device's own events on.
fn report_events(context: &mut Context, sid: Sid, body: &[u8]) {
    for item in Items::<Up<'_>>::read(body).into_iter().flatten() {
        if let Up::Event { number, time, .. } = item {
            context.events.report(Reason("device-event"), Severity::Info, Source::Association(sid.0), || {
                let maker = if number & 0x8000 == 0 { "standard" } else { "manufacturer" };
                format!("{maker} event {} at {time}", number & 0x7fff)
            });
        }
    }
}
