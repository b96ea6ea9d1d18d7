//! The registrar's answers on their way to the downlinks. What finds no room is given up and counted: the
//! device asks again.

use c1222::epsem::ResponseControl;
use c1222::{
    ApTitleBuf, DecodeError, Envelope, EpsemControl, EpsemWriter, InvocationId, SecurityMode, carriage,
};
use node::{Batch, BatchPool, Context, Counter, Env, Frame};
use seal::edhoc::ErrorMessage;

use super::pending::Caller;

/// First octets of the frames that go down.
const MESSAGE_2: u8 = 0x19;
const MESSAGE_4: u8 = 0x1b;
const ERROR: u8 = 0x1c;

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// message_2.
    Message2(&'a [u8]),
    /// message_4.
    Message4(&'a [u8]),
    /// An error.
    Error(ErrorMessage),
    /// The responses to services in clear.
    Clear(&'a [Vec<u8>]),
}

/// Writes answers and sends them.
pub struct Answers {
    title: ApTitleBuf,
    invocation: u16,
    output: usize,
    /// By number of the transport: the edge to its downlink, and what is written for it.
    ways: Vec<Option<(usize, Batch)>>,
    pool: BatchPool,
    sent: Counter,
    full: Counter,
    nowhere: Counter,
}

impl Answers {
    /// `title` is the head-end's own.
    #[must_use]
    pub fn new(env: &Env, title: ApTitleBuf) -> Self {
        let dropped = |place| {
            env.counter(
                "metergraph_registration_answers_dropped_total",
                "Answers to devices that register given up, by the place where; the device asks again.",
                &[("where", place)],
            )
        };
        Self {
            title,
            invocation: 0,
            output: 0,
            ways: Vec::new(),
            pool: env.pool.clone(),
            sent: env.counter(
                "metergraph_registration_answers_total",
                "Answers sent to devices that register.",
                &[],
            ),
            full: dropped("edge"),
            nowhere: dropped("no-downlink"),
        }
    }

    /// Learns which edge leads to the downlink of which transport.
    pub fn connect(&mut self, context: &Context, env: &Env) {
        let Some(output) = context.output("sealed") else { return };
        self.output = output;
        let edges = context.outputs.get(output).map(|output| output.edges.as_slice()).unwrap_or_default();
        let way = |transport: &String| {
            let edge = edges.iter().position(|edge| env.leads_to_transport(&edge.name().to, transport))?;
            Some((edge, self.pool.take()))
        };
        self.ways = env.transports.iter().map(way).collect();
    }

    /// Writes an answer.
    pub fn write(&mut self, caller: &Caller, answer: Answer<'_>) {
        let Some(Some((_, batch))) = self.ways.get_mut(usize::from(caller.link.transport)) else {
            return self.nowhere.add(1);
        };
        self.invocation = self.invocation.wrapping_add(1);
        let envelope = Envelope {
            called: caller.title.as_ref().map(ApTitleBuf::as_title),
            answer_to: Some(caller.invocation),
            calling: Some(self.title.as_title()),
            ..Envelope::new(InvocationId::new(u32::from(self.invocation)))
        };
        let frame = Frame { link: caller.link.link, ..Frame::default() };
        let written = batch.push_with(frame.with_transport(caller.link.transport), |out| match answer {
            Answer::Message2(message) => edhoc(out, &envelope, MESSAGE_2, message),
            Answer::Message4(message) => edhoc(out, &envelope, MESSAGE_4, message),
            Answer::Error(error) => edhoc(out, &envelope, ERROR, &error.octets()),
            Answer::Clear(responses) => {
                let start = out.len();
                let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
                let mut writer = EpsemWriter::new(out, control, None);
                for response in responses {
                    writer.service(|out| out.extend_from_slice(response));
                }
                envelope.wrap(out, start);
                Ok(())
            }
        });
        if written.is_err() {
            // Cannot be: the heads of these types always fit. The descriptor is empty then.
            batch.frames.pop();
        }
    }

    /// Sends what is written.
    pub fn send(&mut self, context: &mut Context) {
        for (edge, batch) in self.ways.iter_mut().flatten().filter(|(_, batch)| !batch.is_empty()) {
            let batch = std::mem::replace(batch, self.pool.take());
            let frames = batch.len() as u64;
            match context.offer(self.output, *edge, batch) {
                Ok(Some(_)) => self.sent.add(frames),
                Ok(None) => {}
                Err(_) => self.full.add(frames),
            }
        }
    }
}

fn edhoc(out: &mut Vec<u8>, envelope: &Envelope<'_>, first: u8, message: &[u8]) -> Result<(), DecodeError> {
    carriage::write_head(out, envelope, &[first], message.len())?;
    out.extend_from_slice(message);
    Ok(())
}
