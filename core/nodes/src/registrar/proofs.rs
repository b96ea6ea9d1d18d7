//! New associations that were used for the first time, as the journal tells them.

use journal::{JournalError, Position, Reader};

use crate::journal::Log;
use crate::record::{self, Proved};

/// Records read between two looks at the orders.
const RECORDS_A_TURN: usize = 10_000;
/// The cursor is stored after so much of the journal.
const STORE_EVERY: u64 = 16 << 20;

/// Follows the journal with a cursor of its own.
pub struct Proofs {
    name: String,
    reader: Reader,
    stored: Position,
}

impl Proofs {
    /// Goes on where the cursor of this name stands.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn resume(log: &Log, name: &str) -> Result<Self, JournalError> {
        let stored = match log.cursors().load(name)? {
            Some(cursor) => cursor.position,
            None => {
                let first = log.first()?;
                log.cursors().store(name, first, &[])?;
                first
            }
        };
        log.mark(name);
        Ok(Self { name: name.to_owned(), reader: log.reader(stored), stored })
    }

    /// Reads on and tells `each` of the proofs. Answers whether there may be more to read.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn read(&mut self, mut each: impl FnMut(Proved)) -> Result<bool, JournalError> {
        for _ in 0..RECORDS_A_TURN {
            let Some(found) = self.reader.next()? else { return Ok(false) };
            if found.kind == record::PROVED
                && let Some(proved) = Proved::read(found.octets)
            {
                each(proved);
            }
        }
        Ok(true)
    }

    /// Whether the cursor should be moved on before more is read.
    #[must_use]
    pub fn wants_store(&self, log: &Log) -> bool {
        let behind = self.reader.position().since(self.stored);
        behind >= STORE_EVERY || (behind > 0 && log.wants_mark(self.stored))
    }

    /// Moves the cursor to what was read; what followed from that must be durable.
    ///
    /// # Errors
    /// Those of the journal; the cursor stays where it was.
    pub fn store(&mut self, log: &Log) -> Result<(), JournalError> {
        let position = self.reader.position();
        log.cursors().store(&self.name, position, &[])?;
        self.stored = position;
        Ok(())
    }
}
