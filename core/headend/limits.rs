//! The operating system's limits that a head-end needs raised.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the hard limit and answers what it is then.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the limit of open files, and says so in one clear line when it stays below `wanted`.
pub fn want_open_files(wanted: u64) {
    let have = raise_open_files();
    if have < wanted {
        tracing::warn!(
            have,
            wanted,
            "the system allows fewer open files than wanted: connections past that are refused (raise `ulimit -n`)"
        );
    }
}
