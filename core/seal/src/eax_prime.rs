//! EAX', the security of classic C12.22 (c1222.md §5), over octets that the codec prepared.
//!
//! Its proofs hold only when the canonified cleartext is longer than one block; with a shorter one
//! there are forgeries under every key. So nothing of at most 16 octets is ever made or verified here.

use alloc::vec::Vec;
use core::ops::Range;

use aes::Aes128Enc;
use aes::cipher::{BlockBackend, BlockClosure, BlockEncrypt, BlockSizeUser, KeyInit, consts::U16};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::refusal::Refusal;
use crate::secret::Key128;

/// Octets of a MAC.
pub const MAC_LEN: usize = 4;
/// The canonified cleartext has at least so many octets.
pub const HEADER_MIN: usize = 17;

/// The security mode of an EPSEM control octet, where there is security.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 1: the body is readable, the MAC covers it.
    Clear,
    /// 2: the body is encrypted.
    Cipher,
}

/// A key, expanded, with its two constants.
pub struct EaxPrime {
    cipher: Aes128Enc,
    d: u128,
    q: u128,
}

impl Drop for EaxPrime {
    fn drop(&mut self) {
        // They tell the key's L; the cipher wipes itself.
        self.d.zeroize();
        self.q.zeroize();
    }
}

impl EaxPrime {
    /// Expands a key.
    #[must_use]
    pub fn new(key: &Key128) -> Self {
        let cipher = Aes128Enc::new(key.expose().into());
        let mut l = [0; 16].into();
        cipher.encrypt_block(&mut l);
        let d = double(u128::from_le_bytes(l.into()));
        Self { cipher, d, q: double(d) }
    }

    /// Seals `body` in place under the canonified cleartext `header`; the MAC is the answer.
    ///
    /// # Errors
    /// [`Refusal::Format`] when `header` has fewer than [`HEADER_MIN`] octets.
    pub fn seal(&self, mode: Mode, header: &[u8], body: &mut [u8]) -> Result<[u8; MAC_LEN], Refusal> {
        let mut mac = [0; MAC_LEN];
        self.run(Task::Seal(&mut mac), mode, header, body)?;
        Ok(mac)
    }

    /// Verifies `mac`, then decrypts `body` in place; a refused body is left as it came.
    ///
    /// # Errors
    /// [`Refusal::Format`] when `header` has fewer than [`HEADER_MIN`] octets, [`Refusal::Auth`] for a
    /// wrong MAC.
    pub fn open(
        &self,
        mode: Mode,
        header: &[u8],
        body: &mut [u8],
        mac: [u8; MAC_LEN],
    ) -> Result<(), Refusal> {
        self.run(Task::Open(mac), mode, header, body)
    }

    fn run(&self, task: Task<'_>, mode: Mode, header: &[u8], body: &mut [u8]) -> Result<(), Refusal> {
        if header.len() < HEADER_MIN {
            return Err(Refusal::Format);
        }
        let mut verdict = Err(Refusal::Auth);
        self.cipher.encrypt_with_backend(Run { eax: self, task, mode, header, body, verdict: &mut verdict });
        verdict
    }
}

/// One classic message to be opened: ranges of its canonified cleartext and of its body.
#[derive(Clone)]
pub struct Job<'k> {
    /// The key that its key id selects.
    pub key: &'k Key128,
    /// Its security mode.
    pub mode: Mode,
    /// The canonified cleartext, in the buffer of headers.
    pub header: Range<usize>,
    /// What follows the EPSEM control octet, without the MAC, in the buffer of messages.
    pub body: Range<usize>,
    /// The MAC.
    pub mac: [u8; MAC_LEN],
}

/// Opens all `jobs` in place. `verdicts` becomes one verdict a job, in order; they are those of
/// [`EaxPrime::open`], and [`Refusal::Format`] for a range outside its buffer.
pub fn open_batch(
    data: &mut [u8],
    headers: &[u8],
    jobs: &[Job<'_>],
    verdicts: &mut Vec<Result<(), Refusal>>,
) {
    verdicts.clear();
    verdicts.extend(jobs.iter().map(|job| {
        let header = headers.get(job.header.clone()).ok_or(Refusal::Format)?;
        let body = data.get_mut(job.body.clone()).ok_or(Refusal::Format)?;
        EaxPrime::new(job.key).open(job.mode, header, body, job.mac)
    }));
}

enum Task<'a> {
    Seal(&'a mut [u8; MAC_LEN]),
    Open([u8; MAC_LEN]),
}

/// One message on its way through code that was compiled for the processor's AES instructions.
///
/// Blocks are numbers whose lowest octet is octet 0.
struct Run<'a> {
    eax: &'a EaxPrime,
    task: Task<'a>,
    mode: Mode,
    header: &'a [u8],
    body: &'a mut [u8],
    verdict: &'a mut Result<(), Refusal>,
}

impl BlockSizeUser for Run<'_> {
    type BlockSize = U16;
}

impl BlockClosure for Run<'_> {
    #[inline(always)]
    fn call<B: BlockBackend<BlockSize = U16>>(self, backend: &mut B) {
        let Self { eax, task, mode, header, body, verdict } = self;
        let mut aes = Aes { backend, d: eax.d, q: eax.q };
        *verdict = Ok(());
        match (mode, task) {
            (Mode::Clear, Task::Seal(mac)) => *mac = last_octets(aes.mac(eax.d, [header, body])),
            (Mode::Clear, Task::Open(mac)) => {
                *verdict = verify(last_octets(aes.mac(eax.d, [header, body])), mac);
            }
            (Mode::Cipher, Task::Seal(mac)) => {
                let n = aes.mac(eax.d, [header, &[]]);
                aes.apply_stream(n, body);
                *mac = last_octets(aes.cipher_mac(n, body));
            }
            (Mode::Cipher, Task::Open(mac)) => {
                let n = aes.mac(eax.d, [header, &[]]);
                *verdict = verify(last_octets(aes.cipher_mac(n, body)), mac);
                if verdict.is_ok() {
                    aes.apply_stream(n, body);
                }
            }
        }
    }
}

struct Aes<'b, B> {
    backend: &'b mut B,
    d: u128,
    q: u128,
}

impl<B: BlockBackend<BlockSize = U16>> Aes<'_, B> {
    #[inline(always)]
    fn encrypt(&mut self, block: u128) -> u128 {
        let mut block = aes::Block::from(block.to_le_bytes());
        self.backend.proc_block((&mut block).into());
        u128::from_le_bytes(block.into())
    }

    /// `CM(start, parts)`: CBC-MAC whose last block takes D when full and Q when padded.
    #[inline(always)]
    fn mac(&mut self, start: u128, parts: [&[u8]; 2]) -> u128 {
        let mut state = start;
        let (mut block, mut filled) = ([0; 16], 0_usize);
        for mut part in parts {
            while !part.is_empty() {
                if filled == block.len() {
                    state = self.encrypt(state ^ u128::from_le_bytes(block));
                    filled = 0;
                }
                let room = block.iter_mut().skip(filled);
                let take = part.len().min(16_usize.saturating_sub(filled));
                room.zip(part).for_each(|(place, octet)| *place = *octet);
                part = part.get(take..).unwrap_or_default();
                filled = filled.saturating_add(take);
            }
        }
        if filled == block.len() {
            return self.encrypt(state ^ u128::from_le_bytes(block) ^ self.d);
        }
        block.iter_mut().skip(filled).for_each(|octet| *octet = 0);
        block.iter_mut().skip(filled).take(1).for_each(|octet| *octet = 0x80);
        self.encrypt(state ^ u128::from_le_bytes(block) ^ self.q)
    }

    /// The MAC of mode 2 before it is cut: `N ^ CM(Q, C)`, and only `N` without ciphertext.
    #[inline(always)]
    fn cipher_mac(&mut self, n: u128, ciphertext: &[u8]) -> u128 {
        if ciphertext.is_empty() { n } else { n ^ self.mac(self.q, [ciphertext, &[]]) }
    }

    /// Counter mode from N with the top bits of octets 12 and 14 cleared; the counter is big-endian.
    #[inline(always)]
    fn apply_stream(&mut self, n: u128, body: &mut [u8]) {
        let mut counter = (n & !(1 << 103) & !(1 << 119)).swap_bytes();
        for part in body.chunks_mut(16) {
            let stream = self.encrypt(counter.swap_bytes()).to_le_bytes();
            part.iter_mut().zip(stream).for_each(|(octet, stream)| *octet ^= stream);
            counter = counter.wrapping_add(1);
        }
    }
}

fn verify(made: [u8; MAC_LEN], received: [u8; MAC_LEN]) -> Result<(), Refusal> {
    if bool::from(made.ct_eq(&received)) { Ok(()) } else { Err(Refusal::Auth) }
}

fn last_octets(block: u128) -> [u8; MAC_LEN] {
    let [.., a, b, c, d] = block.to_le_bytes();
    [a, b, c, d]
}

/// Doubling in GF(2^128) with octet 0 the least significant: the mirror image of CMAC's.
fn double(block: u128) -> u128 {
    let carry = block >> 127;
    (block << 1) ^ (carry * 0x87)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn mode() -> impl Strategy<Value = Mode> {
        prop_oneof![Just(Mode::Clear), Just(Mode::Cipher)]
    }

    proptest! {
        #[test]
        fn messages_read_back_and_any_flipped_bit_is_refused(
            key: [u8; 16],
            mode in mode(),
            header in vec(any::<u8>(), HEADER_MIN..90),
            plaintext in vec(any::<u8>(), 0..140),
            flip: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let eax = EaxPrime::new(&Key128::from_octets(key));
            let mut body = plaintext.clone();
            let mac = eax.seal(mode, &header, &mut body).unwrap();
            prop_assert_eq!(body == plaintext, mode == Mode::Clear || plaintext.is_empty());

            let (header_len, body_len) = (header.len(), body.len());
            let mut spoilt = [&header[..], &body, &mac].concat();
            spoilt[flip.index(header_len + body_len + MAC_LEN)] ^= 1 << bit;
            let (other_header, rest) = spoilt.split_at_mut(header_len);
            let (other_body, other_mac) = rest.split_at_mut(body_len);
            let before = other_body.to_vec();
            let other_mac = <[u8; MAC_LEN]>::try_from(&*other_mac).unwrap();
            prop_assert_eq!(eax.open(mode, other_header, other_body, other_mac), Err(Refusal::Auth));
            prop_assert_eq!(&*other_body, before);

            prop_assert_eq!(eax.open(mode, &header, &mut body, mac), Ok(()));
            prop_assert_eq!(body, plaintext);
        }
    }

    #[test]
    fn a_short_header_is_neither_made_nor_verified() {
        let eax = EaxPrime::new(&Key128::from_octets([1; 16]));
        for mode in [Mode::Clear, Mode::Cipher] {
            for len in 0..HEADER_MIN {
                assert_eq!(eax.seal(mode, &[2; 16][..len], &mut [3; 5]), Err(Refusal::Format));
                assert_eq!(eax.open(mode, &[2; 16][..len], &mut [3; 5], [0; 4]), Err(Refusal::Format));
            }
            assert!(eax.seal(mode, &[2; HEADER_MIN], &mut [3; 5]).is_ok());
        }
    }

    #[test]
    fn a_batch_gives_each_message_its_verdict() {
        let (key, header) = (Key128::from_octets([1; 16]), [2; 20]);
        let mut data = [3; 30];
        let mac = EaxPrime::new(&key).seal(Mode::Cipher, &header, &mut data[5..20]).unwrap();
        let good = Job { key: &key, mode: Mode::Cipher, header: 0..20, body: 5..20, mac };
        let jobs = [
            Job { mac: [0; 4], ..good.clone() },
            Job { header: 4..20, ..good.clone() },
            Job { header: 0..21, ..good.clone() },
            Job { body: 5..31, ..good.clone() },
            good,
        ];
        let mut verdicts = vec![Ok(())];
        open_batch(&mut data, &header, &jobs, &mut verdicts);
        let format = Err(Refusal::Format);
        assert_eq!(verdicts, [Err(Refusal::Auth), format, format, format, Ok(())]);
        assert_eq!(data, [3; 30]);
    }
}
