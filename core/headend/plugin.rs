//! `metergraph plugin`: what a plugin file is, and how a component is made.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use miette::{IntoDiagnostic, WrapErr, miette};
use serde_json::{Value, json};
use transport::{Description, TransportError};

use crate::cli::PluginCommand;
use crate::graph_file::plugins;
use crate::kinds;

/// Does what is asked of a plugin.
///
/// # Errors
/// For people: a file that is no plugin.
pub fn plugin(command: &PluginCommand) -> miette::Result<ExitCode> {
    match command {
        PluginCommand::Describe { file } => Ok(describe(file)),
        PluginCommand::Inspect { file, json } => inspect(file, *json),
        PluginCommand::Encode { core, out } => encode(core, out),
    }
}

/// Loads a plugin into this process and asks what it is.
///
/// # Errors
/// [`TransportError`], one line.
pub fn described(file: &Path) -> Result<Description, TransportError> {
    kinds::bindings().load(file, None).map(|module| module.description().clone())
}

/// One JSON object on stdout, with the single key `error` when the file is no plugin that can be used.
fn describe(file: &Path) -> ExitCode {
    let answer = described(file)
        .map_err(|error| error.to_string())
        .and_then(|plugin| serde_json::to_value(plugin).map_err(|error| error.to_string()));
    match answer {
        Ok(answer) => {
            println!("{answer:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{:#}", json!({ "error": error }));
            ExitCode::from(1)
        }
    }
}

fn inspect(file: &Path, as_json: bool) -> miette::Result<ExitCode> {
    let answer = plugins::asked(file).map_err(|error| miette!("{}: {error}", file.display()))?;
    if as_json {
        println!("{answer:#}");
    } else {
        print!("{}", sheet(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a plugin says of itself, for people.
fn sheet(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut sheet = String::new();
    let mut line = |name: &str, value: &str| {
        // A text takes every line.
        let _ = writeln!(sheet, "{name:<10} {value}");
    };
    for name in ["name", "version", "kind", "contract", "sha256"] {
        line(name, &text(&answer[name]));
    }
    let grants = answer["grants"].as_array().map_or(&[][..], Vec::as_slice);
    if grants.is_empty() {
        line("grants", "none: it reaches nothing outside");
    }
    for (place, grant) in grants.iter().enumerate() {
        let name = grant["name"].as_str().filter(|name| !name.is_empty());
        let named = name.map_or_else(String::new, |name| format!(" `{name}`"));
        let needed = if grant["needed"] == true { ", needed" } else { "" };
        let head = if place == 0 { "grants" } else { "" };
        line(head, &format!("{}{named}{needed}: {}", text(&grant["kind"]), text(&grant["purpose"])));
    }
    let properties = answer.pointer("/config_schema/properties").and_then(Value::as_object);
    for (place, (key, schema)) in properties.into_iter().flatten().enumerate() {
        let default = schema.get("default").map_or_else(String::new, |default| format!(" = {default}"));
        let about = schema["description"].as_str().map_or_else(String::new, |about| format!("  {about}"));
        line(if place == 0 { "config" } else { "" }, &format!("{key}{default}{about}"));
    }
    sheet
}

fn encode(core: &Path, out: &Path) -> miette::Result<ExitCode> {
    let octets = std::fs::read(core).into_diagnostic().wrap_err_with(|| format!("{}", core.display()))?;
    let component = component::encode(&octets).map_err(|error| {
        miette!(
            help = "build it for wasm32-unknown-unknown with the SDK, or with bindings of wit/transport.wit",
            "{}: {error}",
            core.display()
        )
    })?;
    std::fs::write(out, &component).into_diagnostic().wrap_err_with(|| format!("{}", out.display()))?;
    println!("{}: {} octets", out.display(), component.len());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_names_what_a_plugin_wants() {
        let sheet = sheet(&json!({
            "name": "tcp", "version": "1", "kind": "native", "contract": "1.0", "sha256": "ab",
            "grants": [{"kind": "serial", "name": "radio", "needed": true, "purpose": "the co-processor"}],
            "config_schema": {"properties": {"baud": {"default": 115_200, "description": "bits a second"}}},
        }));
        assert!(sheet.contains("grants     serial `radio`, needed: the co-processor\n"), "{sheet}");
        assert!(sheet.contains("config     baud = 115200  bits a second\n"), "{sheet}");
    }
}
