//! What a driver and the I/O table tell, as events, numbers and log lines of the head-end.

use node::{Context, Reason, Severity, Source};
use transport_sdk::{self as sdk, Event, Level, LinkEvent, LinkState, abi};

use crate::counts::{Counts, Unsent};
use crate::error::DriverError;
use crate::host_table::HostTable;
use crate::io::Notice;

/// Passes on one event of a driver.
///
/// # Errors
/// [`DriverError::Fatal`], when the driver says that it cannot go on.
pub fn event(
    context: &mut Context,
    transport: u8,
    plugin: &str,
    counts: &mut Counts,
    host: &HostTable,
    event: &abi::Event,
) -> Result<(), DriverError> {
    let source = |link: u32| if link == 0 { Source::Node } else { Source::Link { transport, link } };
    let mut warn = |reason: &'static str, link: u32, detail: String| {
        host.notes().log(Level::Warn, &format!("link {link}: {reason}: {detail}"));
        context.events.report(Reason(reason), Severity::Warning, source(link), || detail);
    };
    match Event::from_abi(event) {
        Some(Event::Link(change)) => link(context, source(change.link), counts, host, &change),
        // The sums say what became of frames; nobody upstream waits for a single one.
        Some(Event::Tx { .. }) => {}
        Some(Event::Note { reason, link, octets, text }) => {
            if octets > 0 {
                counts.refused(reason, octets);
            }
            warn(reason.word(), link, text);
        }
        Some(Event::Fatal { status, text }) => {
            return Err(DriverError::Fatal { plugin: plugin.to_owned(), code: status, text });
        }
        None => {
            let detail = format!("kind {}, state {}, reason {}", event.kind, event.state, event.reason);
            warn("driver-event-unknown", 0, detail);
        }
    }
    Ok(())
}

fn link(context: &mut Context, source: Source, counts: &mut Counts, host: &HostTable, change: &LinkEvent) {
    let LinkEvent { link, peer, reason, state, .. } = change;
    let mut report = |word, level, severity, detail: String| {
        host.notes().log(level, &format!("link {link}: {word}: {detail}"));
        context.events.report(Reason(word), severity, source, || detail);
    };
    match state {
        LinkState::Connecting => host.notes().log(Level::Debug, &format!("link {link}: connecting: {peer}")),
        LinkState::Up => report("link-up", Level::Debug, Severity::Info, peer.clone()),
        LinkState::Degraded => report("link-degraded", Level::Info, Severity::Warning, peer.clone()),
        LinkState::Down => {
            counts.link_ended(*reason);
            let severity = if is_orderly(*reason) { Severity::Info } else { Severity::Warning };
            report("link-down", Level::Debug, severity, format!("{peer}: {}", reason.word()));
        }
    }
}

/// Whether a link ends so in normal work.
fn is_orderly(reason: sdk::Reason) -> bool {
    use sdk::Reason::{HostClosed, None, PeerClosed, Shutdown};
    matches!(reason, None | PeerClosed | HostClosed | Shutdown)
}

/// Tells what the I/O table noticed by itself.
pub fn notice(context: &mut Context, host: &HostTable, notice: Notice) {
    let Notice { reason, detail } = notice;
    host.notes().log(Level::Warn, &format!("{reason}: {detail}; peers wait"));
    context.events.report(Reason(reason), Severity::Warning, Source::Node, || detail);
}

/// Tells of frames that could not be sent.
pub fn unsent(context: &mut Context, why: Unsent, frames: u64) {
    context.events.report_many(Reason(why.event()), Severity::Warning, Source::Node, frames, String::new);
}
