//! AES-CCM-16-64-128 over eight messages at once, each under a key of its own.
//!
//! A CBC-MAC waits for its own last block, so a message alone leaves the processor's AES units idle
//! most of the time; eight side by side fill them (measured: 3 times as fast as one by one). For that
//! the block function must be inlined, and it can be only into code compiled for the AES instructions.
//! The `aes` crate calls a [`BlockClosure`] from such code when the processor has them: hence [`Run`].

use alloc::vec::Vec;

use aes::Aes128Enc;
use aes::cipher::{BlockBackend, BlockClosure, BlockEncrypt, BlockSizeUser, KeyInit, consts::U16};
use subtle::ConstantTimeEq;

use crate::frame::{AAD_FIRST_BLOCK, TAG_LEN};
use crate::profile1::Job;

/// Messages at once.
pub(crate) const LANES: usize = 8;

/// First octet of a counter block: two octets of counter.
const COUNTER_FLAGS: u128 = 0x01 << 120;
/// First octet of the MAC's first block: additional data, tag of 8, two octets of length.
const MAC_FLAGS: u128 = 0x59 << 120;

/// Opens jobs, all of which lie in `data`; adds a verdict for each.
pub(crate) fn open(data: &mut [u8], jobs: &[[Job<'_>; LANES]], verdicts: &mut Vec<bool>) {
    run::<false>(data, jobs, verdicts);
}

/// Seals jobs, all of which lie in `data`; adds a verdict for each.
pub(crate) fn seal(data: &mut [u8], jobs: &[[Job<'_>; LANES]], verdicts: &mut Vec<bool>) {
    run::<true>(data, jobs, verdicts);
}

fn run<const SEAL: bool>(data: &mut [u8], jobs: &[[Job<'_>; LANES]], verdicts: &mut Vec<bool>) {
    if let Some([job, ..]) = jobs.first() {
        // Any cipher leads into the right code; nothing is encrypted with this one.
        let cipher = Aes128Enc::new(job.key.expose().into());
        cipher.encrypt_with_backend(Run::<SEAL> { data, jobs, verdicts });
    }
}

struct Run<'a, 'k, const SEAL: bool> {
    data: &'a mut [u8],
    jobs: &'a [[Job<'k>; LANES]],
    verdicts: &'a mut Vec<bool>,
}

impl<const SEAL: bool> BlockSizeUser for Run<'_, '_, SEAL> {
    type BlockSize = U16;
}

impl<const SEAL: bool> BlockClosure for Run<'_, '_, SEAL> {
    #[inline(always)]
    fn call<B: BlockBackend<BlockSize = U16>>(self, _: &mut B) {
        for [a, b, c, d, e, f, g, h] in self.jobs {
            // Written out, so that each lane is made in its place and no key schedule is moved.
            let mut lanes = [
                Lane::new(a),
                Lane::new(b),
                Lane::new(c),
                Lane::new(d),
                Lane::new(e),
                Lane::new(f),
                Lane::new(g),
                Lane::new(h),
            ];
            run_lanes::<SEAL>(self.data, &mut lanes, self.verdicts);
        }
    }
}

#[inline(always)]
fn run_lanes<const SEAL: bool>(data: &mut [u8], lanes: &mut [Lane; LANES], verdicts: &mut Vec<bool>) {
    for lane in lanes.iter_mut() {
        lane.begin();
    }
    for part in 0..3 {
        for lane in lanes.iter_mut() {
            lane.absorb_aad(part);
        }
    }
    let most = lanes.iter().map(|lane| lane.len.div_ceil(16)).max().unwrap_or(0);
    for _ in 0..most {
        for lane in lanes.iter_mut() {
            lane.step::<SEAL>(data);
        }
    }
    verdicts.extend(lanes.iter().map(|lane| lane.finish::<SEAL>(data)));
}

/// One message. Blocks are numbers in memory order, but for the counter, which counts.
struct Lane {
    cipher: Aes128Enc,
    aad: [u128; 3],
    mac: u128,
    tag_stream: u128,
    counter: u128,
    start: usize,
    len: usize,
    done: usize,
}

impl Lane {
    #[inline(always)]
    fn new(job: &Job<'_>) -> Self {
        let nonce = job.nonce << 16;
        let len = job.text_len();
        let [second, third] = job.aad;
        Self {
            cipher: Aes128Enc::new(job.key.expose().into()),
            aad: [AAD_FIRST_BLOCK.to_be(), second.to_be(), third.to_be()],
            mac: (MAC_FLAGS | nonce | len as u128).to_be(),
            tag_stream: 0,
            counter: COUNTER_FLAGS | nonce,
            start: job.start,
            len,
            done: 0,
        }
    }

    #[inline(always)]
    fn encrypt(&self, block: u128) -> u128 {
        let mut block = block.to_ne_bytes().into();
        self.cipher.encrypt_block(&mut block);
        u128::from_ne_bytes(block.into())
    }

    #[inline(always)]
    fn begin(&mut self) {
        self.mac = self.encrypt(self.mac);
        self.tag_stream = self.encrypt(self.counter.to_be());
    }

    #[inline(always)]
    fn absorb_aad(&mut self, part: usize) {
        if let Some(block) = self.aad.get(part) {
            self.mac = self.encrypt(self.mac ^ block);
        }
    }

    /// The next block of the text, if there is one.
    #[inline(always)]
    fn step<const SEAL: bool>(&mut self, data: &mut [u8]) {
        let left = self.len.saturating_sub(self.done);
        if left == 0 {
            return;
        }
        self.counter = self.counter.wrapping_add(1);
        let stream = self.encrypt(self.counter.to_be());
        let at = self.start.wrapping_add(self.done);
        let before = read(data, at);
        let (after, plaintext);
        if left >= 16 {
            after = before ^ stream;
            plaintext = if SEAL { before } else { after };
        } else {
            // What stands behind the text is written back as it was, and does not count.
            let mask = (u128::MAX << (8 * (16 - left))).to_be();
            after = before ^ (stream & mask);
            plaintext = mask & if SEAL { before } else { after };
        }
        write(data, at, after);
        self.mac = self.encrypt(self.mac ^ plaintext);
        self.done = self.done.wrapping_add(16);
    }

    /// Writes the tag, or compares it and wipes the text of a wrong one.
    #[inline(always)]
    fn finish<const SEAL: bool>(&self, data: &mut [u8]) -> bool {
        let Some(body) = data.get_mut(self.start..) else { return false };
        let Some((text, rest)) = body.split_at_mut_checked(self.len) else { return false };
        let Some(tag) = rest.first_chunk_mut::<TAG_LEN>() else { return false };
        let [a, b, c, d, e, f, g, h, ..] = (self.mac ^ self.tag_stream).to_ne_bytes();
        let made = [a, b, c, d, e, f, g, h];
        if SEAL {
            *tag = made;
            return true;
        }
        let same = bool::from(u64::from_ne_bytes(*tag).ct_eq(&u64::from_ne_bytes(made)));
        if !same {
            text.fill(0);
        }
        same
    }
}

/// The 16 octets at `at`; zeros stand for those past the end.
#[inline(always)]
fn read(data: &[u8], at: usize) -> u128 {
    let rest = data.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(block) => u128::from_ne_bytes(*block),
        None => {
            let mut block = [0; 16];
            block.iter_mut().zip(rest).for_each(|(octet, rest)| *octet = *rest);
            u128::from_ne_bytes(block)
        }
    }
}

/// Writes the 16 octets at `at`, as far as `data` reaches.
#[inline(always)]
fn write(data: &mut [u8], at: usize, block: u128) {
    let rest = data.get_mut(at..).unwrap_or_default();
    match rest.first_chunk_mut() {
        Some(place) => *place = block.to_ne_bytes(),
        None => rest.iter_mut().zip(block.to_ne_bytes()).for_each(|(place, octet)| *place = octet),
    }
}
