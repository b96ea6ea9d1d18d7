//! The ends of edges: transports on one side, the readers of every port on the other.

use node::spec::TransportEnd;
use node::{OutputSpec, PortType, WhenFull};

use super::super::nodes::Draft;
use super::{BATCHES, Connector, Written};
use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::plan::{EdgePlan, End};

impl Connector<'_, '_> {
    /// Joins transports to their `ingress` and `downlink`.
    pub(super) fn transports(&mut self) {
        for transport in 0..self.plan.transports.len() {
            for end in [TransportEnd::Source, TransportEnd::Sink] {
                self.transport(transport, end);
            }
        }
    }

    fn transport(&mut self, transport: usize, end: TransportEnd) {
        let nodes = self.drafts.iter().zip(&self.plan.nodes).enumerate();
        let mut nodes = nodes.filter(|(_, (draft, node))| {
            node.transport == Some(transport)
                && draft.spec.as_ref().is_some_and(|spec| spec.transport == Some(end))
        });
        let Some((index, (draft, _))) = nodes.next() else {
            self.no_end(transport, end);
            return;
        };
        let place = |draft: &Draft<'_>| {
            draft.table.get("transport").map_or(draft.span.clone(), |entry| entry.item.span.clone())
        };
        let name =
            self.plan.transports.get(transport).map(|transport| transport.name.as_str()).unwrap_or_default();
        for (_, (other, _)) in nodes {
            let kind = other.spec.as_ref().map(|spec| spec.name).unwrap_or_default();
            let message = format!("{} is the second node of kind `{kind}` on transport `{name}`", other.who);
            self.checker.push(
                Diagnostic::new(&codes::DUPLICATE_TRANSPORT_END, place(other), message)
                    .label("the second one")
                    .and(place(draft), "the first one"),
            );
        }
        let (from, to, port_type) = match end {
            TransportEnd::Source => (End::Transport(transport), End::Node(index), PortType::Received),
            TransportEnd::Sink => (End::Node(index), End::Transport(transport), PortType::Transmit),
        };
        // A transport has no names for its own ports.
        let outputs = || draft.spec.iter().flat_map(|spec| &spec.outputs);
        let port = outputs().find(|output| output.port_type == port_type).map(|output| output.name);
        self.plan.edges.push(EdgePlan {
            from,
            port: port.unwrap_or(port_type.word()).to_owned(),
            to,
            port_type,
            batches_max: BATCHES,
            when_full: WhenFull::Wait,
        });
    }

    fn no_end(&mut self, transport: usize, end: TransportEnd) {
        let Some(transport) = self.plan.transports.get(transport) else { return };
        // Whoever names no known transport, or is of no known kind, may be the one.
        let in_doubt = self.drafts.iter().zip(&self.plan.nodes).any(|(draft, node)| match &draft.spec {
            None => true,
            Some(spec) => spec.transport == Some(end) && node.transport.is_none(),
        });
        if in_doubt {
            return;
        }
        let (code, message, kind) = match end {
            TransportEnd::Source => (
                &codes::UNREAD_TRANSPORT,
                format!("nobody takes what transport `{}` receives", transport.name),
                "ingress",
            ),
            TransportEnd::Sink => (
                &codes::SILENT_TRANSPORT,
                format!("nothing is ever sent through transport `{}`", transport.name),
                "downlink",
            ),
        };
        let help = format!("a node of kind `{kind}` with `transport = \"{}\"`", transport.name);
        let fault = Diagnostic::new(code, transport.span.clone(), message).label(format!("no `{kind}`"));
        self.checker.push(fault.help(help));
    }

    /// Whether every port has as many readers as it wants.
    pub(super) fn readers(&mut self) {
        // A graph without a monitor names no event, and knows it.
        let watched = self.plan.edges.iter().any(|edge| edge.port_type == PortType::Events);
        for (index, draft) in self.drafts.iter().enumerate() {
            for output in draft.spec.iter().flat_map(|spec| &spec.outputs) {
                let mine = |edge: &EdgePlan| edge.from == End::Node(index) && edge.port == output.name;
                let readers = self.plan.edges.iter().filter(|edge| mine(edge)).count();
                let shown = self.show(index, output);
                let told = self.suspects.contains(&index) || self.lacking.contains(&output.port_type);
                if readers == 0 && !told {
                    self.unread(draft, output, &shown, watched);
                }
                if readers > output.max {
                    let place = |place: &&Written| self.plan.edges.get(place.edge).is_some_and(mine);
                    let span =
                        self.written.iter().filter(place).nth(output.max).map(|place| place.span.clone());
                    let message = format!("`{shown}` has {readers} readers; {} at most", output.max);
                    self.checker.push(
                        Diagnostic::new(&codes::TOO_MANY_READERS, span.unwrap_or(0..0), message)
                            .label("one too many"),
                    );
                }
            }
        }
    }

    fn unread(&mut self, draft: &Draft<'_>, output: &OutputSpec, shown: &str, watched: bool) {
        let span: Span = draft.span.clone();
        if output.port_type == PortType::Transmit {
            // Its reader is the transport, whose fault is told.
        } else if output.required {
            let message = format!("nobody reads `{shown}`, which gives `{}`", output.port_type);
            self.checker.push(
                Diagnostic::new(&codes::UNREAD_OUTPUT, span, message)
                    .label("not read")
                    .help(format!("another node reads it by `input = [\"{shown}\"]`")),
            );
        } else if output.port_type == PortType::Events && watched {
            let message = format!("nobody reads `{shown}`: what {} refuses is named nowhere", draft.who);
            self.checker.push(
                Diagnostic::new(&codes::UNREAD_EVENTS, span, message)
                    .label("not read")
                    .help(format!("add `\"{shown}\"` to the `input` of the event monitor")),
            );
        }
    }
}
