//! Log lines: text on a terminal, JSON else, always on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::Format;

/// Sends `tracing` events to stderr; `METERGRAPH_LOG` filters them (default `info`).
///
/// Panics of workers become one log line with their place.
pub fn start(format: Option<Format>) {
    let filter = EnvFilter::try_from_env("METERGRAPH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let on_terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if on_terminal { Format::Text } else { Format::Json });
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => subscriber.with_ansi(on_terminal).with_target(false).init(),
        Format::Json => subscriber.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        tracing::error!(place, thread, "a worker panicked");
    }));
}
