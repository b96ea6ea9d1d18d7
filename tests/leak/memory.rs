//! The memory of a process, as root reads it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

const PAGE: usize = 4096;
/// Octets that are read at once.
const PART: usize = 1 << 20;

/// Sends a signal to a process of ours.
pub fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
}

/// Stops a process, and waits until it stands still.
pub fn stop(id: u32) {
    signal(id, Signal::STOP);
    let stands = || {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    while !stands() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A stretch of memory without a page of zeros.
pub struct Stretch {
    /// Of the first octet.
    pub address: u64,
    /// What the system calls the mapping: `[heap]`, `[stack]`, a file, or nothing.
    pub mapping: String,
    pub octets: Vec<u8>,
}

/// What a process had in memory at one moment.
pub struct Snapshot {
    pub stretches: Vec<Stretch>,
}

impl Snapshot {
    /// Stops the process, copies everything that it can read, and lets it go on.
    pub fn take(id: u32) -> Self {
        stop(id);
        let taken = Self::read(id);
        signal(id, Signal::CONT);
        taken.unwrap_or_else(|error| {
            panic!("the memory of {id} cannot be read: {error}; this test runs as root")
        })
    }

    fn read(id: u32) -> std::io::Result<Self> {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        assert_eq!(children.trim(), "", "a child process, which nobody scans");
        let maps = fs::read_to_string(format!("/proc/{id}/maps"))?;
        let memory = File::open(format!("/proc/{id}/mem"))?;
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut part = vec![0; PART];
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let (range, access) = (words.next().unwrap(), words.next().unwrap());
            let mapping = words.nth(3).unwrap_or_default();
            if !access.starts_with('r') || mapping.starts_with("[v") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
            let mut at = from;
            while at < to {
                let wanted = usize::try_from(to - at).unwrap().min(PART);
                // Past the end of a mapped file there is nothing.
                let Ok(count @ 1..) = memory.read_at(&mut part[..wanted], at) else { break };
                for page in part[..count].chunks(PAGE) {
                    match stretches.last_mut() {
                        _ if page.iter().all(|octet| *octet == 0) => {}
                        Some(last) if last.address + last.octets.len() as u64 == at => {
                            last.octets.extend_from_slice(page);
                        }
                        _ => stretches.push(Stretch {
                            address: at,
                            mapping: mapping.to_owned(),
                            octets: page.to_vec(),
                        }),
                    }
                    at += page.len() as u64;
                }
            }
        }
        Ok(Self { stretches })
    }

    /// How much it is.
    pub fn octets(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.octets.len()).sum()
    }
}
