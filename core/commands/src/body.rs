//! The bodies of commands: what each order is in services of C12.22, or in items of class 4.

mod recipes;
mod shown;
#[cfg(test)]
mod tests;

use c1222::device_profile::{DeviceProfile, SwitchAction};
use c1222::epsem::{EpsemControl, EpsemWriter, ResponseControl, SecurityMode};
use c1222::request::Index;
use c1222::tables::{Initiate, Post, ProcedureId, ProcedureResponse};
use c1222::{Request, TableData, TableId, U24};
use seal::command::{BODY_MAX, Class, Classes, KeyItem, Point, ROOT, SetTime};
use seal::control::Item;
use seal::ids::Gid;

use crate::front::{OrderKind, Part, TableRead};

pub use recipes::{Firmware, Recipes, RecipesError};
pub use shown::shown;

/// Why an order has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The device profile does not say how.
    #[error("the device profile does not say how to {0}")]
    NoRecipe(&'static str),
    /// It does not fit a frame.
    #[error("the body has {0} octets, more than a frame carries ({BODY_MAX})")]
    TooLong(usize),
    /// Nothing to be done.
    #[error("nothing to be done: no table, no octet")]
    Empty,
    /// Indices of an element: 1 to 9 of them.
    #[error("an element has 1 to 9 indices")]
    Index,
    /// Offsets have 24 bits.
    #[error("an offset is below 2^24")]
    Offset,
    /// A percentage.
    #[error("percent go from 0 to 100")]
    Percent,
    /// A group's number has its top bit.
    #[error("a group's number has its top bit set")]
    Gid,
    /// `skid` 0 is root.
    #[error("skid 0 is root: it is neither added nor revoked")]
    Root,
    /// Steps of an epoch advance.
    #[error("an epoch advance has 1 to 4 steps")]
    Delta,
    /// Coordinates of no point.
    #[error("the point is not on the curve")]
    Point,
    /// A block of firmware is longer than the device takes.
    #[error("a block of firmware has at most {0} octets")]
    Block(u16),
}

/// What a device profile says for the making of bodies.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// The profile.
    pub profile: &'a DeviceProfile,
    /// How it is told what no standard says.
    pub recipes: &'a Recipes,
    /// Which class a procedure has; what is not listed is [`Class::Keys`].
    pub procedure_class: &'a dyn ProcedureClass,
}

/// Where the classes of a device profile are asked for.
pub trait ProcedureClass: std::fmt::Debug {
    /// The class of starting a procedure.
    fn procedure(&self, procedure: ProcedureId) -> Class;
    /// The class of writing a table.
    fn write(&self, table: TableId) -> Class;
}

/// A body and the class that its command is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The class.
    pub class: Class,
    /// Its octets, padded where the class is.
    pub octets: Vec<u8>,
}

impl OrderKind {
    /// The word for people, scripts and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::ReadTables(_) => "read-tables",
            Self::WriteTable { .. } => "write-table",
            Self::Procedure { .. } => "procedure",
            Self::Disconnect => "disconnect",
            Self::Reconnect => "reconnect",
            Self::Arm => "arm",
            Self::LoadLimit { .. } => "load-limit",
            Self::DemandResponse { .. } => "demand-response",
            Self::SetTime { .. } => "set-time",
            Self::FirmwareBlock { .. } => "firmware-block",
            Self::FirmwareActivate { .. } => "firmware-activate",
            Self::SignerAdd { .. } => "signer-add",
            Self::SignerRevoke { .. } => "signer-revoke",
            Self::CredentialNext { .. } => "credential-next",
            Self::Join { .. } => "join",
            Self::Leave { .. } => "leave",
            Self::AdvanceEpoch { .. } => "advance-epoch",
        }
    }

    /// Whether its body is the same for every device, whatever its profile.
    #[must_use]
    pub fn is_universal(&self) -> bool {
        matches!(self, Self::SetTime { .. }) || self.key_class()
    }

    fn key_class(&self) -> bool {
        matches!(
            self,
            Self::SignerAdd { .. }
                | Self::SignerRevoke { .. }
                | Self::CredentialNext { .. }
                | Self::Join { .. }
                | Self::Leave { .. }
                | Self::AdvanceEpoch { .. }
        )
    }
}

impl Maker<'_> {
    /// The body of an order. `sequence` names a procedure's call, `now_ms` is the time, Unix milliseconds.
    ///
    /// # Errors
    /// [`BodyError`]
    pub fn body(&self, order: &OrderKind, sequence: u8, now_ms: u64) -> Result<Body, BodyError> {
        if let Some(body) = universal(order, now_ms) {
            return body;
        }
        match order {
            OrderKind::ReadTables(reads) => read_tables(reads),
            OrderKind::WriteTable { table, offset, data } => {
                write_table(self.procedure_class.write(*table), *table, *offset, data)
            }
            OrderKind::Procedure { procedure, parameters } => {
                self.procedure(*procedure, parameters, sequence)
            }
            OrderKind::Disconnect => self.switch(SwitchAction::Disconnect, sequence),
            OrderKind::Reconnect => self.switch(SwitchAction::Connect, sequence),
            OrderKind::Arm => self.switch(SwitchAction::Arm, sequence),
            OrderKind::LoadLimit { watts, minutes } => {
                let procedure = self.recipes.load_limit.ok_or(BodyError::NoRecipe("limit its load"))?;
                self.procedure(procedure, &self.numbers(&[(*watts, 4), (u32::from(*minutes), 2)]), sequence)
            }
            OrderKind::DemandResponse { event, start, minutes, percent } => {
                if *percent > 100 {
                    return Err(BodyError::Percent);
                }
                let procedure = self
                    .recipes
                    .demand_response
                    .ok_or(BodyError::NoRecipe("take a demand-response event"))?;
                let (minutes, percent) = (u32::from(*minutes), u32::from(*percent));
                let parameters = self.numbers(&[(*event, 4), (*start, 4), (minutes, 2), (percent, 1)]);
                self.procedure(procedure, &parameters, sequence)
            }
            OrderKind::FirmwareBlock { offset, data } => {
                let firmware = self.recipes.firmware.ok_or(BodyError::NoRecipe("load firmware"))?;
                if data.len() > usize::from(firmware.block) {
                    return Err(BodyError::Block(firmware.block));
                }
                write_table(Class::Firmware, firmware.table, Some(*offset), data)
            }
            OrderKind::FirmwareActivate { size, digest } => {
                let firmware = self.recipes.firmware.ok_or(BodyError::NoRecipe("activate firmware"))?;
                let parameters = [&self.numbers(&[(*size, 4)])[..], digest].concat();
                self.procedure(firmware.activate, &parameters, sequence)
            }
            _ => Err(BodyError::Empty),
        }
    }

    fn switch(&self, action: SwitchAction, sequence: u8) -> Result<Body, BodyError> {
        let switch = self.profile.service_switch.as_ref();
        let call = switch.and_then(|switch| switch.call(action));
        let call = call.ok_or(BodyError::NoRecipe("work its service switch so"))?;
        self.procedure(call.procedure, &call.parameters, sequence)
    }

    /// Starts a procedure and reads its response in the same body.
    fn procedure(&self, procedure: ProcedureId, parameters: &[u8], sequence: u8) -> Result<Body, BodyError> {
        let mut data = Vec::new();
        Initiate { procedure, post: Post::Completion, sequence, parameters }
            .write(&self.profile.format, &mut data);
        let write = Request::FullWrite { table: Initiate::TABLE, data: TableData::of(&data) };
        let read = Request::FullRead(ProcedureResponse::TABLE);
        epsem(self.procedure_class.procedure(procedure), &[write, read])
    }

    /// Numbers of so many octets each, in the device's order.
    fn numbers(&self, numbers: &[(u32, usize)]) -> Vec<u8> {
        let mut octets = Vec::new();
        for (number, size) in numbers {
            self.profile.format.order.push(u64::from(*number), *size, &mut octets);
        }
        octets
    }
}

/// The body of an order that is the same for every device; `None` for other orders.
#[must_use]
pub fn universal(order: &OrderKind, now_ms: u64) -> Option<Result<Body, BodyError>> {
    Some(match order {
        OrderKind::SetTime { nonce } => {
            let time = SetTime { nonce: nonce.unwrap_or_default(), time_ms: now_ms };
            Ok(Body { class: Class::Time, octets: time.octets().to_vec() })
        }
        OrderKind::SignerRevoke { skid: ROOT } | OrderKind::SignerAdd { skid: ROOT, .. } => {
            Err(BodyError::Root)
        }
        OrderKind::SignerAdd { skid, x, y, classes, not_before } => {
            let (point, classes) = (Point { x, y }, Classes(*classes));
            key_item(&KeyItem::SignerAdd { skid: *skid, point, classes, not_before: *not_before })
                .filter_point(point.verifying_key().is_some())
        }
        OrderKind::SignerRevoke { skid } => key_item(&KeyItem::SignerRevoke { skid: *skid }),
        OrderKind::CredentialNext { kid, x, y } => {
            let point = Point { x, y };
            key_item(&KeyItem::CredentialNext { kid: *kid, point }).filter_point(point.public_key().is_some())
        }
        OrderKind::Join { gid, .. } | OrderKind::Leave { gid } if !Gid(*gid).is_valid() => {
            Err(BodyError::Gid)
        }
        OrderKind::Join { gid, classes } => {
            key_item(&KeyItem::Join { gid: Gid(*gid), classes: Classes(*classes) })
        }
        OrderKind::Leave { gid } => key_item(&KeyItem::Leave { gid: Gid(*gid) }),
        OrderKind::AdvanceEpoch { delta, .. } if !(1..=4).contains(delta) => Err(BodyError::Delta),
        OrderKind::AdvanceEpoch { campaign, delta, challenge } => {
            key_item(&KeyItem::Advance { campaign: *campaign, delta: *delta, challenge })
        }
        _ => return None,
    })
}

/// An image as orders, block after block, and the order that activates it.
///
/// # Errors
/// [`BodyError::Empty`] without an image or with blocks of 0 octets; [`BodyError::Offset`] when it has more
/// than 2^24 octets.
pub fn firmware(image: &[u8], block: usize) -> Result<Vec<OrderKind>, BodyError> {
    if image.is_empty() || block == 0 {
        return Err(BodyError::Empty);
    }
    let size = u32::try_from(image.len()).ok().filter(|size| *size <= 1 << 24).ok_or(BodyError::Offset)?;
    let offsets = (0..size).step_by(block);
    let blocks = offsets
        .zip(image.chunks(block))
        .map(|(offset, data)| OrderKind::FirmwareBlock { offset, data: data.to_vec() });
    let digest = seal::signature::sha256(image);
    Ok(blocks.chain([OrderKind::FirmwareActivate { size, digest }]).collect())
}

trait FilterPoint {
    fn filter_point(self, on_curve: bool) -> Self;
}

impl FilterPoint for Result<Body, BodyError> {
    fn filter_point(self, on_curve: bool) -> Self {
        if on_curve { self } else { Err(BodyError::Point) }
    }
}

fn key_item(item: &KeyItem<'_>) -> Result<Body, BodyError> {
    let mut octets = Vec::new();
    item.write(&mut octets);
    Ok(Body { class: Class::Keys, octets })
}

fn read_tables(reads: &[TableRead]) -> Result<Body, BodyError> {
    let requests = reads.iter().map(|TableRead { table, part }| {
        Ok(match part {
            Part::Whole => Request::FullRead(*table),
            Part::Elements { index, count } => Request::IndexRead {
                table: *table,
                index: Index::new(index).ok_or(BodyError::Index)?,
                elements: *count,
            },
            Part::Octets { offset, count } => {
                Request::OffsetRead { table: *table, offset: offset_of(*offset)?, count: *count }
            }
        })
    });
    epsem(Class::Read, &requests.collect::<Result<Vec<_>, _>>()?)
}

fn write_table(class: Class, table: TableId, offset: Option<u32>, data: &[u8]) -> Result<Body, BodyError> {
    if data.is_empty() {
        return Err(BodyError::Empty);
    }
    if data.len() > BODY_MAX {
        return Err(BodyError::TooLong(data.len()));
    }
    let data = TableData::of(data);
    let request = match offset {
        None => Request::FullWrite { table, data },
        Some(offset) => Request::OffsetWrite { table, offset: offset_of(offset)?, data },
    };
    epsem(class, &[request])
}

fn offset_of(offset: u32) -> Result<U24, BodyError> {
    U24::new(offset).ok_or(BodyError::Offset)
}

/// Requests that are always answered; the inner security mode is 0.
fn epsem(class: Class, requests: &[Request<'_>]) -> Result<Body, BodyError> {
    if requests.is_empty() {
        return Err(BodyError::Empty);
    }
    let mut octets = Vec::new();
    let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
    let mut writer = EpsemWriter::new(&mut octets, control, None);
    for request in requests {
        writer.request(request);
    }
    if octets.len() > BODY_MAX {
        return Err(BodyError::TooLong(octets.len()));
    }
    class.pad(&mut octets);
    Ok(Body { class, octets })
}
