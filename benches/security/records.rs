//! Associations read at a start: their records opened, and handed on with their keys.

use std::hint::black_box;

use keystore::{NewAssociation, ProfileId};
use seal::at_rest::{Dek, NONCE_LEN};
use seal::ids::{Dev, Sid};
use seal::secret::{Key256, Prk};

use crate::goal;
use crate::site;
use crate::support::{Failure, Figures};
use crate::timing::ns_each;

const ASSOCIATIONS: u32 = 400_000;
/// Records of the same key, one after the other.
const RECORDS: usize = 4_096;
/// What is authenticated with a record.
const ABOUT: [u8; 14] = [1; 14];
/// Records opened a second and core, at least.
const GOAL: f64 = 2_000_000.0;

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let (store, _folder) = site::store("records", ASSOCIATIONS)?;
    let vault = store.vault();
    let title = c1222::ApTitleBuf::parse(".75.100.100")?;
    let record = vault.seal_association(&NewAssociation {
        sid: Sid(0),
        dev: Dev([2; 8]),
        prk: &Prk::from_octets([3; 32]),
        title: title.as_title(),
        esn: "MG00000001",
        profile: ProfileId([7; 32]),
    })?;
    figures.put("octets of an association's sealed record", record.len() as f64, "octets");

    let dek = Dek::new(&Key256::from_octets([7; 32]));
    let plain = vec![0x5a; record.len() - seal::at_rest::OVERHEAD];
    let mut sealed = Vec::new();
    for number in 0..RECORDS as u64 {
        let mut nonce = [0; NONCE_LEN];
        nonce.first_chunk_mut::<8>().into_iter().for_each(|first| *first = number.to_be_bytes());
        dek.seal(nonce, &ABOUT, &plain, &mut sealed)?;
    }
    let one_by_one = ns_each(
        RECORDS,
        || sealed.clone(),
        |sealed| {
            for record in sealed.chunks_exact_mut(record.len()) {
                black_box(dek.open(&ABOUT, record)?);
            }
            Ok(())
        },
    )?;
    goal::rate(figures, "records, opened one by one (crate ccm)", one_by_one, None);

    let loaded = ns_each(
        ASSOCIATIONS as usize,
        || (),
        |()| {
            let count = vault.load(&|_| true, &mut |association| {
                black_box(association.sid);
            })?;
            if count == u64::from(ASSOCIATIONS) { Ok(()) } else { Err("associations are missing".into()) }
        },
    )?;
    goal::rate(figures, "records, opened and handed on by a vault", loaded, Some(GOAL));
    Ok(())
}
