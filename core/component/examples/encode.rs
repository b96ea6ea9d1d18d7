//! Makes a component of a core module: `encode CORE.wasm OUT.wasm`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(core), Some(out)) = (arguments.next(), arguments.next()) else {
        eprintln!("encode CORE.wasm OUT.wasm");
        return ExitCode::from(2);
    };
    let done = std::fs::read(&core)
        .map_err(|error| error.to_string())
        .and_then(|octets| metergraph_component::encode(&octets).map_err(|error| error.to_string()))
        .and_then(|component| std::fs::write(&out, component).map_err(|error| error.to_string()));
    match done {
        Ok(()) => {
            println!("{out}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{core}: {error}");
            ExitCode::from(1)
        }
    }
}
