//! Checks and loads native plugins.
//!
//! A library is opened with `RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE` and never closed: a thread of a plugin
//! that outlives its code brings the process down. So a path stands for the file that was loaded from it
//! first, until the process ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use node::Counter;
use transport_sdk::abi::{self, ABI_MAJOR, ABI_MINOR};
use transport_sdk::{Transport, glue};

use crate::driver::{Driver, Module, check_limits};
use crate::elf;
use crate::error::{DriverError, TransportError};
use crate::host_table::HostTable;
use crate::module::{Binding, Description, Sha256Digest};
use crate::native::NativeDriver;

/// Longest name and version of a plugin, octets.
const NAME_MAX: usize = 64;
/// Longest schema of a configuration, octets.
const SCHEMA_MAX: usize = 1 << 20;
/// Other majors of the contract, looked for to name the version of a plugin that speaks them; 0 was the draft.
const OTHER_MAJORS: [u32; 9] = [0, 2, 3, 4, 5, 6, 7, 8, 9];

/// A plugin's table that was checked, and its texts.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// The functions.
    pub(crate) table: &'static abi::Plugin,
    /// Its name.
    pub(crate) name: &'static str,
    version: &'static str,
    config_schema: &'static str,
    grants: &'static str,
}

impl Plugin {
    fn describe(self, path: &Path, digest: &Sha256Digest) -> Result<Description, TransportError> {
        Description::read(
            path,
            "native",
            (self.name, self.version),
            (self.table.abi_major, self.table.abi_minor),
            digest,
            (self.config_schema, self.grants),
        )
    }
}

/// A native plugin in this process.
#[derive(Clone, Debug)]
pub struct NativeModule {
    plugin: Plugin,
    description: Description,
}

impl NativeModule {
    /// A driver of this program itself, called through the same contract as any other.
    ///
    /// # Errors
    /// [`TransportError::Malformed`], when a text of it is none.
    pub fn built_in<T: Transport + 'static>() -> Result<Self, TransportError> {
        let table: &'static abi::Plugin = const { &glue::plugin::<T>() };
        let path = Path::new(T::NAME);
        // SAFETY: the SDK has made the table, over texts that live for ever.
        let plugin = unsafe { read(table, path) }?;
        Ok(Self { plugin, description: plugin.describe(path, &[0; 32])? })
    }
}

impl Module for NativeModule {
    fn description(&self) -> &Description {
        &self.description
    }

    fn open(
        &self,
        host: Arc<HostTable>,
        name: &str,
        config: &str,
        late: Counter,
    ) -> Result<Box<dyn Driver>, DriverError> {
        let driver = NativeDriver::open(self.plugin, host, name, config, late)?;
        check_limits(driver.name(), &driver.limits())?;
        Ok(Box::new(driver))
    }
}

/// Shared libraries. A path stands for the file that was loaded from it first.
#[derive(Clone, Copy, Debug)]
pub struct NativeBinding;

impl Binding for NativeBinding {
    fn claims(&self, octets: &[u8]) -> bool {
        octets.starts_with(b"\x7fELF")
    }

    fn load(
        &self,
        path: &Path,
        octets: &[u8],
        digest: &Sha256Digest,
    ) -> Result<Arc<dyn Module>, TransportError> {
        let plugin = load(path, octets, digest)?;
        Ok(Arc::new(NativeModule { plugin, description: plugin.describe(path, digest)? }))
    }
}

/// Loads a library, once in the life of this process.
fn load(path: &Path, octets: &[u8], digest: &Sha256Digest) -> Result<Plugin, TransportError> {
    /// What each path stands for; no plugin where the library was refused after it was loaded.
    static LOADED: Mutex<BTreeMap<PathBuf, (Sha256Digest, Option<Plugin>)>> = Mutex::new(BTreeMap::new());

    let real =
        path.canonicalize().map_err(|why| TransportError::Unreadable { path: path.to_owned(), why })?;
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match loaded.get(&real) {
        // The dynamic linker would answer the old one again.
        Some((known, _)) if known != digest => {
            return Err(TransportError::Changed { path: path.to_owned() });
        }
        Some((_, Some(plugin))) => return Ok(*plugin),
        _ => {}
    }
    elf::check(octets)
        .map_err(|what| TransportError::NotALibrary { path: path.to_owned(), what: what.to_owned() })?;
    let library = open(&real)?;
    loaded.insert(real.clone(), (*digest, None));
    let plugin = enter(library, &real)?;
    loaded.insert(real, (*digest, Some(plugin)));
    Ok(plugin)
}

fn open(path: &Path) -> Result<Library, TransportError> {
    // SAFETY: the start-up code of the library runs; the graph names the file, by digest where it is
    // pinned, and a native plugin is trusted with this process.
    let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE) };
    opened.map_err(|e| TransportError::NotALibrary {
        path: path.to_owned(),
        what: std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string),
    })
}

/// Calls the entry function of a library and reads what it answers.
fn enter(library: Library, path: &Path) -> Result<Plugin, TransportError> {
    // SAFETY: a symbol of this name is a function of this type; that is the contract.
    let entry = unsafe { library.get::<abi::Entry>(abi::ENTRY_SYMBOL.as_bytes()) }.map(|symbol| *symbol);
    let Ok(entry) = entry else {
        return Err(match other_major(&library) {
            Some(major) => TransportError::Version { path: path.to_owned(), plugin: format!("{major}.x") },
            None => TransportError::NoEntry { path: path.to_owned() },
        });
    };
    // Never closed: what `entry` answers lives for ever.
    std::mem::forget(library);
    // SAFETY: the contract's entry function has no side effects and answers null or a table that lives
    // for ever.
    unsafe { read(entry(ABI_MINOR), path) }
}

/// The other major of the contract that a library speaks.
fn other_major(library: &Library) -> Option<u32> {
    let speaks = |major: &u32| {
        let symbol = format!("mg_transport_entry_v{major}");
        // SAFETY: only asked whether it is there, never called.
        unsafe { library.get::<abi::Entry>(symbol.as_bytes()) }.is_ok()
    };
    OTHER_MAJORS.into_iter().find(speaks)
}

/// Reads a plugin's table, its size and versions first.
///
/// # Safety
/// `table` must be null, or point to a table of the contract that lives for ever and does not change.
unsafe fn read(table: *const abi::Plugin, path: &Path) -> Result<Plugin, TransportError> {
    let path = || path.to_owned();
    let malformed = |what: &str| TransportError::Malformed { path: path(), what: what.to_owned() };
    if table.is_null() {
        return Err(TransportError::HostTooOld { path: path() });
    }
    if !table.is_aligned() {
        return Err(malformed("its table is not aligned"));
    }
    // SAFETY: not null and aligned; every table of every version begins with these.
    let [size, major, minor, min_host_minor] = unsafe { *table.cast::<[u32; 4]>() };
    if major != ABI_MAJOR {
        return Err(TransportError::Version { path: path(), plugin: format!("{major}.{minor}") });
    }
    if min_host_minor > ABI_MINOR {
        return Err(TransportError::HostTooOld { path: path() });
    }
    let needed = size_of::<abi::Plugin>();
    if (size as usize) < needed {
        return Err(malformed(&format!("its table has {size} octets instead of {needed}")));
    }
    // SAFETY: it covers the whole struct, and it lives for ever.
    let table = unsafe { &*table };
    let functions = [
        ("open", table.open.is_some()),
        ("start", table.start.is_some()),
        ("poll", table.poll.is_some()),
        ("send", table.send.is_some()),
        ("receive", table.receive.is_some()),
        ("events", table.events.is_some()),
        ("open_link", table.open_link.is_some()),
        ("close_link", table.close_link.is_some()),
        ("stats", table.stats.is_some()),
        ("command", table.command.is_some()),
        ("close", table.close.is_some()),
        ("destroy", table.destroy.is_some()),
    ];
    if let Some((name, _)) = functions.into_iter().find(|(_, there)| !there) {
        return Err(malformed(&format!("its `{name}` is NULL")));
    }
    let text = |text: abi::Str, what: &str, max: usize| {
        // SAFETY: the texts of the table live as long as the library: for ever.
        let read: Option<&'static str> = unsafe { text.read(max) };
        read.filter(|text| !text.is_empty())
            .ok_or_else(|| malformed(&format!("its {what} is no text of 1 to {max} octets")))
    };
    Ok(Plugin {
        table,
        name: text(table.name, "name", NAME_MAX)?,
        version: text(table.version, "version", NAME_MAX)?,
        config_schema: text(table.config_schema, "schema", SCHEMA_MAX)?,
        grants: text(table.grants, "list of grants", SCHEMA_MAX)?,
    })
}
