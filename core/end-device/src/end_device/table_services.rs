//! Reads and writes of tables, whole and in part.

use std::ops::Range;

use c1222::request::Index;
use c1222::tables::{Initiate, Outcome, Post, ProcedureResponse, TableId};
use c1222::{Response, ResponseCode, TableData};

use super::event_log::event;
use super::orders;
use super::procedures::Running;
use super::services::{Caller, Refused};
use super::tables::PARAMETERS_MAX;
use super::{EndDevice, Moment};

/// Octets that other services of the same message may take beside a read of the greatest size.
const BESIDE: usize = 128;

/// What of a table is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Whole,
    Octets {
        offset: u32,
        count: usize,
    },
    Elements {
        index: Index,
        /// `None`: as many as the data fills.
        count: Option<u16>,
    },
}

impl EndDevice {
    /// RSTL, with what a read in a message of its own can bring.
    pub(super) fn too_large(&self) -> Refused {
        Refused::TooLarge(u32::try_from(self.data_max()).unwrap_or(u32::MAX))
    }

    fn data_max(&self) -> usize {
        self.room().saturating_sub(BESIDE)
    }

    pub(super) fn read(
        &mut self,
        table: TableId,
        part: Part,
        caller: &Caller,
        now: Moment,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Refused> {
        let size = self.tables.size(table, &self.state).ok_or(ResponseCode::Iar)?;
        let range = self.range(table, part, size, 0).ok_or(ResponseCode::Onp)?;
        if range.len() > self.data_max().min(room) {
            return Err(self.too_large());
        }
        let mut data = Vec::with_capacity(range.len());
        if !self.tables.read(table, range, &self.state, self.state.utc(now), &mut data) {
            return Err(ResponseCode::Onp.into());
        }
        if table == ProcedureResponse::TABLE {
            self.state.release(&caller.title);
        }
        Response::Read(TableData::of(&data)).encode(out);
        Ok(())
    }

    /// The octets of a part of a table of this size; elements without count are those that `len` octets fill.
    fn range(&self, table: TableId, part: Part, size: usize, len: usize) -> Option<Range<usize>> {
        let range = match part {
            Part::Whole => 0..size,
            Part::Octets { offset, count } => {
                let start = usize::try_from(offset).ok()?;
                start..start.checked_add(count)?
            }
            Part::Elements { index, count } => {
                let shape = self.tables.shape(table, &self.state)?;
                match count {
                    Some(count) => shape.range(index.indices(), usize::from(count))?,
                    None => shape.range_of_size(index.indices(), len)?,
                }
            }
        };
        (range.end <= size).then_some(range)
    }

    pub(super) fn write(
        &mut self,
        table: TableId,
        part: Part,
        data: TableData<'_>,
        caller: &Caller,
        now: Moment,
    ) -> Result<(), Refused> {
        if !caller.may_write {
            return Err(ResponseCode::Isc.into());
        }
        if self.tables.may_write(table) != Some(true) {
            return Err(ResponseCode::Iar.into());
        }
        data.check().map_err(|_| ResponseCode::Err)?;
        let mut octets = Vec::with_capacity(data.len());
        data.append_to(&mut octets);
        if table == Initiate::TABLE {
            return match part {
                Part::Whole => self.initiate(octets, caller, now),
                _ => Err(ResponseCode::Onp.into()),
            };
        }
        if orders::is_image(&self.tables.profile, table) {
            return self.write_image(part, &octets);
        }
        let size = self.tables.size(table, &self.state).ok_or(ResponseCode::Iar)?;
        let range = self.range(table, part, size, octets.len()).ok_or(ResponseCode::Onp)?;
        let mut whole = Vec::with_capacity(size);
        self.tables.read(table, 0..size, &self.state, self.state.utc(now), &mut whole);
        let place = whole.get_mut(range).filter(|place| place.len() == octets.len());
        place.ok_or(ResponseCode::Onp)?.copy_from_slice(&octets);
        self.state.stored.insert(table, whole);
        let profile = &self.tables.profile;
        self.state.note_history(profile, now, caller.user, event::TABLE_WRITTEN, table.0);
        Ok(())
    }

    /// A block of a firmware image, at its offset; what lies before it and has not come yet is zeros.
    fn write_image(&mut self, part: Part, octets: &[u8]) -> Result<(), Refused> {
        let start = match part {
            Part::Whole => 0,
            Part::Octets { offset, .. } => usize::try_from(offset).unwrap_or(usize::MAX),
            Part::Elements { .. } => return Err(ResponseCode::Onp.into()),
        };
        let end = start.saturating_add(octets.len());
        if octets.is_empty() || end > orders::IMAGE_MAX {
            return Err(ResponseCode::Onp.into());
        }
        let image = &mut self.state.image;
        if matches!(part, Part::Whole) {
            image.clear();
        }
        image.resize(image.len().max(end), 0);
        if let Some(place) = image.get_mut(start..end) {
            place.copy_from_slice(octets);
        }
        Ok(())
    }

    /// ST7 is written: a procedure is started, and ended at once.
    fn initiate(&mut self, octets: Vec<u8>, caller: &Caller, now: Moment) -> Result<(), Refused> {
        let format = self.tables.profile.format;
        let call = Initiate::read(&octets, &format).map_err(|_| ResponseCode::Onp)?;
        if call.parameters.len() > usize::from(PARAMETERS_MAX) {
            return Err(ResponseCode::Onp.into());
        }
        if self.state.is_held_from(&caller.title, now) {
            return Err(ResponseCode::Bsy.into());
        }
        let user = caller.user;
        let mut data = Vec::new();
        let mut running = Running { tables: &self.tables, state: &mut self.state, user, now };
        let outcome = running.run(&call, &mut data);
        self.state.ended = Some(outcome);
        self.state.note_history(&self.tables.profile, now, user, event::PROCEDURE, call.procedure.0);
        let is_posted = match call.post {
            Post::Never => false,
            Post::Exception => outcome != Outcome::Done,
            Post::Completion | Post::NowAndCompletion | Post::Reserved(_) => true,
        };
        if is_posted {
            let Initiate { procedure, post, sequence, .. } = call;
            self.state.outcome.clear();
            let response = ProcedureResponse { procedure, post, sequence, outcome, data: &data };
            response.write(&format, &mut self.state.outcome);
            self.state.hold(&caller.title, now);
        }
        self.state.initiate = octets;
        Ok(())
    }
}
