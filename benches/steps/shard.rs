//! One shard as it is in a graph: APDUs come in batches, each is admitted, opened, checked for replay and
//! written as a record. A sink stands where the journal would, and settles at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use node::context::{Output, Wiring};
use node::{Batch, Context, Edge, Frame, Next, NodeError};
use nodes::decrypt::DecryptKind;
use nodes::record;
use rustix::thread::{Pid, gettid};

use crate::lab::Lab;
use crate::rig::{Rig, edge};
use crate::support::{Failure, Figures, Spread};
use crate::timing::each;
use crate::way;

/// Reports of each device, after two that do not count.
const ROUNDS: u32 = 9;
const WARM_UP: u32 = 2;
/// A round that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(60);
/// A worker that has nothing to do is asleep by then.
const REST: Duration = Duration::from_millis(30);
const IDLE: Duration = Duration::from_millis(1);

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    figures.spread("one shard, APDU to record", run(lab, false)?, "ns/frame");
    figures.spread("one shard, and an acknowledgement sealed for each", run(lab, true)?, "ns/frame");
    Ok(())
}

/// Nanoseconds of the shard's thread for each frame.
fn run(lab: &Lab, acknowledge: bool) -> Result<Spread, Failure> {
    let rig = Rig::new(lab, if acknowledge { "shard-acknowledging" } else { "shard" })?;
    let mut worker = rig.build(&DecryptKind, "decrypt", &[("keys", "keys")])?;
    let input = edge("balancer", "frames", "decrypt");
    let outputs: Vec<Output> = [("records", "journal"), ("sealed", "downlink")]
        .into_iter()
        .filter(|(port, _)| acknowledge || *port == "records")
        .map(|(port, to)| Output { port: port.to_owned(), edges: vec![edge("decrypt", port, to)] })
        .collect();
    let edges: Vec<Arc<Edge>> = outputs.iter().flat_map(|output| output.edges.clone()).collect();
    let wiring = Wiring { inputs: vec![Arc::clone(&input)], outputs, ..Wiring::default() };
    let taken = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let (tell, told) = mpsc::channel();
    let samples = thread::scope(|scope| {
        let shard = thread::Builder::new().name("shard".to_owned()).spawn_scoped(scope, || {
            tell.send(gettid()).map_err(|_| NodeError::new("nobody listens"))?;
            let result = worker.run(&mut Context::new(wiring));
            edges.iter().for_each(|edge| edge.close());
            result
        })?;
        let sink = scope.spawn(|| settle(edges.clone(), &taken));
        let samples = told.recv().map_err(Failure::from).and_then(|thread| {
            let done = |frames: usize| {
                taken.iter().take(edges.len()).all(|taken| taken.load(Ordering::Relaxed) >= frames)
            };
            let rounds = (0..WARM_UP + ROUNDS).map(|round| {
                let batches = way::located(lab, &rig, round)?;
                feed(batches, &input, thread, || done(lab.devices.len() * (round as usize + 1)))
            });
            rounds.collect::<Result<Vec<f64>, Failure>>()
        });
        input.close();
        shard.join().map_err(|_| "the shard panicked")??;
        sink.join().map_err(|_| "the sink panicked")??;
        samples
    })?;
    let frames = lab.devices.len() * samples.len();
    let (refused, duplicates) =
        (rig.sum("metergraph_frames_refused_total"), rig.sum("metergraph_frames_duplicate_total"));
    let taken = taken.map(AtomicUsize::into_inner);
    if refused + duplicates > 0 || taken != [frames, if acknowledge { frames } else { 0 }] {
        let text = format!("of {frames}: {taken:?} taken, {refused} refused, {duplicates} duplicates");
        return Err(text.into());
    }
    Ok(Spread::of(samples.into_iter().skip(WARM_UP as usize)))
}

/// Stands where journal and downlink would; counts reports and acknowledgements.
fn settle(inputs: Vec<Arc<Edge>>, taken: &[AtomicUsize; 2]) -> Result<(), NodeError> {
    let mut context = Context::new(Wiring { inputs, ..Wiring::default() });
    loop {
        match context.next(Duration::from_secs(1))? {
            Next::Batch { input, number, batch } => {
                if let Some(edge) = context.inputs.get(input) {
                    edge.settle(number);
                }
                let counts = |frame: &&Frame| input > 0 || record::kind_of(frame) == record::REPORT;
                if let Some(taken) = taken.get(input) {
                    taken.fetch_add(batch.frames.iter().filter(counts).count(), Ordering::Relaxed);
                }
            }
            Next::Event(_) | Next::Idle => {}
            Next::Finished => return Ok(()),
        }
    }
}

/// Feeds a report of each device; answers nanoseconds of the shard's thread for each.
fn feed(batches: Vec<Batch>, input: &Edge, shard: Pid, done: impl Fn() -> bool) -> Result<f64, Failure> {
    let frames = batches.iter().map(Batch::len).sum();
    thread::sleep(REST);
    let before = cpu_of(shard)?;
    for batch in batches {
        input.offer(batch).map_err(|_| "the edge is full")?;
    }
    let since = Instant::now();
    while !done() {
        if since.elapsed() > LIMIT {
            return Err("the shard does not go on".into());
        }
        thread::sleep(IDLE);
    }
    thread::sleep(REST);
    Ok(each(cpu_of(shard)?.saturating_sub(before), frames))
}

/// CPU time of another thread of this process, which rests: that of a running one is a tick old.
fn cpu_of(thread: Pid) -> Result<Duration, Failure> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
    let spent = text.split(' ').next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(spent.parse()?))
}
