//! A driver of the program itself, and one that panics: the worker ends, what it held is counted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::path::Path;

use common::{Running, env, spec};
use metergraph_transport::{NativeModule, TransportWorker};
use transport_sdk::{
    BatchIn, BatchOut, Error, Event, Host, Limits, Readiness, Reason, Stats, Step, Transport, Waker,
};

/// Gives one frame at each call, without end; panics at a frame that says `panic`. A thread of its own
/// wakes the host until it is dropped.
struct Source {
    given: u8,
    notes: u32,
    taken: u64,
    beat: Option<std::thread::JoinHandle<()>>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Release);
        drop(self.beat.take().map(std::thread::JoinHandle::join));
    }
}

impl Transport for Source {
    const NAME: &'static str = "source";
    const VERSION: &'static str = "1";
    const CONFIG_SCHEMA: &'static str = "{}";

    fn open(_: &str, _: &str, host: &Host<'_>) -> Result<(Self, Limits), Error> {
        let stop = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let (waker, ended): (Waker, _) = (host.waker(), std::sync::Arc::clone(&stop));
        let beat = std::thread::spawn(move || {
            while !ended.load(std::sync::atomic::Ordering::Acquire) {
                waker.wake();
                waker.counter_add("beats", 1);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let limits = Limits { max_frame: 64, tx_queue: 1, max_links: 1, ..Limits::default() };
        Ok((Self { given: 0, notes: 3, taken: 0, beat: Some(beat), stop }, limits))
    }

    fn start(&mut self, _: &Host<'_>, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn poll(&mut self, _: &Host<'_>, _: u64, _: &[Readiness]) -> Result<Step, Error> {
        Ok(Step { rx_pending: 1, tx_room: 1, ..Step::default() })
    }

    fn send(&mut self, _: &Host<'_>, batch: &BatchIn<'_>) -> Result<usize, Error> {
        assert!(!batch.iter().any(|(_, octets)| octets == Some(b"panic")), "as told");
        self.taken += batch.len() as u64;
        Ok(batch.len())
    }

    fn receive(&mut self, _: &Host<'_>, out: &mut BatchOut<'_>) -> Result<(), Error> {
        let at = out.len();
        assert!(out.append(&[self.given; 5]) && out.push(7, at, 5, 0));
        self.given = self.given.wrapping_add(1);
        Ok(())
    }

    fn next_event(&mut self, _: &Host<'_>) -> Option<Event> {
        self.notes = self.notes.checked_sub(1)?;
        Some(Event::Note { reason: Reason::Framing, link: 7, octets: 10, text: "line\nbreak".into() })
    }

    fn close_link(&mut self, _: &Host<'_>, _: u32) {}

    fn stats(&self) -> Stats {
        Stats { tx_frames: self.taken, tx_sent: self.taken, dropped: 4, links: 1, ..Stats::default() }
    }

    fn close(&mut self, _: &Host<'_>, _: u64) -> Result<(), Error> {
        Ok(())
    }
}

fn start(up_max: usize) -> Running {
    let env = env();
    let module = NativeModule::built_in::<Source>().unwrap();
    let worker = TransportWorker::with_module(&module, &spec(Path::new("")), &env).unwrap();
    Running::run(worker, up_max, env)
}

#[test]
fn a_driver_of_the_program_itself_is_run_like_any_other() {
    let mut running = start(4);
    let frames = running.take(1000);
    assert!(frames.iter().zip(0u32..).all(|((link, octets), n)| *link == 7 && octets == &[n as u8; 5]));
    running.until_sum("metergraph_frames_refused_total", Some("framing"), 3);
    assert_eq!(running.sum("metergraph_transport_refused_octets_total", None), 30);
    assert_eq!(running.sum("metergraph_frames_dropped_total", Some("driver")), 4);
    running.until("its thread beats", |running| running.sum("metergraph_plugin_count_total", None) > 2);
    running.orders.drain();
    running.until("what was received is passed on", |running| {
        while running.up.take().is_some() {}
        running.up.is_finished()
    });
    running.drain().unwrap();
}

#[test]
fn a_panic_in_a_rust_driver_ends_its_worker_and_counts_what_it_held() {
    let mut running = start(1);
    running.until("a batch waits for room", |running| {
        running.up.waiting() == 1 && running.sum("metergraph_transport_received_frames_total", None) == 2
    });
    running.send(&[(7, b"fine")]);
    running.until_sum("metergraph_transport_sent_frames_total", None, 1);
    running.send(&[(7, b"good"), (7, b"panic")]);
    let line = running.join().unwrap_err().to_string();
    assert_eq!(line, "plugin `source`: send: internal fault (-13)");
    assert_eq!(running.env.status.in_hand(), 1, "the runtime counts it as lost");
    assert_eq!(running.sum("metergraph_transport_unsent_frames_total", Some("lost")), 2);
    assert_eq!(running.sum("metergraph_transport_links", None), 0);
}
