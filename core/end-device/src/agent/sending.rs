//! Sealing and sending what waits.

use c1222::{Envelope, InvocationId, Qualifier, carriage};
use seal::control::{Item, Up};
use seal::frame::{FRAME_MAX, Head};

use super::upstream::{Content, Step};
use super::{Agent, NS_PER_S, Output, SealedFrame, TIME_PAUSE_S};
use crate::end_device::Moment;

/// Code of a TIME_REQUEST.
const TIME_REQUEST: u8 = 4;

impl Agent {
    /// Sends all that is due, and reserves counters for it.
    pub(super) fn pump(&mut self, now: Moment, out: &mut Vec<Output>) {
        if let Some(key) = self.key() {
            self.up.rekey(key);
        }
        while let Some(step) = self.up.step(now.steady_ns) {
            match step {
                Step::Reserve => {
                    if !self.save() {
                        return;
                    }
                }
                Step::Seal(at, head) => {
                    let Some(body) = self.seal(at, &head, out) else { return };
                    self.up.sealed(at, head.seq, &body, now.steady_ns);
                    self.counts.sealed = self.counts.sealed.saturating_add(1);
                    self.send_frame(at, &head, out);
                }
                Step::Repeat(at, head) => {
                    self.up.postpone(at, now.steady_ns);
                    self.counts.repeats = self.counts.repeats.saturating_add(1);
                    self.send_frame(at, &head, out);
                }
            }
        }
    }

    /// Ciphertext and tag of the frame at this place; `None` when its counter cannot be taken.
    fn seal(&mut self, at: usize, head: &Head, out: &mut Vec<Output>) -> Option<Vec<u8>> {
        self.up.take(head)?;
        let channel = self.sending()?.up_channel(self.identity.system, self.identity.dev);
        let mut frame = Vec::with_capacity(FRAME_MAX);
        frame.extend(head.octets());
        let sealed = channel.seal(head, self.up.plaintext(at), &mut frame);
        if !sealed {
            return None;
        }
        if self.settings.ledger {
            out.push(Output::Sealed(SealedFrame::new(&channel, head, &frame)));
        }
        Some(frame.split_off(head.octets().len()))
    }

    /// Sends the sealed frame at this place in an APDU with a new A8.
    fn send_frame(&mut self, at: usize, head: &Head, out: &mut Vec<Output>) {
        self.invocation = self.invocation.wrapping_add(1);
        let Some((content, body)) = self.up.frame(at) else { return };
        let envelope = Envelope {
            called: Some(self.identity.head_end.as_title()),
            answer_to: content.answer_to().map(InvocationId::new),
            calling: Some(self.memory.title.as_title()),
            qualifier: content.is_notification().then_some(Qualifier::NOTIFICATION),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        let mut apdu = Vec::with_capacity(body.len().saturating_add(96));
        // A head of types 1 to 5 always fits its carriage.
        if carriage::write_head(&mut apdu, &envelope, &head.octets(), body.len()).is_ok() {
            apdu.extend_from_slice(body);
            out.push(Output::Send(apdu));
        }
    }

    /// Sends an EDHOC message, given as the frame that carries it.
    pub(super) fn send_message(&mut self, frame: &[u8], out: &mut Vec<Output>) {
        self.invocation = self.invocation.wrapping_add(1);
        let envelope = Envelope {
            called: Some(self.identity.head_end.as_title()),
            calling: Some(self.memory.title.as_title()),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        let mut apdu = Vec::new();
        if carriage::write(&mut apdu, &envelope, frame).is_ok() {
            out.push(Output::Send(apdu));
        }
    }

    /// Puts a frame in the queue, or counts that there was no room.
    pub(super) fn note_pushed(&mut self, content: Content, plaintext: &[u8]) {
        if !self.up.again(content, plaintext) {
            self.counts.dropped = self.counts.dropped.saturating_add(1);
        }
    }

    /// Asks for the time, where there is none to be trusted: with a nonce that only a signed answer echoes. While
    /// the last request is not acknowledged, nobody can have answered it.
    pub(super) fn ask_time(&mut self, steady_ns: u64) {
        if self.memory.clock.trusted || steady_ns < self.ask_time_ns {
            return;
        }
        let pause_ns = TIME_PAUSE_S.saturating_mul(NS_PER_S) / u64::from(self.settings.speedup.max(1));
        self.ask_time_ns = steady_ns.saturating_add(pause_ns);
        let is_request = |content, plaintext: &[u8]| {
            matches!(content, Content::Control { .. }) && plaintext.first() == Some(&TIME_REQUEST)
        };
        if self.up.has(is_request) {
            return;
        }
        let mut nonce = [0; 8];
        // Zeros mean that none was asked for.
        while nonce == [0; 8] {
            self.entropy.fill(&mut nonce);
        }
        let Some(receiver) = &mut self.memory.receiver else { return };
        receiver.time_nonce = Some(nonce);
        let mut item = Vec::new();
        Up::TimeRequest { nonce: &nonce }.write(&mut item);
        self.note_pushed(Content::Control { answer_to: None, event: false }, &item);
        self.save();
    }
}
