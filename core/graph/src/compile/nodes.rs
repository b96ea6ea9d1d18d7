//! `[node.NAME]`: the kind and its configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use node::{Config, FieldSpec, FieldType, KindSpec, NodeKind, Problem, Registry};

use super::shorten;
use crate::codes;
use crate::diagnostic::{Diagnostic, Severity, Span};
use crate::document::{Entry, ItemValue, Table};
use crate::fields::{Checker, ServiceRef, Subject, missing_key};
use crate::plan::{NodePlan, Owner, Plan, ServicePlan};

/// What the steps after this one need of a node beside its plan.
pub(super) struct Draft<'t> {
    /// Its name, to be shown.
    pub who: String,
    /// Its name in the file.
    pub span: Span,
    /// Its entries.
    pub table: &'t Table,
    /// What its kind says, when the kind is known.
    pub spec: Option<KindSpec>,
}

/// The key `kind`.
fn kind_field() -> FieldSpec {
    FieldSpec::required("kind", FieldType::Text, "What the node is.")
}

/// The key `transport`.
fn transport_field() -> FieldSpec {
    FieldSpec::required("transport", FieldType::Text, "The transport that the node is an end of.")
}

/// Reads all nodes into the plan.
pub(super) fn check<'t>(
    root: &Table,
    members: Vec<(&'t Entry, &'t Table)>,
    registry: &Registry,
    plan: &mut Plan,
    checker: &mut Checker,
) -> Vec<Draft<'t>> {
    if members.is_empty() && root.get("node").is_none_or(|entry| entry.item.as_table().is_some()) {
        checker.push(
            Diagnostic::new(&codes::NO_NODES, 0..0, "the graph has no node")
                .help("a node is a section `[node.NAME]` with a `kind`"),
        );
    }
    let mut drafts = Vec::new();
    for (index, (entry, table)) in members.into_iter().enumerate() {
        let who = format!("node `{}`", shorten(&entry.key));
        let kind = find_kind(&who, entry, table, registry, checker);
        let draft =
            Draft { spec: kind.as_ref().map(|kind| kind.spec()), span: entry.key_span.clone(), who, table };
        let mut node = NodePlan {
            name: entry.key.clone(),
            kind: draft.spec.as_ref().map(|spec| spec.name.to_owned()).unwrap_or_default(),
            config: Config::default(),
            instances: 1,
            transport: None,
            span: entry.key_span.clone(),
        };
        if let Some(kind) = kind {
            configure(index, &draft, &*kind, &mut node, checker);
            node.transport = find_transport(&draft, plan, checker);
        }
        plan.nodes.push(node);
        drafts.push(draft);
    }
    find_services(&drafts, plan, checker);
    find_shared_paths(&drafts, plan, checker);
    drafts
}

fn find_kind(
    who: &str,
    entry: &Entry,
    table: &Table,
    registry: &Registry,
    checker: &mut Checker,
) -> Option<Arc<dyn NodeKind>> {
    let Some(kind) = table.get("kind") else {
        checker.push(missing_key(who, &[], &kind_field(), &entry.key_span));
        return None;
    };
    if !checker.literal(who, kind) {
        return None;
    }
    let ItemValue::Text(name) = &kind.item.value else {
        if kind.item.value != ItemValue::Broken {
            let message = format!("`kind` of {who} must be a text");
            checker.push(
                Diagnostic::new(&codes::WRONG_TYPE, kind.item.span.clone(), message)
                    .label(format!("this is {}", kind.item.value.describe())),
            );
        }
        return None;
    };
    let found = registry.find(name).cloned();
    if found.is_none() {
        let kinds: Vec<&'static str> = registry.kinds().map(|kind| kind.spec().name).collect();
        let message = format!("{who} is of kind `{}`, which is not known", shorten(name));
        let list = || Some(format!("the kinds are {}", kinds.join(", ")));
        checker.push(
            Diagnostic::new(&codes::UNKNOWN_KIND, kind.item.span.clone(), message)
                .label("no such kind")
                .nearest(name, kinds.iter().copied(), list),
        );
    }
    found
}

fn configure(
    index: usize,
    draft: &Draft<'_>,
    kind: &dyn NodeKind,
    node: &mut NodePlan,
    checker: &mut Checker,
) {
    let Some(spec) = &draft.spec else { return };
    let mut others = vec!["kind"];
    if takes_input(spec) || draft.table.get("input").is_some() {
        others.push("input");
    }
    if spec.transport.is_some() || draft.table.get("transport").is_some() {
        others.push("transport");
    }
    let mut right = true;
    if let Some(entry) = spec.instances.and_then(|key| draft.table.get(key)) {
        right = checker.literal(&draft.who, entry);
    }
    let subject = Subject { who: &draft.who, owner: Owner::Node(index) };
    let (faults, open) = (checker.diagnostics.len(), checker.unresolved.len());
    let values = checker.table(subject, &[], (draft.table, &draft.span), (&spec.fields, &others), true);
    node.config = Config(values);
    if let Some(key) = spec.instances {
        node.instances = node.config.count(key).max(1);
    }
    // With a value missing or left open the kind would judge what nobody wrote.
    right &= checker.unresolved.len() == open
        && !checker.diagnostics.iter().skip(faults).any(Diagnostic::is_error);
    if right {
        for found in kind.check(&node.config) {
            let place = found.field.and_then(|key| draft.table.get(key)).map(|entry| entry.item.span.clone());
            checker.push(problem(&draft.who, found, place.unwrap_or_else(|| draft.span.clone())));
        }
    }
}

/// What a node kind found, as a diagnostic.
pub(crate) fn problem(who: &str, found: Problem, span: Span) -> Diagnostic {
    Diagnostic {
        code: found.code,
        severity: if found.warning { Severity::Warning } else { Severity::Error },
        message: format!("{who}: {}", found.message),
        help: found.help,
        labels: vec![crate::Label { span, text: "here".into() }],
    }
}

/// Whether nodes of this kind read anything through `input`.
pub(crate) fn takes_input(spec: &KindSpec) -> bool {
    spec.inputs.iter().any(|input| input.port_type != node::PortType::Received)
}

fn find_transport(draft: &Draft<'_>, plan: &Plan, checker: &mut Checker) -> Option<usize> {
    let (spec, who) = (draft.spec.as_ref()?, &draft.who);
    let entry = match (draft.table.get("transport"), spec.transport) {
        (Some(entry), Some(_)) => entry,
        (Some(entry), None) => {
            let message = format!("{who} of kind `{}` is no end of a transport", spec.name);
            checker.push(
                Diagnostic::new(&codes::UNEXPECTED_TRANSPORT, entry.key_span.clone(), message)
                    .label("not here")
                    .help("what a transport receives comes through a node of kind `ingress`"),
            );
            return None;
        }
        (None, Some(_)) => {
            checker.push(missing_key(who, &[], &transport_field(), &draft.span));
            return None;
        }
        (None, None) => return None,
    };
    if !checker.literal(who, entry) {
        return None;
    }
    let ItemValue::Text(name) = &entry.item.value else {
        let message = format!("`transport` of {who} must be the name of a transport");
        checker.push(
            Diagnostic::new(&codes::WRONG_TYPE, entry.item.span.clone(), message)
                .label(format!("this is {}", entry.item.value.describe())),
        );
        return None;
    };
    let found = plan.transports.iter().position(|transport| transport.name == *name);
    if found.is_none() {
        let names: Vec<&str> = plan.transports.iter().map(|transport| transport.name.as_str()).collect();
        let message =
            format!("{who} is an end of transport `{}`, which the graph does not have", shorten(name));
        let list = || Some(format!("a transport is a section `[transport.{}]`", shorten(name)));
        checker.push(
            Diagnostic::new(&codes::UNKNOWN_TRANSPORT, entry.item.span.clone(), message)
                .label("no such transport")
                .nearest(name, names, list),
        );
    }
    found
}

fn find_services(drafts: &[Draft<'_>], plan: &mut Plan, checker: &mut Checker) {
    let wanted = std::mem::take(&mut checker.services);
    // Whom a wrong name meant is not known, nor who else a node of unknown kind would use.
    let mut in_doubt = drafts.iter().any(|draft| draft.spec.is_none());
    for ServiceRef { user, key, name, service, span } in wanted {
        let Some(who) = drafts.get(user).map(|draft| &draft.who) else { continue };
        let provides =
            |draft: &Draft<'_>| draft.spec.as_ref().is_some_and(|spec| spec.provides.contains(&service));
        let providers = || {
            drafts
                .iter()
                .zip(&plan.nodes)
                .filter(|(draft, _)| provides(draft))
                .map(|(_, node)| node.name.as_str())
        };
        let list = || {
            let names: Vec<String> = providers().map(|name| format!("`{name}`")).collect();
            Some(match names.as_slice() {
                [] => format!("no node of the graph provides `{service}`"),
                names => format!("`{service}` is provided by {}", names.join(", ")),
            })
        };
        let Some(provider) = plan.nodes.iter().position(|node| node.name == name) else {
            let message =
                format!("`{key}` of {who} names node `{}`, which the graph does not have", shorten(&name));
            in_doubt = true;
            checker.push(
                Diagnostic::new(&codes::UNKNOWN_SERVICE, span, message).label("no such node").nearest(
                    &name,
                    providers(),
                    list,
                ),
            );
            continue;
        };
        match drafts.get(provider).filter(|draft| draft.spec.is_some()) {
            // A fault of its own, told already.
            None => {}
            Some(draft) if provides(draft) => {
                plan.services.push(ServicePlan { provider, user, service: service.to_owned() });
            }
            Some(draft) => {
                let message =
                    format!("{} does not provide `{service}`, which `{key}` of {who} needs", draft.who);
                let fault =
                    Diagnostic::new(&codes::WRONG_SERVICE, span, message).label("another kind of node");
                checker.push(Diagnostic { help: list(), ..fault });
            }
        }
    }
    for (index, (draft, node)) in drafts.iter().zip(&plan.nodes).enumerate() {
        let Some(spec) = &draft.spec else { continue };
        let only_serves = !spec.provides.is_empty() && spec.outputs.iter().all(|output| !output.required);
        let used = plan.services.iter().any(|service| service.provider == index);
        // Who only follows a log, or may, does nothing for others by that.
        let follows = |input: &node::InputSpec| input.port_type == node::PortType::Log && input.min == 0;
        let must_read = takes_input(spec) && !spec.inputs.iter().all(follows);
        if only_serves && !used && !in_doubt && !must_read {
            let message =
                format!("{} provides `{}`, and no node uses it", draft.who, spec.provides.join("`, `"));
            checker.push(
                Diagnostic::new(&codes::UNUSED_SERVICE, draft.span.clone(), message)
                    .label("not used")
                    .help(format!("a node uses it by a key that names `{}`", node.name)),
            );
        }
    }
}

/// Two nodes that write one folder would spoil each other's files.
fn find_shared_paths(drafts: &[Draft<'_>], plan: &Plan, checker: &mut Checker) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (draft, node) in drafts.iter().zip(&plan.nodes) {
        let fields = draft.spec.iter().flat_map(|spec| &spec.fields);
        for field in fields.filter(|field| field.field_type == FieldType::Path) {
            let Some(path) = node.config.text_opt(&field.name).filter(|path| !path.is_empty()) else {
                continue;
            };
            let Some(other) = seen.insert(path, &draft.who) else { continue };
            let place = draft.table.get(&field.name).map_or(&draft.span, |entry| &entry.item.span);
            let message = format!("`{}` of {} is `{path}`, as that of {other}", field.name, draft.who);
            checker.push(
                Diagnostic::new(&codes::DUPLICATE_PATH, place.clone(), message)
                    .label("the second one")
                    .help(format!("give each its own: `{} = \"...\"`", field.name)),
            );
        }
    }
}
