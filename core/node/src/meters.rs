//! Counters and gauges: plain numbers that workers touch once a batch and the runtime publishes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A label of a closed set: node, edge, reason ... never a meter's identity.
pub type Label = (&'static str, String);

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds; meant to be called once a batch.
    pub fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What stands behind one name and its labels.
#[derive(Clone, Debug)]
pub enum Reading {
    /// A counter's handle.
    Counter(Counter),
    /// A gauge's handle.
    Gauge(Gauge),
}

/// One counter or gauge with its name and labels.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Begins with `metergraph_`; counters end in `_total`.
    pub name: &'static str,
    /// Labels, in the order given.
    pub labels: Vec<Label>,
    /// For people.
    pub help: &'static str,
    /// The number.
    pub reading: Reading,
}

/// All counters and gauges of a running graph. Asking twice for one name and labels gives one number,
/// so a restarted node counts on.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Mutex<Vec<Meter>>>);

impl Meters {
    /// The counter of this name and these labels.
    #[must_use]
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[Label]) -> Counter {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for meter in meters.iter() {
            if let (true, Reading::Counter(counter)) =
                (meter.name == name && meter.labels == labels, &meter.reading)
            {
                return counter.clone();
            }
        }
        let counter = Counter::default();
        meters.push(Meter {
            name,
            labels: labels.to_vec(),
            help,
            reading: Reading::Counter(counter.clone()),
        });
        counter
    }

    /// The gauge of this name and these labels.
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[Label]) -> Gauge {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for meter in meters.iter() {
            if let (true, Reading::Gauge(gauge)) =
                (meter.name == name && meter.labels == labels, &meter.reading)
            {
                return gauge.clone();
            }
        }
        let gauge = Gauge::default();
        meters.push(Meter { name, labels: labels.to_vec(), help, reading: Reading::Gauge(gauge.clone()) });
        gauge
    }

    /// All of them, as they stand.
    #[must_use]
    pub fn all(&self) -> Vec<Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_and_labels_is_one_number() {
        let meters = Meters::default();
        let labels = [("node", "decrypt".to_owned())];
        meters.counter("metergraph_frames_refused_total", "", &labels).add(2);
        meters.counter("metergraph_frames_refused_total", "", &labels).add(3);
        assert_eq!(meters.counter("metergraph_frames_refused_total", "", &labels).get(), 5);
        assert_eq!(meters.counter("metergraph_frames_refused_total", "", &[]).get(), 0);
        assert_eq!(meters.all().len(), 2);
    }
}
