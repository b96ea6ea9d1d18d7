//! `ingress`: what a transport receives enters the graph here: octets are read as APDUs, segments are put
//! together, and what is neither is refused by name.

use std::time::Duration;

use c1222::carriage::{self, FramePlace, Place};
use c1222::reassembler::{Limits, Reassembler, Reassembly};
use c1222::{Apdu, DecodeError, Leniency};
use node::spec::TransportEnd;
use node::{
    Batch, BuildError, Config, Context, Counter, Env, FieldSpec, Frame, KindSpec, Next, NodeError, NodeKind,
    OutputSpec, PortType, Reason, Source, Worker,
};

use crate::clock::monotonic_ns;
use crate::located::Located;
use crate::tally::{Tally, reasons};

/// How often unfinished APDUs are looked through for those that waited too long.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct IngressKind;

impl NodeKind for IngressKind {
    fn spec(&self) -> KindSpec {
        let defaults = Limits::default();
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        KindSpec {
            name: "ingress",
            about: "Reads what a transport receives as APDUs and puts segments together.",
            fields: vec![
                FieldSpec::integer(
                    "apdu_octets_max",
                    (640, 1 << 20),
                    count(defaults.octets_per_message),
                    "The longest APDU that is put together from segments, in octets.",
                ),
                FieldSpec::integer(
                    "segmented_max",
                    (1, 1 << 20),
                    count(defaults.messages),
                    "Unfinished APDUs of all links together.",
                ),
                FieldSpec::integer(
                    "segment_timeout_s",
                    (1, 3600),
                    30,
                    "How long the rest of an APDU is waited for, in seconds.",
                ),
            ],
            inputs: vec![],
            outputs: vec![
                OutputSpec {
                    name: "apdus",
                    port_type: PortType::Apdus,
                    required: true,
                    max: 1,
                    about: "Whole APDUs.",
                },
                OutputSpec {
                    name: "events",
                    port_type: PortType::Events,
                    required: false,
                    max: 8,
                    about: "Octets refused.",
                },
            ],
            provides: vec![],
            instances: None,
            transport: Some(TransportEnd::Source),
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let life_s = u64::try_from(config.integer("segment_timeout_s")).unwrap_or(1);
        let limits = Limits {
            octets_per_message: config.count("apdu_octets_max"),
            messages: config.count("segmented_max"),
            life_ns: life_s.saturating_mul(1_000_000_000),
            ..Limits::default()
        };
        Ok(Box::new(Ingress {
            reassembler: Reassembler::new(limits),
            tally: Tally::new(env),
            received: env.counter(
                "metergraph_frames_received_total",
                "APDUs received, and octets that are none; segments count once they are one APDU.",
                &[],
            ),
            segments: env.counter("metergraph_segments_total", "Segments received.", &[]),
            whole: Vec::new(),
        }))
    }
}

struct Ingress {
    reassembler: Reassembler,
    tally: Tally,
    received: Counter,
    segments: Counter,
    /// APDUs put together from segments of the batch in hand.
    whole: Vec<(Vec<u8>, Frame)>,
}

impl Worker for Ingress {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        loop {
            match context.next(EXPIRE_EVERY)? {
                Next::Batch { mut batch, .. } => {
                    self.read(context, &mut batch);
                    context.send(0, 0, batch)?;
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished => return Ok(()),
            }
            self.expire(context);
        }
    }
}

/// What is to become of one frame.
enum Fate {
    HandOn,
    /// A segment that was kept or says nothing new.
    Kept,
    Refused(Reason, String),
}

impl Ingress {
    /// Leaves in the batch what is to be handed on.
    fn read(&mut self, context: &mut Context, batch: &mut Batch) {
        let mut frames = std::mem::take(&mut batch.frames);
        let mut kept = 0_u64;
        let before = frames.len();
        frames.retain_mut(|frame| {
            let fate = match batch.octets(frame) {
                Some(octets) => self.look_at(octets, frame),
                None => Fate::Refused(reasons::FORMAT, "a descriptor outside its batch".into()),
            };
            match fate {
                Fate::HandOn => true,
                Fate::Kept => {
                    kept += 1;
                    false
                }
                Fate::Refused(reason, detail) => {
                    self.refuse(context, frame, reason, detail);
                    false
                }
            }
        });
        batch.frames = frames;
        let mut joined = 0;
        for (octets, mut frame) in std::mem::take(&mut self.whole) {
            joined += 1;
            match self.look_at(&octets, &mut frame) {
                Fate::HandOn if batch.push(&octets, frame) => {}
                Fate::HandOn => context.count_dropped(1),
                Fate::Kept => {
                    let detail = "a segment inside an APDU put together from segments".to_owned();
                    self.refuse(context, &frame, Reason("nested-segment"), detail);
                }
                Fate::Refused(reason, detail) => self.refuse(context, &frame, reason, detail),
            }
        }
        self.segments.add(kept);
        self.received.add((before as u64).saturating_sub(kept).saturating_add(joined));
    }

    fn look_at(&mut self, octets: &[u8], frame: &mut Frame) -> Fate {
        match carriage::locate(octets, Leniency::Draft) {
            Ok(located) => match located.place {
                Place::Frame(FramePlace { frame_type: 1 | 5, head, body, body_len, .. }) => {
                    Located::Profile1 { head, body, body_len }.put(frame);
                    Fate::HandOn
                }
                Place::Segment => self.join(octets, frame),
                Place::Frame(_) | Place::Classic | Place::Clear => {
                    // The balancer finds out whose it is.
                    Located::Classic { sid: 0 }.put(frame);
                    Fate::HandOn
                }
            },
            Err(error) => refused(&error),
        }
    }

    fn join(&mut self, octets: &[u8], frame: &Frame) -> Fate {
        let apdu = match Apdu::decode(octets, Leniency::Draft) {
            Ok(apdu) => apdu,
            Err(error) => return refused(&error),
        };
        let link = (u64::from(frame.transport()) << 32) | u64::from(frame.link);
        match self.reassembler.push(link, &apdu, monotonic_ns()) {
            Reassembly::Incomplete | Reassembly::Repeated => Fate::Kept,
            Reassembly::Complete(octets) => {
                self.whole.push((octets, *frame));
                Fate::Kept
            }
            Reassembly::Refused(error) => Fate::Refused(Reason(error.name()), error.to_string()),
        }
    }

    fn expire(&mut self, context: &mut Context) {
        let expired = self.reassembler.expire(monotonic_ns());
        for _ in 0..expired {
            self.received.add(1);
            self.tally.refuse(&mut context.events, Reason("segment-timeout"), Source::Node, || {
                "the rest of a segmented APDU did not come".to_owned()
            });
        }
    }

    fn refuse(&mut self, context: &mut Context, frame: &Frame, reason: Reason, detail: String) {
        let source = Source::Link { transport: frame.transport(), link: frame.link };
        self.tally.refuse(&mut context.events, reason, source, || detail);
    }
}

fn refused(error: &DecodeError) -> Fate {
    Fate::Refused(reasons::of_decode(error), error.to_string())
}
