//! `metergraph fleet --serve HOST:PORT`: one end device for a foreign C12.22 client.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use c1222::ApTitleBuf;
use c1222::device_profile::DeviceProfile;
use end_device::end_device::{Classic, EndDevice, Moment, Setup};
use end_device::meter::Meter;
use end_device::server::{Limits, Server};
use keystore::ClassicKeys;
use miette::{IntoDiagnostic, WrapErr, miette};
use seal::ids::Dev;
use seal::secret::Key128;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::FleetArgs;
use crate::keys::read_profile;

/// The profile of a device for which none is given.
const PROFILE: &str = include_str!("../../../graphs/profiles/residential.toml");

/// Serves one device until SIGTERM or SIGINT. Once it can be asked, one line on stdout says where; what it
/// refuses goes to stderr, a line a message.
///
/// # Errors
/// For people: what is wrong with the arguments, or why the sockets cannot be opened.
pub fn serve(args: &FleetArgs) -> miette::Result<ExitCode> {
    let mut server = open(args)?;
    let stopper = server.stopper();
    let mut signals = Signals::new([SIGTERM, SIGINT]).into_diagnostic()?;
    std::thread::spawn(move || {
        signals.forever().next();
        stopper.stop();
    });
    println!("serving {} at {}", args.aptitle, server.address().into_diagnostic()?);
    std::io::stdout().flush().into_diagnostic()?;
    server.run(|complaint| eprintln!("{complaint}")).into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the device, and opens its sockets.
fn open(args: &FleetArgs) -> miette::Result<Server> {
    let address = args.serve.as_deref().ok_or_else(|| miette!("--serve says no address"))?;
    let addresses =
        address.to_socket_addrs().into_diagnostic().wrap_err_with(|| format!("--serve {address}"))?;
    let title = ApTitleBuf::parse(&args.aptitle).into_diagnostic().wrap_err("--aptitle")?;
    if title.as_title().is_broadcast() || title.as_title().is_group() {
        return Err(miette!("--aptitle {title} is that of many nodes"));
    }
    let profile = profile(args)?;
    let classic = match (args.classic, args.key.as_deref()) {
        (true, Some(key)) => Some(Classic::new(keys(key)?.iter(), profile.freshness_s)),
        (true, None) => return Err(miette!(help = "add --key ID:HEX", "a classic device needs a key")),
        (false, Some(_)) => return Err(miette!(help = "add --classic", "--key is of a classic device")),
        (false, None) => None,
    };
    let serial = title.to_string().trim_matches('.').to_owned();
    let setup = Setup {
        classic,
        // Answers of another run shall not have the same ids under the same IVs.
        invocation: (RandomState::new().hash_one(0) & 0x7fff) as u32,
        ..Setup::new(profile, title, serial, Meter::new(args.seed, Dev([0; 8])))
    };
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).into_diagnostic()?.as_secs();
    let device = EndDevice::new(setup, Moment { unix_s, steady_ns: 0 });
    let first = addresses.into_iter().next().ok_or_else(|| miette!("--serve {address}: no such host"))?;
    Server::bind(device, first, Limits::default())
        .into_diagnostic()
        .wrap_err_with(|| format!("listen on {first}"))
}

fn profile(args: &FleetArgs) -> miette::Result<DeviceProfile> {
    match &args.profile {
        Some(path) => read_profile(path),
        None => graph::device_profile::parse(PROFILE)
            .0
            .ok_or_else(|| miette!("the built-in device profile is faulty")),
    }
}

/// Keys as a shipment file has them, `ID:HEX[;ID:HEX]`; one without id has id 0.
fn keys(text: &str) -> miette::Result<ClassicKeys> {
    let key = |key: &str| {
        let (id, hex) = key.split_once(':').unwrap_or(("0", key));
        Some((id.parse().ok()?, Key128::from_hex(hex).ok()?))
    };
    let keys: Option<Vec<(u8, Key128)>> = text.split(';').map(key).collect();
    // The text stays unsaid: it may be a key with a slip in it.
    let keys =
        keys.ok_or_else(|| miette!("--key: a key is 32 hex digits, or ID:HEX with an id from 0 to 255"))?;
    ClassicKeys::new(keys).ok_or_else(|| miette!("--key: no key, too many, or two with one id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_ids() {
        let hex = "000102030405060708090a0b0c0d0e0f";
        for (text, ids) in [
            (hex.to_owned(), vec![0]),
            (format!("7:{hex}"), vec![7]),
            (format!("2:{hex};255:{hex}"), vec![2, 255]),
        ] {
            let keys = keys(&text).unwrap();
            assert_eq!(keys.iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
        }
        for wrong in ["", "0102", &format!("256:{hex}"), &format!("1:{hex};1:{hex}"), &format!("x:{hex}")] {
            let error = keys(wrong).err().unwrap().to_string();
            assert!(!error.contains(hex), "{error}");
        }
    }

    #[test]
    fn the_built_in_profile_is_sound() {
        assert!(graph::device_profile::parse(PROFILE).1.is_empty());
    }
}
