//! From the text of a graph file to a plan, or to everything that is wrong with it.

mod edges;
mod head;
mod nodes;
mod order;
mod transports;

use node::Registry;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::document::{self, Entry, ItemValue, Table};
use crate::fields::Checker;
use crate::plan::Plan;
use crate::plugin::PluginSchemas;

pub(crate) use edges::input_fields;
pub(crate) use head::{http_fields, runtime_fields};
pub(crate) use nodes::{problem, takes_input};
pub(crate) use transports::transport_fields;

/// The format of graph files that this program reads.
pub const FORMAT: i64 = 1;
/// Nodes of one graph.
const NODES_MAX: usize = 1024;
/// Transports of one graph: a frame carries its transport's number in one octet.
const TRANSPORTS_MAX: usize = 256;
/// Faults that are listed.
const FAULTS_MAX: usize = 500;

/// What came of a graph file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// The graph, when the file holds no error.
    pub plan: Option<Plan>,
    /// All faults, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles the text of a graph file. Pure: what can be known only outside the text is in `registry`
/// and `plugins`; values of the environment and of secrets are left open for [`crate::resolve`].
#[must_use]
pub fn compile(text: &str, registry: &Registry, plugins: &dyn PluginSchemas) -> Compiled {
    let (root, diagnostics) = document::read(text);
    let mut checker = Checker { diagnostics, ..Checker::default() };
    let mut plan = Plan::default();
    if let Some(root) = &root
        && head::check(root, &mut plan, &mut checker)
    {
        let table = section(root, "transport", &mut checker);
        transports::check(table, plugins, &mut plan, &mut checker);
        let table = section(root, "node", &mut checker);
        let drafts = nodes::check(root, table, registry, &mut plan, &mut checker);
        edges::connect(&drafts, &mut plan, &mut checker);
        order::arrange(&drafts, &mut plan, &mut checker);
    }
    let Checker { mut diagnostics, unresolved, .. } = checker;
    plan.unresolved = unresolved;
    let usable = root.is_some() && !diagnostics.iter().any(Diagnostic::is_error);
    diagnostics.sort_by_key(|diagnostic| diagnostic.span().start);
    if diagnostics.len() > FAULTS_MAX {
        let message = format!("the file has {} faults; the first {FAULTS_MAX} are listed", diagnostics.len());
        diagnostics.truncate(FAULTS_MAX);
        diagnostics.push(Diagnostic::new(&codes::TOO_MANY, 0..0, message));
    }
    Compiled { plan: usable.then_some(plan), diagnostics }
}

/// The entries of `[transport]` or `[node]`; those that cannot be one are told and left out.
fn section<'t>(root: &'t Table, name: &str, checker: &mut Checker) -> Vec<(&'t Entry, &'t Table)> {
    let Some(entry) = root.get(name) else { return Vec::new() };
    let wrong = |entry: &Entry, shown: &str| {
        Diagnostic::new(&codes::WRONG_TYPE, entry.item.span.clone(), format!("`{shown}` must be a table"))
            .label(format!("this is {}", entry.item.value.describe()))
            .help(format!("one section each: `[{name}.NAME]`"))
    };
    let ItemValue::Table(table) = &entry.item.value else {
        checker.push(wrong(entry, name));
        return Vec::new();
    };
    let mut members = Vec::new();
    for entry in table.iter() {
        match &entry.item.value {
            ItemValue::Table(table) => members.push((entry, table)),
            ItemValue::Broken => {}
            _ => checker.push(wrong(entry, &format!("{name}.{}", entry.key))),
        }
    }
    let limit = if name == "node" { NODES_MAX } else { TRANSPORTS_MAX };
    if let Some((entry, _)) = members.get(limit) {
        let message = format!("a graph has at most {limit} {name}s; this one has {}", members.len());
        checker
            .push(Diagnostic::new(&codes::TOO_MANY, entry.key_span.clone(), message).label("one too many"));
        members.truncate(limit);
    }
    for (entry, _) in &members {
        check_name(name, &entry.key, entry.key_span.clone(), checker);
    }
    members
}

/// Whether a text can be a name; says so when it cannot.
fn check_name(what: &str, name: &str, span: crate::Span, checker: &mut Checker) {
    /// Characters of a name.
    const LEN_MAX: usize = 63;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.len() <= LEN_MAX && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(inner)
    {
        return;
    }
    checker.push(
        Diagnostic::new(
            &codes::BAD_NAME,
            span,
            format!("`{}` cannot be the name of a {what}", shorten(name)),
        )
        .label("not a name")
        .help(format!("a letter, then letters, digits, `-` and `_`; lower case, at most {LEN_MAX}")),
    );
}

/// The beginning of a text that may be very long.
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use node::{PortType, WhenFull};
    use proptest::prelude::*;

    use super::*;
    use crate::plan::End;
    use crate::testing::{Plugins, registry};

    const ENGINE: &str = include_str!("../testing/engine.toml");

    fn compiled(text: &str) -> Compiled {
        compile(text, &registry(), &Plugins)
    }

    #[test]
    fn a_good_graph_has_no_fault_but_the_missing_pin() {
        let Compiled { plan, diagnostics } = compiled(ENGINE);
        let codes: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert_eq!(codes, ["graph::plugin_not_pinned"], "{diagnostics:#?}");
        assert!(plan.is_some());
    }

    #[test]
    fn the_plan_says_what_the_runtime_needs() {
        let plan = compiled(ENGINE).plan.unwrap();
        assert_eq!((plan.name.as_str(), plan.http.as_deref()), ("collection-engine", Some("127.0.0.1:9153")));
        let index = |name: &str| plan.nodes.iter().position(|node| node.name == name).unwrap();
        let decrypt = &plan.nodes[index("decrypt")];
        assert_eq!((decrypt.instances, decrypt.config.text("keys")), (2, "keys"));
        assert_eq!(plan.nodes[index("ingress")].transport, Some(0));
        let edge =
            |from: End, to: End| plan.edges.iter().find(|edge| edge.from == from && edge.to == to).unwrap();
        let node = |name: &str| End::Node(index(name));
        let events = edge(node("decrypt"), node("monitor"));
        assert_eq!((events.port.as_str(), events.when_full), ("events", WhenFull::Collapse));
        let log = edge(node("journal"), node("mdm"));
        assert_eq!((log.port_type, log.batches_max), (PortType::Log, 0));
        assert_eq!(edge(End::Transport(0), node("ingress")).port_type, PortType::Received);
        assert_eq!(edge(node("downlink"), End::Transport(0)).port_type, PortType::Transmit);
        let built = |name: &str| plan.build_order.iter().position(|node| *node == index(name)).unwrap();
        assert!(built("keys") < built("balancer") && built("keys") < built("mdm"));
        assert!(built("journal") < built("mdm"));
        let started = |name: &str| plan.start_order.iter().position(|node| *node == index(name)).unwrap();
        assert!(started("monitor") < started("mdm") && started("mdm") < started("journal"));
        assert!(started("journal") < started("decrypt") && started("downlink") < started("decrypt"));
        assert!(started("decrypt") < started("balancer") && started("balancer") < started("ingress"));
        assert_eq!((plan.build_order.len(), plan.start_order.len()), (plan.nodes.len(), plan.nodes.len()));
    }

    #[test]
    fn what_a_kind_finds_stands_at_its_key() {
        let text = ENGINE.replace("input = [\"journal\"]", "input = [\"journal\"]\nclose_s = 1");
        let Compiled { plan, diagnostics } = compiled(&text);
        let fault = diagnostics.iter().find(|diagnostic| diagnostic.code == "node::restless").unwrap();
        assert_eq!(&text[fault.span()], "1");
        assert!(plan.is_some(), "a warning lets the graph run");
    }

    #[test]
    fn more_faults_than_anybody_reads_are_counted() {
        let keys: String = (0..600).map(|key| format!("key{key} = 1\n")).collect();
        let Compiled { plan, diagnostics } = compiled(&format!("graph = 1\n{keys}"));
        assert!(plan.is_none());
        assert_eq!(diagnostics.len(), FAULTS_MAX + 1);
        assert_eq!(diagnostics.last().unwrap().code, "graph::too_many");
    }

    #[test]
    fn a_graph_of_all_the_nodes_allowed_is_compiled_in_no_time() {
        let mut text = String::from("graph = 1\nname = 'big'\n[node.n0]\nkind = 'echo'\n");
        for index in 1..=NODES_MAX {
            let from = index - 1;
            text.push_str(&format!("[node.n{index}]\nkind = 'echo'\ninput = ['n{from}', 'nx{from}']\n"));
        }
        let began = std::time::Instant::now();
        let codes: Vec<&str> = compiled(&text).diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
        assert!(codes.contains(&"graph::too_many") && codes.contains(&"graph::unknown_input"));
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    /// Everything that is done with what a compilation gives.
    fn use_up(text: &str) {
        let Compiled { plan, diagnostics } = compiled(text);
        assert_eq!(plan.is_none(), diagnostics.iter().any(Diagnostic::is_error));
        for diagnostic in &diagnostics {
            assert!(
                diagnostic.code == "node::restless" || crate::explain::find(diagnostic.code).is_ok(),
                "{} is not explained",
                diagnostic.code
            );
            for label in &diagnostic.labels {
                assert!(text.get(label.span.clone()).is_some(), "{diagnostic:?} points past a character");
            }
        }
        let shown = crate::render::text("graph.toml", text, &diagnostics, false);
        let lines = crate::render::json("graph.toml", text, &diagnostics);
        assert_eq!((shown.is_empty(), lines.lines().count()), (diagnostics.is_empty(), diagnostics.len()));
        if let Some(plan) = plan {
            assert!(!crate::draw::mermaid(&plan).is_empty() && !crate::draw::dot(&plan).is_empty());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,200}") {
            use_up(&text);
        }

        #[test]
        fn no_lines_of_toml_are_a_panic(lines in prop::collection::vec(line(), 0..40)) {
            use_up(&lines.join("\n"));
        }

        #[test]
        fn no_changed_graph_is_a_panic(
            cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, any::<prop::sample::Index>()), 1..4),
            word in prop::sample::select(WORDS.to_vec()),
        ) {
            let mut text = ENGINE.to_owned();
            for (at, length, from) in cuts {
                let floor = |index: usize| (0..=index.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
                let start = floor(at.index(text.len() + 1));
                let end = floor(start + length).max(start);
                let other = floor(from.index(text.len() + 1));
                let piece = if length % 2 == 0 { word.to_owned() } else { text[other..floor(other + length).max(other)].to_owned() };
                text.replace_range(start..end, &piece);
            }
            use_up(&text);
        }
    }

    const WORDS: [&str; 24] = [
        "graph = 2",
        "name",
        "[node.x]\n",
        "kind = \"echo\"\n",
        "input = [\"x\"]\n",
        "\"decrypt\"",
        "{ env = \"A\" }",
        "{ secret = \"a\" }",
        "{ from = \"journal\", when_full = \"drop\" }",
        "[[node.x]]\n",
        "''",
        "99999999999999999999",
        "1e999",
        "nan",
        "1979-05-27",
        "[transport.wan]\n",
        "\"ä🦀\"",
        "= ",
        "]",
        "\"\"\"",
        ".",
        "shards = 0\n",
        "true",
        "\u{feff}",
    ];

    /// A line that a person might have written.
    fn line() -> impl Strategy<Value = String> {
        let names =
            prop::sample::select(vec!["ingress", "decrypt", "journal", "keys", "wan", "x", "monitor"]);
        let kinds = prop::sample::select(vec![
            "ingress",
            "decrypt",
            "journal",
            "key-store",
            "echo",
            "event-monitor",
            "downlink",
        ]);
        let keys = prop::sample::select(vec![
            "graph",
            "name",
            "kind",
            "input",
            "transport",
            "keys",
            "shards",
            "plugin",
            "config",
            "grants",
            "sha256",
            "listen",
        ]);
        prop_oneof![
            names.clone().prop_map(|name| format!("[node.{name}]")),
            names.clone().prop_map(|name| format!("[transport.{name}]")),
            Just("[http]".to_owned()),
            Just("[runtime]".to_owned()),
            kinds.prop_map(|kind| format!("kind = \"{kind}\"")),
            names.clone().prop_map(|name| format!(
                "input = [\"{name}\", {{ from = \"{name}.events\", batches_max = 1 }}]"
            )),
            (keys, prop::sample::select(WORDS.to_vec())).prop_map(|(key, word)| format!("{key} = {word}")),
            names.prop_map(|name| format!("keys = \"{name}\"")),
            Just("graph = 1".to_owned()),
        ]
    }
}
