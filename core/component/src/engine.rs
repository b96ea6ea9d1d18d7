//! The machines that run components: one that stops a call by the clock, one that counts its steps.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use wasmtime::{Config, Engine};

/// How often the clock ticks.
const TICK: Duration = Duration::from_millis(1);
/// Ticks that a call may last before it is stopped. A call is to last one; a machine that is busy elsewhere
/// may hold it up for many.
pub const CALL_TICKS: u64 = 200;
/// Steps that a call may make in a simulation before it is stopped: some tenths of a second.
pub const CALL_FUEL: u64 = 200_000_000;
/// Octets of stack of a component.
const STACK_OCTETS: usize = 512 << 10;

/// How a call that does not end is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// By the clock.
    Epoch,
    /// By steps: in a simulation, where a run must be the same again.
    Fuel,
}

/// The machine with this guard; made once.
///
/// # Errors
/// What the machine says: this processor or system is none that it can work on.
pub fn engine(guard: Guard) -> Result<&'static Engine, &'static wasmtime::Error> {
    static EPOCH: LazyLock<Result<Engine, wasmtime::Error>> = LazyLock::new(|| make(Guard::Epoch));
    static FUEL: LazyLock<Result<Engine, wasmtime::Error>> = LazyLock::new(|| make(Guard::Fuel));
    match guard {
        Guard::Epoch => {
            let engine = EPOCH.as_ref()?;
            tick(engine);
            Ok(engine)
        }
        Guard::Fuel => FUEL.as_ref(),
    }
}

fn make(guard: Guard) -> Result<Engine, wasmtime::Error> {
    let mut config = Config::new();
    config.max_wasm_stack(STACK_OCTETS);
    config.epoch_interruption(guard == Guard::Epoch);
    config.consume_fuel(guard == Guard::Fuel);
    // The same octets in, the same octets out, whatever the processor.
    config.cranelift_nan_canonicalization(guard == Guard::Fuel);
    config.relaxed_simd_deterministic(guard == Guard::Fuel);
    Engine::new(&config)
}

/// Starts the one thread that ticks.
fn tick(engine: &'static Engine) {
    static TICKER: OnceLock<bool> = OnceLock::new();
    TICKER.get_or_init(|| {
        let ticker = std::thread::Builder::new().name("component-clock".to_owned());
        let run = move || {
            loop {
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        };
        ticker.spawn(run).is_ok()
    });
}
