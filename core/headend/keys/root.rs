//! `metergraph keys root-command`: what the offline root orders, signed where its key is. Nothing of a head-end is
//! needed for it but the installation's identity.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use keystore::{FOLDER, Store};
use miette::{IntoDiagnostic, miette};
use seal::command::{Addressee, Class, Classes, Command, KeyItem, Point, ROOT, sign};
use seal::control::Item;
use seal::hex::Hex;

use super::{lab_key, read_system, trust};

/// What root may let a key sign: no more than it may itself.
const ROOT_CLASSES: Classes = Classes(1 << 4);

/// `metergraph keys root-command`.
#[derive(Debug, Args)]
pub struct RootCommandArgs {
    /// Root's private key: 64 hex digits in a file.
    #[arg(long, value_name = "FILE")]
    pub lab_root: PathBuf,
    /// The installation's identity, 16 hex digits.
    #[arg(long, required_unless_present = "state", conflicts_with = "state")]
    pub system: Option<String>,
    /// The state folder that has it, of a head-end that does not run.
    #[arg(long)]
    pub state: Option<PathBuf>,
    /// The end device, 16 hex digits.
    #[arg(long, required_unless_present = "group", conflicts_with = "group")]
    pub device: Option<String>,
    /// The group, 8 hex digits.
    #[arg(long)]
    pub group: Option<String>,
    /// Root's counter: above all before it to this device; groups have one sequence for all of them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub ctr: u32,
    /// In force for so many minutes.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub minutes: u16,
    /// Not before, Unix seconds; default: now.
    #[arg(long)]
    pub from: Option<u32>,
    /// What is ordered.
    #[command(subcommand)]
    pub order: RootOrder,
}

/// What root orders.
#[derive(Debug, Subcommand)]
pub enum RootOrder {
    /// Command keys are believed no longer, and their names are never used again.
    SignerRevoke {
        /// Their names, 1 to 255.
        #[arg(required = true, value_name = "SKID", value_parser = clap::value_parser!(u8).range(1..))]
        skids: Vec<u8>,
    },
    /// A further command key.
    SignerAdd(NewSigner),
    /// The head-end's next credential.
    CredentialNext(NewCredential),
}

/// A further command key.
#[derive(Clone, Debug, Args)]
pub struct NewSigner {
    /// Its name, 1 to 255.
    #[arg(value_parser = clap::value_parser!(u8).range(1..))]
    pub skid: u8,
    /// Its public key, x and y in 128 hex digits.
    pub key: String,
    /// The classes that it may sign, 0 to 5, none that its own signer may not.
    #[arg(value_delimiter = ',', required = true, value_parser = clap::value_parser!(u8).range(0..=5))]
    pub classes: Vec<u8>,
    /// It signs nothing that begins before this, Unix seconds.
    #[arg(long, default_value_t = 0)]
    pub not_before: u32,
}

/// A credential of the head-end.
#[derive(Clone, Debug, Args)]
pub struct NewCredential {
    /// Its name, the registrar's `kid`.
    pub kid: u8,
    /// Its public key, x and y in 128 hex digits.
    pub key: String,
}

/// x and y of a public key.
///
/// # Errors
/// When it is none.
pub fn coordinates(key: &str) -> miette::Result<([u8; 32], [u8; 32])> {
    let [_, xy @ ..] = trust::public_key(key)?.uncompressed();
    let (mut x, mut y) = ([0; 32], [0; 32]);
    let (first, second) = xy.split_at(32);
    x.copy_from_slice(first);
    y.copy_from_slice(second);
    Ok((x, y))
}

impl RootOrder {
    /// The items, as a class-4 body.
    fn body(&self) -> miette::Result<Vec<u8>> {
        let mut body = Vec::new();
        match self {
            Self::SignerRevoke { skids } => {
                skids.iter().for_each(|skid| KeyItem::SignerRevoke { skid: *skid }.write(&mut body));
            }
            Self::SignerAdd(NewSigner { skid, key, classes, not_before }) => {
                let (x, y) = coordinates(key)?;
                let classes = Classes(classes.iter().fold(0, |all, class| all | 1 << class));
                if !ROOT_CLASSES.cover(classes) {
                    return Err(miette!(
                        help =
                            "`metergraph command signer-add` has it signed by a key that has these classes",
                        "root signs class 4 alone, and gives no other"
                    ));
                }
                let (point, not_before) = (Point { x: &x, y: &y }, *not_before);
                KeyItem::SignerAdd { skid: *skid, point, classes, not_before }.write(&mut body);
            }
            Self::CredentialNext(NewCredential { kid, key }) => {
                let (x, y) = coordinates(key)?;
                KeyItem::CredentialNext { kid: *kid, point: Point { x: &x, y: &y } }.write(&mut body);
            }
        }
        Ok(body)
    }
}

/// Prints the signed command in hex; says on stderr what it does.
///
/// # Errors
/// For people: what cannot be read, or is none.
pub fn root_command(args: &RootCommandArgs) -> miette::Result<ExitCode> {
    let (addressee, signed) = signed(args)?;
    let whom = match addressee {
        Addressee::Device(dev) => format!("device {dev}"),
        Addressee::Group(gid) => format!("group {gid}"),
    };
    let said = commands::body::shown(Class::Keys, &args.order.body()?).join("; ");
    eprintln!("root tells {whom} (counter {}, for {} minutes): {said}", args.ctr, args.minutes);
    println!("{}", Hex(&signed));
    Ok(ExitCode::SUCCESS)
}

fn signed(args: &RootCommandArgs) -> miette::Result<(Addressee, Vec<u8>)> {
    let system = match (&args.system, &args.state) {
        (Some(text), _) => read_system(text)?,
        (None, Some(state)) => Store::open(&state.join(FOLDER)).into_diagnostic()?.system(),
        (None, None) => return Err(miette!("no --system and no --state")),
    };
    let addressee = match (&args.device, &args.group) {
        (Some(dev), _) => Addressee::Device(dev.parse().map_err(|error| miette!("--device: {error}"))?),
        (None, Some(gid)) => Addressee::Group(gid.parse().map_err(|error| miette!("--group: {error}"))?),
        (None, None) => return Err(miette!("no --device and no --group")),
    };
    let nbf = args.from.unwrap_or_else(crate::client::now);
    let (class, body) = (Class::Keys.octet(), args.order.body()?);
    let command = Command { skid: ROOT, class, ctr: args.ctr, nbf, ttl: args.minutes, body: &body };
    let octets = command.octets().ok_or_else(|| miette!("more items than a command carries"))?;
    let Ok(signed) = sign(octets, system, addressee, &lab_key::read(&args.lab_root)?);
    Ok((addressee, signed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use commands::desk::OfRoot;
    use commands::front::{Roles, SignedSubmission};
    use seal::ids::System;

    fn args(folder: &std::path::Path, order: RootOrder) -> RootCommandArgs {
        RootCommandArgs {
            lab_root: folder.join("root.key"),
            system: Some("0101010101010101".into()),
            state: None,
            device: Some("0200004d47000003".into()),
            group: None,
            ctr: 7,
            minutes: 60,
            from: None,
            order,
        }
    }

    #[test]
    fn what_root_signs_is_what_a_desk_takes() {
        let folder = tempfile::tempdir().unwrap();
        let root = lab_key::read_or_draw(&folder.path().join("root.key")).unwrap().verifying_key();
        let key = Hex(&root.uncompressed()[1..]).to_string();
        let signer = |classes| NewSigner { skid: 9, key: key.clone(), classes, not_before: 0 };
        for order in [
            RootOrder::SignerRevoke { skids: vec![2, 3] },
            RootOrder::SignerAdd(signer(vec![4])),
            RootOrder::CredentialNext(NewCredential { kid: 1, key: key.clone() }),
        ] {
            let (addressee, octets) = signed(&args(folder.path(), order)).unwrap();
            let submission =
                SignedSubmission { addressee, octets, requester: "ada".into(), roles: Roles::SECURITY };
            let read = OfRoot::read(&submission, System([1; 8]), Some(&root)).unwrap();
            assert_eq!(read.request_id(), "root-0200004d47000003-7");
        }
        let wide = signed(&args(folder.path(), RootOrder::SignerAdd(signer(vec![3, 4]))));
        assert!(wide.unwrap_err().to_string().contains("root signs class 4 alone"));
        let none = NewCredential { kid: 1, key: "00".repeat(64) };
        assert!(signed(&args(folder.path(), RootOrder::CredentialNext(none))).is_err());
    }
}
