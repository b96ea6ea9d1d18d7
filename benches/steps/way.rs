//! The way of a batch to its shard: `ingress` reads the APDUs, the balancer sorts them.

use std::sync::Arc;
use std::thread;

use node::context::{Output, Wiring};
use node::{Batch, Context, Frame, NodeError, NodeKind};
use nodes::ingress::IngressKind;
use nodes::load_balancer::LoadBalancerKind;

use crate::lab::{BATCH, Lab};
use crate::rig::{Rig, edge};
use crate::support::{Failure, Figures, Spread};
use crate::timing::{each, thread_cpu};

/// Reports of each device, the first of which do not count.
const ROUNDS: u32 = 12;

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    let rig = Rig::new(lab, "way")?;
    let (mut ingress, mut balancer) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (located, reading) = pass(&rig, Node::Ingress, batches(lab, round)?)?;
        let (_, sorting) = pass(&rig, Node::Balancer, located)?;
        if round > 0 {
            ingress.push(reading);
            balancer.push(sorting);
        }
    }
    figures.spread("ingress, APDUs located", Spread::of(ingress), "ns/frame");
    figures.spread("load balancer, one shard", Spread::of(balancer), "ns/frame");
    Ok(())
}

/// A report of each device as a shard gets it.
pub fn located(lab: &Lab, rig: &Rig, seq: u32) -> Result<Vec<Batch>, Failure> {
    let (located, _) = pass(rig, Node::Ingress, batches(lab, seq)?)?;
    Ok(pass(rig, Node::Balancer, located)?.0)
}

/// A report of each device as a transport gives it.
fn batches(lab: &Lab, seq: u32) -> Result<Vec<Batch>, Failure> {
    let mut batches = vec![Batch::default()];
    lab.apdus(seq, |apdu| {
        if batches.last().is_some_and(|batch| batch.len() == BATCH) {
            batches.push(Batch::default());
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(apdu, Frame { link: 1, ..Frame::default() });
        }
    })?;
    Ok(batches)
}

#[derive(Clone, Copy)]
enum Node {
    Ingress,
    Balancer,
}

/// What a node makes of batches, and its nanoseconds of CPU time for each frame.
fn pass(rig: &Rig, node: Node, batches: Vec<Batch>) -> Result<(Vec<Batch>, f64), Failure> {
    let (kind, name, port, settings): (&dyn NodeKind, _, _, &[(&str, &str)]) = match node {
        Node::Ingress => (&IngressKind, "ingress", "apdus", &[]),
        Node::Balancer => (&LoadBalancerKind, "balancer", "frames", &[("keys", "keys")]),
    };
    let mut worker = rig.build(kind, name, settings)?;
    let (input, out) = (edge("before", "out", name), edge(name, port, "behind"));
    let frames: usize = batches.iter().map(Batch::len).sum();
    for batch in batches {
        input.offer(batch).map_err(|_| "the edge is full")?;
    }
    input.close();
    let outputs = vec![Output { port: port.to_owned(), edges: vec![Arc::clone(&out)] }];
    let wiring = Wiring { inputs: vec![input], outputs, ..Wiring::default() };
    let spent = thread::scope(|scope| {
        let run = scope.spawn(|| {
            let mut context = Context::new(wiring);
            let begin = thread_cpu();
            worker.run(&mut context)?;
            Ok::<_, NodeError>(thread_cpu().saturating_sub(begin))
        });
        run.join().map_err(|_| format!("{name} panicked"))?.map_err(Failure::from)
    })?;
    let made: Vec<Batch> = std::iter::from_fn(|| out.take()).map(|(_, batch)| batch).collect();
    let passed: usize = made.iter().map(Batch::len).sum();
    if passed != frames {
        return Err(format!("{name} passed {passed} of {frames} frames").into());
    }
    Ok((made, each(spent, frames)))
}
