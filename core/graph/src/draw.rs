//! A graph as a drawing: mermaid or Graphviz.

use node::PortType;

use crate::plan::{EdgePlan, End, Plan};

/// How a connection is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Data,
    Log,
    Events,
    Service,
}

impl Line {
    fn of(port_type: PortType) -> Self {
        match port_type {
            PortType::Log => Self::Log,
            PortType::Events => Self::Events,
            _ => Self::Data,
        }
    }
}

struct Connection {
    from: String,
    to: String,
    line: Line,
    label: String,
}

/// A mermaid flowchart. Data edges are plain, logs thick, events dotted, services end in a dot.
#[must_use]
pub fn mermaid(plan: &Plan) -> String {
    let mut drawing = format!("---\ntitle: {}\n---\nflowchart LR\n", plan.name);
    for (id, lines) in boxes(plan) {
        let text = lines.iter().map(|line| line.replace('"', "#quot;")).collect::<Vec<_>>().join("<br/>");
        let (open, close) = if id.starts_with('t') { ("([", "])") } else { ("[", "]") };
        drawing.push_str(&format!("    {id}{open}\"{text}\"{close}\n"));
    }
    for Connection { from, to, line, label } in connections(plan) {
        let arrow = match line {
            Line::Data => "-->",
            Line::Log => "==>",
            Line::Events => "-.->",
            Line::Service => "--o",
        };
        drawing.push_str(&format!("    {from} {arrow}|\"{label}\"| {to}\n"));
    }
    drawing
}

/// A Graphviz digraph. Data edges are plain, logs bold, events dashed, services dotted.
#[must_use]
pub fn dot(plan: &Plan) -> String {
    let mut drawing = format!("digraph \"{}\" {{\n    rankdir=LR;\n    node [shape=box];\n", plan.name);
    for (id, lines) in boxes(plan) {
        let escaped = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
        let text = lines.iter().map(escaped).collect::<Vec<_>>().join("\\n");
        let shape = if id.starts_with('t') { ", shape=ellipse" } else { "" };
        drawing.push_str(&format!("    {id} [label=\"{text}\"{shape}];\n"));
    }
    for Connection { from, to, line, label } in connections(plan) {
        let style = match line {
            Line::Data => "solid",
            Line::Log => "bold",
            Line::Events => "dashed",
            Line::Service => "dotted, arrowhead=odot",
        };
        drawing.push_str(&format!("    {from} -> {to} [label=\"{label}\", style={style}];\n"));
    }
    drawing.push_str("}\n");
    drawing
}

fn id(end: End) -> String {
    match end {
        End::Node(index) => format!("n{index}"),
        End::Transport(index) => format!("t{index}"),
    }
}

/// Every box with its lines of text.
fn boxes(plan: &Plan) -> impl Iterator<Item = (String, Vec<String>)> {
    let transports = plan.transports.iter().enumerate().map(|(index, transport)| {
        (id(End::Transport(index)), vec![transport.name.clone(), transport.plugin.clone()])
    });
    let nodes = plan.nodes.iter().enumerate().map(|(index, node)| {
        let kind = match node.instances {
            1 => node.kind.clone(),
            instances => format!("{} × {instances}", node.kind),
        };
        let lines = if kind == node.name { vec![kind] } else { vec![node.name.clone(), kind] };
        (id(End::Node(index)), lines)
    });
    transports.chain(nodes)
}

fn connections(plan: &Plan) -> impl Iterator<Item = Connection> {
    let edges = plan.edges.iter().map(|edge| Connection {
        from: id(edge.from),
        to: id(edge.to),
        line: Line::of(edge.port_type),
        label: label(edge),
    });
    let services = plan.services.iter().map(|service| Connection {
        from: id(End::Node(service.provider)),
        to: id(End::Node(service.user)),
        line: Line::Service,
        label: service.service.clone(),
    });
    edges.chain(services)
}

/// What flows, how much of it the edge holds, and what happens when it is full.
fn label(edge: &EdgePlan) -> String {
    let word = edge.when_full.word();
    match edge.port_type {
        PortType::Log => "log".to_owned(),
        PortType::Events => format!("events, {}, {word}", edge.batches_max),
        other => format!("{other}, {} batches, {word}", edge.batches_max),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Plugins, registry};

    #[test]
    fn lines_differ_by_what_flows_and_show_their_size() {
        let engine = include_str!("testing/engine.toml");
        let plan = crate::compile(engine, &registry(), &Plugins).plan.unwrap();
        let mermaid = super::mermaid(&plan);
        for line in [
            "flowchart LR",
            "    t0([\"wan<br/>libmetergraph_tcp.so\"])",
            "    n3[\"decrypt<br/>decrypt × 2\"]",
            "    n4[\"journal\"]",
            "    n2 -->|\"frames, 64 batches, wait\"| n3",
            "    n4 ==>|\"log\"| n5",
            "    n3 -.->|\"events, 1024, collapse\"| n7",
            "    t0 -->|\"received, 64 batches, wait\"| n1",
            "    n6 --o|\"keys\"| n3",
        ] {
            assert!(mermaid.lines().any(|drawn| drawn == line), "{line} is not in\n{mermaid}");
        }
        let dot = super::dot(&plan);
        for line in [
            "digraph \"collection-engine\" {",
            "    n4 -> n5 [label=\"log\", style=bold];",
            "    n3 -> n7 [label=\"events, 1024, collapse\", style=dashed];",
            "    t0 [label=\"wan\\nlibmetergraph_tcp.so\", shape=ellipse];",
        ] {
            assert!(dot.lines().any(|drawn| drawn == line), "{line} is not in\n{dot}");
        }
    }
}
