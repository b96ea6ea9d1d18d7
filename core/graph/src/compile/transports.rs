//! `[transport.NAME]`: the plugin, its configuration, what it may reach.

use std::collections::BTreeMap;

use node::{Config, FieldSpec, FieldType, Value};

use super::head::key;
use super::{check_name, shorten};
use crate::codes;
use crate::diagnostic::{Diagnostic, Span};
use crate::document::{Entry, Item, ItemValue, Table};
use crate::fields::{Checker, Subject, unknown_key};
use crate::plan::{Owner, Plan, TransportPlan};
use crate::plugin::{Described, PluginSchemas, Schema};

/// The keys of a transport that the checker reads by itself.
pub(crate) fn transport_fields() -> Vec<FieldSpec> {
    vec![
        FieldSpec::required("plugin", FieldType::Text, "The plugin's file, searched in --plugin-dir."),
        FieldSpec::optional("sha256", FieldType::Text, "SHA-256 of the plugin's file, 64 hex digits."),
    ]
}

/// Reads all transports into the plan.
pub(super) fn check(
    members: Vec<(&Entry, &Table)>,
    plugins: &dyn PluginSchemas,
    plan: &mut Plan,
    checker: &mut Checker,
) {
    let mut listeners: Vec<(String, Span)> = Vec::new();
    if let Some(listen) = &plan.http {
        // Its place does not matter: it comes first, and the other one is told.
        listeners.push((listen.clone(), 0..0));
    }
    for (index, (entry, table)) in members.into_iter().enumerate() {
        let who = format!("transport `{}`", shorten(&entry.key));
        let subject = Subject { who: &who, owner: Owner::Transport(index) };
        for inner in ["plugin", "sha256"].iter().filter_map(|key| table.get(key)) {
            checker.literal(&who, inner);
        }
        let own = checker.table(
            subject,
            &[],
            (table, &entry.key_span),
            (&transport_fields(), &["config", "grants"]),
            true,
        );
        let own = Config(own);
        let sha256 = table.get("sha256").and_then(|entry| read_sha256(entry, &who, checker));
        let config = match own.text_opt("plugin").filter(|plugin| !plugin.is_empty()) {
            Some(plugin) => {
                let transport = Transport { subject, entry, table, plugin, sha256 };
                transport.check(&plugins.describe(plugin), checker)
            }
            None => BTreeMap::new(),
        };
        let subject = Subject { owner: Owner::Grants(index), ..subject };
        let grants = grants(subject, entry, table, plugins, &mut listeners, checker);
        plan.transports.push(TransportPlan {
            name: entry.key.clone(),
            plugin: own.text("plugin").to_owned(),
            sha256,
            config: Config(config),
            grants: Value::Table(grants),
            span: entry.key_span.clone(),
        });
    }
}

struct Transport<'a> {
    subject: Subject<'a>,
    entry: &'a Entry,
    table: &'a Table,
    plugin: &'a str,
    sha256: Option<[u8; 32]>,
}

impl Transport<'_> {
    /// Checks the plugin and its configuration, which is the answer.
    fn check(&self, described: &Described, checker: &mut Checker) -> BTreeMap<String, Value> {
        let who = self.subject.who;
        let plugin = self.plugin;
        let place =
            self.table.get("plugin").map_or(self.entry.key_span.clone(), |entry| entry.item.span.clone());
        if self.table.get("sha256").is_none() {
            let message = format!("{who}: any file called `{plugin}` would be loaded into the head-end");
            let help = match described {
                Described::Plugin { sha256, .. } => format!("sha256 = \"{}\"", hex(sha256)),
                _ => "pin it: `sha256 = \"...\"` as `sha256sum` prints it".to_owned(),
            };
            checker.push(
                Diagnostic::new(&codes::PLUGIN_NOT_PINNED, place.clone(), message)
                    .label("not pinned")
                    .help(help),
            );
        }
        let fault =
            |code, message: String, label: &str| Diagnostic::new(code, place.clone(), message).label(label);
        match described {
            Described::NotLooked => {
                let message = format!("{who}: plugin `{plugin}` and its `config` were not checked");
                checker.push(
                    fault(&codes::PLUGINS_UNCHECKED, message, "not looked at")
                        .help("without `--no-plugins` they are"),
                );
            }
            Described::NotFound(searched) => {
                let message = format!("{who}: there is no plugin `{plugin}`");
                checker.push(
                    fault(&codes::PLUGIN_NOT_FOUND, message, "not found")
                        .help(format!("looked in {searched}")),
                );
            }
            Described::Unusable(why) => {
                let message = format!("{who}: plugin `{plugin}` cannot be used: {why}");
                checker.push(fault(&codes::PLUGIN_UNUSABLE, message, "refused"));
            }
            Described::Plugin { sha256, schema } => {
                self.check_pin(sha256, checker);
                match Schema::read(schema) {
                    Ok(schema) => return self.checked(&schema, &place, checker),
                    Err(why) => {
                        let message = format!("{who}: the schema of plugin `{plugin}` cannot be read: {why}");
                        checker.push(fault(&codes::PLUGIN_SCHEMA, message, "this one"));
                    }
                }
            }
        }
        self.unchecked(checker)
    }

    fn check_pin(&self, sha256: &[u8; 32], checker: &mut Checker) {
        let (Some(pin), Some(entry)) = (&self.sha256, self.table.get("sha256")) else { return };
        if pin != sha256 {
            let message =
                format!("{}: plugin `{}` is another file than the pinned one", self.subject.who, self.plugin);
            checker.push(
                Diagnostic::new(&codes::PLUGIN_HASH, entry.item.span.clone(), message)
                    .label("pinned")
                    .help(format!("the file has {}", hex(sha256))),
            );
        }
    }

    fn checked(&self, schema: &Schema, place: &Span, checker: &mut Checker) -> BTreeMap<String, Value> {
        if !schema.unread.is_empty() {
            let words: Vec<String> = schema.unread.iter().map(|word| format!("`{word}`")).collect();
            let message = format!(
                "{}: plugin `{}` states {}, which is not checked here",
                self.subject.who,
                self.plugin,
                words.join(", ")
            );
            checker.push(
                Diagnostic::new(&codes::PLUGIN_SCHEMA_PARTIAL, place.clone(), message)
                    .label("this one")
                    .help("the plugin itself will, when it is opened"),
            );
        }
        let none = Table::default();
        let (config, head) = match self.table.get("config") {
            None => (&none, &self.entry.key_span),
            Some(Entry { item: Item { value: ItemValue::Table(table), span }, .. }) => (table, span),
            Some(entry) => {
                self.no_table(entry, checker);
                return BTreeMap::new();
            }
        };
        checker.table(self.subject, &[key("config")], (config, head), (&schema.fields, &[]), false)
    }

    fn unchecked(&self, checker: &mut Checker) -> BTreeMap<String, Value> {
        let Some(entry) = self.table.get("config") else { return BTreeMap::new() };
        if entry.item.as_table().is_none() {
            self.no_table(entry, checker);
            return BTreeMap::new();
        }
        match checker.unchecked(self.subject, &[key("config")], &entry.item) {
            Some(Value::Table(values)) => values,
            _ => BTreeMap::new(),
        }
    }

    fn no_table(&self, entry: &Entry, checker: &mut Checker) {
        let message = format!("`{}` of {} must be a table", entry.key, self.subject.who);
        checker.push(
            Diagnostic::new(&codes::WRONG_TYPE, entry.item.span.clone(), message)
                .label(format!("this is {}", entry.item.value.describe())),
        );
    }
}

fn read_sha256(entry: &Entry, who: &str, checker: &mut Checker) -> Option<[u8; 32]> {
    let text = entry.item.as_text()?;
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| Some(u8::try_from(c.to_digit(16)?).unwrap_or(0))).collect();
    let octets: Option<Vec<u8>> = digits.filter(|digits| digits.len() == 64).map(|digits| {
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |octet, digit| (octet << 4) | digit)).collect()
    });
    let sha256 = octets.and_then(|octets| octets.try_into().ok());
    if sha256.is_none() && !text.trim().is_empty() {
        let message = format!("`sha256` of {who} must be 64 hex digits");
        checker.push(
            Diagnostic::new(&codes::BAD_SHA256, entry.item.span.clone(), message)
                .label(format!("{} characters", text.chars().count()))
                .help("as `sha256sum FILE` prints it"),
        );
    }
    sha256
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn grants(
    subject: Subject<'_>,
    entry: &Entry,
    table: &Table,
    plugins: &dyn PluginSchemas,
    listeners: &mut Vec<(String, Span)>,
    checker: &mut Checker,
) -> BTreeMap<String, Value> {
    let mut read = BTreeMap::new();
    let who = subject.who;
    let Some(grants) = table.get("grants") else {
        checker.push(
            Diagnostic::new(&codes::NO_GRANTS, entry.key_span.clone(), format!("{who} can reach nothing"))
                .label("no `grants` in here")
                .help("grants = { NAME = { tcp_listen = \"IP:PORT\" } }"),
        );
        return read;
    };
    let one = || {
        let kinds: Vec<String> = plugins.grant_kinds().iter().map(|kind| format!("`{kind}`")).collect();
        format!("exactly one of {}", kinds.join(", "))
    };
    let wrong = |item: &Item, shown: &str, wanted: String| {
        Diagnostic::new(&codes::WRONG_TYPE, item.span.clone(), format!("{shown} of {who} must hold {wanted}"))
            .label(format!("this is {}", item.value.describe()))
    };
    let Some(names) = grants.item.as_table() else {
        checker.push(wrong(&grants.item, "`grants`", "a table for each grant".into()));
        return read;
    };
    for grant in names.iter() {
        check_name("grant", &grant.key, grant.key_span.clone(), checker);
        let shown = format!("grant `{}`", shorten(&grant.key));
        let Some(kinds) = grant.item.as_table() else {
            checker.push(wrong(&grant.item, &shown, one()));
            continue;
        };
        if !checker.literal(who, grant) {
            continue;
        }
        let known = |entry: &&Entry| plugins.grant_kinds().contains(&entry.key.as_str());
        for entry in kinds.iter().filter(|entry| !known(entry)) {
            let fault = unknown_key(who, &[], entry, plugins.grant_kinds().iter().copied());
            let message = format!("{shown} of {who}: there is no kind of grant `{}`", shorten(&entry.key));
            checker.push(Diagnostic { code: codes::UNKNOWN_GRANT.name, message, ..fault });
        }
        match (kinds.iter().filter(known).collect::<Vec<_>>().as_slice(), kinds.iter().count()) {
            ([kind], 1) => {
                let path = [key(&grant.key), key(&kind.key)];
                let open = checker.unresolved.len();
                let Some(value) = checker.unchecked(subject, &path, &kind.item) else { continue };
                if checker.unresolved.len() == open {
                    match plugins.check_grant(&kind.key, &value) {
                        Ok(()) => note_listener(who, kind, &value, listeners, checker),
                        Err(why) => checker.push(
                            Diagnostic::new(
                                &codes::BAD_GRANT,
                                kind.item.span.clone(),
                                format!("{shown} of {who}: {why}"),
                            )
                            .label(format!("no `{}`", kind.key)),
                        ),
                    }
                }
                read.insert(grant.key.clone(), Value::Table([(kind.key.clone(), value)].into()));
            }
            ([], 1..) => {}
            _ => {
                let message = format!("{shown} of {who} must hold {}", one());
                checker.push(
                    Diagnostic::new(&codes::UNKNOWN_GRANT, grant.item.span.clone(), message)
                        .label(format!("{} in here", kinds.iter().count())),
                );
            }
        }
    }
    read
}

/// Two listeners on one address would be found out only at the start.
fn note_listener(
    who: &str,
    kind: &Entry,
    value: &Value,
    listeners: &mut Vec<(String, Span)>,
    checker: &mut Checker,
) {
    let Value::Text(address) = value else { return };
    if kind.key != "tcp_listen" || address.ends_with(":0") {
        return;
    }
    let span = kind.item.span.clone();
    match listeners.iter().find(|(other, _)| overlap(other, address)) {
        Some((other, place)) => {
            let message = format!("{who} listens on {address}, where something else listens already");
            let fault = Diagnostic::new(&codes::DUPLICATE_ADDRESS, span, message).label("the second one");
            checker.push(match place {
                place if place.is_empty() => fault.help(format!("`[http] listen` is {other}")),
                place => fault.and(place.clone(), "the first one"),
            });
        }
        None => listeners.push((address.clone(), span)),
    }
}

/// Whether two addresses are one: the same port, and the same host or one that means all.
fn overlap(one: &str, other: &str) -> bool {
    let (Some((host, port)), Some((other_host, other_port))) = (one.rsplit_once(':'), other.rsplit_once(':'))
    else {
        return false;
    };
    let all = |host: &str| host == "0.0.0.0" || host == "[::]";
    port == other_port && (host == other_host || all(host) || all(other_host))
}
