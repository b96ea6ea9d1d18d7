//! The signer as it is in a graph: intents come in batches, counters and audit entries are durable before the
//! token signs. A sink stands where journal and audit log would, and settles at once.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use commands::code::SignRefusal;
use journal::files::OsFiles;
use journal::{Settings, Writer};
use keystore::ProfileId;
use node::context::{Orders, Output, Wiring};
use node::env::Wire;
use node::{
    Batch, BatchPool, Config, Context, Edge, EdgeName, Env, Frame, Meters, Next, NodeError, NodeKind,
    NodeStatus, Value, WhenFull,
};
use nodes::command_signer::{CommandSignerKind, Lent, Means};
use nodes::journal::Log;
use seal::hex::Hex;
use seal::ids::{Dev, System};
use seal::signature::{SIGNATURE_LEN, Signer, SigningKey, sha256};

use crate::command::{GOAL, NOW, PROFILE, policy, request};
use crate::goal;
use crate::site::{SYSTEM, signing_key};
use crate::support::{Failure, Figures, Folder, Spread};
use crate::timing::{each, thread_cpu};

const COMMANDS: u64 = 4_096;
const BATCH: u64 = 256;
const SAMPLES: u64 = 7;
/// What takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(30);

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let state = Folder::make("signer")?;
    let house = House::make(&state)?;
    house.begin(&state)?;
    let mut samples = Vec::new();
    for sample in 0..=SAMPLES {
        let edge = edge("desk", "intents", "signer");
        let mut numbers = (1 + sample * COMMANDS)..=((sample + 1) * COMMANDS);
        for _ in 0..COMMANDS / BATCH {
            let mut batch = Batch::default();
            for number in numbers.by_ref().take(BATCH as usize) {
                batch.push(&request(number).octets(), Frame::default());
            }
            edge.offer(batch).map_err(|_| "the edge is full")?;
        }
        edge.close();
        let (ns, signed) = house.run(edge, Orders::default())?;
        if signed != COMMANDS {
            return Err(format!("{signed} of {COMMANDS} commands were signed").into());
        }
        if sample > 0 {
            samples.push(ns);
        }
    }
    goal::rate(figures, "signer node, intent to signed command, software", Spread::of(samples), Some(GOAL));
    Ok(())
}

/// A graph of which the signer is really there.
struct House {
    env: Env,
    _writer: Writer,
}

impl House {
    fn make(state: &Folder) -> Result<Self, Failure> {
        let root = SigningKey::from_octets(&[8; 32]).ok_or("no key")?;
        let text = policy()?;
        let Ok(signature) = root.sign(&sha256(text.as_bytes()));
        fs::write(
            state.join("policy.toml.sig"),
            format!("[[signature]]\nby = \"root\"\nes256 = \"{}\"\n", Hex(&signature)),
        )?;
        fs::write(state.join("policy.toml"), text)?;
        fs::write(state.join("root.pub"), Hex(&root.verifying_key().uncompressed()).to_string())?;
        let log = Arc::new(Log::new(Arc::new(OsFiles), state.join("journal")));
        let writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable())?;
        let wire = |port: &str, to: &str| Wire { from: "signer".into(), port: port.into(), to: to.into() };
        let env = Env {
            node: "signer".to_owned(),
            instance: 0,
            instances: 1,
            run: 1,
            state: state.path().to_owned(),
            meters: Meters::default(),
            services: Default::default(),
            pool: BatchPool::new(1024),
            status: NodeStatus::default(),
            wires: Arc::new(vec![wire("records", "journal"), wire("audit", "audit")]),
            transports: Arc::default(),
            transport: None,
        };
        env.services.provide("journal", log);
        env.services.provide("keys", Arc::new(Lent(Arc::new(Keys(signing_key()?)))));
        Ok(Self { env, _writer: writer })
    }

    /// Puts the policy in force.
    fn begin(&self, state: &Folder) -> Result<(), Failure> {
        let (intents, kept) = (edge("desk", "intents", "signer"), state.join("signer-1").join("policy.toml"));
        thread::scope(|scope| {
            let run = scope.spawn(|| self.run(Arc::clone(&intents), Orders::default()).map(drop));
            let since = Instant::now();
            while !kept.exists() && since.elapsed() < LIMIT {
                thread::sleep(Duration::from_millis(10));
            }
            intents.close();
            run.join().map_err(|_| "the signer panicked")?
        })
    }

    /// Runs the signer until its input ends: nanoseconds of its thread for each command, and how many it signed.
    fn run(&self, intents: Arc<Edge>, orders: Orders) -> Result<(f64, u64), Failure> {
        let mut config = Config(
            CommandSignerKind
                .spec()
                .fields
                .into_iter()
                .filter_map(|field| Some((field.name.into_owned(), field.default?)))
                .collect(),
        );
        for (key, text) in [("keys", "keys"), ("policy", "policy.toml"), ("root", "root.pub")] {
            config.0.insert(key.to_owned(), Value::from(text));
        }
        let env = Env { meters: Meters::default(), ..self.env.clone() };
        let mut worker = CommandSignerKind.build(&config, &env)?;
        let (records, audit) = (edge("signer", "records", "journal"), edge("signer", "audit", "audit"));
        let edges = vec![Arc::clone(&records), Arc::clone(&audit)];
        let output = |port: &str, edge: Arc<Edge>| Output { port: port.to_owned(), edges: vec![edge] };
        let wiring = Wiring {
            inputs: vec![intents],
            outputs: vec![output("records", records), output("audit", audit)],
            orders,
            ..Wiring::default()
        };
        let spent = thread::scope(|scope| {
            let sink = scope.spawn(|| settle(edges.clone()));
            let signer = scope.spawn(|| {
                let mut context = Context::new(wiring);
                let begin = thread_cpu();
                let result = worker.run(&mut context);
                let spent = thread_cpu().saturating_sub(begin);
                edges.iter().for_each(|edge| edge.close());
                result.map(|()| spent)
            });
            let spent = signer.join().map_err(|_| "the signer panicked")??;
            sink.join().map_err(|_| "the sink panicked")??;
            Ok::<_, Failure>(spent)
        })?;
        let signed = env.counter("metergraph_commands_signed_total", "", &[]).get();
        Ok((each(spent, signed as usize), signed))
    }
}

/// Stands where journal and audit log would.
fn settle(inputs: Vec<Arc<Edge>>) -> Result<(), NodeError> {
    let mut context = Context::new(Wiring { inputs, ..Wiring::default() });
    loop {
        match context.next(Duration::from_secs(1))? {
            Next::Batch { input, number, .. } => {
                context.inputs.get(input).into_iter().for_each(|edge| edge.settle(number));
            }
            Next::Event(_) | Next::Idle => {}
            Next::Finished => return Ok(()),
        }
    }
}

/// An edge that never fills in a bench.
pub fn edge(from: &str, port: &str, to: &str) -> Arc<Edge> {
    let name =
        EdgeName { from: from.into(), port: port.into(), from_instance: 0, to: to.into(), to_instance: 0 };
    Arc::new(Edge::new(name, 4096, WhenFull::Wait))
}

/// Key store, token and clock.
struct Keys(SigningKey);

impl Means for Keys {
    fn system(&self) -> System {
        SYSTEM
    }

    fn device(&self, _: Dev) -> Option<(ProfileId, bool)> {
        Some((ProfileId::of(PROFILE.as_bytes()), false))
    }

    fn profiles(&self) -> Vec<(ProfileId, Arc<str>)> {
        vec![(ProfileId::of(PROFILE.as_bytes()), PROFILE.into())]
    }

    fn fence(&self) -> Result<(), SignRefusal> {
        Ok(())
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], String> {
        let Ok(signature) = self.0.sign(digest);
        Ok(signature)
    }

    fn now_ms(&self) -> u64 {
        NOW * 1000
    }

    /// Both stand still.
    fn running_ms(&self) -> u64 {
        0
    }
}
