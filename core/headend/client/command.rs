//! `metergraph command ...`: asks for a command, waits for its end, approves.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use api::view::{
    Accepted, Command, CommandList, NewApproval, NewCommand, NewSigned, Order, Outcome, Table, To,
};
use clap::{Args, Subcommand};
use commands::approval::prehash;
use miette::{IntoDiagnostic, WrapErr, miette};
use seal::hex::Hex;
use seal::signature::{Signer, sha256};

use super::{ApiArgs, Client, show};
use crate::keys::lab_key;
use crate::keys::root::{self, NewCredential, NewSigner};

/// The longest wait in one call.
const WAIT_S: u64 = 20;
/// What root signed is in force for 65,535 minutes at most; nobody waits so long.
const SIGNED_WAIT: Duration = Duration::from_secs(86_400);

/// `metergraph command ...`.
#[derive(Debug, Subcommand)]
pub enum CommandCommand {
    /// Opens the service switch.
    Disconnect(Asking),
    /// Closes the service switch.
    Reconnect(Asking),
    /// Lets the customer close the service switch.
    Arm(Asking),
    /// Limits the load.
    Limit {
        /// At most so many watts; 0 lifts the limit.
        #[arg(long)]
        watts: u32,
        /// For so long.
        #[arg(long)]
        minutes: u16,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// A demand-response event.
    Dr {
        /// Its number.
        #[arg(long)]
        event: u32,
        /// When it begins, Unix seconds; default: now.
        #[arg(long)]
        start: Option<u32>,
        /// How long it lasts.
        #[arg(long)]
        minutes: u16,
        /// Percent of the load to be shed; 0 ends the event.
        #[arg(long)]
        percent: u8,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// Reads tables.
    Read {
        /// Tables, as ST23 or MT1.
        #[arg(required = true, value_name = "TABLE")]
        tables: Vec<String>,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// Writes a table, whole or from an octet on.
    Write {
        /// The table, as MT5.
        table: String,
        /// The octets, in hex.
        data: String,
        /// The first octet.
        #[arg(long)]
        offset: Option<u32>,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// Starts a procedure.
    Procedure {
        /// The procedure, as SP4 or MP2.
        procedure: String,
        /// Its parameters, in hex.
        #[arg(default_value = "")]
        parameters: String,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// Sets the clock.
    Time(Asking),
    /// Loads a firmware image, block by block, then activates it.
    Firmware {
        /// The image.
        image: PathBuf,
        /// Octets in a block; the device profile names the longest.
        #[arg(long, default_value_t = 400)]
        block: u16,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// A further command key, signed by the one in use.
    SignerAdd {
        /// The key.
        #[command(flatten)]
        signer: NewSigner,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// Says how root revokes a command key: nobody else may.
    SignerRevoke {
        /// Its name.
        skid: u8,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// The head-end's next credential.
    CredentialNext {
        /// The credential.
        #[command(flatten)]
        credential: NewCredential,
        /// For whom, and for how long it is in force.
        #[command(flatten)]
        asking: Asking,
    },
    /// Sends what the offline root signed, as `metergraph keys root-command` printed it.
    SendSigned {
        /// The signed command, in hex.
        #[arg(value_name = "HEX")]
        signed: String,
        /// The end device, 16 hex digits.
        #[arg(long, required_unless_present = "group", conflicts_with = "group")]
        device: Option<String>,
        /// The group, 8 hex digits.
        #[arg(long)]
        group: Option<String>,
        /// Waits for the end.
        #[arg(long)]
        wait: bool,
    },
    /// Shows a command.
    Show {
        /// Its id.
        id: String,
    },
    /// Lists commands, the newest first.
    List {
        /// Only those that have not ended.
        #[arg(long)]
        pending: bool,
        /// Only those to this end device.
        #[arg(long)]
        device: Option<String>,
    },
    /// Waits for a command's end.
    Wait {
        /// Its id.
        id: String,
        /// At most so many seconds.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Approves of a command: shows what it does, computes its digest from what it shows, signs that.
    Approve {
        /// Its id.
        id: String,
        /// The approver's private key: 64 hex digits in a file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The approver's name in the policy.
        #[arg(long)]
        name: String,
    },
}

/// Whom a command is for, and how long it is in force.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Asking {
    /// The end device, 16 hex digits.
    #[arg(long, required_unless_present = "group", conflicts_with = "group")]
    pub device: Option<String>,
    /// The group, 8 hex digits.
    #[arg(long)]
    pub group: Option<String>,
    /// In force for so many minutes.
    #[arg(long, default_value_t = 60)]
    pub ttl: u16,
    /// Not before, Unix seconds; default: now.
    #[arg(long)]
    pub from: Option<u32>,
    /// Your name for it: asking again under the same name does nothing twice.
    #[arg(long)]
    pub request_id: Option<String>,
    /// Does not wait for the end.
    #[arg(long)]
    pub no_wait: bool,
}

/// Carries out one of the commands.
///
/// # Errors
/// For people: what the head-end says against it.
pub fn command(command: &CommandCommand, args: &ApiArgs) -> miette::Result<ExitCode> {
    let client = Client::new(args)?;
    let ask = |order: Order, asking: &Asking| submit(&client, args, order, asking, asking.request_id.clone());
    match command {
        CommandCommand::Disconnect(asking) => ask(Order::Disconnect, asking),
        CommandCommand::Reconnect(asking) => ask(Order::Reconnect, asking),
        CommandCommand::Arm(asking) => ask(Order::Arm, asking),
        CommandCommand::Limit { watts, minutes, asking } => {
            ask(Order::Limit { watts: *watts, minutes: *minutes }, asking)
        }
        CommandCommand::Dr { event, start, minutes, percent, asking } => {
            let start = start.unwrap_or_else(now);
            ask(Order::DemandResponse { event: *event, start, minutes: *minutes, percent: *percent }, asking)
        }
        CommandCommand::Read { tables, asking } => {
            let tables = tables.iter().map(|table| Table { table: table.clone(), part: None }).collect();
            ask(Order::ReadTables { tables }, asking)
        }
        CommandCommand::Write { table, data, offset, asking } => {
            ask(Order::WriteTable { table: table.clone(), offset: *offset, data: data.clone() }, asking)
        }
        CommandCommand::Procedure { procedure, parameters, asking } => {
            ask(Order::Procedure { procedure: procedure.clone(), parameters: parameters.clone() }, asking)
        }
        CommandCommand::Time(asking) => ask(Order::SetTime { nonce: None }, asking),
        CommandCommand::Firmware { image, block, asking } => firmware(&client, args, image, *block, asking),
        CommandCommand::SignerAdd { signer: NewSigner { skid, key, classes, not_before }, asking } => {
            let ((x, y), skid) = (coordinates(key)?, *skid);
            let (classes, not_before) = (classes.clone(), *not_before);
            ask(Order::SignerAdd { skid, x, y, classes, not_before }, asking)
        }
        CommandCommand::CredentialNext { credential: NewCredential { kid, key }, asking } => {
            let (x, y) = coordinates(key)?;
            ask(Order::CredentialNext { kid: *kid, x, y }, asking)
        }
        CommandCommand::SignerRevoke { skid, asking } => {
            Err(by_root(*skid, &to(&asking.device, &asking.group)))
        }
        CommandCommand::SendSigned { signed, device, group, wait } => {
            let new = NewSigned { to: to(device, group), signed: signed.trim().to_owned() };
            let accepted = client.post("/v1/commands/signed", &new)?;
            follow(&client, args, &accepted, (*wait).then_some(SIGNED_WAIT))
        }
        CommandCommand::Show { id } => {
            let command: Command = client.get(&format!("/v1/commands/{id}"), Duration::ZERO)?;
            show(args.json, &command, text)
        }
        CommandCommand::List { pending, device } => {
            let device = device.as_ref().map(|device| format!("&device={device}")).unwrap_or_default();
            let list: CommandList =
                client.get(&format!("/v1/commands?pending={pending}{device}"), Duration::ZERO)?;
            show(args.json, &list, |list| {
                let lines: Vec<String> = list.commands.iter().map(line).collect();
                lines.join("\n")
            })
        }
        CommandCommand::Wait { id, seconds } => finish(&client, args, id, Duration::from_secs(*seconds)),
        CommandCommand::Approve { id, key, name } => approve(&client, args, id, key, name),
    }
}

/// Unix seconds.
pub(crate) fn now() -> u32 {
    u32::try_from(node::event::unix_ns() / 1_000_000_000).unwrap_or(u32::MAX)
}

fn to(device: &Option<String>, group: &Option<String>) -> To {
    match (device, group) {
        (Some(device), _) => To::Device(device.clone()),
        (None, group) => To::Group(group.clone().unwrap_or_default()),
    }
}

/// What to do where only root's signature counts.
fn by_root(skid: u8, to: &To) -> miette::Report {
    let to = match to {
        To::Device(dev) => format!("--device {dev}"),
        To::Group(gid) => format!("--group {gid}"),
    };
    miette!(
        help = format!(
            "where root's key is: metergraph keys root-command --lab-root FILE --system SYSTEM {to} --ctr N \
             --minutes M signer-revoke {skid}\nhere: metergraph command send-signed HEX {to}"
        ),
        "only the offline root revokes a signing key: end devices take it from no other"
    )
}

/// x and y of a public key, in hex.
fn coordinates(key: &str) -> miette::Result<(String, String)> {
    let (x, y) = root::coordinates(key)?;
    Ok((Hex(&x).to_string(), Hex(&y).to_string()))
}

/// Asks for a command. Its request id is drawn where none is given.
fn ask(client: &Client, order: Order, asking: &Asking, id: Option<String>) -> miette::Result<Accepted> {
    let id = match id {
        Some(id) => id,
        None => {
            let mut octets = [0; 16];
            getrandom::fill(&mut octets).map_err(|error| miette!("no random octets: {error}"))?;
            Hex(&octets).to_string()
        }
    };
    let body = NewCommand {
        to: to(&asking.device, &asking.group),
        order,
        valid_from: asking.from,
        ttl_min: asking.ttl,
        request_id: Some(id),
    };
    client.post("/v1/commands", &body)
}

fn submit(
    client: &Client,
    args: &ApiArgs,
    order: Order,
    asking: &Asking,
    id: Option<String>,
) -> miette::Result<ExitCode> {
    let accepted = ask(client, order, asking, id)?;
    let within = Duration::from_secs(u64::from(asking.ttl).saturating_mul(60).saturating_add(600));
    follow(client, args, &accepted, (!asking.no_wait).then_some(within))
}

/// Shows what was taken, or waits so long for its end.
fn follow(
    client: &Client,
    args: &ApiArgs,
    accepted: &Accepted,
    within: Option<Duration>,
) -> miette::Result<ExitCode> {
    let Some(within) = within else { return show(args.json, accepted, |accepted| accepted.id.clone()) };
    eprintln!("command {}", accepted.id);
    finish(client, args, &accepted.id, within)
}

/// Waits for the end and shows it; exit code 0 when it was done.
fn finish(client: &Client, args: &ApiArgs, id: &str, within: Duration) -> miette::Result<ExitCode> {
    let since = Instant::now();
    let mut state = String::new();
    loop {
        let left = within.saturating_sub(since.elapsed());
        // Rounded up: a wait for nothing would ask again and again.
        let wait = left.as_millis().div_ceil(1000).min(u128::from(WAIT_S));
        let wait = u64::try_from(wait).unwrap_or(WAIT_S);
        let path = format!("/v1/commands/{id}?wait={wait}");
        let command: Command = client.get(&path, Duration::from_secs(wait))?;
        if let Some(outcome) = &command.outcome {
            let all = command.counts.is_none_or(|counts| counts.done == counts.members);
            let done = outcome.is_success() && all;
            show(args.json, &command, text)?;
            return Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if command.state != state {
            eprintln!("{}", command.state);
            state.clone_from(&command.state);
        }
        if left.is_zero() {
            show(args.json, &command, text)?;
            return Ok(ExitCode::FAILURE);
        }
    }
}

/// Block by block, each after the one before was done; then the activation.
fn firmware(
    client: &Client,
    args: &ApiArgs,
    image: &Path,
    block: u16,
    asking: &Asking,
) -> miette::Result<ExitCode> {
    let octets = std::fs::read(image).into_diagnostic().wrap_err_with(|| format!("{}", image.display()))?;
    let size = u32::try_from(octets.len()).into_diagnostic().wrap_err("the image is too long")?;
    let mut offset = 0;
    let name = |part: &str| asking.request_id.as_ref().map(|id| format!("{id}-{part}"));
    let blocks = octets.chunks(usize::from(block.max(1)));
    let count = blocks.len();
    for (number, octets) in blocks.enumerate() {
        let order = Order::firmware_block(offset, octets);
        let accepted = ask(client, order, asking, name(&number.to_string()))?;
        let path = format!("/v1/commands/{}?wait={WAIT_S}", accepted.id);
        let command = loop {
            let command: Command = client.get(&path, Duration::from_secs(WAIT_S))?;
            if command.outcome.is_some() {
                break command;
            }
        };
        if !command.outcome.as_ref().is_some_and(Outcome::is_success) {
            show(args.json, &command, text)?;
            return Ok(ExitCode::FAILURE);
        }
        eprintln!("block {} of {count}", number + 1);
        offset = offset.saturating_add(u32::try_from(octets.len()).unwrap_or(u32::MAX));
    }
    let order = Order::FirmwareActivate { size, sha256: Hex(&sha256(&octets)).to_string() };
    submit(client, args, order, asking, name("activate"))
}

fn approve(client: &Client, args: &ApiArgs, id: &str, key: &Path, name: &str) -> miette::Result<ExitCode> {
    let command: Command = client.get(&format!("/v1/commands/{id}"), Duration::ZERO)?;
    let intent = command.intent.as_ref().ok_or_else(|| miette!("the interface shows no intent"))?;
    let digest = intent.digest().into_diagnostic()?;
    if intent.id != id {
        return Err(miette!("the interface shows the intent of command {}", intent.id));
    }
    if Hex(&digest).to_string() != command.digest {
        return Err(miette!(
            "the interface shows a digest that is not that of the intent: nothing was signed"
        ));
    }
    eprintln!("{}", serde_json::to_string_pretty(intent).into_diagnostic()?);
    eprintln!("the interface calls it {}; its body says:", command.order);
    for line in intent.shown().into_diagnostic()? {
        eprintln!("  {line}");
    }
    eprintln!("digest {}", Hex(&digest));
    let Ok(signature) = lab_key::read(key)?.sign(&prehash(&digest));
    let approval = NewApproval { approver: name.to_owned(), signature: Hex(&signature).to_string() };
    let command: Command = client.post(&format!("/v1/commands/{id}/approvals"), &approval)?;
    show(args.json, &command, text)
}

/// One line of a list.
fn line(command: &Command) -> String {
    let to = match &command.to {
        To::Device(dev) => format!("device {dev}"),
        To::Group(gid) => format!("group {gid}"),
    };
    let end = command.outcome.as_ref().map_or_else(|| command.state.clone(), ended);
    format!("{}  {:<17} {to:<24} {end}", command.id, command.order)
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { result, response } if response.is_empty() => format!("done, result {result}"),
        Outcome::Done { result, response } => format!("done, result {result}, response {response}"),
        Outcome::Refused { by, code } => format!("refused by the {by}: {code}"),
        Outcome::Expired => "expired: no answer in its time".to_owned(),
        Outcome::Unknown => "outcome unknown".to_owned(),
    }
}

/// A command for people.
fn text(command: &Command) -> String {
    let mut lines = vec![line(command)];
    if let Some(receipt) = &command.receipt {
        let word = if receipt.verified { "verified" } else { "its key is not known" };
        lines.push(format!("signed by the device, {word}; executed at {}", receipt.executed_at));
    }
    if let Some(counts) = &command.counts {
        lines.push(format!(
            "{} members: {} done, {} failed, {} refused, {} unknown, {} without an answer",
            counts.members, counts.done, counts.failed, counts.refused, counts.unknown, counts.missing
        ));
    }
    lines.join("\n")
}
