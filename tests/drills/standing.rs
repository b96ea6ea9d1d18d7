//! What is trusted after a drill: computed, each name by a real component that is asked now.

/// Names by whether they are believed.
#[derive(Debug, Default)]
pub struct Standing {
    trusted: Vec<&'static str>,
    lost: Vec<&'static str>,
}

impl Standing {
    /// Adds a name: `believed` is what came of the probe.
    pub fn of(mut self, name: &'static str, believed: bool) -> Self {
        if believed {
            self.trusted.push(name)
        } else {
            self.lost.push(name)
        }
        self
    }

    /// The end of a drill: exactly these are trusted, exactly those are not any longer.
    pub fn must_be(&self, drill: &str, trusted: &[&str], lost: &[&str]) {
        println!("{drill}: still trusted: {}", self.trusted.join(", "));
        println!("{drill}: no longer trusted: {}", self.lost.join(", "));
        assert_eq!((&*self.trusted, &*self.lost), (trusted, lost), "{drill}");
    }
}
