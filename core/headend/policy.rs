//! `metergraph policy ...`: the policy file of a signer, and its signatures.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use commands::policy::Policy;
use miette::{IntoDiagnostic, WrapErr, miette};
use seal::hex::Hex;
use seal::signature::SigningKey;

use crate::keys::lab_key;

/// `metergraph policy ...`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Writes a lab's first policy into a state folder, with new approvers' keys beside it, signed by root.
    Sample {
        /// The state folder.
        #[arg(long, default_value = "state")]
        state: PathBuf,
        /// Root's private key of the lab.
        #[arg(long, value_name = "FILE")]
        lab_root: PathBuf,
        /// The approvers' names; their private keys go to NAME.key in the folder of root's.
        #[arg(long, value_delimiter = ',', default_value = "ada,bob")]
        approvers: Vec<String>,
    },
    /// Checks a policy file and adds a signature over it to FILE.sig.
    Sign {
        /// The policy file.
        file: PathBuf,
        /// The private key: 64 hex digits in a file.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Whose it is: an approver of the version before, or `root`.
        #[arg(long)]
        by: String,
    },
}

/// Carries out one of the commands.
///
/// # Errors
/// For people: a file that cannot be read or written, a policy that is none.
pub fn policy(command: &PolicyCommand) -> miette::Result<ExitCode> {
    match command {
        PolicyCommand::Sample { state, lab_root, approvers } => sample(state, lab_root, approvers)?,
        PolicyCommand::Sign { file, key, by } => sign(file, &lab_key::read(key)?, by)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sample(state: &Path, lab_root: &Path, approvers: &[String]) -> miette::Result<()> {
    let root = lab_key::read(lab_root)?;
    let folder = lab_root.parent().unwrap_or(Path::new("."));
    let mut text = String::from(
        "# Who may ask for what, and who approves. A change gets a higher version and the signatures of two\n\
         # approvers of this one, or of root: `metergraph policy sign`.\n\
         policy = 1\nversion = 1\n\n\
         [roles]                          # classes: 0 read, 1 write, 2 firmware, 3 load, 4 keys, 5 time\n\
         operator = [0, 1, 2, 3]\nsecurity = [4, 5]\n\n\
         [requesters]                     # by the name of their token; \"*\" is anybody else\n\
         \"*\" = [\"operator\", \"security\"]\n",
    );
    for name in approvers {
        let key = lab_key::read_or_draw(&folder.join(format!("{name}.key")))?;
        let [_, point @ ..] = key.verifying_key().uncompressed();
        let (x, y) = point.split_at(32);
        write!(text, "\n[[approver]]\nname = \"{name}\"\nx = \"{}\"\ny = \"{}\"\n", Hex(x), Hex(y))
            .into_diagnostic()?;
    }
    let file = state.join("policy.toml");
    put(&file, &text)?;
    put(&state.join("root.pub"), &format!("{}\n", Hex(&root.verifying_key().uncompressed())))?;
    sign(&file, &root, "root")?;
    eprintln!("{}", file.display());
    Ok(())
}

fn put(path: &Path, text: &str) -> miette::Result<()> {
    fs::write(path, text).into_diagnostic().wrap_err_with(|| format!("{}", path.display()))
}

fn sign(file: &Path, key: &SigningKey, by: &str) -> miette::Result<()> {
    let at = || format!("{}", file.display());
    let text = fs::read_to_string(file).into_diagnostic().wrap_err_with(at)?;
    Policy::read(&text).into_diagnostic().wrap_err_with(at)?;
    if by.contains(['"', '\\', '\n']) {
        return Err(miette!("`{by}` is no name for an approver"));
    }
    let signature = lab_key::sign(key, text.as_bytes());
    let mut path = file.as_os_str().to_owned();
    path.push(".sig");
    let path = PathBuf::from(path);
    let mut signatures =
        OpenOptions::new().create(true).append(true).open(&path).into_diagnostic().wrap_err_with(at)?;
    let entry = format!("[[signature]]\nby = \"{by}\"\nes256 = \"{}\"\n", Hex(&signature));
    signatures.write_all(entry.as_bytes()).and_then(|()| signatures.sync_all()).into_diagnostic()
}
