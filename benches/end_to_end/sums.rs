//! The accounting of both sides.

use runtime::Status;

use crate::fleet::Said;
use crate::support::Failure;

/// Checks that every frame that the fleet sent came to exactly one end, and that no report is acknowledged that is
/// not in the journal.
///
/// # Errors
/// The sums, when they do not match.
pub fn check(said: &Said, status: &Status) -> Result<(), Failure> {
    let sum = |what: &str| {
        u64::try_from(status.sum(&format!("metergraph_frames_{what}_total"), None)).unwrap_or_default()
    };
    let [journaled, duplicate, refused, dropped] = ["journaled", "duplicate", "refused", "dropped"].map(sum);
    let Said { sent, reports, acked, unacked, refused_downstream, links_lost, .. } = said;
    let balanced = *sent == journaled + duplicate + refused + dropped && *reports == acked + unacked;
    let sound = refused + dropped + refused_downstream + links_lost + unacked == 0 && *acked == journaled;
    if balanced && sound {
        return Ok(());
    }
    let text = format!(
        "the sums do not match: fleet: sent {sent}, reports {reports}, acknowledged {acked}, not {unacked}, \
         refused {refused_downstream}, links lost {links_lost}; head-end: journaled {journaled}, \
         duplicate {duplicate}, refused {refused}, dropped {dropped}"
    );
    Err(text.into())
}
