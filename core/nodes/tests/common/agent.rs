//! Whole end devices at a running head-end: each on a link of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use end_device::agent::{
    Agent, Entropy, Executed, Identity, MemoryStorage, MeterApplication, Output, Provisioned, Settings,
};
use end_device::end_device::{EndDevice, Moment, Setup};
use end_device::meter::Meter;
use end_device::report::ReportLayout;
use end_device::secrets::{SecretDevice, Secrets};
use seal::ids::Dev;
use seal::receiver::Signers;

use super::device::{PROFILE, host};
use super::graph::Graph;
use super::meter::now;
use super::wait_for;

/// Randomness of the operating system.
struct Os;

impl Entropy for Os {
    fn fill(&mut self, octets: &mut [u8]) {
        getrandom::fill(octets).unwrap();
    }
}

/// A device, what became of what it was told, and what stands between it and the head-end.
pub struct Member {
    pub agent: Agent,
    /// Its clock is so many seconds ahead.
    pub ahead: i64,
    /// Codes that it reported.
    pub refused: Vec<&'static str>,
    pub executed: Vec<Executed>,
    link: u32,
}

impl Member {
    /// A device of a lab that knows these signers, with the classes of its profile's text.
    pub fn new(secrets: &Secrets, place: usize, signers: Signers, profile: &str) -> Self {
        let SecretDevice { dev, esn, title, agreement, signing, .. } = &secrets.devices[place];
        let identity = Identity::new(Provisioned {
            dev: *dev,
            esn: esn.clone(),
            title: title.clone(),
            system: secrets.system,
            head_end: host(),
            credential: secrets.credential,
            signers,
            agreement: agreement.clone(),
            signing: signing.clone(),
        });
        let layout = Arc::new(ReportLayout::new(graph::device_profile::parse(profile).0.unwrap()).unwrap());
        let meter = Meter::new(1, *dev);
        let setup = Setup {
            profile1_only: true,
            ..Setup::new(layout.profile().clone(), title.clone(), esn.clone(), meter)
        };
        let device = EndDevice::new(setup, moment(0));
        let application = Box::new(MeterApplication::new(device, meter, layout));
        let settings = Settings { paced: true, ..Settings::default() };
        let storage = Box::new(MemoryStorage::default());
        let agent = Agent::open(identity.unwrap(), settings, application, storage, Box::new(Os), moment(0));
        let link = u32::try_from(place).unwrap() + 100;
        Self { agent: agent.unwrap(), ahead: 0, refused: Vec::new(), executed: Vec::new(), link }
    }

    /// The text of the profile that meters have.
    pub fn profile() -> String {
        std::fs::read_to_string(PROFILE).unwrap()
    }

    pub fn dev(&self) -> Dev {
        self.agent.identity().dev
    }

    /// Takes an APDU that came down, and sends what it has to say.
    pub fn hear(&mut self, graph: &Graph, apdu: &[u8]) {
        let mut out = Vec::new();
        self.agent.handle(u64::from(self.link), apdu, moment(self.ahead), &mut out);
        self.say(graph, out);
    }

    fn poll(&mut self, graph: &Graph) {
        let mut out = Vec::new();
        self.agent.poll(moment(self.ahead), &mut out);
        self.say(graph, out);
    }

    fn say(&mut self, graph: &Graph, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(apdu) => graph.send(self.link, &[apdu]),
                Output::Refused(code) => self.refused.push(code),
                Output::Executed(executed) => self.executed.push(executed),
                _ => {}
            }
        }
    }

    /// What its counters have by code.
    pub fn counted(&self, code: &str) -> u64 {
        self.agent.counts().refused.get(code).copied().unwrap_or(0)
    }

    pub fn codes(&self) -> BTreeSet<&'static str> {
        self.refused.iter().copied().collect()
    }
}

fn moment(ahead: i64) -> Moment {
    Moment { unix_s: now().saturating_add_signed(ahead), steady_ns: node::clock::monotonic_ns() }
}

/// Lets all devices run until something is there; `between` sees every APDU on its way down and answers what
/// comes of it.
pub fn until<T>(
    what: &str,
    graph: &Graph,
    members: &mut [Member],
    mut between: impl FnMut(&[u8]) -> Vec<Vec<u8>>,
    mut look: impl FnMut(&mut [Member]) -> Option<T>,
) -> T {
    wait_for(what, || {
        for (link, apdu) in graph.sent() {
            for member in members.iter_mut().filter(|member| member.link == link) {
                between(&apdu).iter().for_each(|apdu| member.hear(graph, apdu));
            }
        }
        members.iter_mut().for_each(|member| member.poll(graph));
        look(members)
    })
}

/// Nothing stands between.
pub fn whole(apdu: &[u8]) -> Vec<Vec<u8>> {
    vec![apdu.to_vec()]
}

/// Registers all devices, and waits until the head-end has heard of each under its new association.
pub fn register(graph: &Graph, members: &mut [Member]) {
    members.iter_mut().for_each(|member| member.agent.register(moment(member.ahead)));
    let directory: Arc<keystore::Directory> = graph.services.find("keys").unwrap();
    until("registrations", graph, members, whole, |members| {
        let ready = |member: &mut Member| {
            member.agent.receiver().is_some()
                && !member.agent.is_renewing()
                && member.agent.waiting() == 0
                && directory.sid(member.dev()).is_some()
        };
        members.iter_mut().all(ready).then_some(())
    });
}
