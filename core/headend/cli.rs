//! What can be typed after `metergraph`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::client::{
    ApiArgs, CampaignCommand, CommandCommand, DeviceCommand, GroupCommand, TokenCommand as BearerCommand,
};
use crate::keys::kek::RotateKekArgs;
use crate::keys::root::RootCommandArgs;
use crate::policy::PolicyCommand;

/// An open head-end for advanced metering.
#[derive(Debug, Parser)]
#[command(name = "metergraph", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Text for people or JSON for scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts.
    Json,
}

/// What a graph is drawn as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// A mermaid flowchart.
    #[default]
    Mermaid,
    /// Graphviz.
    Dot,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a graph until SIGTERM, then drains it.
    Run(RunArgs),
    /// Says everything that is wrong with a graph file, without opening anything.
    Check(CheckArgs),
    /// Explains a diagnostic's code.
    Explain {
        /// The code, e.g. `graph::unknown_input`; without one, all codes are listed.
        code: Option<String>,
    },
    /// Draws a graph.
    Draw {
        /// The graph file and its plugins.
        #[command(flatten)]
        graph: GraphArgs,
        /// The drawing's language.
        #[arg(long, value_enum, default_value_t)]
        format: Drawing,
    },
    /// Prints the JSON Schema of graph files, for editors.
    Schema,
    /// Asks the head-end that runs on a state folder how it is.
    Status {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Keys and devices.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Simulates end devices behind cell relays.
    Fleet(Box<FleetArgs>),
    /// Decodes, verifies and decrypts captures.
    Inspect(InspectArgs),
    /// Prints what the journal of a state folder holds, a JSON object a record.
    Journal {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
    /// Copies the state of a head-end that does not run, without its tokens, and raises the incarnation.
    Backup {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
        /// The journal's folder in it.
        #[arg(long, default_value = "journal")]
        journal: PathBuf,
        /// The new folder.
        #[arg(long)]
        to: PathBuf,
    },
    /// Makes the state of a backup one that may seal again; its head-end does not run.
    Restore(RestoreArgs),
    /// Transport plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Commands to end devices and groups, through a head-end's interface.
    Command {
        /// Which.
        #[command(subcommand)]
        command: CommandCommand,
        /// The interface.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Groups of end devices.
    Group {
        /// What.
        #[command(subcommand)]
        command: GroupCommand,
        /// The interface.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Epoch campaigns.
    Campaign {
        /// What.
        #[command(subcommand)]
        command: CampaignCommand,
        /// The interface.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// One end device.
    Device {
        /// What.
        #[command(subcommand)]
        command: DeviceCommand,
        /// The interface.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Bearer tokens of a head-end's interface.
    #[command(subcommand)]
    Token(BearerCommand),
    /// The policy of a signer.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Runs a head-end and a fleet as two processes, and compares what both say.
    Demo(DemoArgs),
}

/// `metergraph restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// How old the backup is, in days, rounded up. Rather too many: counters skip what a copy may have used.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=3650))]
    pub age: u32,
    /// The state folder.
    #[arg(long, default_value = "state")]
    pub state: PathBuf,
    /// The journal's folder in it.
    #[arg(long, default_value = "journal")]
    pub journal: PathBuf,
    /// Also when this backup, or a later one, was restored before: then nothing is sealed under its keys, and
    /// every device has to register anew.
    #[arg(long)]
    pub force: bool,
    /// One JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Where a graph and its plugins are.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The graph file.
    pub graph: PathBuf,
    /// Where plugins are looked for; repeatable. Default: beside this program.
    #[arg(long = "plugin-dir")]
    pub plugin_dirs: Vec<PathBuf>,
    /// Does not look at plugins, and says what is then left unchecked.
    #[arg(long)]
    pub no_plugins: bool,
}

/// `metergraph run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The graph file and its plugins.
    #[command(flatten)]
    pub graph: GraphArgs,
    /// The state folder.
    #[arg(long, default_value = "state")]
    pub state: PathBuf,
    /// Log lines as text or JSON; default: text on a terminal, JSON else.
    #[arg(long, value_enum)]
    pub log: Option<Format>,
    /// At the end, writes the last status as JSON to this file.
    #[arg(long)]
    pub report: Option<PathBuf>,
}

/// `metergraph check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The graph file and its plugins.
    #[command(flatten)]
    pub graph: GraphArgs,
    /// Text for people or JSON for scripts.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The state folder: then it also warns of keys that are files.
    #[arg(long)]
    pub state: Option<PathBuf>,
}

/// `metergraph keys ...`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a key store: draws the installation's identity and its key-encryption key.
    Init {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
        /// The installation's identity, 16 hex digits: for tests only, else it is drawn.
        #[arg(long)]
        system: Option<String>,
        /// Root's public key, x and y in 128 hex digits. It is set once; manifests need it.
        #[arg(long, value_name = "PUBKEY")]
        root: Option<String>,
        /// Root's private key in a file, for labs; made when it is not there.
        #[arg(long, value_name = "FILE", conflicts_with = "root")]
        lab_root: Option<PathBuf>,
        /// Where the holders' tokens are (`tokens.toml`); default: files in the state folder, for labs.
        #[arg(long, value_name = "CONFIG")]
        token: Option<PathBuf>,
    },
    /// Moves all associations to a later epoch: one signed command for a group, the others one by one.
    AdvanceEpoch {
        /// Steps, 1 to 4.
        #[arg(long, default_value_t = 1)]
        delta: u8,
        /// Devices that are told one by one at the same time, at most.
        #[arg(long, default_value_t = 1000)]
        wave: u32,
        /// The group that is told at once.
        #[arg(long)]
        group: Option<String>,
        /// The interface.
        #[command(flatten)]
        api: ApiArgs,
    },
    /// Signs a command with the offline root's key, and prints it for `metergraph command send-signed`.
    RootCommand(RootCommandArgs),
    /// Ceremonies of the tokens that hold the keys.
    #[command(flatten)]
    Tokens(TokenCommand),
    /// Whose manifests are taken.
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Takes in a shipment file or a manifest: all of it, or nothing and the list of bad rows.
    Import {
        /// CSV with the header `dev,esn,aptitle,device_profile,kind,sid,epoch,key`, or a manifest with
        /// `dev,esn,aptitle,device_profile,dh_x,dh_y,sign_x,sign_y` and its signatures beside it.
        file: PathBuf,
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
        /// Accepts profile-1 keys in the file: for labs only, registration replaces it.
        #[arg(long)]
        test_keys: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Writes a shipment file of made-up devices with random test keys, for labs; or a manifest.
    Sample {
        /// How many devices.
        #[arg(long, default_value_t = 1000)]
        devices: u32,
        /// How many of them are classic (EAX').
        #[arg(long, default_value_t = 0)]
        classic: u32,
        /// Their device profile.
        #[arg(long)]
        profile: PathBuf,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        /// Writes a manifest, signed by a lab's manufacturer and root, with its devices' secrets beside it.
        #[arg(long, requires = "lab_root", conflicts_with = "classic")]
        manifest: bool,
        /// The number of the first device of a manifest.
        #[arg(long, default_value_t = 0, requires = "manifest")]
        first: u32,
        /// The head-end's credential is called so, as the registrar's `kid`.
        #[arg(long, default_value_t = 0, requires = "manifest")]
        kid: u8,
        /// Root's private key of the lab.
        #[arg(long, value_name = "FILE", requires = "manifest")]
        lab_root: Option<PathBuf>,
        /// The state folder of the lab.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
    /// Draws new data keys and seals under them what the key store holds; the head-end does not run.
    RotateDek {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
        /// The journal's folder in it.
        #[arg(long, default_value = "journal")]
        journal: PathBuf,
        /// Which partitions, 0 to 1023; default: all.
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(0..1024))]
        partitions: Vec<u16>,
    },
    /// Puts another key-encryption key in the place of the present one; the head-end does not run.
    ///
    /// A further key is made in the key store's token, or in that of `--to`. Whoever may know the old one may
    /// know all data keys: they are replaced, and every record is sealed anew. A call that was cut goes on with
    /// the next one. The old key is destroyed when the store has been read whole under the new one.
    ///
    /// Backups of the state that were made before are under the old key, and with it they are gone, unless
    /// `--keep-old` keeps it: then a restored copy's `tokens.toml` names it again (`file`, or `labels.kek`, and
    /// the new one as `kept`). Make new backups at once, of the state and of the tokens.
    RotateKek(RotateKekArgs),
}

/// `metergraph keys trust ...`.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Takes a manufacturer's key by root's word; without a signature, prints what root has to sign.
    Add {
        /// The key's name in signatures.
        name: String,
        /// The key, x and y in 128 hex digits.
        key: String,
        /// Root's ES256 signature over what this command prints without it, 128 hex digits.
        #[arg(long, value_name = "HEX")]
        signature: Option<String>,
        /// Root's private key of a lab, which signs at once.
        #[arg(long, value_name = "FILE", conflicts_with = "signature")]
        lab_root: Option<PathBuf>,
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
    /// Lists root's key and the manufacturers'.
    List {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
}

/// The tokens of an installation.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes every holder's keys in its own token, where they are not there yet.
    Ceremony {
        /// Where the holders' tokens are: `tokens.toml`.
        #[arg(long, value_name = "CONFIG")]
        token: PathBuf,
        /// The keys can never leave their tokens, not even wrapped for a backup.
        #[arg(long)]
        no_backup: bool,
        /// The file of the transcript.
        #[arg(long)]
        transcript: PathBuf,
    },
    /// Wraps every key under a backup key that is shared and destroyed.
    Backup {
        /// Where the holders' tokens are: `tokens.toml`, with the security officer's `so_pin`.
        #[arg(long, value_name = "CONFIG")]
        token: PathBuf,
        /// How many shares open the backup.
        #[arg(long, value_parser = clap::value_parser!(u8).range(2..))]
        threshold: u8,
        /// How many shares are made.
        #[arg(long, value_parser = clap::value_parser!(u8).range(2..))]
        shares: u8,
        /// The file of the backup; the shares are written beside it.
        #[arg(long)]
        out: PathBuf,
        /// The file of the transcript.
        #[arg(long)]
        transcript: PathBuf,
    },
    /// Makes the keys of a backup in other tokens, which hold none.
    Restore {
        /// Where the other tokens are: `tokens.toml`.
        #[arg(long, value_name = "CONFIG")]
        token: PathBuf,
        /// The file of the backup.
        #[arg(long)]
        backup: PathBuf,
        /// A share; repeatable.
        #[arg(long = "share", required = true)]
        shares: Vec<PathBuf>,
        /// The incarnation of the installation, when it has been started since the backup.
        #[arg(long)]
        incarnation: Option<u64>,
        /// The file of the transcript.
        #[arg(long)]
        transcript: PathBuf,
    },
    /// Prints the public keys of a state folder's tokens, one JSON object.
    Public {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
    },
}

/// `metergraph fleet`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// The shipment file with the devices and their keys.
    #[arg(long, required_unless_present_any = ["serve", "manifest_secrets"])]
    pub shipment: Option<PathBuf>,
    /// The installation's identity, 16 hex digits.
    #[arg(long, required_unless_present_any = ["serve", "manifest_secrets"])]
    pub system: Option<String>,
    /// How many devices of the file; default: all.
    #[arg(long)]
    pub devices: Option<usize>,
    /// Cell relays, one TCP connection each.
    #[arg(long, default_value_t = 10)]
    pub relays: usize,
    /// The head-end.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "serve")]
    pub connect: Option<String>,
    /// Reports a second, all devices together; 0 for as fast as they are acknowledged.
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// Seconds of sending; then what is not acknowledged is waited for.
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds to wait for the last acknowledgements.
    #[arg(long, default_value_t = 60.0)]
    pub grace: f64,
    /// Writes a line for each report: message id, SHA-256 over its rows, acked or unacked.
    #[arg(long)]
    pub list: Option<PathBuf>,
    /// Keeps the devices' counters here, so that another run goes on where this one ends.
    #[arg(long = "state")]
    pub state: Option<PathBuf>,
    /// The seed of everything that the devices measure.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// One JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// Serves one device to a foreign C12.22 client over TCP and UDP instead.
    #[arg(long, value_name = "HOST:PORT")]
    pub serve: Option<String>,
    /// The served device is a classic one (EAX').
    #[arg(long, requires = "serve")]
    pub classic: bool,
    /// The served device's key, 32 hex digits, key id 0; or `ID:HEX`.
    #[arg(long, requires = "serve")]
    pub key: Option<String>,
    /// The served device's ApTitle.
    #[arg(long, default_value = ".68.33.3", requires = "serve")]
    pub aptitle: String,
    /// The served device's profile.
    #[arg(long, requires = "serve")]
    pub profile: Option<PathBuf>,
    /// Whole end devices.
    #[command(flatten)]
    pub agents: crate::fleet::AgentArgs,
}

/// `metergraph inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// pcap, pcapng, or hex (one APDU a line, `#` comments, an id before it allowed); `-` for stdin.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// A classic key, `ID:HEX`; repeatable.
    #[arg(long = "key", value_name = "ID:HEX")]
    pub keys: Vec<String>,
    /// A shipment file with profile-1 and classic keys.
    #[arg(long, requires = "system")]
    pub shipment: Option<PathBuf>,
    /// The installation's identity, 16 hex digits.
    #[arg(long)]
    pub system: Option<String>,
    /// Accepts draft-era quirks.
    #[arg(long)]
    pub lenient: bool,
    /// One JSON object an APDU.
    #[arg(long)]
    pub json: bool,
}

/// `metergraph plugin ...`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Prints what a plugin says of itself as JSON, for programs; see `inspect`.
    #[command(hide = true)]
    Describe {
        /// The plugin's file.
        file: PathBuf,
    },
    /// Shows what a plugin is: name, versions, configuration, the grants that it wants, and the digest to pin.
    Inspect {
        /// The plugin's file: a shared library or a component.
        file: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Makes a component of a core WebAssembly module, as compilers write it.
    Encode {
        /// The core module.
        core: PathBuf,
        /// The component to be written.
        #[arg(long, short)]
        out: PathBuf,
    },
}

/// `metergraph demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The graph file.
    #[arg(long, default_value = "graphs/demo.toml")]
    pub graph: PathBuf,
    /// The devices' profile.
    #[arg(long, default_value = "graphs/profiles/residential.toml")]
    pub profile: PathBuf,
    /// How many meters.
    #[arg(long, default_value_t = 1000)]
    pub devices: u32,
    /// Behind how many cell relays.
    #[arg(long, default_value_t = 10)]
    pub relays: usize,
    /// Reports a second.
    #[arg(long, default_value_t = 1000.0)]
    pub rate: f64,
    /// Seconds of sending.
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// The folder to work in; made anew.
    #[arg(long, default_value = "target/demo")]
    pub folder: PathBuf,
}
