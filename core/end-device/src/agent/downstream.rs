//! What comes down: frames, EDHOC messages, and what is neither.

use c1222::carriage::{self, Place};
use c1222::reassembler::Reassembly;
use c1222::{Apdu, Leniency};
use seal::command::Class;
use seal::control::{Down, Items, WAIT_MAX_S};
use seal::edhoc::Registered;
use seal::frame::{FrameType, Head, PLAINTEXT_MAX};
use seal::ids::Sid;
use seal::receiver::{Classifier, DeviceAssociation, Order, Received, Receiver};
use seal::window::View;
use zeroize::Zeroizing;

use super::registration::{ERROR, MESSAGE_2, MESSAGE_4};
use super::upstream::{Content, Key};
use super::{Agent, Application, Executed, NS_PER_S, Output};
use crate::end_device::{Moment, Refusal, Verdict};

/// Octets of a RESULT before the response: the item's head, and what class 3 adds.
const RESULT_HEAD: usize = 8;
const RECEIPT: usize = 4 + 64;
const FORMAT: &str = "SEC-DN-FORMAT";

/// The application, as far as a command's class is concerned.
struct Judge<'a>(&'a dyn Application);

impl Classifier for Judge<'_> {
    fn class(&self, body: &[u8]) -> Option<Class> {
        self.0.class(body)
    }
}

impl Agent {
    /// Takes the octets of one APDU that came over `link` (of a device with one link: any number). Whatever
    /// they are, what is kept of them has a limit.
    pub fn handle(&mut self, link: u64, apdu: &[u8], now: Moment, out: &mut Vec<Output>) {
        if self.halted {
            return;
        }
        self.take(link, apdu, true, now, out);
        self.pump(now, out);
    }

    /// Takes an APDU, which may be a segment of another one, but not of one that is a segment again.
    fn take(&mut self, link: u64, apdu: &[u8], may_be_cut: bool, now: Moment, out: &mut Vec<Output>) {
        match carriage::locate(apdu, Leniency::Draft).map(|located| located.place) {
            Ok(Place::Frame(place)) => {
                let invocation =
                    Apdu::decode(apdu, Leniency::Strict).map(|apdu| apdu.envelope.invocation.value());
                let frame = Zeroizing::new([place.head(apdu), place.body(apdu)].concat());
                self.frame(frame, invocation.ok(), now, out);
            }
            Ok(Place::Segment) if may_be_cut => self.segment(link, apdu, now, out),
            Ok(Place::Segment) | Err(_) => self.refuse(FORMAT, out),
            Ok(Place::Classic | Place::Clear) => self.clear(link, apdu, now, out),
        }
    }

    fn segment(&mut self, link: u64, octets: &[u8], now: Moment, out: &mut Vec<Output>) {
        let Ok(apdu) = Apdu::decode(octets, Leniency::Draft) else { return self.refuse(FORMAT, out) };
        self.reassembler.expire(now.steady_ns);
        match self.reassembler.push(link, &apdu, now.steady_ns) {
            Reassembly::Complete(whole) => self.take(link, &whole, false, now, out),
            Reassembly::Refused(error) => self.refuse(error.name(), out),
            Reassembly::Incomplete | Reassembly::Repeated => {}
        }
    }

    /// What is no frame of profile 1: the tables answer in clear only Identification, Resolve and Trace, and
    /// nothing under EAX', once a registration was completed.
    fn clear(&mut self, link: u64, apdu: &[u8], now: Moment, out: &mut Vec<Output>) {
        let mut answer = Vec::new();
        let moment = self.memory.clock.moment(now);
        match self.application.clear(link, apdu, moment, &mut answer) {
            // Nothing is sent back for it.
            Verdict::Refused(Refusal::NoEaxPrime) => return self.refuse("SEC-LEGACY", out),
            Verdict::Refused(refusal) => self.refuse(refusal.name(), out),
            Verdict::Served | Verdict::Waiting | Verdict::Repeated => {}
        }
        if !answer.is_empty() {
            out.push(Output::Send(answer));
        }
    }

    fn frame(
        &mut self,
        mut frame: Zeroizing<Vec<u8>>,
        invocation: Option<u32>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let first = frame.first().copied().unwrap_or(0);
        let message = frame.get(1..).unwrap_or_default();
        let refused = match first {
            MESSAGE_2 => self.message_2(message, now).err().map(|refusal| refusal.code()),
            MESSAGE_4 => return self.message_4(&frame, now, out),
            ERROR => self.registration.error(message, now.steady_ns).err().map(|refusal| refusal.code()),
            _ => return self.receive(&mut frame, invocation, now, out),
        };
        match refused {
            Some(code) => self.refuse(code, out),
            // message_3 is ready.
            None => {
                let frame = self.registration.poll(now.steady_ns, &mut *self.entropy).map(<[u8]>::to_vec);
                if let Some(frame) = frame {
                    self.send_message(&frame, out);
                }
            }
        }
    }

    fn message_2(&mut self, message_2: &[u8], now: Moment) -> Result<(), seal::edhoc::Refusal> {
        let next = self.memory.receiver.as_ref().and_then(|receiver| receiver.credential_next);
        let known = [Some(self.memory.credential), next];
        let key = |kid| known.iter().flatten().find(|known| known.kid == kid).map(|known| known.key);
        self.registration.message_2(message_2, &self.identity, key, now.steady_ns)
    }

    /// The association is durable before it is used; an old one stays until the first valid downstream frame
    /// under the new.
    fn message_4(&mut self, frame: &[u8], now: Moment, out: &mut Vec<Output>) {
        let completed = match self.registration.message_4(frame.get(1..).unwrap_or_default()) {
            Ok(completed) => completed,
            Err(refusal) => return self.refuse(refusal.code(), out),
        };
        let sid = completed.registered.sid;
        let association = DeviceAssociation::new(sid, Registered::EPOCH, completed.registered.prk);
        let (system, dev) = (self.identity.system, self.identity.dev);
        match &mut self.memory.receiver {
            None => {
                let signers = self.identity.signers.clone();
                self.memory.receiver = Some(Receiver::new(system, dev, association, signers));
            }
            Some(receiver) => {
                if let Some(next) = receiver.credential_next.filter(|next| completed.kid == Some(next.kid)) {
                    self.memory.credential = next;
                    receiver.credential_next = None;
                }
                self.memory.next = Some(association);
            }
        }
        (self.memory.heard_s, self.memory.registered_s) = (now.unix_s, now.unix_s);
        self.up.renew(Key { sid, epoch: Registered::EPOCH });
        self.application.registered();
        if !self.save() {
            return;
        }
        self.node.ask_at(now.steady_ns);
        self.counts.registrations = self.counts.registrations.saturating_add(1);
        out.push(Output::Registered { sid });
    }

    /// A frame of types 1 to 5.
    fn receive(&mut self, frame: &mut [u8], invocation: Option<u32>, now: Moment, out: &mut Vec<Output>) {
        let Ok(head) = Head::split(frame).map(|(head, _)| head) else { return self.refuse(FORMAT, out) };
        let Some(mut receiver) = self.memory.receiver.take() else {
            return self.refuse("SEC-DN-EPOCH", out);
        };
        self.enter_received(frame, &receiver, out);
        let time = self.memory.clock.now(now);
        let unicast = matches!(head.frame_type, FrameType::Command | FrameType::DownControl);
        // A frame of the association that was made anew is taken with that one in the receiver.
        let renewed = self.memory.next.as_mut().filter(|next| unicast && head.sid() == next.sid());
        let renewed = renewed.map(|next| std::mem::swap(&mut receiver.association, next)).is_some();
        let (sid, before) = (receiver.association.sid(), windows(&receiver.association));
        let received = receiver.receive(frame, time, &Judge(&*self.application));
        // Only what has opened moves a window. A group's frame can be forged by any member, and moves none.
        let opened = unicast && before != windows(&receiver.association);
        if opened {
            self.memory.heard_s = now.unix_s;
        }
        if renewed
            && let Some(mut old) = self.memory.next.take()
            && !opened
        {
            std::mem::swap(&mut receiver.association, &mut old);
            self.memory.next = Some(old);
        }
        self.memory.receiver = Some(receiver);
        let content = Content::Control { answer_to: invocation, event: false };
        match received {
            Ok(Received::Control { items, skipped }) => self.control(items, skipped, sid, now, out),
            Ok(Received::Order(order)) => self.order(&order, content, now, out),
            Ok(Received::Keys { result, answer }) => {
                let class = Class::Keys;
                let named = executed(&answer, class, result);
                self.note_pushed(content, &answer);
                if self.save() {
                    self.note_executed(named, out);
                }
            }
            Ok(Received::Time { time, answer }) => {
                self.memory.clock.set(time.seconds(), now);
                self.note_pushed(content, &answer);
                if self.save() {
                    self.note_executed(executed(&answer, Class::Time, 0), out);
                }
            }
            Ok(Received::Repeat { answer }) => {
                self.counts.repeated_results = self.counts.repeated_results.saturating_add(1);
                self.note_pushed(content, &answer);
            }
            Err(refused) => {
                self.refuse(refused.refusal.code(), out);
                if let Some(answer) = refused.answer {
                    self.note_pushed(content, &answer);
                }
            }
        }
    }

    fn control(
        &mut self,
        items: Items<'_, Down<'_>>,
        skipped: usize,
        sid: Sid,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let mut skipped = skipped as u64;
        let mut keys = 0_u64;
        for item in items {
            match item {
                Down::Ack(ack) => {
                    let counts = &mut self.counts;
                    let progress = self.up.acknowledge(sid, &ack, |content, seq| {
                        counts.acknowledged = counts.acknowledged.saturating_add(1);
                        out.push(Output::Acknowledged { content, epoch: ack.epoch, seq });
                    });
                    skipped += u64::from(!progress);
                }
                Down::Wait { seconds } => {
                    let wait_ns = u64::from(seconds.min(WAIT_MAX_S)).saturating_mul(NS_PER_S);
                    self.up.wait(now.steady_ns.saturating_add(wait_ns));
                }
                Down::Response { response, .. } => match self.node.response(response, now.steady_ns) {
                    Some(title) => {
                        if !title.as_title().same_node(&self.memory.title.as_title()) {
                            self.application.set_title(&title);
                            self.memory.title = title;
                            self.save();
                        }
                    }
                    None => skipped += 1,
                },
                Down::GroupKey(_) => keys += 1,
            }
        }
        self.counts.skipped_items = self.counts.skipped_items.saturating_add(skipped);
        if keys > 0 {
            self.save();
        }
    }

    /// A command of class 0 to 3: its counter is stored, then it is acted upon, then the RESULT is stored and
    /// sent.
    fn order(&mut self, order: &Order<'_>, content: Content, now: Moment, out: &mut Vec<Output>) {
        if !self.save() {
            return;
        }
        let receipt = if order.class == Class::Load { RECEIPT } else { 0 };
        let room = PLAINTEXT_MAX.saturating_sub(RESULT_HEAD + receipt);
        let mut response = Vec::new();
        let moment = self.memory.clock.moment(now);
        let result = self.application.execute(order.body, moment, room, &mut response).code().min(6);
        let Order { skid, addressee, ctr, class, .. } = *order;
        self.note_executed(Some(Executed { skid, kind: addressee.kind(), ctr, class, result }), out);
        let executed_at = u32::try_from(moment.unix_s).unwrap_or(u32::MAX);
        let Some(receiver) = &mut self.memory.receiver else { return };
        let Ok(answer) = receiver.finish(order, result, &response, executed_at, &self.identity.signing);
        self.note_pushed(content, &answer);
        self.save();
    }

    fn note_executed(&mut self, executed: Option<Executed>, out: &mut Vec<Output>) {
        let Some(executed) = executed else { return };
        if let Some(count) = self.counts.executed.get_mut(usize::from(executed.class.octet())) {
            *count = count.saturating_add(1);
        }
        out.push(Output::Executed(executed));
    }
}

/// What was received under each epoch that is held.
fn windows(association: &DeviceAssociation) -> Vec<Option<View>> {
    association.held().iter().map(|held| held.window.live()).collect()
}

/// The command that the RESULT at the end of an answer names.
fn executed(answer: &[u8], class: Class, result: u8) -> Option<Executed> {
    use seal::control::Up;
    match Items::<Up<'_>>::read(answer).ok()?.last()? {
        Up::Result(outcome) => {
            Some(Executed { skid: outcome.skid, kind: outcome.kind, ctr: outcome.ctr, class, result })
        }
        _ => None,
    }
}
