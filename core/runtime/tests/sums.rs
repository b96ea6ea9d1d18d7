//! Frames in = delivered + dropped, whatever panics, drops, fails for good or is stopped by force.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Fake, Graph, each, kind, numbered, until};
use node::{Batch, Context, Counter, Next, Registry};

/// Seeds that every run of the tests goes through.
const SEEDS: std::ops::Range<u64> = 0..40;
/// Batches that one source sends.
const BATCHES: u64 = 300;

/// A small generator (SplitMix64) that many threads share.
#[derive(Clone)]
struct Dice(Arc<AtomicU64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }

    /// A number below `sides`.
    fn roll(&self, sides: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    /// Panics once in `in_n` times (never for 0), without a line on stderr.
    fn panics(&self, in_n: u64) {
        if in_n > 0 && self.roll(in_n) == 0 {
            std::panic::resume_unwind(Box::new("the dice say so"));
        }
    }
}

/// Sends batches of one to five frames to any of its readers.
fn sources(sent: &Counter, dice: &Dice, risk: u64) -> Fake {
    let (sent, dice) = (sent.clone(), dice.clone());
    kind("source", move |_| {
        let (sent, dice, mut left) = (sent.clone(), dice.clone(), BATCHES);
        Box::new(move |context| {
            while left > 0 && !context.orders.draining() {
                dice.panics(risk * 4);
                let frames = 1 + dice.roll(5);
                sent.add(frames);
                left -= 1;
                let edge = dice.roll(context.outputs[0].edges.len() as u64);
                context.send(0, usize::try_from(edge).unwrap(), numbered(0, frames))?;
            }
            while !matches!(context.next(Duration::from_secs(1))?, Next::Finished) {}
            Ok(())
        })
    })
}

/// Cuts every batch in pieces and sends each to any of its readers; drops one now and then.
fn cutters(dice: &Dice, risk: u64) -> Fake {
    let dice = dice.clone();
    kind("cutter", move |_| {
        let dice = dice.clone();
        each(move |context, batch| {
            let mut left = batch.len() as u64;
            while left > 0 {
                dice.panics(risk);
                let frames = 1 + dice.roll(left);
                left -= frames;
                let edge = usize::try_from(dice.roll(context.outputs[0].edges.len() as u64)).unwrap();
                match dice.roll(20) {
                    0 => context.count_dropped(frames),
                    1..10 => offer(context, edge, numbered(0, frames)),
                    _ => drop(context.send(0, edge, numbered(0, frames))?),
                }
            }
            dice.panics(risk);
            Ok(())
        })
    })
}

fn offer(context: &mut Context, edge: usize, batch: Batch) {
    if let Err(batch) = context.offer(0, edge, batch) {
        context.count_dropped(batch.len() as u64);
    }
}

/// Gathers batches, as the journal does, and delivers them together.
fn sinks(delivered: &Counter, dice: &Dice, risk: u64) -> Fake {
    let (delivered, dice) = (delivered.clone(), dice.clone());
    kind("sink", move |_| {
        let (delivered, dice) = (delivered.clone(), dice.clone());
        Box::new(move |context| {
            let mut gathered = 0;
            loop {
                let next = context.next(Duration::from_millis(5))?;
                dice.panics(risk);
                if let Next::Batch { batch, .. } = &next {
                    gathered += batch.len() as u64;
                    context.hold(gathered);
                    if dice.roll(4) > 0 {
                        continue;
                    }
                }
                delivered.add(gathered);
                gathered = 0;
                context.hold(0);
                if matches!(next, Next::Finished) {
                    return Ok(());
                }
            }
        })
    })
}

/// A random graph: one or two sources, up to two layers of cutters, one or two sinks.
fn random_graph(dice: &Dice) -> Graph {
    let mut graph = Graph::new().with(|plan| {
        plan.runtime.backoff_max_ms = 1;
        plan.runtime.restarts_max = if dice.roll(3) == 0 { 2 } else { 100_000 };
        plan.runtime.drain_timeout_ms = if dice.roll(3) == 0 { 1 } else { 2_000 };
    });
    let mut readers: Vec<String> = (0..=dice.roll(2)).map(|n| format!("sink{n}")).collect();
    for name in &readers {
        graph = graph.node(name, "sink", 1);
    }
    let layers = dice.roll(3);
    for layer in 0..=layers {
        let kind = if layer == layers { "source" } else { "cutter" };
        let mut writers = Vec::new();
        for n in 0..=dice.roll(2) {
            let name = format!("{kind}{layer}{n}");
            let instances = if kind == "source" { 1 } else { 1 + dice.roll(3) };
            graph = graph.node(&name, kind, usize::try_from(instances).unwrap());
            for reader in &readers {
                let batches_max = usize::try_from(1 + dice.roll(4)).unwrap();
                graph = match dice.roll(3) {
                    0 => graph.dropping_edge(&name, reader, batches_max),
                    _ => graph.edge(&name, reader, batches_max),
                };
            }
            writers.push(name);
        }
        readers = writers;
    }
    graph
}

#[test]
fn frames_in_are_frames_delivered_and_dropped() {
    let (mut forced, mut failed, mut restarts) = (0, 0, 0);
    for seed in SEEDS {
        let dice = Dice::new(seed);
        let risk = [0, 400, 100, 30][usize::try_from(dice.roll(4)).unwrap()];
        let graph = random_graph(&dice);
        let (sent, delivered) = (Counter::default(), Counter::default());
        let registry = Registry::default()
            .with(sources(&sent, &dice, risk))
            .with(cutters(&dice, risk))
            .with(sinks(&delivered, &dice, risk));
        let test = graph.start(registry);
        until("something was sent", || sent.get() > 100 || !test.running.status().ready);
        std::thread::sleep(Duration::from_millis(dice.roll(30)));
        let (end, status) = test.running.stop();
        assert!(!end.abandoned, "seed {seed}");
        let dropped = status.sum("metergraph_frames_dropped_total", None);
        assert_eq!(
            sent.get(),
            delivered.get() + u64::try_from(dropped).unwrap(),
            "seed {seed}: {end:?} {status:#?}"
        );
        assert!(status.edges.iter().all(|edge| edge.waiting == 0), "seed {seed}");
        forced += u32::from(end.forced);
        failed += status.nodes.iter().filter(|node| node.state == "failed").count();
        restarts += status.sum("metergraph_restarts_total", None);
    }
    // The seeds cover what they should.
    assert!(forced > 0 && failed > 0 && restarts > 0, "{forced} {failed} {restarts}");
    println!("{} graphs, {restarts} restarts, {failed} failed for good, {forced} forced", SEEDS.end);
}
