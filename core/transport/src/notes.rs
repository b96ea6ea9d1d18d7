//! What a plugin says by itself: log lines and numbers, each within limits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use node::clock::monotonic_ns;
use node::{Counter, Env, Gauge};
use tracing::{debug, error, info, trace, warn};
use transport_sdk::Level;

/// Different names of counters and of gauges; further ones are counted together.
const NAMES_MAX: usize = 64;
/// Longest name, octets.
const NAME_MAX: usize = 64;
/// The name of those that have none of their own.
const OTHER: &str = "other";
/// Log lines within one second; further ones are only counted.
const LINES_MAX: u32 = 100;
const SECOND: u64 = 1_000_000_000;

/// Log lines and numbers of one plugin's instance.
#[derive(Debug)]
pub struct Notes {
    env: Env,
    lines: Mutex<Lines>,
    suppressed: Counter,
    counters: Mutex<BTreeMap<String, Counter>>,
    gauges: Mutex<BTreeMap<String, Gauge>>,
}

#[derive(Debug, Default)]
struct Lines {
    since: u64,
    count: u32,
}

impl Notes {
    /// Nothing said yet.
    #[must_use]
    pub fn new(env: &Env) -> Self {
        let suppressed = env.counter(
            "metergraph_plugin_lines_suppressed_total",
            "Log lines of a plugin past the limit of each second.",
            &[],
        );
        Self {
            env: env.clone(),
            lines: Mutex::default(),
            suppressed,
            counters: Mutex::default(),
            gauges: Mutex::default(),
        }
    }

    /// A line for the log; control characters in it are replaced.
    pub fn log(&self, level: Level, line: &str) {
        let is_off = match level {
            Level::Trace => !tracing::enabled!(tracing::Level::TRACE),
            Level::Debug => !tracing::enabled!(tracing::Level::DEBUG),
            _ => false,
        };
        if is_off {
            return;
        }
        {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let now = monotonic_ns();
            if now.saturating_sub(lines.since) >= SECOND {
                *lines = Lines { since: now, count: 0 };
            }
            lines.count = lines.count.saturating_add(1);
            if lines.count > LINES_MAX {
                self.suppressed.add(1);
                return;
            }
        }
        let line = line.replace(char::is_control, " ");
        let node = &self.env.node;
        match level {
            Level::Trace => trace!(node, "{line}"),
            Level::Debug => debug!(node, "{line}"),
            Level::Info => info!(node, "{line}"),
            Level::Warn => warn!(node, "{line}"),
            Level::Error => error!(node, "{line}"),
        }
    }

    /// Adds to a counter.
    pub fn count(&self, name: &str, by: u64) {
        let made = |name: &str| {
            self.env.counter(
                "metergraph_plugin_count_total",
                "Counters of a plugin's own, by its name for them.",
                &[("counter", name)],
            )
        };
        named(&self.counters, name, made, |counter| counter.add(by));
    }

    /// Sets a gauge; the page holds whole numbers.
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates")]
    pub fn set(&self, name: &str, value: f64) {
        let made = |name: &str| {
            self.env.gauge(
                "metergraph_plugin_value",
                "Gauges of a plugin's own, by its name for them.",
                &[("gauge", name)],
            )
        };
        named(&self.gauges, name, made, |gauge| gauge.set(value.round() as i64));
    }
}

/// Works on the number of this name, or on that of all other names once there are too many.
fn named<T>(
    all: &Mutex<BTreeMap<String, T>>,
    name: &str,
    made: impl FnOnce(&str) -> T,
    work: impl FnOnce(&T),
) {
    let is_name = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let known = all.contains_key(name);
    let name = if known || (is_name && all.len() < NAMES_MAX) { name } else { OTHER };
    if let Some(number) = all.get(name) {
        work(number);
    } else {
        let number = made(name);
        work(&number);
        all.insert(name.to_owned(), number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::env;

    #[test]
    fn names_are_a_small_closed_set() {
        let env = env("transport:wan");
        let notes = Notes::new(&env);
        for number in 0..200 {
            notes.count(&format!("kind_{number}"), 1);
        }
        for bad in ["", "Räder", "a b", &"x".repeat(65)] {
            notes.count(bad, 1);
        }
        notes.set("depth", 2.6);
        notes.set("depth", f64::NAN);
        let meters = env.meters.all();
        let counters: Vec<_> =
            meters.iter().filter(|meter| meter.name == "metergraph_plugin_count_total").collect();
        assert_eq!(counters.len(), NAMES_MAX + 1);
        let other = env.counter("metergraph_plugin_count_total", "", &[("counter", OTHER)]);
        assert_eq!(other.get(), 200 - NAMES_MAX as u64 + 4);
        assert_eq!(env.gauge("metergraph_plugin_value", "", &[("gauge", "depth")]).get(), 0);
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let notes = Notes::new(&env("transport:wan"));
        for _ in 0..1000 {
            notes.log(Level::Warn, "again");
        }
        assert!(notes.suppressed.get() >= 1000 - 2 * u64::from(LINES_MAX));
    }
}
