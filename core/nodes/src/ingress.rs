//! `ingress`: what a transport receives enters the graph here: octets are read as APDUs, segments are put
//! together, and what is neither is refused by name.

use std::time::Duration;

use c1222::carriage::{self, FramePlace, Place};
use c1222::reassembler::{Limits, Reassembler, Reassembly};
use c1222::segment::SegmentError;
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
                    (640, 65_535),
                    count(defaults.octets_per_message),
                    "The longest APDU, whole or put together from segments, in octets.",
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
            apdu_octets_max: limits.octets_per_message,
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
    apdu_octets_max: usize,
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
                Next::Finished => {
                    // The rest of what is unfinished does not come any more.
                    self.expire(context, u64::MAX);
                    return Ok(());
                }
            }
            self.expire(context, monotonic_ns());
        }
    }
}

/// What is to become of one frame.
enum Fate {
    HandOn,
    /// A segment that was kept or says nothing new.
    Kept,
}

/// Why a frame is refused here.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Octets(#[from] DecodeError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("a segment inside an APDU put together from segments")]
    Nested,
    #[error("a descriptor outside its batch")]
    Outside,
}

impl Refused {
    fn reason(self) -> Reason {
        match self {
            Self::Octets(error) => reasons::of_decode(&error),
            Self::Segment(error) => Reason(error.name()),
            Self::Nested => Reason("nested-segment"),
            Self::Outside => reasons::FORMAT,
        }
    }
}

impl Ingress {
    /// Leaves in the batch what is to be handed on.
    fn read(&mut self, context: &mut Context, batch: &mut Batch) {
        let mut frames = std::mem::take(&mut batch.frames);
        let (mut received, mut kept) = (frames.len() as u64, 0);
        frames.retain_mut(|frame| {
            let octets = batch.octets(frame).ok_or(Refused::Outside);
            match octets.and_then(|octets| self.look_at(octets, frame)) {
                Ok(Fate::HandOn) => true,
                Ok(Fate::Kept) => {
                    kept += 1;
                    false
                }
                Err(refused) => {
                    self.refuse(context, frame, refused);
                    false
                }
            }
        });
        batch.frames = frames;
        context.let_go(kept);
        for (octets, mut frame) in std::mem::take(&mut self.whole) {
            received += 1;
            match self.locate(&octets, &mut frame) {
                Ok(true) if batch.push(&octets, frame) => {}
                Ok(true) => context.count_dropped(1),
                Ok(false) => self.refuse(context, &frame, Refused::Nested),
                Err(refused) => self.refuse(context, &frame, refused),
            }
        }
        self.segments.add(kept);
        self.received.add(received.saturating_sub(kept));
    }

    fn look_at(&mut self, octets: &[u8], frame: &mut Frame) -> Result<Fate, Refused> {
        if self.locate(octets, frame)? { Ok(Fate::HandOn) } else { self.join(octets, frame) }
    }

    /// Writes into a descriptor what its APDU is; `false` for a segment.
    fn locate(&self, octets: &[u8], frame: &mut Frame) -> Result<bool, Refused> {
        if octets.len() > self.apdu_octets_max {
            return Err(DecodeError::TooLarge.into());
        }
        match carriage::locate(octets, Leniency::Draft)?.place {
            Place::Segment => return Ok(false),
            Place::Frame(FramePlace { frame_type: 1 | 5, head, body, body_len, .. }) => {
                Located::Profile1 { head, body, body_len }.put(frame);
            }
            // The balancer finds out whose it is.
            Place::Frame(_) | Place::Classic | Place::Clear => Located::Classic { sid: 0 }.put(frame),
        }
        Ok(true)
    }

    fn join(&mut self, octets: &[u8], frame: &Frame) -> Result<Fate, Refused> {
        let apdu = Apdu::decode(octets, Leniency::Draft)?;
        let link = (u64::from(frame.transport()) << 32) | u64::from(frame.link);
        match self.reassembler.push(link, &apdu, monotonic_ns()) {
            Reassembly::Incomplete | Reassembly::Repeated => {}
            Reassembly::Complete(octets) => self.whole.push((octets, *frame)),
            Reassembly::Refused(error) => return Err(error.into()),
        }
        Ok(Fate::Kept)
    }

    fn expire(&mut self, context: &mut Context, now: u64) {
        for _ in 0..self.reassembler.expire(now) {
            self.received.add(1);
            self.tally.refuse(context, Reason("segment-timeout"), Source::Node, || {
                "the rest of a segmented APDU did not come".to_owned()
            });
        }
    }

    fn refuse(&mut self, context: &mut Context, frame: &Frame, refused: Refused) {
        let source = Source::Link { transport: frame.transport(), link: frame.link };
        self.tally.refuse(context, refused.reason(), source, || refused.to_string());
    }
}
