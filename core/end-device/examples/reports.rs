//! What a report and an acknowledgement cost: `cargo run -p metergraph-end-device --example reports [DEVICES]`.
//!
//! First each step alone, in batches of 512 over all devices; then a whole fleet on one thread, against a tiny
//! head-end on another, over loopback TCP.

#[path = "../tests/common/mod.rs"]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "shared with the tests")]
mod common;

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use c1222::{ApTitleBuf, Apdu, Envelope, InvocationId, Leniency, SecurityMode, carriage};
use common::{Faults, HeadEnd, SYSTEM, devices, layout, settings};
use metergraph_end_device::fleet::{DeviceKeys, Fleet, Settings};
use metergraph_end_device::meter::Meter;
use metergraph_end_device::report::Scratch;
use metergraph_end_device::reporter::{Association, Begun, Reporter};
use seal::control::{Ack, Down, Item};
use seal::frame::{Bound, FrameType, Head, TAG_LEN};
use seal::profile1::{Channel, Job, open_batch, seal_batch};

/// Reports that are made and sealed together.
const BATCH: usize = 512;
const LASTS: Duration = Duration::from_secs(4);

fn main() -> Result<(), Box<dyn Error>> {
    let count = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    steps(count)?;
    fleet(count)
}

/// A report that is being made, and later its acknowledgement.
struct Making {
    device: usize,
    begun: Begun,
    start: usize,
    len: usize,
}

fn steps(count: u32) -> Result<(), Box<dyn Error>> {
    let layout = layout();
    let mut reporters: Vec<(Reporter, Meter)> = devices(count, 0)
        .into_iter()
        .filter_map(|device| {
            let DeviceKeys::Profile1 { epoch, keys } = device.keys else { return None };
            let meter = Meter::new(1, device.dev);
            let (dev, sid, title) = (device.dev, device.sid, device.title);
            let mut reporter = Reporter::new(Association { dev, sid, epoch, keys, title });
            reporter.reserved(1 << 20);
            Some((reporter, meter))
        })
        .collect();
    let host = ApTitleBuf::parse(".1")?;
    let (mut scratch, mut octets, mut out) = (Scratch::default(), Vec::new(), Vec::new());
    let (mut making, mut sealed) = (Vec::<Making>::new(), Vec::new());
    let (mut building, mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut made, mut acked, mut turn) = (0_u64, 0_u64, 0);
    let start = Instant::now();
    while start.elapsed() < LASTS {
        let begin = Instant::now();
        octets.clear();
        making.clear();
        for _ in 0..BATCH {
            let device = turn;
            turn = (turn + 1) % reporters.len();
            let Some((reporter, meter)) = reporters.get_mut(device) else { continue };
            let Some(begun) = reporter.begin(1) else { continue };
            let start = octets.len();
            layout.write(SecurityMode::Clear, *meter, begun.number, &mut scratch, &mut octets)?;
            octets.extend_from_slice(&[0; TAG_LEN]);
            making.push(Making { device, begun, start, len: octets.len() - start });
        }
        building += begin.elapsed();

        let begin = Instant::now();
        let jobs: Vec<Job<'_>> = making
            .iter()
            .filter_map(|making| {
                let (reporter, _) = reporters.get(making.device)?;
                Some(reporter.upstream(SYSTEM).job(&making.begun.head, making.start, making.len))
            })
            .collect();
        seal_batch(&mut octets, &jobs, &mut sealed);
        out.clear();
        for Making { device, begun, start, len } in &making {
            let Some((reporter, _)) = reporters.get_mut(*device) else { continue };
            let body = octets.get(*start..start + len).unwrap_or_default();
            reporter.keep(begun, body, 1);
            reporter.write_apdu(host.as_title(), &begun.head, body, &mut out)?;
        }
        sealing += begin.elapsed();
        made += making.len() as u64;

        let mut acks = acknowledge(&reporters, &making, host.as_title())?;
        let begin = Instant::now();
        acked += open(&mut reporters, &making, &mut acks)?;
        opening += begin.elapsed();
        black_box(&out);
    }
    let each = |spent: Duration, count: u64| spent.as_nanos() as f64 / count.max(1) as f64;
    println!("{count} devices, reports of {} octets, one thread:", layout.octets());
    println!("  report built     {:5.0} ns", each(building, made));
    println!("  report sealed    {:5.0} ns (kept and carried in its APDU)", each(sealing, made));
    println!("  ack opened       {:5.0} ns (decoded, opened, its report found)", each(opening, acked));
    Ok(())
}

/// The acknowledgements of these reports, as a head-end sends them; not measured.
fn acknowledge(
    reporters: &[(Reporter, Meter)],
    making: &[Making],
    host: c1222::ApTitle<'_>,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let (mut out, mut plaintext, mut body) = (Vec::new(), Vec::new(), Vec::new());
    for Making { device, begun, .. } in making {
        let Some((reporter, _)) = reporters.get(*device) else { continue };
        let Association { dev, sid, epoch, keys, title } = reporter.association();
        let bound = Bound { system: SYSTEM, scope: (*dev).into(), epoch: *epoch };
        let channel = Channel { key: &keys.dn, common_iv: &keys.common_iv, bound };
        let head = channel.head(FrameType::DownControl, sid.0, begun.head.seq);
        plaintext.clear();
        body.clear();
        Down::Ack(Ack { epoch: *epoch, highest: begun.head.seq, bitmap: u64::MAX }).write(&mut plaintext);
        if !channel.seal(&head, &plaintext, &mut body) {
            return Err("too long".into());
        }
        let envelope = Envelope {
            called: Some(title.as_title()),
            calling: Some(host),
            ..Envelope::new(InvocationId::new(begun.head.seq))
        };
        carriage::write_head(&mut out, &envelope, &head.octets(), body.len())?;
        out.extend_from_slice(&body);
    }
    Ok(out)
}

fn open(
    reporters: &mut [(Reporter, Meter)],
    making: &[Making],
    data: &mut [u8],
) -> Result<u64, Box<dyn Error>> {
    let (mut arrivals, mut at) = (Vec::with_capacity(BATCH), 0);
    while let Some(len) = c1222::apdu::measure(data.get(at..).unwrap_or_default(), 4096)? {
        let apdu = Apdu::decode(data.get(at..at + len).unwrap_or_default(), Leniency::Strict)?;
        let carried = carriage::read(&apdu)?.ok_or("no frame")?;
        let head = Head::read(carried.head, carried.body.len())?;
        arrivals.push((head, at + apdu.user_at() + 1, carried.body.len()));
        at += len;
    }
    let mut jobs: Vec<Job<'_>> = Vec::with_capacity(arrivals.len());
    for (making, (head, start, len)) in making.iter().zip(&arrivals) {
        let (reporter, _) = reporters.get(making.device).ok_or("no device")?;
        jobs.push(reporter.admit(head, SYSTEM)?.job(head, *start, *len));
    }
    let mut opened = Vec::new();
    open_batch(data, &jobs, &mut opened);
    let mut acked = 0;
    for ((making, (head, start, len)), opened) in making.iter().zip(&arrivals).zip(opened) {
        let (reporter, _) = reporters.get_mut(making.device).ok_or("no device")?;
        let plaintext = data.get(*start..start + len - TAG_LEN).filter(|_| opened);
        reporter.accept(head, plaintext, 1, |_| acked += 1)?;
    }
    Ok(acked)
}

fn fleet(count: u32) -> Result<(), Box<dyn Error>> {
    let head_end = HeadEnd::start(count, false, Faults::default());
    let settings = Settings { relays: 10, duration: LASTS, ..settings(head_end.address) };
    let outcome = Fleet::new(settings, vec![layout()], devices(count, 0))?.run(|_| true)?;
    head_end.stop();
    println!("whole fleet, 10 relays over loopback TCP, a head-end beside it:");
    println!("  {:.0} reports/s acknowledged, {} repeats", outcome.acked_per_second, outcome.repeats);
    println!(
        "  latency p50 {:.1} ms, p99 {:.1} ms",
        outcome.latency_p50_ms.unwrap_or(0.0),
        outcome.latency_p99_ms.unwrap_or(0.0)
    );
    Ok(())
}
