//! What a component may call: the host's services, over the same table that native plugins have.

use std::sync::Arc;

use transport::HostTable;
use transport_sdk::Level;
use wasmtime::{Result, StoreLimits, StoreLimitsBuilder};

use crate::bindings::metergraph::transport::{host, io, types};
use crate::convert::{code, kind, ready_bits};

/// Most octets of one answer to a component: of a read, of random numbers.
const ANSWER_MAX: usize = 65_536;
/// Most frames of one answer.
const FRAMES_MAX: usize = 2048;
/// Longest log line, octets; the rest is cut.
const LINE_MAX: usize = 1024;
/// Longest name of a counter, of a grant, and longest address, octets.
const TEXT_MAX: usize = 256;
/// Memories, tables and instances of one component: a language's runtime may bring some.
const PARTS_MAX: usize = 32;

/// The host of one instance.
pub struct State {
    /// None while the component is only asked what it is.
    pub host: Option<Arc<HostTable>>,
    pub limits: StoreLimits,
}

impl State {
    /// A host with this limit of memory, octets.
    pub fn new(memory_octets: usize) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(memory_octets)
            .memories(PARTS_MAX)
            .tables(PARTS_MAX)
            .instances(PARTS_MAX)
            .build();
        Self { host: None, limits }
    }

    fn table(&self) -> Result<&HostTable, types::ErrorCode> {
        self.host.as_deref().ok_or(types::ErrorCode::Denied)
    }
}

/// As much of a text as fits.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

impl types::Host for State {}

impl host::Host for State {
    fn log(&mut self, level: host::Level, message: String) -> Result<()> {
        if let Some(table) = &self.host {
            let level = match level {
                host::Level::Trace => Level::Trace,
                host::Level::Debug => Level::Debug,
                host::Level::Info => Level::Info,
                host::Level::Warn => Level::Warn,
                host::Level::Error => Level::Error,
            };
            table.notes().log(level, cut(&message, LINE_MAX));
        }
        Ok(())
    }

    fn now(&mut self) -> Result<u64> {
        Ok(self.host.as_ref().map_or(0, |table| table.clock().now()))
    }

    fn wall(&mut self) -> Result<u64> {
        Ok(self.host.as_ref().map_or(0, |table| table.clock().wall()))
    }

    fn random(&mut self, len: u32) -> Result<Vec<u8>> {
        let mut octets = vec![0; (len as usize).min(ANSWER_MAX)];
        if let Some(table) = &self.host
            && !table.clock().random(&mut octets)
        {
            octets.clear();
        }
        Ok(octets)
    }

    fn counter_add(&mut self, name: String, by: u64) -> Result<()> {
        if let Some(table) = &self.host {
            table.notes().count(cut(&name, TEXT_MAX), by);
        }
        Ok(())
    }

    fn gauge_set(&mut self, name: String, value: f64) -> Result<()> {
        if let Some(table) = &self.host {
            table.notes().set(cut(&name, TEXT_MAX), value);
        }
        Ok(())
    }
}

impl io::Host for State {
    fn open(&mut self, what: io::Kind, grant: String, address: String) -> Result<Result<u32, types::Error>> {
        let refused = |code, message: &str| types::Error { code, message: message.into(), os_error: 0 };
        let Ok(table) = self.table() else {
            return Ok(Err(refused(types::ErrorCode::Denied, "nothing can be opened before `open`")));
        };
        if grant.len() > TEXT_MAX || address.len() > TEXT_MAX {
            return Ok(Err(refused(types::ErrorCode::Argument, "a grant or an address is too long")));
        }
        Ok(table.io().open(kind(what), &grant, &address).map_err(|error| types::Error {
            code: code(error.status),
            message: error.text,
            os_error: error.os_error,
        }))
    }

    fn accept(&mut self, id: u32) -> Result<Result<u32, types::ErrorCode>> {
        Ok(self.table().and_then(|table| table.io().accept(id, table.clock().now()).map_err(code)))
    }

    fn read(&mut self, id: u32, max: u32) -> Result<Result<Vec<u8>, types::ErrorCode>> {
        let mut octets = vec![0; (max as usize).min(ANSWER_MAX)];
        let read = self.table().and_then(|table| table.io().read_into(id, &mut octets).map_err(code));
        Ok(read.map(|read| {
            octets.truncate(read);
            octets
        }))
    }

    fn write(&mut self, id: u32, data: Vec<u8>) -> Result<Result<u32, types::ErrorCode>> {
        if data.is_empty() {
            return Ok(Err(types::ErrorCode::Argument));
        }
        let written = self.table().and_then(|table| table.io().write(id, &data).map_err(code));
        Ok(written.map(|written| u32::try_from(written).unwrap_or(u32::MAX)))
    }

    fn send(&mut self, id: u32, batch: types::Batch) -> Result<Result<u32, types::ErrorCode>> {
        let sent = self.table().and_then(|table| {
            let whole = batch.frames.iter().map(|frame| (frame.link, octets(&batch.data, frame)));
            table.io().send_to(id, whole).map_err(code)
        });
        Ok(sent.map(|sent| u32::try_from(sent).unwrap_or(u32::MAX)))
    }

    fn recv(
        &mut self,
        id: u32,
        max_frames: u32,
        max_octets: u32,
    ) -> Result<Result<types::Batch, types::ErrorCode>> {
        let mut batch = types::Batch { data: Vec::new(), frames: Vec::new() };
        let (max_frames, max_octets) =
            ((max_frames as usize).min(FRAMES_MAX), (max_octets as usize).min(ANSWER_MAX));
        let received = self.table().and_then(|table| {
            let now = table.clock().now();
            let take = |peer: u32, datagram: &[u8]| {
                let offset = u32::try_from(batch.data.len()).unwrap_or(u32::MAX);
                let len = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
                batch.data.extend_from_slice(datagram);
                let bits = types::FrameBits::empty();
                batch.frames.push(types::Frame { link: peer, offset, len, bits, tag: 0, at: now });
            };
            table.io().receive_from(id, max_frames, max_octets, take).map_err(code)
        });
        Ok(received.map(|_| batch))
    }

    fn peer(&mut self, id: u32, address: String) -> Result<Result<u32, types::ErrorCode>> {
        Ok(self.table().and_then(|table| table.io().peer_number(id, cut(&address, TEXT_MAX)).map_err(code)))
    }

    fn peer_address(&mut self, id: u32, peer: u32) -> Result<Option<String>> {
        Ok(self.table().ok().and_then(|table| table.io().peer_address(id, peer)))
    }

    fn control(&mut self, id: u32, name: String, value: u32) -> Result<Result<(), types::ErrorCode>> {
        Ok(self.table().and_then(|table| table.io().control(id, &name, value).map_err(code)))
    }

    fn interest(&mut self, id: u32, ready: types::Ready) -> Result<()> {
        if let Ok(table) = self.table() {
            table.io().interest(id, ready_bits(ready));
        }
        Ok(())
    }

    fn close(&mut self, id: u32) -> Result<()> {
        if let Ok(table) = self.table() {
            table.io().close(id);
        }
        Ok(())
    }
}

/// The octets of a frame; those of one outside its batch are none.
fn octets<'batch>(data: &'batch [u8], frame: &types::Frame) -> &'batch [u8] {
    let start = frame.offset as usize;
    let end = start.saturating_add(frame.len as usize);
    data.get(start..end).unwrap_or_default()
}
