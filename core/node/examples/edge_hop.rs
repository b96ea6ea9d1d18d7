//! What an edge costs: batches of 256 frames go round between two threads, over two edges.
//!
//! `cargo run -p metergraph-node --example edge_hop`

use std::sync::Arc;
use std::time::{Duration, Instant};

use metergraph_node::context::{Output, Wiring};
use metergraph_node::{Batch, Context, Edge, EdgeName, Frame, Next, NodeError, WhenFull};

/// Hops that are measured, on each edge.
const HOPS: u64 = 200_000;
/// Frames in a batch.
const FRAMES: u64 = 256;
/// Batches that go round, and that an edge holds.
const BATCHES: usize = 64;

fn edge(from: &str, to: &str) -> Arc<Edge> {
    let name = EdgeName {
        from: from.to_owned(),
        port: "out".to_owned(),
        from_instance: 0,
        to: to.to_owned(),
        to_instance: 0,
    };
    Arc::new(Edge::new(name, BATCHES, WhenFull::Wait))
}

fn context(input: &Arc<Edge>, output: &Arc<Edge>) -> Context {
    let outputs = vec![Output { port: "out".to_owned(), edges: vec![Arc::clone(output)] }];
    Context::new(Wiring { inputs: vec![Arc::clone(input)], outputs, ..Wiring::default() })
}

/// Sends `batches`, then passes on what comes, until so many have come.
fn go_round(context: &mut Context, batches: Vec<Batch>) -> Result<(), NodeError> {
    for batch in batches {
        context.send(0, 0, batch)?;
    }
    let mut come = 0;
    while come < HOPS {
        if let Next::Batch { batch, .. } = context.next(Duration::from_secs(1))? {
            come += 1;
            context.send(0, 0, batch)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), NodeError> {
    let (there, back) = (edge("here", "there"), edge("there", "here"));
    let mut here_side = context(&back, &there);
    let mut there_side = context(&there, &back);
    let full = |_| {
        let mut batch = Batch::default();
        for tag in 0..FRAMES {
            batch.push(&[0; 128], Frame { tag, ..Frame::default() });
        }
        batch
    };
    let batches: Vec<Batch> = (0..BATCHES).map(full).collect();
    let start = Instant::now();
    let other = std::thread::spawn(move || go_round(&mut there_side, Vec::new()));
    go_round(&mut here_side, batches)?;
    let elapsed = start.elapsed();
    if other.join().is_err() {
        return Err(NodeError::new("the other thread panicked"));
    }
    // Both edges carried so many batches.
    let hops = there.taken() + back.taken();
    let hop = elapsed.as_nanos() as f64 / hops as f64;
    println!(
        "{hop:.0} ns a hop, {:.2} ns a frame ({hops} hops of {FRAMES} frames, two threads)",
        hop / FRAMES as f64
    );
    Ok(())
}
