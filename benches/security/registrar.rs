//! The registrar as it is in a graph, with its static key in memory: a sink stands where the shards would, and
//! settles at once. Time is that of the registrar and of its token's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use c1222::{ApTitleBuf, Apdu, Envelope, InvocationId, Leniency, Qualifier, carriage};
use journal::files::OsFiles;
use journal::{Settings, Writer};
use keystore::{FOLDER, NewAssociation, ProfileId, Store, Vault};
use node::context::{Orders, Output, Wiring};
use node::env::Wire;
use node::{Batch, BatchPool, Config, Context, Edge, Env, Frame, Meters, NodeKind, NodeStatus, Value};
use nodes::journal::Log;
use nodes::key_store::KeyStoreKind;
use nodes::load_balancer::LoadBalancerKind;
use nodes::registrar::{Closed, Lent, Means, NoKey, Provisioned, Provisioning, RegistrarKind};
use rustix::time::{ClockId, clock_gettime};
use seal::edhoc::{
    Agreement, Credential, DeviceCredential, PrivateKey, PublicKey, Refusal, Registered, initiate,
};
use seal::ids::{Dev, Sid};
use seal::secret::SharedSecret;

use crate::goal;
use crate::registration::{GOAL, ephemeral};
use crate::signer::edge;
use crate::site::SYSTEM;
use crate::support::{Failure, Figures, Folder, Spread};
use crate::timing::{each, thread_cpu};

/// Registrations of one sample.
const DEVICES: u64 = 500;
const SAMPLES: u64 = 7;
/// What takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(30);

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let state = Folder::make("registrar")?;
    let house = House::make(&state)?;
    let orders = Orders::default();
    let (input, shards, sealed) = (
        edge("balancer", "registrations", "registrar"),
        edge("registrar", "orders", "decrypt"),
        edge("registrar", "sealed", "downlink"),
    );
    let mut worker = house.build(&RegistrarKind, "registrar", &[("keys", "keys")])?;
    let output = |port: &str, edge: &Arc<Edge>| Output { port: port.into(), edges: vec![Arc::clone(edge)] };
    let wiring = Wiring {
        inputs: vec![Arc::clone(&input)],
        outputs: vec![output("orders", &shards), output("sealed", &sealed)],
        orders: orders.clone(),
        ..Wiring::default()
    };
    let samples = thread::scope(|scope| {
        let run = scope.spawn(move || worker.run(&mut Context::new(wiring)));
        let samples: Result<Vec<f64>, Failure> =
            (0..=SAMPLES).map(|sample| house.sample(sample, &input, &shards, &sealed)).collect();
        input.close();
        if samples.is_err() {
            orders.stop();
        }
        let samples = samples?;
        run.join().map_err(|_| "the registrar panicked")??;
        Ok::<_, Failure>(samples)
    })?;
    let ns = Spread::of(samples.into_iter().skip(1));
    goal::rate(figures, "registrar node, message_1 to message_4", ns, Some(GOAL));
    Ok(())
}

/// CPU time of all other threads of this process.
fn others_cpu() -> Duration {
    let process: Duration = clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default();
    process.saturating_sub(thread_cpu())
}

/// A graph of which the registrar is really there, and a balancer before it.
struct House {
    env: Env,
    keys: Arc<Keys>,
    devices: Vec<(PrivateKey, DeviceCredential)>,
    _writer: Writer,
}

impl House {
    fn make(state: &Folder) -> Result<Self, Failure> {
        Store::init(&state.join(FOLDER), Some(SYSTEM))?;
        let log = Arc::new(Log::new(Arc::new(OsFiles), state.join("journal")));
        let writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable())?;
        let wire =
            |from: &str, port: &str, to: &str| Wire { from: from.into(), port: port.into(), to: to.into() };
        let wires = vec![
            wire("balancer", "frames", "decrypt"),
            wire("balancer", "registrations", "registrar"),
            wire("journal", "log", "registrar"),
            wire("registrar", "orders", "decrypt"),
            wire("registrar", "sealed", "downlink"),
            wire("downlink", "transmit", "transport:wan"),
        ];
        let env = Env {
            node: String::new(),
            instance: 0,
            instances: 1,
            run: 1,
            state: state.path().to_owned(),
            meters: Meters::default(),
            services: Default::default(),
            pool: BatchPool::new(64),
            status: NodeStatus::default(),
            wires: Arc::new(wires),
            transports: Arc::new(vec!["wan".to_owned()]),
            transport: None,
        };
        env.services.provide("journal", log);
        let device = |number: u64| {
            let (mut octets, dev) = ([7; 32], Dev(number.to_be_bytes()));
            octets.last_chunk_mut::<8>().into_iter().for_each(|last| *last = number.to_be_bytes());
            let key = PrivateKey::from_octets(&octets)?;
            let credential = Credential { kid: dev, key: key.public_key() };
            Some((key, credential))
        };
        // New ones for each sample: who registers again within ten minutes is an alarm.
        let devices: Vec<_> =
            (1..=DEVICES * (SAMPLES + 1)).map(device).collect::<Option<_>>().ok_or("no key")?;
        let known = devices.iter().map(|(_, credential)| (credential.kid, credential.key)).collect();
        let key = PrivateKey::from_octets(&[3; 32]).ok_or("no key")?;
        let opened = Self::build_in(&env, &KeyStoreKind, "keys", &[("path", FOLDER)])?;
        let vault = env.services.find("keys").ok_or("no vault")?;
        drop(opened);
        let title = ApTitleBuf::parse(".75.1.1")?;
        let keys = Arc::new(Keys { key, known, vault, title, next: AtomicU32::new(0) });
        env.services.provide("keys", Arc::new(Lent(Arc::clone(&keys) as Arc<dyn Means>)));
        Ok(Self { env, keys, devices, _writer: writer })
    }

    fn build(
        &self,
        kind: &dyn NodeKind,
        node: &str,
        settings: &[(&str, &str)],
    ) -> Result<Box<dyn node::Worker>, Failure> {
        Self::build_in(&self.env, kind, node, settings)
    }

    fn build_in(
        env: &Env,
        kind: &dyn NodeKind,
        node: &str,
        settings: &[(&str, &str)],
    ) -> Result<Box<dyn node::Worker>, Failure> {
        let fields = kind.spec().fields.into_iter();
        let mut config =
            Config(fields.filter_map(|field| Some((field.name.into_owned(), field.default?))).collect());
        for (key, text) in settings {
            config.0.insert((*key).to_owned(), Value::from(*text));
        }
        for limit in ["per_second", "per_link_per_second"] {
            if let Some(value) = config.0.get_mut(limit) {
                *value = Value::from(100_000);
            }
        }
        Ok(kind.build(&config, &Env { node: node.to_owned(), ..env.clone() })?)
    }

    /// Nanoseconds of the head-end for each registration.
    fn sample(&self, sample: u64, input: &Edge, shards: &Edge, sealed: &Edge) -> Result<f64, Failure> {
        let from = (sample * DEVICES) as usize;
        let devices = self.devices.get(from..from + DEVICES as usize).ok_or("no devices")?;
        let mut begun = Vec::new();
        for _ in devices {
            begun.push(initiate(ephemeral()?));
        }
        let firsts = begun.iter().map(|(_, message_1)| [&[0x18][..], message_1].concat());
        let batches = self.balanced(firsts)?;
        let before = others_cpu();
        let answers = ask(batches, input, shards, sealed)?;
        let mut spent = others_cpu().saturating_sub(before);

        let mut thirds = Vec::new();
        for (((waiting, _), (_, message_2)), (key, credential)) in begun.iter().zip(&answers).zip(devices) {
            let head_end = |_| Some(self.keys.key.public_key());
            let [0x19, message_2 @ ..] = message_2.as_slice() else { return Err("no message_2".into()) };
            let (waiting, message_3) = waiting
                .message_2(message_2, credential, key, head_end)
                .map_err(|refusal| format!("{refusal:?}"))?;
            thirds.push([&[0x1a][..], &waiting.sid().0.to_be_bytes(), &message_3].concat());
        }
        let batches = self.balanced(thirds.into_iter())?;
        let before = others_cpu();
        let ends = ask(batches, input, shards, sealed)?;
        spent += others_cpu().saturating_sub(before);
        match ends.iter().all(|(_, frame)| frame.first() == Some(&0x1b)) {
            true => Ok(each(spent, devices.len())),
            false => Err("a registration did not end".into()),
        }
    }

    /// What a balancer makes of frames; each comes over a link of its own.
    fn balanced(&self, frames: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Batch>, Failure> {
        let (host, title) = (ApTitleBuf::parse(".1")?, ApTitleBuf::parse(".75.9")?);
        let (input, out) =
            (edge("ingress", "apdus", "balancer"), edge("balancer", "registrations", "registrar"));
        let mut batch = Batch::default();
        for (frame, link) in frames.zip(0..) {
            let envelope = Envelope {
                called: Some(host.as_title()),
                calling: Some(title.as_title()),
                qualifier: None::<Qualifier>,
                ..Envelope::new(InvocationId::new(7))
            };
            let mut apdu = Vec::new();
            carriage::write(&mut apdu, &envelope, &frame)?;
            let mut frame = Frame { link, ..Frame::default() }.with_transport(0);
            // As ingress leaves what it does not locate.
            frame.bits |= 1 << 8;
            batch.push(&apdu, frame);
        }
        input.offer(batch).map_err(|_| "the edge is full")?;
        input.close();
        let output = |port: &str, edge| Output { port: port.into(), edges: vec![edge] };
        let outputs = vec![
            output("frames", edge("balancer", "frames", "decrypt")),
            output("registrations", Arc::clone(&out)),
        ];
        let mut balancer = self.build(&LoadBalancerKind, "balancer", &[("keys", "keys")])?;
        balancer.run(&mut Context::new(Wiring { inputs: vec![input], outputs, ..Wiring::default() }))?;
        Ok(std::iter::from_fn(|| out.take()).map(|(_, batch)| batch).collect())
    }
}

/// Sends what is asked, settles what is ordered, and answers the frames that come down, in the order of links.
fn ask(
    batches: Vec<Batch>,
    input: &Edge,
    shards: &Edge,
    sealed: &Edge,
) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
    let asked: usize = batches.iter().map(Batch::len).sum();
    for batch in batches {
        input.offer(batch).map_err(|_| "the edge is full")?;
    }
    let (since, mut answers) = (Instant::now(), Vec::with_capacity(asked));
    while answers.len() < asked {
        if since.elapsed() > LIMIT {
            return Err(format!("{} of {asked} messages were answered", answers.len()).into());
        }
        while let Some((number, _)) = shards.take() {
            shards.settle(number);
        }
        while let Some((number, batch)) = sealed.take() {
            for frame in &batch.frames {
                let apdu = Apdu::decode(batch.octets(frame).ok_or("no octets")?, Leniency::Strict)?;
                let carried = carriage::read(&apdu)?.ok_or("no frame")?;
                answers.push((frame.link, [carried.head, carried.body].concat()));
            }
            sealed.settle(number);
        }
        thread::sleep(Duration::from_millis(1));
    }
    answers.sort_unstable_by_key(|(link, _)| *link);
    Ok(answers)
}

/// Key store and token.
struct Keys {
    key: PrivateKey,
    known: HashMap<Dev, PublicKey>,
    vault: Arc<Vault>,
    title: ApTitleBuf,
    next: AtomicU32,
}

impl Provisioning for Keys {
    fn of_association(&self, _: Sid) -> Option<Provisioned> {
        None
    }

    fn of_serial_number(&self, _: &[u8]) -> Option<Provisioned> {
        None
    }
}

impl Means for Keys {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, String> {
        let Ok(shared) = self.key.agree(peer);
        Ok(shared)
    }

    fn allocate(&self) -> Option<Sid> {
        Some(Sid(self.next.fetch_add(1, Ordering::Relaxed)))
    }

    fn free(&self, _: Sid) {}

    fn device(&self, dev: Dev) -> Result<PublicKey, NoKey> {
        self.known.get(&dev).copied().ok_or(NoKey::Refused(Refusal::Unknown))
    }

    fn association(&self, _: Dev) -> Option<Sid> {
        None
    }

    fn seal(&self, registered: &Registered) -> Result<Box<[u8]>, String> {
        let sealed = self.vault.seal_association(&NewAssociation {
            sid: registered.sid,
            dev: registered.dev,
            prk: &registered.prk,
            title: self.title.as_title(),
            esn: "MG00000001",
            profile: ProfileId([7; 32]),
        });
        sealed.map(Vec::into_boxed_slice).map_err(|error| error.to_string())
    }

    fn is_open(&self) -> bool {
        true
    }

    fn fence(&self) -> Result<(), Closed> {
        Ok(())
    }
}
