//! A graph file on disk: read, compiled with what its plugins say, filled in with what the environment
//! and secret files give, its faults shown.

pub mod commands;
pub mod plugins;
pub mod reasons;

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use graph::{Compiled, Diagnostic, Plan, Secret, Sources};
use miette::{IntoDiagnostic, WrapErr};

use crate::cli::GraphArgs;
use crate::kinds;
use crate::run::plugin_dirs;
use plugins::Plugins;

/// Octets of a secret's file.
const SECRET_MAX: u64 = 64 << 10;

/// A graph file that was read.
#[derive(Debug)]
pub struct GraphFile {
    path: PathBuf,
    text: String,
}

impl GraphFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no UTF-8.
    pub fn read(path: &Path) -> miette::Result<Self> {
        let wrong = || format!("read graph file {}", path.display());
        let text = std::fs::read_to_string(path).into_diagnostic().wrap_err_with(wrong)?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Compiles it. Each plugin that it names is asked for its schema first, unless told not to.
    #[must_use]
    pub fn compile(&self, args: &GraphArgs) -> Compiled {
        let plugins = if args.no_plugins {
            Plugins::default()
        } else {
            Plugins::describe(&graph::plugins_named(&self.text), &plugin_dirs(args))
        };
        graph::compile(&self.text, &kinds::registry(), &plugins)
    }

    /// Fills in the values that the environment and secret files give; the answer is what is wrong
    /// with them. A relative path of a secret begins at the graph file's folder.
    #[must_use]
    pub fn resolve(&self, plan: &mut Plan) -> Vec<Diagnostic> {
        let folder = self.path.parent().map(Path::to_path_buf).unwrap_or_default();
        graph::resolve(plan, &kinds::registry(), &Plugins::default(), &Outside { folder })
    }

    /// Diagnostics as text for stderr, in colours on a terminal.
    #[must_use]
    pub fn render(&self, diagnostics: &[Diagnostic]) -> String {
        self.text(diagnostics, std::io::stderr().is_terminal())
    }

    /// Diagnostics as text.
    #[must_use]
    pub fn text(&self, diagnostics: &[Diagnostic], colour: bool) -> String {
        graph::render::text(&self.name(), &self.text, diagnostics, colour)
    }

    /// Diagnostics as JSON, one object a line.
    #[must_use]
    pub fn json(&self, diagnostics: &[Diagnostic]) -> String {
        graph::render::json(&self.name(), &self.text, diagnostics)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// The environment of this process, and secret files relative to a folder.
struct Outside {
    folder: PathBuf,
}

impl Sources for Outside {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn secret(&self, file: &str) -> Result<Secret, String> {
        let file = File::open(self.folder.join(file)).map_err(|error| error.to_string())?;
        let exposed = is_exposed(&file).map_err(|error| error.to_string())?;
        let mut text = String::new();
        file.take(SECRET_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > SECRET_MAX {
            return Err(format!("it is longer than {SECRET_MAX} octets"));
        }
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let text = line.strip_suffix('\r').unwrap_or(line).to_owned();
        Ok(Secret { text, exposed })
    }
}

/// Whether every user of the machine can read a file.
fn is_exposed(file: &File) -> std::io::Result<bool> {
    Ok(file.metadata()?.mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_file_without_the_last_line_break() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let outside = Outside { folder: folder.path().to_owned() };
        let path = folder.path().join("password");
        std::fs::write(&path, "a b\n\r\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let secret = outside.secret("password").unwrap();
        assert_eq!((secret.text.as_str(), secret.exposed), ("a b\n", false));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(outside.secret("password").unwrap().exposed);
        std::fs::write(&path, "x".repeat(65 << 10)).unwrap();
        assert!(outside.secret("password").is_err_and(|why| why.contains("65536")));
        assert!(outside.secret("absent").is_err() && outside.secret(".").is_err());
    }
}
