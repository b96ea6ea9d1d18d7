//! Candidates of the next epoch, as each shard derives them when a fleet is advanced.

use std::hint::black_box;

use seal::association::Association;
use seal::ids::{Dev, Epoch, Sid};
use seal::schedule;
use seal::secret::{Prk, scrubbed};

use crate::goal;
use crate::support::{Failure, Figures};
use crate::timing::ns_each;

const ASSOCIATIONS: u32 = 5_000;

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let prk = Prk::from_octets([0x31; 32]);
    let associations = || {
        let sids = (0..ASSOCIATIONS).map(Sid);
        let keys = schedule::derive(&prk, Sid(0));
        let copy = || schedule::AssociationKeys {
            up: seal::secret::Key128::from_octets(*keys.up.expose()),
            dn: seal::secret::Key128::from_octets(*keys.dn.expose()),
            common_iv: keys.common_iv,
        };
        sids.map(|sid| Association::new(sid, Dev([1; 8]), Epoch(0), copy())).collect::<Vec<_>>()
    };
    let ns = ns_each(ASSOCIATIONS as usize, associations, |associations| {
        for association in associations {
            let sid = association.sid();
            // As a shard does it: the next PRK_out from that of the active epoch, and its keys.
            let issued = scrubbed::<8, _>(|| {
                association.issue(|epoch| schedule::derive(&schedule::advance(&prk, epoch), sid))
            });
            black_box(issued.ok_or("no candidate")?);
        }
        Ok(())
    })?;
    goal::rate(figures, "epochs, candidates issued", ns, None);
    Ok(())
}
