//! `input`: who reads what from whom.

mod ends;
mod find;
mod input;

use node::spec::TransportEnd;
use node::{KindSpec, OutputSpec, PortType, WhenFull};

use super::nodes::{Draft, takes_input};
use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::Entry;
use crate::fields::Checker;
use crate::plan::{EdgePlan, End, Plan};

use input::Input;
pub(crate) use input::input_fields;

/// Batches that a data edge holds when nothing is said.
const BATCHES: usize = 64;
/// Events that an event edge holds when nothing is said.
const EVENTS: usize = 1024;

/// What an edge of this type may do when it is full; the first one is the default. Empty for a log,
/// which has no queue.
fn allowed(port_type: PortType) -> &'static [WhenFull] {
    match port_type {
        PortType::Apdus | PortType::Frames => &[WhenFull::Wait, WhenFull::Drop],
        // A device that registers comes again by itself.
        PortType::Registrations => &[WhenFull::Drop, WhenFull::Wait],
        // Journal records carry window changes and are settled one by one; what goes down to a device
        // may be a command.
        PortType::Received | PortType::Records | PortType::Sealed | PortType::Transmit => &[WhenFull::Wait],
        PortType::Orders | PortType::Intents | PortType::Audit => &[WhenFull::Wait],
        PortType::Events => &[WhenFull::Collapse, WhenFull::Drop],
        PortType::Log => &[],
    }
}

/// Where an edge of the plan is written.
struct Written {
    edge: usize,
    span: Span,
}

/// Makes the edges of the plan.
pub(super) fn connect(drafts: &[Draft<'_>], plan: &mut Plan, checker: &mut Checker) {
    let mut connector = Connector {
        drafts,
        plan,
        checker,
        written: Vec::new(),
        first: (0, 0),
        in_doubt: false,
        lacking: Vec::new(),
        suspects: Vec::new(),
    };
    for (index, draft) in drafts.iter().enumerate() {
        connector.node(index, draft);
    }
    connector.transports();
    connector.readers();
    let Connector { written, .. } = connector;
    let places: Vec<(usize, Span)> = written.into_iter().map(|place| (place.edge, place.span)).collect();
    super::order::refuse_cycles(drafts, &places, plan, checker);
}

struct Connector<'a, 't> {
    drafts: &'a [Draft<'t>],
    plan: &'a mut Plan,
    checker: &'a mut Checker,
    written: Vec<Written>,
    /// Where the edges of the node at hand begin, in the plan and in `written`.
    first: (usize, usize),
    /// The node at hand reads one whose kind is not known.
    in_doubt: bool,
    /// What some node does not get: that nobody reads such a port is the same fault.
    lacking: Vec<PortType>,
    /// Nodes that a wrong name may have meant: that nobody reads them is the same fault.
    suspects: Vec<usize>,
}

impl Connector<'_, '_> {
    fn node(&mut self, index: usize, draft: &Draft<'_>) {
        let entry = draft.table.get("input");
        if let (Some(entry), Some(spec)) = (entry, &draft.spec)
            && !takes_input(spec)
        {
            let message = format!("{} of kind `{}` reads nothing through `input`", draft.who, spec.name);
            let help = if spec.transport == Some(TransportEnd::Source) {
                "it takes what its `transport` receives"
            } else {
                "nodes that use it name it themselves"
            };
            self.checker.push(
                Diagnostic::new(&codes::UNEXPECTED_INPUT, entry.key_span.clone(), message)
                    .label("not here")
                    .help(help),
            );
            return;
        }
        let faults = self.checker.diagnostics.len();
        self.in_doubt = false;
        self.first = (self.plan.edges.len(), self.written.len());
        let inputs = entry.map(|entry| input::read(index, draft, entry, self.checker)).unwrap_or_default();
        for input in inputs {
            self.join(index, draft, input);
        }
        // An entry that is wrong may be the one that is missing.
        let certain = !self.in_doubt && self.checker.diagnostics.len() == faults;
        if let Some(spec) = &draft.spec {
            self.count(draft, spec, entry, certain);
        }
    }

    /// Joins one input to the port that it names.
    fn join(&mut self, index: usize, draft: &Draft<'_>, input: Input) {
        let Some((from, output)) = self.find(draft, &input) else { return };
        let mut mine = self.plan.edges.iter().skip(self.first.0);
        if mine.any(|edge| edge.from == End::Node(from) && edge.port == output.name) {
            let message = format!("{} reads `{}` twice", draft.who, self.show(from, &output));
            self.checker.push(
                Diagnostic::new(&codes::DUPLICATE_INPUT, input.span, message)
                    .label("the second one")
                    .help("keep one of them"),
            );
            return;
        }
        let port_type = output.port_type;
        if let Some(spec) = &draft.spec
            && !spec.inputs.iter().any(|taken| taken.port_type == port_type)
        {
            self.port_type(draft, spec, from, &output, &input);
            return;
        }
        self.check_mode(draft, from, &output, &input);
        self.written.push(Written { edge: self.plan.edges.len(), span: input.span });
        self.plan.edges.push(EdgePlan {
            from: End::Node(from),
            port: output.name.to_owned(),
            to: End::Node(index),
            port_type,
            batches_max: match (port_type, input.batches_max) {
                (PortType::Log, _) => 0,
                (_, Some((batches, _))) => batches,
                (PortType::Events, None) => EVENTS,
                (_, None) => BATCHES,
            },
            when_full: match input.when_full {
                Some((word, _)) => word,
                None => allowed(port_type).first().copied().unwrap_or_default(),
            },
        });
    }

    /// A port as it is named in `input`.
    fn show(&self, from: usize, output: &OutputSpec) -> String {
        let name = self.plan.nodes.get(from).map(|node| node.name.as_str()).unwrap_or_default();
        let first = self.drafts.get(from).and_then(|draft| draft.spec.as_ref()?.output(None));
        // The events of a node that gives nothing else are named in full as well.
        if first.is_some_and(|first| first.name == output.name) && output.port_type != PortType::Events {
            name.to_owned()
        } else {
            format!("{name}.{}", output.name)
        }
    }

    /// Refuses what an edge cannot do when it is full.
    fn check_mode(&mut self, draft: &Draft<'_>, from: usize, output: &OutputSpec, input: &Input) {
        let modes = allowed(output.port_type);
        let shown = self.show(from, output);
        if modes.is_empty() {
            let places = [
                ("batches_max", input.batches_max.as_ref().map(|(_, span)| span)),
                ("when_full", input.when_full.as_ref().map(|(_, span)| span)),
            ];
            for (key, span) in places {
                let Some(span) = span else { continue };
                let message = format!("{} follows the log `{shown}`, where `{key}` means nothing", draft.who);
                self.checker.push(
                    Diagnostic::new(&codes::NO_QUEUE, span.clone(), message)
                        .label("no queue")
                        .help(format!("without `{key}`: each reader of a log has a cursor of its own")),
                );
            }
        } else if let Some((word, span)) = &input.when_full
            && !modes.contains(word)
        {
            let words: Vec<String> = modes.iter().map(|word| format!("`{}`", word.word())).collect();
            let message = format!(
                "{} reads `{shown}`; an edge of type `{}` cannot `{}`",
                draft.who,
                output.port_type,
                word.word()
            );
            self.checker.push(
                Diagnostic::new(&codes::WHEN_FULL, span.clone(), message)
                    .label("not on this edge")
                    .help(format!("it can {}", words.join(" or "))),
            );
        }
    }

    /// Whether a node has as many inputs as its kind wants.
    fn count(&mut self, draft: &Draft<'_>, spec: &KindSpec, entry: Option<&Entry>, certain: bool) {
        for wanted in spec.inputs.iter().filter(|input| input.port_type != PortType::Received) {
            let of_type = |edge: &EdgePlan| edge.port_type == wanted.port_type;
            let mine = self.written.iter().skip(self.first.1);
            let places: Vec<Span> = mine
                .filter(|place| self.plan.edges.get(place.edge).is_some_and(of_type))
                .map(|place| place.span.clone())
                .collect();
            if places.len() < wanted.min {
                self.lacking.push(wanted.port_type);
                if certain {
                    self.missing(draft, spec, (wanted.port_type, wanted.min), entry);
                }
            }
            if let Some(span) = places.get(wanted.max) {
                let message = format!(
                    "{} of kind `{}` reads {} ports of type `{}`; {} at most",
                    draft.who,
                    spec.name,
                    places.len(),
                    wanted.port_type,
                    wanted.max
                );
                self.checker.push(
                    Diagnostic::new(&codes::TOO_MANY_INPUTS, span.clone(), message).label("one too many"),
                );
            }
        }
    }

    fn missing(
        &mut self,
        draft: &Draft<'_>,
        spec: &KindSpec,
        (port_type, min): (PortType, usize),
        entry: Option<&Entry>,
    ) {
        let what = match min {
            1 => format!("an input of type `{port_type}`"),
            _ => format!("{min} inputs of type `{port_type}`"),
        };
        let message = format!("{} of kind `{}` needs {what}", draft.who, spec.name);
        let (span, label) = match entry {
            Some(entry) => (entry.item.span.clone(), format!("no `{port_type}` in here")),
            None => (draft.span.clone(), "no `input` in here".to_owned()),
        };
        let fault = Diagnostic::new(&codes::MISSING_INPUT, span, message).label(label);
        self.checker.push(fault.help(self.offers(draft)));
    }
}
