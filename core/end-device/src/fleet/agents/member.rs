//! One device of the fleet, and how it is made, cut off and made again.

use std::path::Path;
use std::sync::Arc;

use journal::files::OsFiles;
use seal::ids::{Dev, System};
use seal::receiver::Signers;

use c1222::ApTitleBuf;
use seal::edhoc::HeadEndCredential;

use super::super::list::Origin;
use super::AgentsError;
use crate::agent::{
    Agent, Cut, CutStorage, Entropy, FileStorage, Identity, MemoryStorage, MeterApplication, Provisioned,
    Settings, Storage,
};
use crate::end_device::{EndDevice, Moment, Setup};
use crate::meter::Meter;
use crate::report::ReportLayout;
use crate::secrets::SecretDevice;

/// What all devices of a fleet were made with.
pub(super) struct Maker {
    pub system: System,
    pub credential: HeadEndCredential,
    pub signers: Signers,
    pub head_end: ApTitleBuf,
    pub settings: Settings,
    pub seed: u64,
    pub layouts: Vec<Arc<ReportLayout>>,
}

/// Randomness of the operating system; where that fails, nothing that needs some goes on.
struct Os;

impl Entropy for Os {
    fn fill(&mut self, octets: &mut [u8]) {
        // Without randomness no key may be drawn; a nonce of zeros would be worse than waiting.
        while getrandom::fill(octets).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// Where a device's state is.
enum Place {
    Memory(MemoryStorage),
    File(std::path::PathBuf),
}

/// A device of the fleet.
pub(super) struct Member {
    pub agent: Agent,
    secret: SecretDevice,
    layout: usize,
    place: Place,
    pub relay: usize,
    /// When it is polled next.
    pub wake_ns: u64,
    /// [`Agent::register`] was called for the first time.
    pub begun: bool,
}

impl Member {
    pub fn new(
        maker: &Maker,
        secret: SecretDevice,
        layout: usize,
        relay: usize,
        state: Option<&Path>,
        now: Moment,
    ) -> Result<Self, AgentsError> {
        let place = match state {
            Some(folder) => Place::File(folder.join(format!("{}.device", secret.dev))),
            None => Place::Memory(MemoryStorage::default()),
        };
        let agent = make(maker, &secret, layout, storage(&place, None), now)?;
        Ok(Self { agent, secret, layout, place, relay, wake_ns: 0, begun: false })
    }

    pub fn dev(&self) -> Dev {
        self.secret.dev
    }

    /// Where the rows of its reports come from.
    pub fn origin<'m>(&self, maker: &'m Maker) -> Option<Origin<'m>> {
        let layout = maker.layouts.get(self.layout)?;
        Some(Origin { dev: self.dev(), layout, meter: Meter::new(maker.seed, self.dev()) })
    }

    /// Goes off and comes up again; its storage is cut off after so many saves, if any number is given.
    pub fn restart(
        &mut self,
        maker: &Maker,
        cut: Option<(u32, Cut)>,
        now: Moment,
    ) -> Result<(), AgentsError> {
        self.agent = make(maker, &self.secret, self.layout, storage(&self.place, cut), now)?;
        self.agent.connected(now);
        if self.agent.association().is_none() && self.begun {
            self.agent.register(now);
        }
        self.wake_ns = 0;
        Ok(())
    }
}

fn storage(place: &Place, cut: Option<(u32, Cut)>) -> Box<dyn Storage> {
    let cut_off = |storage: Box<dyn Storage>| -> Box<dyn Storage> {
        match cut {
            Some((saves, cut)) => Box::new(CutStorage::new(storage, saves, cut)),
            None => storage,
        }
    };
    match place {
        Place::Memory(memory) => cut_off(Box::new(memory.clone())),
        Place::File(path) => cut_off(Box::new(FileStorage::new(Arc::new(OsFiles), path.clone()))),
    }
}

fn make(
    maker: &Maker,
    secret: &SecretDevice,
    layout: usize,
    storage: Box<dyn Storage>,
    now: Moment,
) -> Result<Agent, AgentsError> {
    let dev = secret.dev;
    let identity = Identity::new(Provisioned {
        dev,
        esn: secret.esn.clone(),
        title: secret.title.clone(),
        system: maker.system,
        head_end: maker.head_end.clone(),
        credential: maker.credential,
        signers: maker.signers.clone(),
        agreement: secret.agreement.clone(),
        signing: secret.signing.clone(),
    });
    let identity = identity.ok_or(AgentsError::Key(dev))?;
    let layout = maker.layouts.get(layout).ok_or(AgentsError::Key(dev))?;
    let meter = Meter::new(maker.seed, dev);
    let setup = Setup {
        profile1_only: true,
        ..Setup::new(layout.profile().clone(), secret.title.clone(), secret.esn.clone(), meter)
    };
    let application = MeterApplication::new(EndDevice::new(setup, now), meter, Arc::clone(layout));
    Ok(Agent::open(identity, maker.settings, Box::new(application), storage, Box::new(Os), now)?)
}
