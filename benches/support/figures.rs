//! Figures: one plain line each, or all of them as one JSON object.

use serde_json::{Map, Value, json};

/// The figures of one bench.
#[derive(Debug, Default)]
pub struct Figures {
    json: Option<Map<String, Value>>,
}

/// Several measurements of the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    /// Half of them were below.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Spread {
    /// The spread of some values; zeros when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        Self { median: at(values.len() / 2), low: at(0), high: at(values.len().saturating_sub(1)) }
    }
}

impl Figures {
    /// Lines for people, or with `json` one object at the end.
    pub fn new(json: bool) -> Self {
        Self { json: json.then(Map::new) }
    }

    /// A figure that was measured once.
    pub fn put(&mut self, name: &str, value: f64, unit: &str) {
        self.spread(name, Spread { median: value, low: value, high: value }, unit);
    }

    /// A figure that was measured several times.
    pub fn spread(&mut self, name: &str, spread: Spread, unit: &str) {
        let Spread { median, low, high } = spread;
        if let Some(object) = &mut self.json {
            let value = json!({ "value": median, "low": low, "high": high, "unit": unit });
            object.insert(name.to_owned(), value);
            return;
        }
        let range = if low < high { format!(" ({} to {})", shown(low), shown(high)) } else { String::new() };
        println!("{name}: {} {unit}{range}", shown(median));
    }

    /// All figures were put.
    pub fn end(self) {
        if let Some(object) = self.json {
            println!("{}", Value::Object(object));
        }
    }
}

/// Three digits that say something, or all before the point.
fn shown(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole == whole.trunc() || whole >= 100.0 => 0,
        tens if tens >= 10.0 => 1,
        ones if ones >= 1.0 => 2,
        _ => 4,
    };
    format!("{value:.digits$}")
}
