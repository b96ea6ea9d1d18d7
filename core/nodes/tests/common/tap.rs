//! The disk of the audit log, as the test plays it: between the audit log and the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use node::{Batch, Edge};

/// Hands on what the audit log writes; while it is broken, nothing can be written.
pub struct Tap {
    broken: Arc<AtomicBool>,
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    pub fn between(from: Arc<Edge>, to: Arc<Edge>) -> Self {
        let (broken, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (broken, gone) = (Arc::clone(&broken), Arc::clone(&gone));
            std::thread::spawn(move || {
                while !gone.load(Ordering::SeqCst) && !from.is_finished() {
                    match from.take() {
                        None => std::thread::sleep(Duration::from_millis(1)),
                        Some((number, batch)) => {
                            let written =
                                !broken.load(Ordering::SeqCst) && hand_on(&to, batch, &gone) == Some(true);
                            if !written {
                                from.fail(number);
                            }
                            from.settle(number);
                        }
                    }
                }
                to.close();
            })
        };
        Self { broken, gone, thread: Some(thread) }
    }

    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }
}

/// Whether a batch became durable.
fn hand_on(to: &Edge, mut batch: Batch, gone: &AtomicBool) -> Option<bool> {
    let number = loop {
        match to.offer(batch) {
            Ok(number) => break number,
            Err(node::edge::Refused::Full(back)) if !gone.load(Ordering::SeqCst) => batch = back,
            Err(_) => return None,
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    while to.settled() < number {
        if gone.load(Ordering::SeqCst) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(to.doubted() < number && to.next_failure() != Some(number))
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
