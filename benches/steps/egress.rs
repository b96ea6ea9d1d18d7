//! Egress as it is in a graph: reports in the journal become finished CSV files with their manifests.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use c1222::SecurityMode;
use end_device::meter::Meter;
use end_device::report::{ReportLayout, Scratch};
use journal::files::OsFiles;
use journal::{JournalError, Settings, Writer};
use node::context::{Orders, Wiring};
use node::{Context, NodeError};
use nodes::mdm_egress::MdmEgressKind;
use nodes::record::{self, Origin, Report};

use crate::lab::{Lab, PROFILE};
use crate::rig::Rig;
use crate::support::{Failure, Figures, Spread};
use crate::timing::{each, thread_cpu};

const ROUNDS: u32 = 5;

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    let (profile, _) = graph::device_profile::parse(&fs::read_to_string(PROFILE)?);
    let layout = ReportLayout::new(profile.ok_or("the residential profile has faults")?)?;
    figures.put("octets of a residential report", layout.octets() as f64, "octets");
    let (mut per_row, mut per_report, mut rate) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let rig = Rig::new(lab, &format!("egress-{round}"))?;
        fill(lab, &layout, &rig)?;
        let folder = lab.state.join("mdm");
        let mut worker =
            rig.build(&MdmEgressKind, "mdm", &[("keys", "keys"), ("path", &folder.to_string_lossy())])?;
        // Told to drain before it begins, it reads to the end and closes its last file.
        let orders = Orders::default();
        orders.drain();
        let wiring = Wiring { orders, ..Wiring::default() };
        let (spent, took) = thread::scope(|scope| {
            let run = scope.spawn(|| {
                let (begin, since) = (thread_cpu(), Instant::now());
                worker.run(&mut Context::new(wiring))?;
                Ok::<_, NodeError>((thread_cpu().saturating_sub(begin), since.elapsed()))
            });
            run.join().map_err(|_| "egress panicked")?.map_err(Failure::from)
        })?;
        fs::remove_dir_all(&folder)?;
        let rows = usize::try_from(rig.sum("metergraph_readings_exported_total"))?;
        if rows < lab.devices.len() {
            return Err(format!("{} reports gave {rows} rows", lab.devices.len()).into());
        }
        per_row.push(each(spent, rows));
        per_report.push(each(spent, lab.devices.len()));
        rate.push(rows as f64 / took.as_secs_f64());
    }
    figures.spread("egress, journal record to CSV row in a finished file", Spread::of(per_row), "ns/row");
    figures.spread("egress, all rows of a report", Spread::of(per_report), "ns/report");
    figures.spread("egress, rows in finished files", Spread::of(rate), "rows/s");
    Ok(())
}

/// Writes the first report of each device into the journal.
fn fill(lab: &Lab, layout: &ReportLayout, rig: &Rig) -> Result<(), Failure> {
    let files = Arc::new(OsFiles);
    let mut writer = Writer::open(files, rig.log.folder(), Settings::default(), rig.log.durable())?;
    let (mut scratch, mut octets) = (Scratch::default(), Vec::new());
    for device in &lab.devices {
        let report = Report {
            sid: device.sid,
            dev: device.dev,
            epoch: device.epoch,
            origin: Origin::Report,
            seq: 0,
            iv: 0,
            received: node::event::unix_ns(),
        };
        octets.clear();
        octets.extend_from_slice(&report.head());
        layout.write(SecurityMode::Clear, Meter::new(1, device.dev), 0, &mut scratch, &mut octets)?;
        match writer.append(record::REPORT, &octets) {
            Err(JournalError::BatchFull { .. }) => {
                writer.commit()?;
                writer.append(record::REPORT, &octets)?;
            }
            appended => appended?,
        }
    }
    Ok(writer.close()?)
}
