//! `metergraph check`, `draw`, `schema`, `explain`: what needs a graph file and starts nothing.

use std::io::IsTerminal;
use std::process::ExitCode;

use graph::{Diagnostic, explain};
use miette::miette;

use super::{GraphFile, reasons};
use crate::cli::{CheckArgs, Drawing, Format, GraphArgs};
use crate::kinds;

/// Shows everything that is wrong with a graph file, on stdout.
///
/// # Errors
/// When the file cannot be read.
pub fn check(args: &CheckArgs) -> miette::Result<ExitCode> {
    let file = GraphFile::read(&args.graph.graph)?;
    let diagnostics = file.compile(&args.graph).diagnostics;
    match args.format {
        Format::Text => print!("{}", file.text(&diagnostics, std::io::stdout().is_terminal())),
        Format::Json => print!("{}", file.json(&diagnostics)),
    }
    if let Some(state) = &args.state {
        crate::keys::ceremony::warn_of_software(state);
    }
    let wrong = diagnostics.iter().any(Diagnostic::is_error);
    if diagnostics.is_empty() {
        eprintln!("{}: nothing is wrong", args.graph.graph.display());
    }
    Ok(if wrong { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Draws a graph on stdout; its faults go to stderr.
///
/// # Errors
/// When the file cannot be read, or holds an error.
pub fn draw(args: &GraphArgs, drawing: Drawing) -> miette::Result<ExitCode> {
    let file = GraphFile::read(&args.graph)?;
    let compiled = file.compile(args);
    eprint!("{}", file.render(&compiled.diagnostics));
    let plan =
        compiled.plan.ok_or_else(|| miette!("{} has faults; it was not drawn", args.graph.display()))?;
    match drawing {
        Drawing::Mermaid => print!("{}", graph::draw::mermaid(&plan)),
        Drawing::Dot => print!("{}", graph::draw::dot(&plan)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the JSON Schema of graph files.
#[must_use]
pub fn schema() -> ExitCode {
    println!("{:#}", graph::schema(&kinds::registry()));
    ExitCode::SUCCESS
}

/// Explains a code, or lists all of them.
///
/// # Errors
/// When there is no such code.
pub fn explain(code: Option<&str>) -> miette::Result<ExitCode> {
    if let Some((name, text)) = code.and_then(|name| Some((name, reasons::find(name)?))) {
        println!("{name}\n\n{text}");
        return Ok(ExitCode::SUCCESS);
    }
    match code {
        Some(name) => match explain::find(name) {
            Ok(code) => print!("{}", explain::text(code)),
            Err(Some(near)) => return Err(miette!("there is no code `{name}`; did you mean `{near}`?")),
            Err(None) => {
                return Err(miette!("there is no code `{name}`; `metergraph explain` lists all of them"));
            }
        },
        None => {
            let files = explain::all().map(|code| (code.name, code.text));
            for (name, text) in files.chain(reasons::ALL.iter().copied()) {
                println!("{name:<34}{}", first_sentence(text));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn first_sentence(text: &str) -> &str {
    text.split_inclusive(". ").next().unwrap_or_default().trim_end()
}
