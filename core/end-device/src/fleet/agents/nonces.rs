//! Every use of a key, so that none is found with two frames under one nonce.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use seal::hex::{self, Hex};

use crate::agent::SealedFrame;

/// All frames that were sealed here or came and opened, now and in earlier runs: a line `key nonce frame` each, in hexadecimal.
pub(super) struct Nonces {
    seen: HashMap<([u8; 16], [u8; 13]), [u8; 32]>,
    out: Option<BufWriter<File>>,
    pub reuses: u64,
}

impl Nonces {
    /// A ledger in memory, and in a file where one is given: what it holds already counts too.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut nonces = Self { seen: HashMap::new(), out: None, reuses: 0 };
        if let Some(path) = path {
            if let Ok(file) = File::open(path) {
                for line in BufReader::new(file).lines() {
                    // A last line that is cut is of a frame that was perhaps not sent.
                    if let Some(sealed) = read(&line?) {
                        nonces.note(&sealed);
                    }
                }
            }
            nonces.out = Some(BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?));
        }
        Ok(nonces)
    }

    /// A frame was sealed, or came and opened.
    pub fn add(&mut self, sealed: &SealedFrame) -> io::Result<()> {
        self.note(sealed);
        match &mut self.out {
            Some(out) => writeln!(out, "{} {} {}", Hex(&sealed.key), Hex(&sealed.nonce), Hex(&sealed.frame)),
            None => Ok(()),
        }
    }

    pub fn close(mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }

    fn note(&mut self, sealed: &SealedFrame) {
        let before = self.seen.insert((sealed.key, sealed.nonce), sealed.frame);
        if before.is_some_and(|before| before != sealed.frame) {
            self.reuses = self.reuses.saturating_add(1);
        }
    }
}

fn read(line: &str) -> Option<SealedFrame> {
    let mut words = line.split(' ');
    let sealed = SealedFrame {
        key: hex::read(words.next()?).ok()?,
        nonce: hex::read(words.next()?).ok()?,
        frame: hex::read(words.next()?).ok()?,
    };
    words.next().is_none().then_some(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reuse_is_found_over_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let sealed = |frame| SealedFrame { key: [1; 16], nonce: [2; 13], frame: [frame; 32] };
        let mut first = Nonces::open(Some(&path)).unwrap();
        first.add(&sealed(3)).unwrap();
        first.add(&sealed(3)).unwrap();
        assert_eq!(first.reuses, 0, "a repeat is the same frame");
        first.close().unwrap();
        let mut second = Nonces::open(Some(&path)).unwrap();
        second.add(&sealed(4)).unwrap();
        assert_eq!(second.reuses, 1);
        second.close().unwrap();
        assert_eq!(Nonces::open(Some(&path)).unwrap().reuses, 1);
    }
}
