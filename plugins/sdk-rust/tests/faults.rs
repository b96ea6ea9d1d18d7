//! The C side of a Rust driver: panics stay inside, null pointers are refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};

use metergraph_transport_sdk::abi::{self, Str, status};
use metergraph_transport_sdk::sim::SimHost;
use metergraph_transport_sdk::{
    BatchIn, BatchOut, Error, Event, Host, Limits, Readiness, Stats, Step, Transport, glue,
};

static PLUGIN: abi::Plugin = glue::plugin::<Fragile>();

/// A driver that panics in the call that its configuration names.
struct Fragile {
    at: String,
}

impl Fragile {
    fn reach(&self, call: &str) {
        assert!(self.at != call, "broken in {call}");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.reach("drop");
    }
}

impl Transport for Fragile {
    const NAME: &'static str = "fragile";
    const VERSION: &'static str = "1";
    const CONFIG_SCHEMA: &'static str = "{}";

    fn open(_: &str, config: &str, _: &Host<'_>) -> Result<(Self, Limits), Error> {
        let fragile = Self { at: config.to_owned() };
        fragile.reach("open");
        Ok((fragile, Limits { max_frame: 100, ..Limits::default() }))
    }

    fn start(&mut self, _: &Host<'_>, _: u64) -> Result<(), Error> {
        self.reach("start");
        Ok(())
    }

    fn poll(&mut self, _: &Host<'_>, _: u64, _: &[Readiness]) -> Result<Step, Error> {
        self.reach("poll");
        Ok(Step::default())
    }

    fn send(&mut self, _: &Host<'_>, batch: &BatchIn<'_>) -> Result<usize, Error> {
        self.reach("send");
        Ok(batch.len())
    }

    fn receive(&mut self, _: &Host<'_>, _: &mut BatchOut<'_>) -> Result<(), Error> {
        self.reach("receive");
        Ok(())
    }

    fn next_event(&mut self, _: &Host<'_>) -> Option<Event> {
        self.reach("events");
        None
    }

    fn close_link(&mut self, _: &Host<'_>, _: u32) {
        self.reach("close_link");
    }

    fn stats(&self) -> Stats {
        self.reach("stats");
        Stats::default()
    }

    fn command(&mut self, _: &Host<'_>, name: &str, arguments: &str) -> Result<String, Error> {
        self.reach("command");
        Ok(format!("{name}({arguments})"))
    }

    fn close(&mut self, _: &Host<'_>, _: u64) -> Result<(), Error> {
        self.reach("close");
        Ok(())
    }
}

/// An instance, held as a C host holds it.
struct Instance {
    raw: *mut abi::Instance,
    _sim: SimHost,
}

impl Instance {
    fn open(config: &str) -> Result<Self, i32> {
        let sim = SimHost::default();
        let (mut raw, mut limits, mut error) = (null_mut(), Limits::default(), abi::Error::default());
        let given = abi::Open {
            size: size_of::<abi::Open>() as u32,
            call_budget_us: 1000,
            name: Str::lent("wan"),
            config: Str::lent(config),
            host: sim.table(),
        };
        // SAFETY: all pointers are valid for the call, and the host lives as long as the instance.
        let code = unsafe { PLUGIN.open.unwrap()(&given, &mut raw, &mut limits, &mut error) };
        if code < 0 {
            assert!(raw.is_null() && !error.text().is_empty());
            return Err(code);
        }
        assert_eq!(limits.size as usize, size_of::<Limits>());
        Ok(Self { raw, _sim: sim })
    }

    /// Makes each call once; answers their statuses by name.
    fn call_all(&self) -> Vec<(&'static str, i32)> {
        let mut step = Step::default();
        let mut event = abi::Event::default();
        let mut stats = Stats { size: size_of::<Stats>() as u32, ..Stats::default() };
        let (mut data, mut room, mut answer) = ([0; 16], [abi::Frame::default(); 1], [0; 64]);
        let frame = abi::Frame { link: 1, len: 3, ..abi::Frame::default() };
        let batch =
            abi::Batch { data: b"abc".as_ptr(), data_len: 3, frames: &frame, frame_count: 1, reserved: 0 };
        let mut out = abi::BatchOut {
            data: data.as_mut_ptr(),
            data_cap: data.len(),
            data_len: 0,
            frames: room.as_mut_ptr(),
            frame_cap: 1,
            frame_count: 0,
        };
        let raw = self.raw;
        // SAFETY: the instance is open, calls come one after another, and all pointers are valid for theirs.
        unsafe {
            let close_link = || {
                PLUGIN.close_link.unwrap()(raw, 1);
                0
            };
            vec![
                ("start", PLUGIN.start.unwrap()(raw, 1, null_mut())),
                ("poll", PLUGIN.poll.unwrap()(raw, 1, null(), 0, &mut step)),
                ("send", PLUGIN.send.unwrap()(raw, &batch)),
                ("receive", PLUGIN.receive.unwrap()(raw, &mut out)),
                ("events", PLUGIN.events.unwrap()(raw, &mut event, 1)),
                ("close_link", close_link()),
                ("stats", PLUGIN.stats.unwrap()(raw, &mut stats)),
                ("command", {
                    let (name, arguments) = (Str::lent("x"), Str::lent("1"));
                    PLUGIN.command.unwrap()(raw, name, arguments, answer.as_mut_ptr(), answer.len() as u32)
                }),
                ("close", PLUGIN.close.unwrap()(raw, 1)),
            ]
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: it came from `open`, and this is the last call.
        unsafe { PLUGIN.destroy.unwrap()(self.raw) };
    }
}

/// Runs `work` without the panics' own words on stderr, one test at a time.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    static BUSY: AtomicBool = AtomicBool::new(false);
    while BUSY.swap(true, Ordering::AcqRel) {
        std::thread::yield_now();
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    BUSY.store(false, Ordering::Release);
    result
}

#[test]
fn a_sound_driver_answers_every_call() {
    let answers = Instance::open("").unwrap().call_all();
    for (call, code) in answers {
        let expected = match call {
            "send" => 1,
            "command" => 4,
            _ => 0,
        };
        assert_eq!(code, expected, "{call}");
    }
}

#[test]
fn an_answer_that_does_not_fit_is_too_large_and_nothing_is_written() {
    let instance = Instance::open("").unwrap();
    let (mut answer, name, arguments) = ([9; 4], Str::lent("x"), Str::lent("1"));
    // SAFETY: the instance is open, and `answer` has at least as much room as is told.
    let code = unsafe { PLUGIN.command.unwrap()(instance.raw, name, arguments, answer.as_mut_ptr(), 3) };
    assert_eq!((code, answer), (status::TOO_LARGE, [9; 4]));
}

#[test]
fn a_panic_is_an_internal_fault_then_and_for_ever() {
    for at in ["start", "poll", "send", "receive", "events", "close_link", "stats", "command", "close"] {
        let instance = Instance::open(at).unwrap();
        let answers = quietly(|| [instance.call_all(), instance.call_all()].concat());
        let broken = answers.iter().position(|(call, _)| *call == at).unwrap();
        for (place, (call, code)) in answers.into_iter().enumerate() {
            // It has no status to answer; the next call does.
            if call != "close_link" {
                assert_eq!(code == status::INTERNAL, place >= broken, "{call} of a driver broken in {at}");
            }
        }
        quietly(|| drop(instance));
    }
}

#[test]
fn a_panic_in_open_or_in_drop_stays_inside() {
    assert_eq!(quietly(|| Instance::open("open").err()), Some(status::INTERNAL));
    let instance = Instance::open("drop").unwrap();
    quietly(|| drop(instance));
}

#[test]
fn null_pointers_are_refused() {
    let instance = Instance::open("").unwrap();
    let raw = instance.raw;
    // SAFETY: the contract lets a driver refuse null pointers; the instance is open.
    unsafe {
        assert_eq!(PLUGIN.open.unwrap()(null(), null_mut(), null_mut(), null_mut()), status::ARGUMENT);
        assert_eq!(PLUGIN.poll.unwrap()(null_mut(), 0, null(), 0, null_mut()), status::ARGUMENT);
        assert_eq!(PLUGIN.poll.unwrap()(raw, 0, null(), 5, null_mut()), status::OK);
        assert_eq!(PLUGIN.send.unwrap()(raw, null()), status::ARGUMENT);
        assert_eq!(PLUGIN.receive.unwrap()(raw, null_mut()), status::ARGUMENT);
        assert_eq!(PLUGIN.events.unwrap()(raw, null_mut(), 4), status::ARGUMENT);
        assert_eq!(PLUGIN.stats.unwrap()(raw, null_mut()), status::ARGUMENT);
        let bad = Str { ptr: null(), len: 5 };
        assert_eq!(PLUGIN.command.unwrap()(raw, bad, bad, null_mut(), 0), status::ARGUMENT);
        PLUGIN.destroy.unwrap()(null_mut());
    }
}

#[test]
fn a_host_too_old_is_given_no_table() {
    static LATER: abi::Plugin = abi::Plugin { min_host_minor: 7, ..glue::plugin::<Fragile>() };
    assert!(glue::entry(&LATER, 6).is_null());
    assert!(std::ptr::eq(glue::entry(&LATER, 7), &LATER));
    assert!(std::ptr::eq(glue::entry(&PLUGIN, 0), &PLUGIN));
}
