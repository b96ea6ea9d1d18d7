//! Whether refusing tells by its time how far a forger has come: dudect (Reparaz, Balasch, Verbauwhede 2017)
//! over every comparison of a tag or MAC. A comparison that leaks on purpose must be found out, else the
//! measurement is worth nothing.
//!
//! Exit code 1 where the leaky one passes, or another one is found to leak in three runs out of three.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]

use std::cell::RefCell;
use std::hint::black_box;
use std::ops::Range;
use std::process::{Command, ExitCode};

use dudect_bencher::ctbench::{BenchFn, BenchMetadata, BenchName, BenchOpts, run_benches_console};
use dudect_bencher::rand::{Rng, RngExt};
use dudect_bencher::{BenchRng, Class, CtRunner};
use metergraph_seal as seal;
use seal::at_rest::{ABOUT_LEN, Dek, Sealed};
use seal::eax_prime::{EaxPrime, Mode};
use seal::edhoc::{AwaitMessage4, Ephemeral, HeadEndKid, Message1, Opened, PrivateKey, Run, initiate};
use seal::edhoc::{DeviceCredential, HeadEndCredential};
use seal::frame::{Bound, FrameType};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::Channel;
use seal::schedule;
use seal::secret::{Key128, Key256, Prk};
use subtle::ConstantTimeEq;

/// Runs of each comparison.
const SAMPLES: usize = 100_000;
/// Past this |t| the two classes are not alike; dudect's own bound for "definitely not constant time".
const T_MAX: f64 = 10.0;
/// A finding counts when it comes again.
const TRIES: usize = 3;

/// The first one leaks on purpose.
const BENCHES: [(&str, BenchFn); 7] = [
    ("leaky_comparison", leaky_comparison),
    ("profile1_tag", profile1_tag),
    ("edhoc_message_4_tag", edhoc_message_4_tag),
    ("eax_prime_mac", eax_prime_mac),
    ("at_rest_tag", at_rest_tag),
    ("at_rest_batch_tag", at_rest_batch_tag),
    ("key_comparison", key_comparison),
];

fn main() -> ExitCode {
    if let Some(name) = std::env::args().skip_while(|argument| argument != "--measure").nth(1) {
        let named = BENCHES.into_iter().filter(|(bench, _)| *bench == name);
        let benches =
            named.map(|(name, benchfn)| BenchMetadata { name: BenchName(name), seed: None, benchfn });
        let options = BenchOpts { continuous: false, filter: None, file_out: None };
        run_benches_console(options, benches.collect()).unwrap();
        return ExitCode::SUCCESS;
    }
    let mut sound = true;
    for (name, _) in BENCHES {
        let leaks = name == "leaky_comparison";
        let tries: Vec<f64> = (0..TRIES).map(|_| measure(name)).take_while_inclusive(leaks).collect();
        let found = tries.iter().all(|t| t.abs() > T_MAX);
        sound &= found == leaks;
        let verdict = match (found, leaks) {
            (true, true) => "leaks, as it should",
            (false, false) => "no leak found",
            (true, false) => "LEAKS",
            (false, true) => "THE LEAK WAS NOT FOUND",
        };
        let tries: Vec<String> = tries.iter().map(|t| format!("{t:+.1}")).collect();
        println!("timing: {name}: max t {} over {SAMPLES} runs each: {verdict}", tries.join(", "));
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Another try is only made while all before spoke against the expectation.
trait TakeWhileInclusive: Iterator<Item = f64> + Sized {
    fn take_while_inclusive(self, leaks: bool) -> impl Iterator<Item = f64> {
        let mut done = false;
        self.map_while(move |t| {
            let now = !done;
            done = done || (t.abs() > T_MAX) == leaks;
            now.then_some(t)
        })
    }
}

impl<I: Iterator<Item = f64>> TakeWhileInclusive for I {}

/// max t of one measurement, in a process of its own.
fn measure(name: &str) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap()).args(["--measure", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let t = text.split("max t = ").nth(1).and_then(|rest| rest.split(',').next());
    t.and_then(|t| t.trim().parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
}

/// Measures `refuse` with the first octet of the tag wrong (left) and with the last (right). Both are made
/// beforehand: a single octet written just before it is read would be measured itself.
fn compare<const N: usize>(
    runner: &mut CtRunner,
    rng: &mut BenchRng,
    (good, tag): (&[u8; N], Range<usize>),
    refuse: impl FnMut(&mut [u8; N]) -> bool,
) {
    // The runner takes a closure that borrows nothing mutably.
    let refuse = RefCell::new(refuse);
    let wrong = [tag.start, tag.end - 1].map(|at| {
        let mut wrong = *good;
        wrong[at] ^= 1;
        wrong
    });
    let classes: Vec<bool> = (0..SAMPLES).map(|_| rng.random()).collect();
    for right in classes {
        let mut octets = black_box(wrong[usize::from(right)]);
        let class = if right { Class::Right } else { Class::Left };
        let octets = RefCell::new(&mut octets);
        runner.run_one(class, || {
            assert!(black_box((refuse.borrow_mut())(*octets.borrow_mut())));
        });
    }
}

fn leaky_comparison(runner: &mut CtRunner, rng: &mut BenchRng) {
    let mut tag = [0; 64];
    rng.fill_bytes(&mut tag);
    // Ends at the first octet that differs.
    let refuse =
        |wrong: &mut [u8; 64]| tag.iter().zip(wrong.iter()).any(|(a, b)| black_box(a) != black_box(b));
    compare(runner, rng, (&tag, 0..64), refuse);
}

fn profile1_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let keys = schedule::derive(&Prk::from_octets([1; 32]), Sid(1));
    let bound = Bound { system: System([1; 8]), scope: Dev([2; 8]).into(), epoch: Epoch(3) };
    let channel = Channel { key: &keys.up, common_iv: &keys.common_iv, bound };
    let head = channel.head(FrameType::Report, 1, 9);
    let mut good = Vec::new();
    assert!(channel.seal(&head, &[7; 128], &mut good));
    let good: [u8; 136] = good.try_into().unwrap();
    compare(runner, rng, (&good, 128..136), |body| channel.open(&head, body).is_none());
}

fn edhoc_message_4_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (last, good) = registered();
    compare(runner, rng, (&good, 1..9), |message_4| last.message_4(message_4).is_err());
}

/// A run up to its message_4.
fn registered() -> (AwaitMessage4, [u8; 9]) {
    let key = |octet| PrivateKey::from_octets(&[octet; 32]).unwrap();
    let device = DeviceCredential { kid: Dev([1; 8]), key: key(1).public_key() };
    let head_end = HeadEndCredential { kid: HeadEndKid::new(1).unwrap(), key: key(2).public_key() };
    let (waiting, message_1) = initiate(Ephemeral::from_octets(&[3; 32]).unwrap());
    let message_1 = Message1::read(&message_1).unwrap();
    let ephemeral = Ephemeral::from_octets(&[4; 32]).unwrap();
    let answer = message_1.answer(&head_end, &key(2), ephemeral, Sid(1)).unwrap();
    let mut run = Run::new(&message_1, answer);
    let sent = waiting.message_2(run.message_2(), &device, &key(1), |_| Some(head_end.key));
    let Ok((last, message_3)) = sent else { panic!("a good message_2") };
    assert!(matches!(run.message_3(&message_3, |_| Ok(device.key)), Ok(Opened::New(_))));
    (last, run.settle(true).unwrap())
}

fn eax_prime_mac(runner: &mut CtRunner, rng: &mut BenchRng) {
    let eax = EaxPrime::new(&Key128::from_octets([5; 16]));
    let header = [6; 64];
    let mut good = [7; 132];
    let mac = eax.seal(Mode::Cipher, &header, &mut good[..128]).unwrap();
    good[128..].copy_from_slice(&mac);
    compare(runner, rng, (&good, 128..132), |message| {
        let (body, mac) = message.split_last_chunk_mut().unwrap();
        eax.open(Mode::Cipher, &header, body, *mac).is_err()
    });
}

fn at_rest_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let dek = Dek::new(&Key256::from_octets([8; 32]));
    let mut good = Vec::new();
    dek.seal([9; 13], b"aad", &[1; 100], &mut good).unwrap();
    let good: [u8; 129] = good.try_into().unwrap();
    compare(runner, rng, (&good, 113..129), |record| dek.open(b"aad", record).is_err());
}

fn at_rest_batch_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (dek, about) = (Dek::new(&Key256::from_octets([8; 32])), [7; ABOUT_LEN]);
    let mut good = Vec::new();
    dek.seal([9; 13], &about, &[1; 100], &mut good).unwrap();
    let good: [u8; 129] = good.try_into().unwrap();
    compare(runner, rng, (&good, 113..129), |record| {
        let mut batch = [Sealed::new(about, record)];
        dek.open_batch(&mut batch);
        batch.iter().all(|record| record.record().is_none())
    });
}

fn key_comparison(runner: &mut CtRunner, rng: &mut BenchRng) {
    let mut octets = [0; 16];
    rng.fill_bytes(&mut octets);
    let key = Key128::from_octets(octets);
    compare(runner, rng, (&octets, 0..16), |wrong| !bool::from(key.ct_eq(&Key128::from_octets(*wrong))));
}
