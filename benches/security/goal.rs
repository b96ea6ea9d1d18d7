//! A rate beside the least that it should be.

use crate::support::{Figures, Spread};

/// Puts what some nanoseconds each come to in a second, and whether that is enough.
pub fn rate(figures: &mut Figures, name: &str, ns: Spread, goal: Option<f64>) {
    let per_second = |ns: f64| 1e9 / ns.max(f64::MIN_POSITIVE);
    let spread = Spread { median: per_second(ns.median), low: per_second(ns.high), high: per_second(ns.low) };
    put(figures, name, spread, "/s and core", goal);
}

/// Puts a figure, and whether it is enough.
pub fn put(figures: &mut Figures, name: &str, spread: Spread, unit: &str, goal: Option<f64>) {
    let Some(least) = goal else { return figures.spread(name, spread, unit) };
    let verdict = if spread.median >= least { "met" } else { "MISSED" };
    figures.spread(name, spread, &format!("{unit}, at least {least}: {verdict}"));
}
