//! Which port an entry of `input` means.

use node::{KindSpec, OutputSpec, PortType};

use super::super::nodes::Draft;
use super::super::{FAULTS_MAX, shorten};
use super::Connector;
use super::input::Input;
use crate::codes;
use crate::diagnostic::{Diagnostic, nearest};

impl Connector<'_, '_> {
    /// The node and the port that an input names; `None` when there are none, which is then said.
    pub(super) fn find(&mut self, draft: &Draft<'_>, input: &Input) -> Option<(usize, OutputSpec)> {
        let (name, port) = match input.from.split_once('.') {
            Some((name, port)) => (name, Some(port)),
            None => (input.from.as_str(), None),
        };
        let Some(from) = self.plan.nodes.iter().position(|node| node.name == name) else {
            self.unknown_input(draft, name, input);
            return None;
        };
        let giver = self.drafts.get(from)?;
        let Some(spec) = &giver.spec else {
            // The fault of its kind is told already.
            self.in_doubt = true;
            return None;
        };
        if let Some(output) = spec.output(port) {
            return Some((from, output.clone()));
        }
        self.suspects.push(from);
        let fault = match port {
            Some(port) if !spec.outputs.is_empty() => {
                let message =
                    format!("{} has no port `{}` for {} to read", giver.who, shorten(port), draft.who);
                let fault = Diagnostic::new(&codes::UNKNOWN_OUTPUT, input.span.clone(), message)
                    .label("no such port");
                let ports = || spec.outputs.iter().map(|output| output.name);
                match nearest(port, ports()) {
                    Some(near) => fault.help(format!("did you mean `{name}.{near}`?")),
                    None => {
                        let ports: Vec<String> = ports().map(|port| format!("`{name}.{port}`")).collect();
                        fault.help(format!("it has {}", ports.join(", ")))
                    }
                }
            }
            _ => {
                let message = format!("{} reads {}, which gives nothing", draft.who, giver.who);
                Diagnostic::new(&codes::NO_OUTPUT, input.span.clone(), message)
                    .label("has no port")
                    .help(format!("what a `{}` is for: {}", spec.name, spec.about))
            }
        };
        self.checker.push(fault);
        None
    }

    fn unknown_input(&mut self, draft: &Draft<'_>, name: &str, input: &Input) {
        let span = input.span.clone();
        if self.plan.transports.iter().any(|transport| transport.name == name) {
            let message = format!("{} reads transport `{name}`", draft.who);
            self.checker.push(Diagnostic::new(&codes::NO_OUTPUT, span, message).label("a transport").help(
                "what it receives comes through the node of kind `ingress` that names it in `transport`",
            ));
            return;
        }
        let names = || self.plan.nodes.iter().map(|node| node.name.as_str());
        // Nobody reads so many faults, and each costs a look at every name.
        let near = Some(()).filter(|()| self.checker.diagnostics.len() < FAULTS_MAX);
        let near = near.and_then(|()| nearest(name, names()));
        let message = format!("{} reads `{}`, and there is no node of this name", draft.who, shorten(name));
        let fault = Diagnostic::new(&codes::UNKNOWN_INPUT, span, message).label("no such node");
        let fault = match near {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help(self.offers(draft)),
        };
        self.suspects.extend(near.and_then(|near| names().position(|name| name == near)));
        self.checker.push(fault);
    }

    /// Which ports of the graph would fit.
    pub(super) fn offers(&self, draft: &Draft<'_>) -> String {
        let taken: Vec<PortType> =
            draft.spec.iter().flat_map(|spec| &spec.inputs).map(|input| input.port_type).collect();
        let words: Vec<String> = taken.iter().map(|port_type| format!("`{port_type}`")).collect();
        let mut fits = Vec::new();
        for (index, giver) in self.drafts.iter().enumerate() {
            let outputs = giver.spec.iter().flat_map(|spec| &spec.outputs);
            let fitting = outputs.filter(|output| taken.contains(&output.port_type));
            fits.extend(fitting.map(|output| format!("`{}`", self.show(index, output))));
        }
        match fits.as_slice() {
            [] => format!("it takes {}, which no node of the graph gives", words.join(", ")),
            fits => format!("it takes {}, which {} would give", words.join(", "), fits.join(", ")),
        }
    }

    /// Refuses a port whose type the node does not take.
    pub(super) fn port_type(
        &mut self,
        draft: &Draft<'_>,
        spec: &KindSpec,
        from: usize,
        output: &OutputSpec,
        input: &Input,
    ) {
        self.suspects.push(from);
        let shown = self.show(from, output);
        let message = format!("{} reads `{shown}`, which gives `{}`", draft.who, output.port_type);
        let giver = self.drafts.get(from).and_then(|draft| draft.spec.as_ref());
        let fits = |other: &&OutputSpec| spec.inputs.iter().any(|taken| taken.port_type == other.port_type);
        let help = match giver.iter().flat_map(|giver| &giver.outputs).find(fits) {
            Some(other) => format!("did you mean `{}`?", self.show(from, other)),
            None => self.offers(draft),
        };
        self.checker.push(
            Diagnostic::new(&codes::PORT_TYPE, input.span.clone(), message)
                .label(format!("`{}` is not taken", output.port_type))
                .help(help),
        );
    }
}
