//! What protects the keys of this run, said once at its start (security layer §4).

use keystore::token::Config;
use node::{Context, Reason, Severity, Source};

use super::Keeper;

/// Sets the gauges, and reports what a production site would not want.
pub(super) fn tell(keeper: &Keeper, context: &mut Context) {
    let gauge = |what: &str, is_good: bool| {
        let help = "1 where keys are protected: `tokens` are no software files, `memory` is not swapped out.";
        keeper.env.gauge("metergraph_key_protection", help, &[("what", what)]).set(i64::from(is_good));
    };
    let software: Vec<String> = keeper
        .env
        .services
        .find::<Config>(&keeper.env.node)
        .map_or_else(Vec::new, |config| config.software().iter().map(ToString::to_string).collect());
    let locked = keeper.store.is_locked();
    gauge("tokens", software.is_empty());
    gauge("memory", locked);
    // A node that is started again says nothing new.
    if keeper.env.run > 1 {
        return;
    }
    if !software.is_empty() {
        let detail = || format!("software keys, good for labs only: {}", software.join(", "));
        context.events.report(Reason("software-keys"), Severity::Warning, Source::Node, detail);
    }
    if !locked {
        let detail =
            || "the system locks no memory for keys, they may be swapped out (`ulimit -l`)".to_owned();
        context.events.report(Reason("keys-not-locked"), Severity::Warning, Source::Node, detail);
    }
}
