//! Components as files: checked before any of their code runs, compiled, described.

use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use node::Counter;
use transport::{
    Binding, Description, Driver, DriverError, HostTable, Module, Sha256Digest, TransportError, broken,
    check_limits,
};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use crate::bindings::{TransportPlugin, TransportPluginPre};
use crate::cache::Cache;
use crate::driver::ComponentDriver;
use crate::engine::{Guard, engine};
use crate::state::State;

/// The version of the contract in the C header that the world mirrors.
const CONTRACT: (u32, u32) = (1, 0);
/// What a component may import; a later patch of the same version is the same.
const IMPORTS: [&str; 3] =
    ["metergraph:transport/types@0.1.", "metergraph:transport/host@0.1.", "metergraph:transport/io@0.1."];
/// What it must export.
const EXPORT: &str = "metergraph:transport/driver@0.1.";
/// The longest name and version, octets; and the longest schema and list of grants.
const NAME_MAX: usize = 64;
const TEXT_MAX: usize = 1 << 20;

/// Components as transport plugins.
#[derive(Clone, Debug)]
pub struct ComponentBinding {
    cache: Cache,
    memory_octets: usize,
}

/// Memory of one instance where nothing else is said, octets.
pub const MEMORY_OCTETS: usize = 16 << 20;

impl ComponentBinding {
    /// Components that are compiled into this cache.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache, memory_octets: MEMORY_OCTETS }
    }

    /// With another limit of memory for one instance, octets.
    #[must_use]
    pub fn with_memory(self, memory_octets: usize) -> Self {
        Self { memory_octets, ..self }
    }
}

impl Binding for ComponentBinding {
    /// WebAssembly, component or not.
    fn claims(&self, octets: &[u8]) -> bool {
        octets.starts_with(b"\0asm")
    }

    fn load(
        &self,
        path: &Path,
        octets: &[u8],
        digest: &Sha256Digest,
    ) -> Result<Arc<dyn Module>, TransportError> {
        let refuse = |what: String| TransportError::Malformed { path: path.to_owned(), what };
        if octets.get(4..8) == Some(&[1, 0, 0, 0]) {
            return Err(refuse("it is a core module, no component; see `metergraph plugin encode`".into()));
        }
        let compiled = Compiled {
            octets: octets.into(),
            digest: *digest,
            binding: self.clone(),
            by_epoch: OnceLock::new(),
            by_fuel: OnceLock::new(),
        };
        let ready = compiled.ready(Guard::Epoch).map_err(refuse)?;
        let mut driver = ComponentDriver::bare(&ready, self.memory_octets, "component")?;
        let said = driver.describe()?;
        for (what, text, max) in [
            ("name", &said.name, NAME_MAX),
            ("version", &said.version, NAME_MAX),
            ("schema", &said.config_schema, TEXT_MAX),
            ("list of grants", &said.grants, TEXT_MAX),
        ] {
            if text.is_empty() || text.len() > max {
                return Err(refuse(format!("its {what} is no text of 1 to {max} octets")));
            }
        }
        let description = Description::read(
            path,
            "component",
            (&said.name, &said.version),
            CONTRACT,
            digest,
            (&said.config_schema, &said.grants),
        )?;
        Ok(Arc::new(ComponentModule { compiled, description }))
    }
}

/// A component, compiled for each way to guard it when that is first needed.
struct Compiled {
    octets: Arc<[u8]>,
    digest: Sha256Digest,
    binding: ComponentBinding,
    by_epoch: OnceLock<Ready>,
    by_fuel: OnceLock<Ready>,
}

/// A component that is linked: an instance costs microseconds.
#[derive(Clone)]
pub struct Ready {
    pub(crate) pre: TransportPluginPre<State>,
    pub(crate) guard: Guard,
}

impl Compiled {
    /// The component, compiled and linked; what is wrong with it, in words.
    fn ready(&self, guard: Guard) -> Result<Ready, String> {
        let place = match guard {
            Guard::Epoch => &self.by_epoch,
            Guard::Fuel => &self.by_fuel,
        };
        if let Some(ready) = place.get() {
            return Ok(ready.clone());
        }
        let engine = engine(guard).map_err(|error| format!("components cannot be run here: {error}"))?;
        let component =
            self.binding.cache.component(engine, &self.octets, &self.digest).map_err(|error| {
                format!("it is no component that can be compiled: {}", first_line(&error))
            })?;
        check_world(&component)?;
        let mut linker = Linker::new(engine);
        let linked =
            TransportPlugin::add_to_linker::<_, wasmtime::component::HasSelf<State>>(&mut linker, |state| {
                state
            });
        let pre = linked
            .and_then(|()| linker.instantiate_pre(&component))
            .and_then(TransportPluginPre::new)
            .map_err(|error| format!("it does not fit the world transport-plugin: {}", first_line(&error)))?;
        Ok(place.get_or_init(|| Ready { pre, guard }).clone())
    }
}

/// Looks at what a component wants and gives, before anything of it runs.
fn check_world(component: &Component) -> Result<(), String> {
    let engine = component.engine();
    let world = component.component_type();
    if let Some((name, _)) =
        world.imports(engine).find(|(name, _)| !IMPORTS.iter().any(|import| name.starts_with(import)))
    {
        return Err(format!(
            "it imports `{name}`; a transport may import only metergraph:transport/host and /io of version 0.1"
        ));
    }
    let driver = world.exports(engine).find(|(name, _)| name.starts_with(EXPORT));
    match driver {
        Some((_, item)) if matches!(item.ty, ComponentItem::ComponentInstance(_)) => Ok(()),
        _ => Err("it exports no `metergraph:transport/driver@0.1`, so it is no transport plugin".into()),
    }
}

/// A component that was loaded.
struct ComponentModule {
    compiled: Compiled,
    description: Description,
}

impl Debug for ComponentModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentModule").field("description", &self.description).finish_non_exhaustive()
    }
}

impl Module for ComponentModule {
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
        let plugin = &self.description.name;
        let guard = if host.clock().is_simulated() { Guard::Fuel } else { Guard::Epoch };
        let ready = self.compiled.ready(guard).map_err(|what| broken(plugin, what))?;
        let mut driver = ComponentDriver::bare(&ready, self.compiled.binding.memory_octets, plugin)?;
        driver.open(host, name, config, late)?;
        check_limits(plugin, &driver.limits())?;
        Ok(Box::new(driver))
    }
}

/// The first line of an error and its cause: the rest is a trace of the machine.
pub fn first_line(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}
