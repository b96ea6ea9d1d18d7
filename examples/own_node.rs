//! A node kind of one's own, from outside the workspace: one file, and one line of registration.
//!
//! `clock-watch` reports when the wall clock, by which reports are stamped, is set. This program puts it
//! before the shipped `event-monitor`, lets the graph run for a second and prints what was written.
//!
//! `cargo run --example own_node`

use std::time::{Duration, Instant, SystemTime};

use metergraph::graph_file::plugins::Plugins;
use miette::{IntoDiagnostic, miette};
use node::{
    BuildError, Config, Context, Env, FieldSpec, Gauge, KindSpec, Next, NodeError, NodeKind, OutputSpec,
    PortType, Problem, Reason, Severity, Source, Worker,
};

/// The graph: a file in real life.
const GRAPH: &str = r#"
graph = 1
name  = "own-node"

[node.watch]
kind        = "clock-watch"
interval_ms = 100
jump_ms     = 50

[node.monitor]
kind  = "event-monitor"
input = ["watch.events"]
"#;

/// The node kind: what it is called, may be told and gives.
struct ClockWatchKind;

impl NodeKind for ClockWatchKind {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: "clock-watch",
            about: "Reports when the wall clock is set.",
            fields: vec![
                FieldSpec::integer("interval_ms", (10, 60_000), 1000, "Time between two looks, in ms."),
                FieldSpec::integer("jump_ms", (1, 60_000), 500, "A step from this on is reported, in ms."),
            ],
            inputs: vec![],
            outputs: vec![OutputSpec {
                name: "events",
                port_type: PortType::Events,
                required: true,
                max: 8,
                about: "A step of the wall clock.",
            }],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    /// What the specification cannot express; `metergraph check` shows it with its place in the file.
    fn check(&self, config: &Config) -> Vec<Problem> {
        if config.integer("jump_ms") <= config.integer("interval_ms") {
            return vec![];
        }
        vec![Problem {
            code: "clock-watch::coarse",
            field: Some("jump_ms"),
            message: "a step may take longer than the time between two looks".to_owned(),
            help: Some("make `jump_ms` at most `interval_ms`".to_owned()),
            warning: true,
        }]
    }

    fn build(&self, config: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        let milliseconds = |key| Duration::from_millis(config.count(key) as u64);
        Ok(Box::new(ClockWatch {
            interval: milliseconds("interval_ms"),
            jump: milliseconds("jump_ms"),
            drift: env.gauge("metergraph_clock_steps_ms", "Steps of the wall clock since the start.", &[]),
        }))
    }
}

/// The moving part. It runs on a thread of its own; after a panic it is built anew.
struct ClockWatch {
    interval: Duration,
    jump: Duration,
    drift: Gauge,
}

impl Worker for ClockWatch {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let (steady, wall) = (Instant::now(), SystemTime::now());
        let mut known: i64 = 0;
        context.events.report(Reason("clock-watched"), Severity::Info, Source::Node, || {
            format!("steps from {} ms on are reported", self.jump.as_millis())
        });
        // A node without inputs ends when it is told to drain.
        while !matches!(context.next(self.interval)?, Next::Finished) {
            let ahead = milliseconds_between(wall, SystemTime::now()) - milliseconds(steady.elapsed());
            self.drift.set(ahead);
            let step = ahead - known;
            if step.unsigned_abs() >= milliseconds(self.jump).unsigned_abs() {
                known = ahead;
                context
                    .events
                    .report(Reason("clock-set"), Severity::Alarm, Source::Node, || format!("by {step} ms"));
            }
        }
        Ok(())
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn milliseconds_between(from: SystemTime, to: SystemTime) -> i64 {
    to.duration_since(from).map_or_else(|back| -milliseconds(back.duration()), milliseconds)
}

fn main() -> miette::Result<()> {
    // The one line.
    let registry = metergraph::kinds::registry().with(ClockWatchKind);

    let compiled = graph::compile(GRAPH, &registry, &Plugins::default());
    let shown = graph::render::text("own_node.toml", GRAPH, &compiled.diagnostics, false);
    let plan = compiled.plan.ok_or_else(|| miette!("{shown}"))?;
    let state = std::env::temp_dir().join(format!("metergraph-own-node-{}", std::process::id()));
    let options = runtime::Options { state: state.clone(), ..runtime::Options::default() };
    let running = runtime::start(&plan, &registry, options).into_diagnostic()?;
    std::thread::sleep(Duration::from_secs(1));
    let (end, _) = running.stop();

    for file in std::fs::read_dir(state.join("events")).into_diagnostic()? {
        print!("{}", std::fs::read_to_string(file.into_diagnostic()?.path()).into_diagnostic()?);
    }
    println!("drained: {}", !end.forced);
    std::fs::remove_dir_all(&state).into_diagnostic()
}
