//! Raises the incarnation at the start, and again while token or disk fails (security layer §8): a token that
//! is plugged in late opens what waits for it. What the fence refuses is not tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::Files;
use node::{Context, Env, Reason, Severity, Source};

use super::fence::{Fence, FenceError, Standing};

/// Between two tries: twice as long each time, up to the last. So often it is tried as long as the head-end runs.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

const STATES: [(Standing, &str); 3] =
    [(Standing::Waiting, "waiting"), (Standing::Open, "open"), (Standing::Refused, "refused")];

pub(super) struct Raising {
    env: Env,
    fence: Arc<Fence>,
    files: Arc<dyn Files>,
    folder: PathBuf,
    /// How it stood when it was last told.
    told: Option<Standing>,
    failed: u32,
    pause: Duration,
    next: Instant,
}

impl Raising {
    /// The mark stands in `folder`.
    pub(super) fn new(env: &Env, fence: &Arc<Fence>, files: Arc<dyn Files>, folder: PathBuf) -> Self {
        Self {
            env: env.clone(),
            fence: Arc::clone(fence),
            files,
            folder,
            told: None,
            failed: 0,
            pause: PAUSES.0,
            next: Instant::now(),
        }
    }

    /// Tries it when it is due, and tells what is new.
    pub(super) fn turn(&mut self, context: &mut Context) {
        let waits = matches!(self.told, None | Some(Standing::Waiting));
        if waits && Instant::now() >= self.next {
            match self.fence.raise(&*self.files, &self.folder) {
                Ok(()) if self.failed > 0 => {
                    let tries = self.failed.saturating_add(1);
                    let detail =
                        || format!("the incarnation is raised, by try {tries}: what waited for it opens");
                    context.events.report(Reason("fence-open"), Severity::Info, Source::Node, detail);
                }
                Ok(()) | Err(FenceError::Closed { .. }) => {}
                Err(error) => self.failed(context, &error),
            }
        }
        self.tell(context);
    }

    fn failed(&mut self, context: &mut Context, error: &FenceError) {
        let help = "Tries to raise the incarnation that token or disk failed, by reason; it is tried again.";
        self.env.counter("metergraph_fence_tries_failed_total", help, &[("reason", error.code())]).add(1);
        let pause = self.pause;
        context.events.report(Reason(error.code()), Severity::Alarm, Source::Node, || {
            format!(
                "{error}; the incarnation is not raised and nothing is sealed, tried again in {} s",
                pause.as_secs()
            )
        });
        self.failed = self.failed.saturating_add(1);
        self.next = Instant::now() + pause;
        self.pause = pause.saturating_mul(2).min(PAUSES.1);
    }

    /// Others close it, when they find that another copy has raised the token.
    fn tell(&mut self, context: &mut Context) {
        let Some(standing) = self.fence.standing().filter(|standing| self.told != Some(*standing)) else {
            return;
        };
        self.told = Some(standing);
        for (state, word) in STATES {
            let help =
                "1 for how the fence stands: `waiting` for token or disk, `open`, or `refused` for good.";
            self.env.gauge("metergraph_fence", help, &[("state", word)]).set(i64::from(state == standing));
        }
        if let (Standing::Refused, Err(error)) = (standing, self.fence.check()) {
            context.events.report(Reason(error.code()), Severity::Alarm, Source::Node, || error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use journal::files::ForgetfulFiles;
    use keystore::token::TokenError;
    use node::context::Wiring;
    use node::env::Services;
    use node::event::EventEdge;
    use node::meters::Reading;
    use node::{BatchPool, EdgeName, Meters, NodeStatus, WhenFull};

    use super::super::fence::{Number, set_incarnation_mark};
    use super::*;

    /// A token that is away for so many calls, and counts them.
    #[derive(Clone, Default)]
    struct Late {
        away: Arc<AtomicU64>,
        calls: Arc<AtomicU64>,
        number: Arc<AtomicU64>,
    }

    impl Number for Late {
        fn read(&self) -> Result<u64, TokenError> {
            self.calls.fetch_add(1, SeqCst);
            match self.away.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => Err(TokenError::Damaged { path: "token".into(), what: "it is away" }),
                Err(_) => Ok(self.number.load(SeqCst)),
            }
        }

        fn raise(&self, to: u64) -> Result<(), TokenError> {
            self.number.store(to, SeqCst);
            Ok(())
        }
    }

    struct House {
        raising: Raising,
        context: Context,
        events: Arc<EventEdge>,
        meters: Meters,
    }

    impl House {
        fn new(token: &Late, mark: u64) -> Self {
            let files = ForgetfulFiles::default();
            files.create_folder(Path::new("/journal")).unwrap();
            set_incarnation_mark(&files, Path::new("/journal"), mark).unwrap();
            let (from, port, to) = ("keys".to_owned(), "events".to_owned(), "monitor".to_owned());
            let name = EdgeName { from, port, from_instance: 0, to, to_instance: 0 };
            let events = Arc::new(EventEdge::new(name, 64, WhenFull::Collapse));
            let wiring = Wiring { event_outputs: vec![Arc::clone(&events)], ..Wiring::default() };
            let meters = Meters::default();
            let env = Env {
                node: "keys".to_owned(),
                instance: 0,
                instances: 1,
                run: 1,
                state: "/".into(),
                meters: meters.clone(),
                services: Services::default(),
                pool: BatchPool::new(1),
                status: NodeStatus::default(),
                wires: Arc::default(),
                transports: Arc::default(),
                transport: None,
            };
            let fence = Arc::new(Fence::new(Box::new(token.clone())));
            let raising = Raising::new(&env, &fence, Arc::new(files), "/journal".into());
            Self { raising, context: Context::new(wiring), events, meters }
        }

        /// A turn; the time until the next try, in seconds, when one is waited for.
        fn turn(&mut self) -> Option<u64> {
            let before = self.raising.next;
            self.raising.turn(&mut self.context);
            self.context.events.flush(true);
            let next = self.raising.next;
            (next != before)
                .then(|| next.saturating_duration_since(Instant::now()).as_millis().div_ceil(1000) as u64)
        }

        /// The pause is over.
        fn skip(&mut self) {
            self.raising.next = Instant::now();
        }

        fn events(&self) -> Vec<&'static str> {
            std::iter::from_fn(|| self.events.take()).map(|event| event.reason.0).collect()
        }

        fn metered(&self, name: &str, label: &str) -> i64 {
            let all = self.meters.all();
            let fits = |labels: &[(&'static str, String)]| labels.iter().any(|(_, value)| value == label);
            let found = all.iter().find(|meter| meter.name == name && fits(&meter.labels));
            found.map_or(0, |meter| match &meter.reading {
                Reading::Counter(counter) => counter.get() as i64,
                Reading::Gauge(gauge) => gauge.get(),
            })
        }

        fn states(&self) -> [i64; 3] {
            STATES.map(|(_, word)| self.metered("metergraph_fence", word))
        }
    }

    #[test]
    fn a_token_that_comes_late_opens_and_is_not_asked_more_often_than_agreed() {
        let token = Late::default();
        token.away.store(9, SeqCst);
        let mut house = House::new(&token, 0);
        let mut pauses = Vec::new();
        while let Some(pause) = house.turn() {
            pauses.push(pause);
            // Before its time it is left alone.
            for _ in 0..3 {
                assert_eq!(house.turn(), None);
            }
            assert_eq!(token.calls.load(SeqCst), pauses.len() as u64);
            assert_eq!(house.states(), [1, 0, 0]);
            assert_eq!(house.raising.fence.check().unwrap_err().code(), "SEC-HSM");
            house.skip();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(house.states(), [0, 1, 0]);
        assert_eq!(house.metered("metergraph_fence_tries_failed_total", "SEC-HSM"), 9);
        house.raising.fence.check().unwrap();
        let events = house.events();
        assert!(events.contains(&"SEC-HSM") && events.last() == Some(&"fence-open"), "{events:?}");
    }

    #[test]
    fn one_that_is_refused_is_not_tried_again_and_told_once() {
        let token = Late::default();
        token.number.store(5, SeqCst);
        let mut house = House::new(&token, 3);
        for _ in 0..20 {
            house.turn();
            house.skip();
        }
        assert_eq!(token.calls.load(SeqCst), 1);
        assert_eq!((house.states(), house.events()), ([0, 0, 1], vec!["SEC-FENCE"]));
        assert_eq!(token.number.load(SeqCst), 5);
        // Also when the token is then as this state wants it.
        token.number.store(3, SeqCst);
        house.turn();
        assert_eq!(house.raising.fence.check().unwrap_err().code(), "SEC-FENCE");
    }

    #[test]
    fn a_copy_that_starts_later_is_told_once() {
        let token = Late::default();
        let mut house = House::new(&token, 0);
        house.turn();
        assert_eq!((house.states(), house.events()), ([0, 1, 0], vec![]));
        token.number.store(7, SeqCst);
        assert!(house.raising.fence.check().is_err());
        house.turn();
        house.turn();
        assert_eq!((house.states(), house.events()), ([0, 0, 1], vec!["SEC-FENCE"]));
    }
}
