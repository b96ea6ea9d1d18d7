//! What the disk alone can do: the floor under everything durable.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::support::{Failure, Folder};

const LASTS: Duration = Duration::from_secs(1);
/// The file is written over and over.
const FILE_OCTETS: u64 = 64 << 20;

/// Writes of so many octets into a file that is there, each followed by fdatasync, a second.
///
/// # Errors
/// The file system's.
pub fn syncs(folder: &Folder, octets: usize) -> Result<f64, Failure> {
    let path = folder.join("syncs");
    let (file, data) = (File::create(&path)?, vec![0x5a; octets]);
    let places = FILE_OCTETS / octets as u64;
    for place in 0..places {
        file.write_all_at(&data, place * octets as u64)?;
    }
    file.sync_all()?;
    let (since, mut syncs) = (Instant::now(), 0_u32);
    while since.elapsed() < LASTS {
        file.write_all_at(&data, u64::from(syncs) % places.max(1) * octets as u64)?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / since.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(rate)
}
