//! `downlink`: what the head-end sends goes to its transport here, never waiting for reports.

use std::time::Duration;

use node::spec::TransportEnd;
use node::{
    Batch, BuildError, Config, Context, Counter, Env, InputSpec, KindSpec, Next, NodeError, NodeKind,
    OutputSpec, PortType, Worker,
};

/// The node kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct DownlinkKind;

impl NodeKind for DownlinkKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "downlink",
            about: "Gives sealed APDUs to its transport.",
            fields: vec![],
            inputs: vec![InputSpec::some(PortType::Sealed)],
            outputs: vec![OutputSpec {
                name: "transmit",
                port_type: PortType::Transmit,
                required: true,
                max: 1,
                about: "APDUs for the transport.",
            }],
            provides: vec![],
            instances: None,
            transport: Some(TransportEnd::Sink),
        }
    }

    fn build(&self, _: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let own = env.transport.as_ref().and_then(|name| env.transports.iter().position(|t| t == name));
        let own = own.and_then(|number| u8::try_from(number).ok());
        Ok(Box::new(Downlink {
            own: own.ok_or_else(|| BuildError::new(env, "it is tied to no transport"))?,
            sent: env.counter("metergraph_apdus_downstream_total", "APDUs given to the transport.", &[]),
            astray: env.counter(
                "metergraph_apdus_downstream_dropped_total",
                "APDUs given up on the way down, by the place where.",
                &[("where", "other-transport")],
            ),
        }))
    }
}

struct Downlink {
    own: u8,
    sent: Counter,
    astray: Counter,
}

impl Worker for Downlink {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        loop {
            match context.next(Duration::from_secs(1))? {
                Next::Batch { batch, .. } => {
                    let received = batch.len() as u64;
                    let batch = self.sift(batch);
                    let count = batch.len() as u64;
                    context.let_go(received - count);
                    if context.send(0, 0, batch)?.is_some() {
                        self.sent.add(count);
                    }
                }
                Next::Event(_) | Next::Idle => {}
                Next::Finished => return Ok(()),
            }
        }
    }
}

impl Downlink {
    /// Takes out what belongs to another transport: the writer should not have sent it here.
    fn sift(&self, mut batch: Batch) -> Batch {
        let before = batch.len();
        batch.frames.retain(|frame| frame.transport() == self.own);
        self.astray.add((before - batch.len()) as u64);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::Frame;

    #[test]
    fn only_its_own_transport_is_served() {
        let downlink = Downlink { own: 1, sent: Counter::default(), astray: Counter::default() };
        let mut batch = Batch::default();
        for transport in [1, 0, 1] {
            batch.push(b"apdu", Frame::default().with_transport(transport));
        }
        let sifted = downlink.sift(batch);
        assert_eq!((sifted.len(), downlink.astray.get()), (2, 1));
    }
}
