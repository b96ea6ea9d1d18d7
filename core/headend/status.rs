//! `metergraph status`: asks the head-end that runs on a state folder how it is.

use std::path::Path;
use std::process::ExitCode;

use miette::{IntoDiagnostic, WrapErr, miette};
use runtime::{Answer, Request, Status};

/// Prints the status; the exit code is 1 when some node does not run as it should.
///
/// # Errors
/// When no head-end answers.
pub fn status(state: &Path, json: bool) -> miette::Result<ExitCode> {
    let answer = runtime::ask(state, &Request::Status)
        .into_diagnostic()
        .wrap_err_with(|| format!("no head-end answers on {}", state.display()))?;
    let status = match answer {
        Answer::Status(status) => status,
        Answer::Error(error) => return Err(miette!("the head-end answered: {error}")),
    };
    if json {
        println!("{}", serde_json::to_string(&status).into_diagnostic()?);
    } else {
        print(&status);
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(status: &Status) {
    println!("graph {}, up {:.0} s", status.graph, status.uptime_s);
    for node in &status.nodes {
        let starts = if node.starts > 1 { format!("  started {} times", node.starts) } else { String::new() };
        println!(
            "  {:<24} {:<10} {}{starts}",
            format!("{}[{}]", node.node, node.instance),
            node.state,
            node.note
        );
    }
    println!("edges");
    for edge in &status.edges {
        let dropped = if edge.dropped > 0 { format!("  dropped {}", edge.dropped) } else { String::new() };
        println!(
            "  {:<48} {:>4}/{:<4} {:>12} frames{dropped}",
            edge.edge, edge.waiting, edge.batches_max, edge.frames
        );
    }
    println!("numbers");
    for meter in &status.meters {
        let labels: Vec<String> = meter.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        println!("  {:<48} {:>14}  {}", meter.name, meter.value, labels.join(" "));
    }
}
