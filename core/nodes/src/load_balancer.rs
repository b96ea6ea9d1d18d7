//! `load-balancer`: each frame goes to the shard that owns its association.
//!
//! The shard is the association's partition modulo the number of shards: sticky, whatever the link, and
//! even, since slots are given out one after the other. Frames of a pair of link and association that was
//! refused too often are refused here, before they cost a decryption (security layer §6).

use std::sync::Arc;
use std::time::Duration;

use c1222::Leniency;
use c1222::carriage::{self, Place};
use keystore::Directory;
use node::{
    Batch, BatchPool, BuildError, Config, Context, Env, Frame, InputSpec, KindSpec, Next, NodeError,
    NodeKind, OutputSpec, PortType, Reason, Source, Worker,
};
use seal::ids::Sid;

use crate::clock::monotonic_ns;
use crate::key_store;
use crate::located::Located;
use crate::refusals::{Pair, Refusals};
use crate::tally::{Tally, reasons};

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadBalancerKind;

impl NodeKind for LoadBalancerKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "load-balancer",
            about: "Gives each frame to the shard that owns its association.",
            fields: vec![key_store::field()],
            inputs: vec![InputSpec::some(PortType::Apdus)],
            outputs: vec![
                OutputSpec {
                    name: "frames",
                    port_type: PortType::Frames,
                    required: true,
                    max: 1,
                    about: "Frames, by shard.",
                },
                OutputSpec {
                    name: "events",
                    port_type: PortType::Events,
                    required: false,
                    max: 8,
                    about: "Frames refused.",
                },
            ],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        Ok(Box::new(LoadBalancer {
            directory: key_store::lent(config, env)?,
            refusals: env.services.find_or_provide(&env.node, Refusals::default()),
            tally: Tally::new(env),
            pool: env.pool.clone(),
            shards: Vec::new(),
        }))
    }
}

struct LoadBalancer {
    directory: Arc<Directory>,
    refusals: Arc<Refusals>,
    tally: Tally,
    pool: BatchPool,
    /// The batch that is being filled for each shard.
    shards: Vec<Batch>,
}

impl Worker for LoadBalancer {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let output = context.output("frames").ok_or_else(|| NodeError::new("no output `frames`"))?;
        let count = context.outputs.get(output).map_or(0, |output| output.edges.len());
        self.shards = (0..count).map(|_| self.pool.take()).collect();
        loop {
            match context.next(Duration::from_secs(1))? {
                Next::Batch { batch, .. } => {
                    self.sort(batch, context);
                    for (shard, filled) in self.shards.iter_mut().enumerate() {
                        if !filled.is_empty() {
                            let batch = std::mem::replace(filled, self.pool.take());
                            context.send(output, shard, batch)?;
                        }
                    }
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }
}

/// Who a frame claims to come from, and where its parts stand.
type Claim = (Sid, Located);

impl LoadBalancer {
    fn sort(&mut self, batch: Batch, context: &mut Context) {
        let throttling = self.refusals.any(monotonic_ns());
        for frame in &batch.frames {
            let Some(apdu) = batch.octets(frame) else {
                context.count_dropped(1);
                continue;
            };
            let link = Source::Link { transport: frame.transport(), link: frame.link };
            match self.claim(frame, apdu) {
                Ok((sid, _)) if throttling && self.is_throttled(frame, sid) => {
                    self.tally.refuse(context, reasons::UP_LIMIT, Source::Association(sid.0), || {
                        format!("too many refused frames from link {}", frame.link)
                    });
                }
                Ok((sid, located)) => self.hand_on(frame, apdu, sid, located, context),
                Err((reason, detail)) => {
                    self.tally.refuse(context, reason, link, || detail);
                }
            }
        }
    }

    fn is_throttled(&self, frame: &Frame, sid: Sid) -> bool {
        let pair = Pair { transport: frame.transport(), link: frame.link, sid: sid.0 };
        self.refusals.throttled(pair, monotonic_ns())
    }

    fn hand_on(&mut self, frame: &Frame, apdu: &[u8], sid: Sid, located: Located, context: &Context) {
        let mut frame = *frame;
        located.put(&mut frame);
        let count = self.shards.len().max(1);
        let shard = self.shards.get_mut(sid.partition() as usize % count);
        if !shard.is_some_and(|shard| shard.push(apdu, frame)) {
            context.count_dropped(1);
        }
    }

    /// Who sent a frame, by its `sid`, or by its title where the device is a classic one.
    fn claim(&self, frame: &Frame, apdu: &[u8]) -> Result<Claim, (Reason, String)> {
        if let located @ Located::Profile1 { head, .. } = Located::get(frame) {
            return match sid_at(apdu, head) {
                Some(sid) => Ok((sid, located)),
                None => Err((reasons::FORMAT, String::new())),
            };
        }
        let found = carriage::locate(apdu, Leniency::Draft)
            .map_err(|error| (reasons::of_decode(&error), error.to_string()))?;
        let title = || found.calling.map(|title| title.to_string()).unwrap_or_default();
        match found.place {
            // Types 1 and 5 were located by ingress, and no other type up to 5 comes upstream.
            Place::Frame(place) if place.frame_type <= 5 => Err((reasons::FORMAT, String::new())),
            Place::Frame(_) => Err((reasons::NO_REGISTRAR, title())),
            Place::Segment => Err((reasons::FORMAT, String::new())),
            Place::Classic | Place::Clear => {
                let sid = found.calling.and_then(|title| self.directory.classic(title));
                let sid =
                    sid.ok_or_else(|| (reasons::UP_UNKNOWN, format!("no classic device {}", title())))?;
                Ok((sid, Located::Classic { sid: sid.0 }))
            }
        }
    }
}

/// The association that the head of a frame of type 1 or 5 names.
fn sid_at(apdu: &[u8], head: u16) -> Option<Sid> {
    let octets = apdu.get(usize::from(head).checked_add(1)?..)?.first_chunk::<4>()?;
    Some(Sid(u32::from_be_bytes(*octets)))
}
