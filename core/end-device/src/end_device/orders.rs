//! What signed commands do besides tables and the switch, as the profile's classes list it: load control
//! (class 3) and firmware (class 2).

use c1222::device_profile::{DeviceProfile, classes};
use c1222::tables::{Outcome, ProcedureId, TableId};
use sha2::{Digest, Sha256};

use super::state::State;

/// Octets of a firmware image, at most.
pub(super) const IMAGE_MAX: usize = 1 << 20;
/// Octets of a load limit, `watts u32, minutes u16`, and of a demand-response event, `event u32, start u32,
/// minutes u16, percent u8`.
const LOAD_CONTROL: [usize; 2] = [6, 11];

/// Whether blocks of a firmware image are written to this table.
pub(super) fn is_image(profile: &DeviceProfile, table: TableId) -> bool {
    profile.table(table).is_none() && profile.classes.writes.get(&table) == Some(&classes::FIRMWARE)
}

/// The tables that take firmware images.
pub(super) fn images(profile: &DeviceProfile) -> impl Iterator<Item = TableId> {
    profile.classes.writes.keys().copied().filter(|table| is_image(profile, *table))
}

/// The procedures that the profile lists as load control or firmware; those of the switch among them.
pub(super) fn procedures(profile: &DeviceProfile) -> impl Iterator<Item = ProcedureId> {
    let ours = |class: u8| class == classes::LOAD || class == classes::FIRMWARE;
    profile.classes.procedures.iter().filter(move |(_, class)| ours(**class)).map(|(procedure, _)| *procedure)
}

/// Carries out such a procedure; `None` when the profile lists it otherwise, or not.
pub(super) fn run(
    profile: &DeviceProfile,
    state: &mut State,
    procedure: ProcedureId,
    parameters: &[u8],
) -> Option<Outcome> {
    match *profile.classes.procedures.get(&procedure)? {
        // The switch's own have been looked at: these are calls of it that it does not have.
        classes::LOAD if is_switch(profile, procedure) => Some(Outcome::BadParameter),
        classes::LOAD if !LOAD_CONTROL.contains(&parameters.len()) => Some(Outcome::BadParameter),
        classes::LOAD => {
            state.load_control.insert(procedure, parameters.to_vec());
            Some(Outcome::Done)
        }
        classes::FIRMWARE => Some(activate(profile, state, parameters)),
        _ => None,
    }
}

fn is_switch(profile: &DeviceProfile, procedure: ProcedureId) -> bool {
    let calls = profile.service_switch.iter();
    let mut calls =
        calls.flat_map(|switch| [Some(&switch.disconnect), Some(&switch.connect), switch.arm.as_ref()]);
    calls.any(|call| call.is_some_and(|call| call.procedure == procedure))
}

/// `size u32 ‖ SHA-256 of the image 32`: the image becomes the one that runs.
fn activate(profile: &DeviceProfile, state: &mut State, parameters: &[u8]) -> Outcome {
    let Some((size, digest)) = parameters.split_at_checked(4).filter(|(_, digest)| digest.len() == 32) else {
        return Outcome::BadParameter;
    };
    let size = usize::try_from(profile.format.order.unsigned(size)).unwrap_or(usize::MAX);
    match state.image.get(..size) {
        Some(image) if size > 0 && Sha256::digest(image)[..] == *digest => {
            state.firmware = digest.try_into().ok();
            state.image = Vec::new();
            Outcome::Done
        }
        // Blocks are missing, or others were written.
        _ => Outcome::Conflict,
    }
}
