//! Sealing and opening of profile-1 frames (security layer §3): AES-CCM-16-64-128, batch first.
//!
//! All frames of a batch lie in one buffer and are opened or sealed there; nothing is allocated for a
//! frame. One by one the `ccm` crate does it, eight at a time the interleaved lanes; the tests hold
//! one against the other.

use alloc::vec::Vec;

use aes::Aes128Enc;
use ccm::aead::{AeadInPlace, KeyInit};
use ccm::consts::{U8, U13};
use ccm::{Ccm, Tag};

use crate::frame::{self, Bound, FRAME_MAX, FrameType, HEAD_LEN, Head, TAG_LEN};
use crate::lanes;
use crate::oscore::CommonIv;
use crate::secret::{Key128, scrubbed};

/// AES-CCM-16-64-128. Only ever encrypts blocks, so the decryption schedule is never made.
type Cipher = Ccm<Aes128Enc, U8, U13>;

/// The longest body: ciphertext and tag.
const BODY_MAX: usize = FRAME_MAX - HEAD_LEN;

/// A key with all that its frames are bound to: what one side keeps for one sender and epoch.
#[derive(Clone, Copy)]
pub struct Channel<'k> {
    /// The sender's key.
    pub key: &'k Key128,
    /// The epoch's Common IV.
    pub common_iv: &'k CommonIv,
    /// System, scope and epoch.
    pub bound: Bound,
}

impl<'k> Channel<'k> {
    /// The head of a frame under this channel's epoch.
    #[must_use]
    pub fn head(&self, frame_type: FrameType, id: u32, seq: u32) -> Head {
        Head { frame_type, id, epoch_low: self.bound.epoch.low(), seq }
    }

    /// The job of opening or sealing the frame with this head, whose body is to be the octets
    /// `start .. start + len` of a buffer; the last eight are the tag.
    #[must_use]
    #[inline]
    pub fn job(&self, head: &Head, start: usize, len: usize) -> Job<'k> {
        Job {
            key: self.key,
            nonce: head.nonce_number(self.common_iv),
            aad: head.aad_blocks(&self.bound),
            start,
            len,
        }
    }

    /// Seals one frame: appends ciphertext and tag to `out`. `head.seq` was never used under this key.
    ///
    /// Answers `false`, and appends nothing, when the plaintext is longer than
    /// [`frame::PLAINTEXT_MAX`].
    #[must_use]
    pub fn seal(&self, head: &Head, plaintext: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(plaintext);
        out.extend_from_slice(&[0; TAG_LEN]);
        let sealed = seal_one(out, &self.job(head, start, plaintext.len().saturating_add(TAG_LEN)));
        if !sealed {
            out.truncate(start);
        }
        sealed
    }

    /// Opens the body of one frame in place; `None`, and no plaintext, when its tag is wrong.
    #[must_use]
    pub fn open<'b>(&self, head: &Head, body: &'b mut [u8]) -> Option<&'b mut [u8]> {
        let job = self.job(head, 0, body.len());
        if !open_one(body, &job) {
            return None;
        }
        body.split_last_chunk_mut::<TAG_LEN>().map(|(plaintext, _)| plaintext)
    }
}

/// One frame to be opened or sealed inside a buffer. Made by [`Channel::job`].
#[derive(Clone, Copy)]
pub struct Job<'k> {
    pub(crate) key: &'k Key128,
    /// 13 octets as a number.
    pub(crate) nonce: u128,
    /// Second and third block of the additional authenticated data, big-endian.
    pub(crate) aad: [u128; 2],
    pub(crate) start: usize,
    /// Ciphertext and tag.
    pub(crate) len: usize,
}

impl Job<'_> {
    /// Octets of plaintext.
    pub(crate) fn text_len(&self) -> usize {
        self.len.saturating_sub(TAG_LEN)
    }

    /// Whether the body has a legal length and lies inside a buffer of `octets`.
    fn fits(&self, octets: usize) -> bool {
        (TAG_LEN..=BODY_MAX).contains(&self.len)
            && self.start.checked_add(self.len).is_some_and(|end| end <= octets)
    }

    fn body<'d>(&self, data: &'d mut [u8]) -> Option<(&'d mut [u8], &'d mut [u8; TAG_LEN])> {
        if !self.fits(data.len()) {
            return None;
        }
        data.get_mut(self.start..)?.get_mut(..self.len)?.split_last_chunk_mut()
    }

    fn nonce(&self) -> [u8; 13] {
        let [_, _, _, nonce @ ..] = self.nonce.to_be_bytes();
        nonce
    }
}

/// Opens all `jobs` in place. `opened` becomes one verdict a job, in order.
///
/// The plaintext of a frame whose tag is wrong is wiped, never left behind. A job that does not lie in
/// `data` is refused and touches nothing; jobs must not overlap.
pub fn open_batch(data: &mut [u8], jobs: &[Job<'_>], opened: &mut Vec<bool>) {
    batch(data, jobs, opened, lanes::open, open_one);
}

/// Seals all `jobs` in place: plaintext and eight octets of room become ciphertext and tag.
///
/// `sealed` becomes one verdict a job; a job that does not lie in `data` is not sealed.
pub fn seal_batch(data: &mut [u8], jobs: &[Job<'_>], sealed: &mut Vec<bool>) {
    batch(data, jobs, sealed, lanes::seal, seal_one);
}

/// Opens one frame: what [`open_batch`] does for a single job.
#[must_use]
pub fn open_one(data: &mut [u8], job: &Job<'_>) -> bool {
    let Some((text, tag)) = job.body(data) else { return false };
    let tag: Tag<U8> = (*tag).into();
    // The crate wipes the text when the tag is wrong.
    cipher(job)
        .decrypt_in_place_detached(&job.nonce().into(), &frame::aad_octets(job.aad), text, &tag)
        .is_ok()
}

/// Seals one frame: what [`seal_batch`] does for a single job.
#[must_use]
pub fn seal_one(data: &mut [u8], job: &Job<'_>) -> bool {
    let Some((text, tag)) = job.body(data) else { return false };
    let made = cipher(job).encrypt_in_place_detached(&job.nonce().into(), &frame::aad_octets(job.aad), text);
    made.map(|made| *tag = made.into()).is_ok()
}

fn cipher(job: &Job<'_>) -> Cipher {
    Cipher::new(job.key.expose().into())
}

type Eight = fn(&mut [u8], &[[Job<'_>; lanes::LANES]], &mut Vec<bool>);
type One = fn(&mut [u8], &Job<'_>) -> bool;

fn batch(data: &mut [u8], jobs: &[Job<'_>], verdicts: &mut Vec<bool>, eight: Eight, one: One) {
    verdicts.clear();
    scrubbed::<12, _>(|| {
        // A job that does not fit is a fault of the caller, and rare: then nothing goes to the lanes.
        let fitting = jobs.iter().all(|job| job.fits(data.len()));
        let (eights, rest) = if fitting { jobs.as_chunks() } else { (&[][..], jobs) };
        eight(data, eights, verdicts);
        verdicts.extend(rest.iter().map(|job| one(data, job)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Dev, Epoch, System};
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// One frame with a key of its own.
    #[derive(Clone, Debug)]
    struct Case {
        key: [u8; 16],
        common_iv: CommonIv,
        bound: Bound,
        head: Head,
        plaintext: Vec<u8>,
        /// Octets between this frame and the next.
        gap: usize,
    }

    fn case() -> impl Strategy<Value = Case> {
        let frame_type = prop_oneof![
            Just(FrameType::Report),
            Just(FrameType::Command),
            Just(FrameType::GroupCommand),
            Just(FrameType::DownControl),
            Just(FrameType::UpControl),
        ];
        let length =
            prop_oneof![4 => 0..70_usize, 2 => 0..=frame::PLAINTEXT_MAX, 1 => Just(frame::PLAINTEXT_MAX)];
        let plaintext = length.prop_flat_map(|length| vec(any::<u8>(), length));
        (
            any::<([u8; 16], CommonIv, [u8; 8], [u8; 8], u16)>(),
            frame_type,
            any::<(u32, u32)>(),
            plaintext,
            0..20_usize,
        )
            .prop_map(
                |((key, common_iv, system, dev, epoch), frame_type, (id, seq), plaintext, gap)| {
                    let bound = Bound { system: System(system), scope: Dev(dev).into(), epoch: Epoch(epoch) };
                    let head =
                        Head { frame_type, id, epoch_low: bound.epoch.low(), seq: seq & frame::SEQ_MAX };
                    Case { key, common_iv, bound, head, plaintext, gap }
                },
            )
    }

    fn keys(cases: &[Case]) -> Vec<Key128> {
        cases.iter().map(|case| Key128::from_octets(case.key)).collect()
    }

    /// Plaintexts in one buffer, with room for the tags, and the jobs.
    fn lay_out<'k>(cases: &'k [Case], keys: &'k [Key128]) -> (Vec<u8>, Vec<Job<'k>>) {
        let mut data = Vec::new();
        let mut jobs = Vec::new();
        for (case, key) in cases.iter().zip(keys) {
            let channel = Channel { key, common_iv: &case.common_iv, bound: case.bound };
            jobs.push(channel.job(&case.head, data.len(), case.plaintext.len() + TAG_LEN));
            data.extend_from_slice(&case.plaintext);
            data.resize(data.len() + TAG_LEN + case.gap, 0xa5);
        }
        (data, jobs)
    }

    proptest! {
        #[test]
        fn batches_equal_one_by_one_and_read_back(
            cases in vec(case(), 0..40),
            flips in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u8), 0..4),
        ) {
            let keys = keys(&cases);
            let (plain, jobs) = lay_out(&cases, &keys);
            let (mut sealed, mut verdicts) = (plain.clone(), vec![false; 3]);
            seal_batch(&mut sealed, &jobs, &mut verdicts);
            prop_assert_eq!(&verdicts, &vec![true; jobs.len()]);
            let mut alone = plain.clone();
            for job in &jobs {
                prop_assert!(seal_one(&mut alone, job));
            }
            prop_assert_eq!(&sealed, &alone);

            let mut opened = sealed.clone();
            open_batch(&mut opened, &jobs, &mut verdicts);
            prop_assert_eq!(&verdicts, &vec![true; jobs.len()]);
            for job in &jobs {
                let text = job.start..job.start + job.text_len();
                prop_assert_eq!(&opened[text.clone()], &plain[text]);
            }

            // Some frames are spoilt: both ways refuse the same ones and leave the same octets.
            let mut spoilt = vec![false; jobs.len()];
            for (job, octet, bit) in flips {
                if !jobs.is_empty() {
                    let which = job.index(jobs.len());
                    sealed[jobs[which].start + octet.index(jobs[which].len)] ^= 1 << bit;
                    spoilt[which] = true;
                }
            }
            let mut alone = sealed.clone();
            open_batch(&mut sealed, &jobs, &mut verdicts);
            for ((job, opened), spoilt) in jobs.iter().zip(&verdicts).zip(spoilt) {
                prop_assert_eq!(open_one(&mut alone, job), *opened);
                let text = &sealed[job.start..job.start + job.text_len()];
                // Two flips of one bit undo each other.
                prop_assert!(*opened || (spoilt && text.iter().all(|octet| *octet == 0)));
            }
            prop_assert_eq!(sealed, alone);
        }

        #[test]
        fn any_flipped_bit_is_refused(case in case(), octet in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let key = Key128::from_octets(case.key);
            let channel = Channel { key: &key, common_iv: &case.common_iv, bound: case.bound };
            let mut frame = case.head.octets().to_vec();
            prop_assert!(channel.seal(&case.head, &case.plaintext, &mut frame));
            let octet = octet.index(frame.len());
            frame[octet] ^= 1 << bit;
            let (head, body) = frame.split_at_mut(HEAD_LEN);
            if let Ok(head) = Head::read(head, body.len()) {
                prop_assert!(channel.open(&head, body).is_none());
            }
        }

        #[test]
        fn a_frame_is_bound_to_system_scope_epoch_and_key(case in case(), bit in 0..(8 + 8 + 2 + 16) * 8_usize) {
            let key = Key128::from_octets(case.key);
            let channel = Channel { key: &key, common_iv: &case.common_iv, bound: case.bound };
            let mut body = Vec::new();
            prop_assert!(channel.seal(&case.head, &case.plaintext, &mut body));
            let (octet, flip) = (bit / 8, 1 << (bit % 8));
            let (mut other, mut bound) = (case.key, case.bound);
            match octet {
                0..16 => other[octet] ^= flip,
                16..24 => bound.system.0[octet - 16] ^= flip,
                24..32 => bound.scope.0[octet - 24] ^= flip,
                _ => bound.epoch.0 ^= u16::from(flip) << (8 * (octet - 32)),
            }
            let other = Key128::from_octets(other);
            let channel = Channel { key: &other, common_iv: &case.common_iv, bound };
            prop_assert!(channel.open(&case.head, &mut body).is_none());
        }
    }

    #[test]
    fn a_job_outside_the_buffer_touches_nothing() {
        let key = Key128::from_octets([1; 16]);
        let bound = Bound { system: System([2; 8]), scope: Dev([3; 8]).into(), epoch: Epoch(4) };
        let channel = Channel { key: &key, common_iv: &[5; 13], bound };
        let head = channel.head(FrameType::Report, 6, 7);
        let good = channel.job(&head, 8, 24);
        let mut jobs = vec![good; 20];
        jobs[3] = channel.job(&head, 40, 25);
        jobs[9] = channel.job(&head, usize::MAX, 24);
        jobs[11] = channel.job(&head, 0, 7);
        jobs[12] = channel.job(&head, 0, BODY_MAX + 1);
        jobs.truncate(13);
        let mut data = vec![0; 64];
        let mut verdicts = Vec::new();
        open_batch(&mut data, &jobs, &mut verdicts);
        assert_eq!(verdicts, vec![false; 13]);
        assert_eq!(data, vec![0; 64]);
        jobs.retain(|job| !job.fits(64));
        seal_batch(&mut data, &jobs, &mut verdicts);
        assert_eq!((verdicts, data), (vec![false; 4], vec![0; 64]));
    }

    #[test]
    fn a_plaintext_that_is_too_long_is_not_sealed() {
        let key = Key128::from_octets([1; 16]);
        let bound = Bound { system: System([2; 8]), scope: Dev([3; 8]).into(), epoch: Epoch(4) };
        let channel = Channel { key: &key, common_iv: &[5; 13], bound };
        let head = channel.head(FrameType::DownControl, 6, 7);
        let mut out = vec![9];
        assert!(!channel.seal(&head, &[0; frame::PLAINTEXT_MAX + 1], &mut out));
        assert_eq!(out, [9]);
        assert!(channel.seal(&head, &[0; frame::PLAINTEXT_MAX], &mut out));
        assert_eq!(out.len(), 1 + BODY_MAX);
    }
}
