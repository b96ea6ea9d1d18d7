//! `metergraph device ...`.

use std::process::ExitCode;
use std::time::Duration;

use api::view::Device;
use clap::Subcommand;

use super::{ApiArgs, Client, show};

/// `metergraph device ...`.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Shows what is known of an end device.
    Show {
        /// The end device, 16 hex digits.
        dev: String,
    },
    /// Refuses an end device from now on, and takes it out of all groups.
    Revoke {
        /// The end device, 16 hex digits.
        dev: String,
    },
}

/// Carries out one of the commands.
///
/// # Errors
/// For people: what the head-end says against it.
pub fn device(command: &DeviceCommand, args: &ApiArgs) -> miette::Result<ExitCode> {
    let client = Client::new(args)?;
    let device: Device = match command {
        DeviceCommand::Show { dev } => client.get(&format!("/v1/devices/{dev}"), Duration::ZERO)?,
        DeviceCommand::Revoke { dev } => client.post(&format!("/v1/devices/{dev}/revoke"), &())?,
    };
    show(args.json, &device, |device| {
        let sid = device.sid.as_deref().unwrap_or("not registered");
        let revoked = if device.revoked { ", revoked" } else { "" };
        format!("{}  {} {} association {sid}{revoked}", device.dev, device.kind, device.aptitle)
    })
}
