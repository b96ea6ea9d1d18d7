//! The export alone: reports written into a journal by hand, and `mdm-egress` over it.

use std::sync::Arc;
use std::time::Duration;

use c1222::epsem::ResponseControl;
use c1222::tables::TableId;
use c1222::{EpsemControl, EpsemWriter, Request, SecurityMode, TableData};
use journal::{Settings, Writer};
use metergraph_nodes::journal::{FileLayer, Log};
use metergraph_nodes::mdm_egress::MdmEgressKind;
use metergraph_nodes::record::{self, Origin, Report};
use node::context::{Orders, Wiring};
use node::env::{Services, Wire};
use node::event::EventEdge;
use node::{
    BatchPool, Context, EdgeName, Env, Event, Meters, NodeError, NodeKind, NodeState, NodeStatus, Value,
    WhenFull,
};
use seal::ids::{Dev, Epoch, Sid};

use super::device::PROFILE;
use super::graph::config;
use super::site::Site;

/// 2026-01-01T00:00:00Z.
pub const NEW_YEAR: u64 = 1_767_225_600;
/// Small segments: their ends are met.
pub const SETTINGS: Settings = Settings { segment_octets: 32 << 10, size_max: 1 << 30, spares_max: 2 };

/// An EPSEM of clock, registers and one load-profile block that end at this moment.
pub fn body(end: u64, registers: [i64; 2], intervals: [i64; 4]) -> Vec<u8> {
    let text = std::fs::read_to_string(PROFILE).unwrap();
    let profile = graph::device_profile::parse(&text).0.unwrap();
    let [clock, registers, block] = [52, 23, 64].map(|number| {
        let (table, mut data) = (TableId::standard(number), Vec::new());
        match number {
            52 => profile.write_clock(end, &mut data).unwrap(),
            23 => profile.write_registers(table, end, &registers, &mut data).unwrap(),
            _ => profile.write_block(table, end, &intervals, &mut data).unwrap(),
        }
        (table, data)
    });
    let mut out = Vec::new();
    let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
    let mut writer = EpsemWriter::new(&mut out, control, Some(*b"MGRF"));
    for (table, data) in [&clock, &registers, &block] {
        writer.request(&Request::FullWrite { table: *table, data: TableData::of(data) });
    }
    out
}

/// A report's fixed part.
pub fn report(dev: Dev, sid: Sid, seq: u32) -> Report {
    Report {
        sid,
        dev,
        epoch: Epoch(250),
        origin: Origin::Report,
        seq,
        iv: 0,
        received: (NEW_YEAR + 90) * 1_000_000_000 + 999_999_999,
    }
}

/// One life of an export over a site's journal.
pub struct Egress {
    pub log: Arc<Log>,
    pub meters: Meters,
    pub services: Services,
    pub status: NodeStatus,
    pub orders: Orders,
    pub events: Arc<EventEdge>,
    env: Env,
}

impl Egress {
    pub fn new(site: &Site) -> Self {
        let services = Services::default();
        let log = Arc::new(Log::new(Arc::clone(&site.files), site.state().join("journal")));
        services.provide("journal", Arc::clone(&log));
        services.provide("keys", Arc::clone(&site.directory));
        let slots = site.directory.slots();
        slots.open();
        services.provide("keys", Arc::new(slots));
        services.provide("", Arc::new(FileLayer(Arc::clone(&site.files))));
        let wire = Wire { from: "journal".into(), port: "log".into(), to: "mdm".into() };
        let (meters, status) = (Meters::default(), NodeStatus::default());
        let env = Env {
            node: "mdm".to_owned(),
            instance: 0,
            instances: 1,
            run: 1,
            state: site.state(),
            meters: meters.clone(),
            services: services.clone(),
            pool: BatchPool::new(1),
            status: status.clone(),
            wires: Arc::new(vec![wire]),
            transports: Arc::default(),
            transport: None,
        };
        let name = EdgeName {
            from: "mdm".into(),
            port: "events".into(),
            from_instance: 0,
            to: "monitor".into(),
            to_instance: 0,
        };
        let events = Arc::new(EventEdge::new(name, 1024, WhenFull::Collapse));
        Self { log, meters, services, status, orders: Orders::default(), events, env }
    }

    /// Opens the journal.
    pub fn writer(&self) -> Writer {
        Writer::open(self.log.files(), self.log.folder(), SETTINGS, self.log.durable()).unwrap()
    }

    /// Runs until it is told to drain or stop.
    pub fn run(&self, settings: &[(&'static str, i64)]) -> Result<(), NodeError> {
        let kind = MdmEgressKind;
        let settings = settings.iter().map(|(key, value)| (*key, Value::from(*value)));
        let mut worker = kind.build(&config(&kind, settings), &self.env).unwrap();
        worker.run(&mut Context::new(Wiring {
            event_outputs: vec![Arc::clone(&self.events)],
            status: self.status.clone(),
            orders: self.orders.clone(),
            ..Wiring::default()
        }))
    }

    /// Exports all there is, and ends.
    pub fn export(&self, settings: &[(&'static str, i64)]) {
        self.orders.drain();
        self.run(settings).unwrap();
    }

    /// Exports until the disk is gone, or to the end.
    pub fn export_until_cut(&self, settings: &[(&'static str, i64)]) {
        self.orders.drain();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| self.run(settings));
            while !run.is_finished() && self.status.state() != NodeState::Stalled {
                std::thread::sleep(Duration::from_micros(100));
            }
            self.orders.stop();
            // A start that does not come through is a failure, as it should be.
            drop(run.join().unwrap());
        });
    }

    pub fn events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.take()).collect()
    }

    pub fn sum(&self, name: &str) -> u64 {
        let meters = self.meters.all().into_iter().filter(|meter| meter.name == name);
        meters
            .map(|meter| match meter.reading {
                node::meters::Reading::Counter(counter) => counter.get(),
                node::meters::Reading::Gauge(gauge) => u64::try_from(gauge.get()).unwrap(),
            })
            .sum()
    }
}

/// Appends reports and commits them, `each` at a time.
pub fn append(writer: &mut Writer, reports: impl IntoIterator<Item = (Report, Vec<u8>)>, each: usize) {
    for (place, (report, body)) in reports.into_iter().enumerate() {
        let mut octets = report.head().to_vec();
        octets.extend_from_slice(&body);
        writer.append(record::REPORT, &octets).unwrap();
        if place % each == each - 1 {
            writer.commit().unwrap();
        }
    }
    writer.commit().unwrap();
}
