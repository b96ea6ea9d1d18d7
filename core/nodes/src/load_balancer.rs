//! `load-balancer`: each frame goes to the shard that owns its association, and what registers to the
//! registrar.
//!
//! The shard is the association's partition modulo the number of shards: sticky, whatever the link, and
//! even, since slots are given out one after the other. Frames of a pair of link and association that was
//! refused too often are refused here, before they cost a decryption (security layer §6). Readings never wait
//! for a registration: what the registrar has no room for is refused (SEC-REG-BUSY), without an answer: devices
//! back off by themselves (security layer §5, §10).

use std::sync::Arc;
use std::time::Duration;

use c1222::carriage::{self, Place};
use c1222::{ApTitle, Apdu, Epsem, Leniency, SecurityMode, ServiceCode};
use keystore::{Directory, Standing};
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
            about: "Gives each frame to the shard that owns its association, and what registers to the registrar.",
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
                    name: "registrations",
                    port_type: PortType::Registrations,
                    required: false,
                    max: 1,
                    about: "Messages of devices that register.",
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
            registrar: None,
            registrations: env.pool.take(),
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
    /// The output that leads to a registrar.
    registrar: Option<usize>,
    /// The batch that is being filled for it.
    registrations: Batch,
}

impl Worker for LoadBalancer {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let output = context.output("frames").ok_or_else(|| NodeError::new("no output `frames`"))?;
        let count = context.outputs.get(output).map_or(0, |output| output.edges.len());
        self.shards = (0..count).map(|_| self.pool.take()).collect();
        let read =
            |output: &usize| context.outputs.get(*output).is_some_and(|output| !output.edges.is_empty());
        self.registrar = context.output("registrations").filter(read);
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
                    self.offer_registrations(context);
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }
}

/// Where a frame goes, and where its parts stand.
enum Way {
    /// To the shard of the association that it claims.
    Shard(Sid, Located),
    /// To the registrar.
    Registrar(Located),
}

impl LoadBalancer {
    fn sort(&mut self, batch: Batch, context: &mut Context) {
        let throttling = self.refusals.any(monotonic_ns());
        for frame in &batch.frames {
            let Some(apdu) = batch.octets(frame) else {
                context.count_dropped(1);
                continue;
            };
            let link = Source::Link { transport: frame.transport(), link: frame.link };
            match self.way(frame, apdu) {
                Ok(Way::Shard(sid, _)) if throttling && self.is_throttled(frame, sid) => {
                    self.tally.refuse(context, reasons::UP_LIMIT, Source::Association(sid.0), || {
                        format!("too many refused frames from link {}", frame.link)
                    });
                }
                Ok(Way::Shard(sid, located)) => self.hand_on(frame, apdu, sid, located, context),
                Ok(Way::Registrar(located)) => {
                    let mut frame = *frame;
                    located.put(&mut frame);
                    if !self.registrations.push(apdu, frame) {
                        context.count_dropped(1);
                    }
                }
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

    /// Gives the registrar what is for it, and refuses what it has no room for.
    fn offer_registrations(&mut self, context: &mut Context) {
        let Some(output) = self.registrar.filter(|_| !self.registrations.is_empty()) else { return };
        let batch = std::mem::replace(&mut self.registrations, self.pool.take());
        let Err(back) = context.offer(output, 0, batch) else { return };
        for frame in &back.frames {
            let source = Source::Link { transport: frame.transport(), link: frame.link };
            self.tally
                .refuse(context, reasons::REG_BUSY, source, || "the registrar has enough to do".to_owned());
        }
    }

    /// Where a frame goes: by its `sid`, or by its title where the device is a classic one.
    fn way(&self, frame: &Frame, apdu: &[u8]) -> Result<Way, (Reason, String)> {
        if let located @ Located::Profile1 { head, .. } = Located::get(frame) {
            return match sid_at(apdu, head) {
                Some(sid) => Ok(Way::Shard(sid, located)),
                None => Err((reasons::FORMAT, String::new())),
            };
        }
        let found = carriage::locate(apdu, Leniency::Draft)
            .map_err(|error| (reasons::of_decode(&error), error.to_string()))?;
        let title = || found.calling.map(|title| title.to_string()).unwrap_or_default();
        match found.place {
            // Types 1 and 5 were located by ingress, and no other type up to 5 comes upstream.
            Place::Frame(place) if place.frame_type <= 5 => Err((reasons::FORMAT, String::new())),
            Place::Frame(place) if self.registrar.is_some() => {
                let (frame_type, head) = (place.frame_type, place.head);
                let (body, body_len) = (place.body, place.body_len);
                Ok(Way::Registrar(Located::Registration { frame_type, head, body, body_len }))
            }
            Place::Frame(_) => Err((reasons::NO_REGISTRAR, title())),
            Place::Segment => Err((reasons::FORMAT, String::new())),
            Place::Clear if self.registrar.is_some() && asks_registrar(apdu) => {
                Ok(Way::Registrar(Located::Clear))
            }
            Place::Classic | Place::Clear => {
                let sid = found.calling.and_then(|title| self.directory.classic(title));
                let eax = found.place == Place::Classic;
                let sid = sid.ok_or_else(|| self.no_classic(found.calling.filter(|_| eax), title()))?;
                Ok(Way::Shard(sid, Located::Classic { sid: sid.0 }))
            }
        }
    }

    /// Why a message is refused that comes from no classic device: a revoked one, or one that has registered and
    /// is not heard in EAX' (security layer §9).
    fn no_classic(&self, calling: Option<ApTitle<'_>>, title: String) -> (Reason, String) {
        let registered = || calling.is_some_and(|title| self.directory.is_registered(title));
        match calling.and_then(|title| self.directory.classic_standing(title)) {
            Some(Standing::Revoked) => (reasons::UP_REVOKED, format!("classic device {title} is revoked")),
            Some(Standing::Retired) => (reasons::LEGACY, format!("device {title} has registered")),
            _ if registered() => (reasons::LEGACY, format!("device {title} has registered")),
            _ => (reasons::UP_UNKNOWN, format!("no classic device {title}")),
        }
    }
}

/// The association that the head of a frame of type 1 or 5 names.
fn sid_at(apdu: &[u8], head: u16) -> Option<Sid> {
    let octets = apdu.get(usize::from(head).checked_add(1)?..)?.first_chunk::<4>()?;
    Some(Sid(u32::from_be_bytes(*octets)))
}

/// Whether an APDU in clear is a request whose first service the registrar answers.
fn asks_registrar(apdu: &[u8]) -> bool {
    let service = || {
        let apdu = Apdu::decode(apdu, Leniency::Draft).ok().filter(|apdu| !apdu.envelope.is_response())?;
        let epsem = Epsem::decode(apdu.epsem()?).ok()?;
        let clear = epsem.control.security_mode() == Ok(SecurityMode::Clear);
        let first = epsem.services().next().filter(|_| clear)?.ok()?;
        first.first().copied().map(ServiceCode)
    };
    matches!(service(), Some(ServiceCode::REGISTRATION | ServiceCode::DEREGISTRATION | ServiceCode::RESOLVE))
}
