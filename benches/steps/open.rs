//! Opening: a key of its own for each frame, 128 octets of plaintext.

use seal::profile1::{Job, open_batch, open_one};

use crate::lab::{BATCH, Device, Lab, body_octets};
use crate::support::{Failure, Figures};
use crate::timing::ns_each;

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    let sealed = lab.bodies(1)?;
    let frames = lab.devices.len();
    let one_by_one = ns_each(
        frames,
        || sealed.clone(),
        |data| {
            let jobs = lab.devices.iter().enumerate().map(|(place, device)| job(device, place));
            let opened = jobs.filter(|job| open_one(data, job)).count();
            check(opened, frames)
        },
    )?;
    figures.spread("open, one by one (crate ccm)", one_by_one, "ns/frame");
    let batches = ns_each(frames, || sealed.clone(), |data| check(open_batches(lab, data), frames))?;
    figures.spread("open, in batches of 256", batches, "ns/frame");
    Ok(())
}

fn open_batches(lab: &Lab, data: &mut [u8]) -> usize {
    let (mut jobs, mut verdicts): (Vec<Job<'_>>, _) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let (mut opened, mut place) = (0, 0);
    for devices in lab.devices.chunks(BATCH) {
        jobs.clear();
        jobs.extend(devices.iter().zip(place..).map(|(device, place)| job(device, place)));
        place += devices.len();
        open_batch(data, &jobs, &mut verdicts);
        opened += verdicts.iter().filter(|opened| **opened).count();
    }
    opened
}

fn job(device: &Device, place: usize) -> Job<'_> {
    device.upstream().job(&device.head(1), place * body_octets(), body_octets())
}

fn check(opened: usize, frames: usize) -> Result<(), Failure> {
    if opened == frames { Ok(()) } else { Err(format!("{opened} of {frames} frames opened").into()) }
}
