//! Commands signed in a PKCS#11 token, SoftHSM2, beside what its C_Sign does alone: the same key, one session.
//! SoftHSM2 signs on the thread that asks, so its CPU time counts.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use keystore::token::{Config, Holder, TOKENS_FILE, ceremony};

use crate::command::Desk;
use crate::goal;
use crate::support::{Failure, Figures, Folder, Spread};
use crate::timing::thread_cpu;

/// Where Debian and others put SoftHSM2's module.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];
const SITE: &str = "METERGRAPH_BENCH_HSM";
const LABEL: &str = "mg-signer";
const PIN: &str = "holder-pin-1234";
/// Turns of one sample, so that both ways meet the same noise ...
const TURNS: usize = 20;
/// ... and signatures of one turn.
const COMMANDS: usize = 50;
const SAMPLES: usize = 9;
/// Of a rate of C_Sign, at least.
const GOAL: f64 = 85.0;

/// SoftHSM2 reads its configuration from the environment: a process that has none yet makes one, and becomes
/// anew.
///
/// # Errors
/// When this cannot be. Without SoftHSM2 there is nothing to begin.
pub fn begin(words: &[String]) -> Result<(), Failure> {
    if module().is_none() || std::env::var_os(SITE).is_some() {
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("metergraph-bench-hsm-{}", std::process::id()));
    fs::create_dir_all(folder.join("tokens"))?;
    let conf = folder.join("softhsm2.conf");
    let tokens = folder.join("tokens");
    fs::write(&conf, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))?;
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "officer-pin-5678"])
        .env("SOFTHSM2_CONF", &conf)
        .output()?;
    if !made.status.success() {
        return Err(format!("softhsm2-util: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let mut again = Command::new(std::env::current_exe()?);
    Err(again.args(words).env("SOFTHSM2_CONF", &conf).env(SITE, &folder).env("BENCH_PIN", PIN).exec().into())
}

fn module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists())
}

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let (Some(module), Some(hsm)) = (module(), std::env::var_os(SITE).map(PathBuf::from)) else {
        eprintln!("token: SoftHSM2 is not installed; scripts/prepare installs it");
        return Ok(());
    };
    let folder = Folder::make("token")?;
    let lab = |holder: &str| {
        format!("[{holder}]\nprovider = \"software\"\nfile = \"{holder}.token\"\nunprotected = true\n")
    };
    let text = format!(
        "[signer]\nprovider = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{LABEL}\"\npin = {{ env = \"BENCH_PIN\" }}\n{}{}{}",
        module.display(),
        lab("registrar"),
        lab("audit"),
        lab("key-store")
    );
    fs::write(folder.join(TOKENS_FILE), text)?;
    let config = Config::read(folder.path())?;
    ceremony::create(&config, false)?;
    let handle = config.open(Holder::Signer)?.command(1)?;

    // The module is started and logged in by now, for this process.
    let context = Pkcs11::new(&module)?;
    let slots = context.get_slots_with_token()?;
    let is_ours =
        |slot: &&_| context.get_token_info(**slot).is_ok_and(|info| info.label().trim_end() == LABEL);
    let session = context.open_rw_session(*slots.iter().find(is_ours).ok_or("no token")?)?;
    let wanted = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"sk-cmd-1".to_vec())];
    let key = *session.find_objects(&wanted)?.first().ok_or("no key")?;

    let mut desk = Desk::make()?;
    let (mut raw, mut whole, mut share) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..=SAMPLES {
        let (mut alone, mut signing) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            let begin = thread_cpu();
            for number in 0..COMMANDS {
                session.sign(&Mechanism::Ecdsa, key, &[number as u8; 32])?;
            }
            alone += thread_cpu().saturating_sub(begin);
            let begin = thread_cpu();
            desk.pass(COMMANDS, &handle)?;
            signing += thread_cpu().saturating_sub(begin);
        }
        let rate = |took: Duration| (TURNS * COMMANDS) as f64 / took.as_secs_f64();
        let (alone, signed) = (rate(alone), rate(signing));
        if sample > 0 {
            raw.push(alone);
            whole.push(signed);
            share.push(100.0 * signed / alone);
        }
    }
    figures.spread("token, C_Sign alone, one session", Spread::of(raw), "/s and core");
    figures.spread("token, command signed and sealed, one session", Spread::of(whole), "/s and core");
    goal::put(figures, "token, of the rate of C_Sign", Spread::of(share), "%", Some(GOAL));
    drop((handle, session));
    fs::remove_dir_all(hsm)?;
    Ok(())
}
