//! What a driver tells, as events and numbers of the head-end.

use node::{Context, Reason, Severity, Source};
use tracing::debug;
use transport_sdk::{self as sdk, Event, LinkEvent, LinkState, abi};

use crate::counts::{Counts, Unsent};
use crate::error::DriverError;

/// Passes on one event of a driver.
///
/// # Errors
/// [`DriverError::Fatal`], when the driver says that it cannot go on.
pub fn event(
    context: &mut Context,
    transport: u8,
    plugin: &'static str,
    counts: &mut Counts,
    event: &abi::Event,
) -> Result<(), DriverError> {
    let source = |link: u32| if link == 0 { Source::Node } else { Source::Link { transport, link } };
    match Event::from_abi(event) {
        Some(Event::Link(change)) => link(context, source(change.link), counts, &change),
        // The sums say what became of frames; nobody upstream waits for a single one.
        Some(Event::Tx { .. }) => {}
        Some(Event::Note { reason, link, octets, text }) => {
            if octets > 0 {
                counts.refused(reason, octets);
            }
            context.events.report(Reason(reason.word()), Severity::Warning, source(link), || text);
        }
        Some(Event::Fatal { status, text }) => return Err(DriverError::Fatal { plugin, code: status, text }),
        None => {
            let detail = || format!("kind {}, state {}, reason {}", event.kind, event.state, event.reason);
            context.events.report(Reason("driver-event-unknown"), Severity::Warning, Source::Node, detail);
        }
    }
    Ok(())
}

fn link(context: &mut Context, source: Source, counts: &mut Counts, change: &LinkEvent) {
    let LinkEvent { link, peer, reason, .. } = change;
    debug!(link, peer, reason = reason.word(), state = ?change.state, "link");
    let mut report = |word, severity, detail: &dyn Fn() -> String| {
        context.events.report(Reason(word), severity, source, detail);
    };
    match change.state {
        LinkState::Connecting => {}
        LinkState::Up => report("link-up", Severity::Info, &|| peer.clone()),
        LinkState::Degraded => report("link-degraded", Severity::Warning, &|| peer.clone()),
        LinkState::Down => {
            counts.link_ended(*reason);
            let severity = if is_orderly(*reason) { Severity::Info } else { Severity::Warning };
            report("link-down", severity, &|| format!("{peer}: {}", reason.word()));
        }
    }
}

/// Whether a link ends so in normal work.
fn is_orderly(reason: sdk::Reason) -> bool {
    use sdk::Reason::{HostClosed, None, PeerClosed, Shutdown};
    matches!(reason, None | PeerClosed | HostClosed | Shutdown)
}

/// Tells of frames that could not be sent.
pub fn unsent(context: &mut Context, why: Unsent, frames: u64) {
    context.events.report_many(Reason(why.event()), Severity::Warning, Source::Node, frames, String::new);
}
