//! Opening profile-1 frames, a batch at a time, in the order of the security layer §6.

use c1222::{Epsem, SecurityMode};
use commands::desk::Why;
use keystore::Standing;
use node::event::unix_ns;
use node::{Batch, Context, Frame, Reason, Severity, Source};
use seal::association::{Accepted, Association};
use seal::control::{Items, Up};
use seal::counter::ADVANCE_AT;
use seal::frame::{FrameType, Head, TAG_LEN};
use seal::ids::{Epoch, Sid};
use seal::profile1::{self, Job};
use seal::refusal::Refusal;

use super::associations::{Entry, Heard, Place};
use super::due;
use super::reserving::Records;
use super::{Sent, Shard};
use crate::clock::unix_s;
use crate::located::Located;
use crate::record::{self, Origin, Promoted, Proved, Report};
use crate::tally::reasons;

const NS_PER_S: u64 = 1_000_000_000;
/// How long after a repeat was acknowledged the next one is, in milliseconds.
const AGAIN_MS: u32 = 1000;
/// So many frames of one association that do not open ask for its next epoch (security layer §6).
const FAILURES_MAX: u16 = 1024;
/// Why nothing of a gated association counts.
const GATED: &str = "the state was restored from a backup, and its end device has not proven a new challenge";
/// The association that a frame without a readable head claims.
const NOBODY: Sid = Sid(u32::MAX);

/// A frame that may be opened: who sent it, and where it stands.
pub(super) struct Candidate {
    place: Place,
    head: Head,
    heard: Heard,
    /// Where its body begins in the batch's data.
    start: usize,
    /// Octets of ciphertext and tag.
    len: usize,
}

impl Candidate {
    /// The plaintext, once it is opened.
    fn body<'b>(&self, batch: &'b Batch) -> &'b [u8] {
        let end = self.start.saturating_add(self.len).saturating_sub(TAG_LEN);
        batch.data.get(self.start..end).unwrap_or_default()
    }

    /// The record that it becomes, but for its body.
    fn report(&self, association: &Association, epoch: Epoch, received: u64, body: &[u8]) -> Report {
        Report {
            sid: association.sid(),
            dev: association.dev(),
            epoch,
            origin: origin(self.head.frame_type, body),
            seq: self.head.seq,
            iv: 0,
            received,
        }
    }
}

impl Shard {
    /// Opens the profile-1 frames of a batch in place; accepted reports become records in `out`.
    pub(super) fn open_reports(&mut self, context: &mut Context, batch: &mut Batch, out: &mut Batch) {
        let (mut candidates, mut opened) =
            (std::mem::take(&mut self.candidates), std::mem::take(&mut self.opened));
        candidates.clear();
        for frame in &batch.frames {
            let Located::Profile1 { head, body, body_len } = Located::get(frame) else { continue };
            match self.candidate(batch, frame, (head, body, body_len)) {
                Ok(candidate) => candidates.push(candidate),
                Err((refusal, sid)) => self.refuse(context, Heard::on(frame), sid, refusal),
            }
        }
        self.associations.warm(candidates.iter().map(|candidate| candidate.place));
        let Self { associations, refusing, system, .. } = self;
        let mut jobs: Vec<Job<'_>> = Vec::with_capacity(candidates.len());
        candidates.retain(|Candidate { place, head, heard, start, len }| {
            let entry = associations.get(*place).ok_or(Refusal::Unknown);
            match entry.and_then(|entry| entry.association.admit(head, *system)) {
                Ok(channel) => jobs.push(channel.job(head, *start, *len)),
                Err(refusal) => {
                    refusing
                        .refuse(context, *heard, head.sid(), Reason(refusal.code()), || refusal.to_string());
                    return false;
                }
            }
            true
        });
        profile1::open_batch(&mut batch.data, &jobs, &mut opened);
        drop(jobs);
        self.accept_all(context, batch, candidates.iter().zip(opened.iter().copied()), out);
        (self.candidates, self.opened) = (candidates, opened);
    }

    /// Finds who sent a frame; all that is known of it before its association is looked at.
    fn candidate(
        &self,
        batch: &Batch,
        frame: &Frame,
        (head, body, body_len): (u16, u16, u16),
    ) -> Result<Candidate, (Refusal, Sid)> {
        let apdu = batch.octets(frame).unwrap_or_default();
        let octets = apdu.get(usize::from(head)..).and_then(|octets| octets.first_chunk::<9>());
        let octets = octets.ok_or((Refusal::Format, NOBODY))?;
        let [_, a, b, c, d, ..] = *octets;
        let sid = Sid(u32::from_be_bytes([a, b, c, d]));
        let len = usize::from(body_len);
        let head = Head::read(octets, len).map_err(|refusal| (refusal, sid))?;
        let place = self.associations.place(sid).ok_or_else(|| (self.unknown_sid(sid), sid))?;
        let start = (frame.offset as usize).saturating_add(usize::from(body));
        Ok(Candidate { place, head, heard: Heard::on(frame), start, len })
    }

    /// Why a frame of an association is refused that this shard does not hold.
    fn unknown_sid(&self, sid: Sid) -> Refusal {
        match self.directory.standing(sid) {
            Some(Standing::Revoked) => Refusal::Revoked,
            _ => Refusal::Unknown,
        }
    }

    /// Takes in the frames of a batch, in their order: each is fresh, a repeat, or refused.
    fn accept_all<'c>(
        &mut self,
        context: &mut Context,
        batch: &Batch,
        frames: impl Iterator<Item = (&'c Candidate, bool)>,
        out: &mut Batch,
    ) {
        let (received, now_ms) = (unix_ns(), self.now_ms());
        let mut duplicates = 0;
        for (candidate, opened) in frames {
            let Some(entry) = self.associations.get_mut(candidate.place) else { continue };
            match entry.association.accept(&candidate.head, opened) {
                Ok(Accepted::Fresh(epoch)) => {
                    let (place, body) = (candidate.place, candidate.body(batch));
                    let Head { frame_type, seq, .. } = candidate.head;
                    if entry.gated
                        && !(entry.association.is_candidate(epoch)
                            && self.challenges.open(frame_type, epoch, body))
                    {
                        entry.hear_gated(candidate.heard, epoch, seq);
                        entry.association.failed(epoch, seq);
                        let sid = candidate.head.sid();
                        self.refusing
                            .refuse(context, candidate.heard, sid, reasons::FENCE, || GATED.to_owned());
                        continue;
                    }
                    entry.hear(candidate.heard);
                    let first = !entry.proven && !entry.retired;
                    if first && self.directory.is_revoked(entry.association.dev()) {
                        // The order is on its way.
                        entry.association.failed(epoch, seq);
                        self.refuse(context, candidate.heard, candidate.head.sid(), Refusal::Revoked);
                        continue;
                    }
                    let report = candidate.report(&entry.association, epoch, received, body);
                    let proves = first || entry.association.is_candidate(epoch);
                    let (dry, active) = (is_dry(entry) || proves, entry.association.epoch());
                    if proves {
                        self.announce(place, &report, out);
                    }
                    out.push_with(record::descriptor(record::REPORT), |data| {
                        data.extend_from_slice(&report.head());
                        data.extend_from_slice(body);
                    });
                    self.sent.push(Sent::Report { place, epoch, seq: report.seq });
                    if dry {
                        self.reserve(context, place, epoch, out);
                    }
                    notice(context, &report, body);
                    if report.seq >= ADVANCE_AT && epoch >= active {
                        let records = &mut Records { out, sent: &mut self.sent };
                        due::say(context, &mut self.associations, place, Why::Counters, records);
                    }
                    if report.origin == Origin::Report {
                        self.find_services(
                            batch,
                            candidate.start,
                            (place, report.sid, candidate.heard),
                            body,
                        );
                    }
                }
                Ok(Accepted::Duplicate { epoch, durable }) => {
                    duplicates += 1;
                    // The window of a gated one is that of a backup: nothing is acknowledged.
                    if durable && !entry.gated {
                        self.acknowledge_again(context, candidate, epoch, now_ms, out);
                    }
                }
                Err(refusal) => {
                    if refusal == Refusal::Auth {
                        self.count_failure(context, candidate.place, out);
                    }
                    self.refuse(context, candidate.heard, candidate.head.sid(), refusal);
                }
            }
        }
        self.numbers.duplicates.add(duplicates);
        context.let_go(duplicates);
    }

    /// A repeat of a durable report is acknowledged again, at most once a second.
    fn acknowledge_again(
        &mut self,
        context: &mut Context,
        candidate: &Candidate,
        epoch: Epoch,
        now_ms: u32,
        out: &mut Batch,
    ) {
        let Candidate { place, heard, .. } = *candidate;
        let Some(entry) = self.associations.get_mut(place) else { return };
        if now_ms.wrapping_sub(entry.repeated) < AGAIN_MS {
            return;
        }
        if entry.retired {
            return;
        }
        entry.repeated = now_ms;
        let ready = entry.association.counter().is_reserved();
        let (dry, active) = (is_dry(entry), entry.association.epoch());
        let reserving = dry && self.reserve(context, place, active, out);
        if ready {
            self.acknowledgements.again(place, epoch, heard);
        } else if reserving {
            self.sent.push(Sent::Again { place, epoch, to: heard });
        }
    }

    /// Writes what a first frame proves before its report: a new association, a candidate epoch. Until that is
    /// durable every frame says it, since the write of an earlier one may fail.
    fn announce(&mut self, place: Place, report: &Report, out: &mut Batch) {
        let Some(entry) = self.associations.get(place) else { return };
        let &Report { sid, dev, epoch, received, .. } = report;
        if !entry.proven && !entry.retired {
            let before = || self.directory.sid(dev).filter(|before| *before != sid);
            record::push(out, &Proved { sid, dev, replaces: self.lives.replaces(sid).or_else(before) });
            self.sent.push(Sent::Proved { place });
        }
        if entry.association.is_candidate(epoch) {
            record::push(out, &Promoted { sid, epoch, at: received / NS_PER_S });
        }
    }

    /// Reserves the next block of downstream counters, of a candidate epoch the first; whether it did.
    fn reserve(&mut self, context: &mut Context, place: Place, epoch: Epoch, out: &mut Batch) -> bool {
        let before = out.len();
        let records = &mut Records { out, sent: &mut self.sent };
        let reserved = self.reserving.association(&mut self.associations, place, epoch, unix_s(), records);
        let reserving = records.out.len() > before;
        let sid = self.associations.get(place).map_or(NOBODY, |entry| entry.association.sid());
        match reserved {
            Ok(false) => {}
            Ok(true) => due::say(context, &mut self.associations, place, Why::Counters, records),
            Err(unreserved) => {
                let source = Source::Association(sid.0);
                context.events.report(unreserved.reason(), Severity::Alarm, source, || {
                    "no counter is reserved for it: nothing is sealed".to_owned()
                });
            }
        }
        reserving
    }

    /// Many frames that do not open are an alarm; nobody is locked out for them, since `sid` can be spoofed.
    fn count_failure(&mut self, context: &mut Context, place: Place, out: &mut Batch) {
        let Some(entry) = self.associations.get_mut(place) else { return };
        entry.failures = entry.failures.saturating_add(1);
        if entry.failures == FAILURES_MAX {
            let source = Source::Association(entry.association.sid().0);
            context.events.report(reasons::UP_LIMIT, Severity::Alarm, source, || {
                format!("{FAILURES_MAX} frames did not open: its epoch should advance")
            });
        }
        if entry.failures >= FAILURES_MAX {
            let records = &mut Records { out, sent: &mut self.sent };
            due::say(context, &mut self.associations, place, Why::Failures, records);
        }
    }

    fn refuse(&mut self, context: &mut Context, heard: Heard, sid: Sid, refusal: Refusal) {
        self.refusing.refuse(context, heard, sid, Reason(refusal.code()), || refusal.to_string());
    }
}

/// Whether the counters of an association should be looked after.
fn is_dry(entry: &Entry) -> bool {
    let association = &entry.association;
    !entry.reserving && (association.wanted_floor().is_some() || !association.counter().is_reserved())
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

/// Passes on what a report says beside its readings: a body that does not parse, a device's own events.
fn notice(context: &mut Context, report: &Report, body: &[u8]) {
    let source = Source::Association(report.sid.0);
    match report.origin {
        Origin::Raw => context.events.report(reasons::UP_BODY, Severity::Alarm, source, || {
            format!("report {} opened, but its body does not parse; it is kept raw", report.message_id())
        }),
        Origin::Control => {
            for item in Items::<Up<'_>>::read(body).into_iter().flatten() {
                let Up::Event { number, time, .. } = item else { continue };
                context.events.report(Reason("device-event"), Severity::Info, source, || {
                    let maker = if number & 0x8000 == 0 { "standard" } else { "manufacturer" };
                    format!("{maker} event {} at {time}", number & 0x7fff)
                });
            }
        }
        _ => {}
    }
}
