//! `[[test]]`: cases, as they are written.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use quayside_adapter_api::Span;
use quayside_engine::{Order, plan::Plan, rehearsal::Reply};
use quayside_model::{Content, Context, Name, Part, Text, Timestamp};

use super::{
    MESSAGE_MAX,
    case::{Action, Case, Expect, File, STATES, Step, Wanted, WantedInstance},
    content_type_of, full, read_bounded,
};
use crate::config::{
    codes,
    section::{Section, suggestion},
    spans::{Node, Value},
};

/// When the clock of a case stands that says nothing else.
const START: &str = "2026-01-01T00:00:00Z";

/// What the reader of a file knows.
struct Reader<'a> {
    app: &'a Name,
    folder: &'a Path,
    plan: &'a Plan,
}

/// Reads a file of cases.
pub(super) fn file(root: Section<'_>, (app, folder): (&Name, &Path), plan: &Plan) -> File {
    let reader = Reader { app, folder, plan };
    let (source, mut cases) = (root.source, Vec::<Case>::new());
    for section in tables(&root, "test") {
        let at = section.node.key_at;
        let case = reader.case(section);
        if cases.iter().any(|other| other.name == case.name) {
            let message = format!("there are two cases `{}`", case.name);
            root.report.error(codes::CLASH, source, at, message);
        }
        cases.push(case);
    }
    if cases.is_empty() {
        root.error(codes::NOTHING_TO_DO, "test", "there is no [[test]] in it");
    }
    root.finish();
    File {
        source,
        app: app.clone(),
        cases,
    }
}

/// The tables of a list.
fn tables<'a>(section: &Section<'a>, key: &str) -> Vec<Section<'a>> {
    let Some(node) = section.get(key) else {
        return Vec::new();
    };
    let Value::List(list) = &node.value else {
        section.wrong(node, &section.name_of(key), "a list of tables");
        return Vec::new();
    };
    let inner = |node| Section::new(section.report, section.source, section.name_of(key), node);
    list.iter().map(inner).collect()
}

/// Where the value of `key` stands.
fn place(section: &Section<'_>, key: &str) -> usize {
    section.node.nearest(&[key.to_owned()]).key_at
}

/// A value as text: what it is compared by.
fn as_text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) | Value::Time(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::List(_) | Value::Table(_) => None,
    }
}

impl Reader<'_> {
    fn case(&self, section: Section<'_>) -> Case {
        let name = section.required_text("name").unwrap_or_default().to_owned();
        let start = section.parsed::<Timestamp>("start");
        let start = start.or_else(|| START.parse().ok());
        let steps = tables(&section, "step").into_iter();
        let steps: Vec<Step> = steps.filter_map(|step| self.step(step)).collect();
        match section.get("step") {
            None => section.missing("step"),
            Some(Node {
                value: Value::List(list),
                ..
            }) if list.is_empty() => {
                section.error(codes::NOTHING_TO_DO, "step", "nothing happens in the case");
            }
            Some(_) => {}
        }
        let at = section.node.key_at;
        section.finish();
        Case {
            name,
            at,
            start: start.unwrap_or(Timestamp::from_micros(0)),
            steps,
        }
    }

    fn step(&self, section: Section<'_>) -> Option<Step> {
        let at = section.node.key_at;
        let kinds = ["receive", "advance", "reply", "order"];
        let given: Vec<&str> = kinds
            .into_iter()
            .filter(|kind| section.get(kind).is_some())
            .collect();
        let action = match given.as_slice() {
            ["receive"] => self.receive(&section),
            ["advance"] => {
                let span = section.parsed::<Span>("advance");
                span.map(|span| Action::Advance(span.duration()))
            }
            ["reply"] => self.reply(&section),
            ["order"] => self.order(&section),
            _ => {
                let message = "a step has one of `receive`, `advance`, `reply` and `order`";
                section.error(codes::WRONG_VALUE, "", message);
                None
            }
        };
        let expect = self.expect(&section);
        section.finish();
        Some(Step {
            at,
            action: action?,
            expect,
        })
    }

    fn receive(&self, section: &Section<'_>) -> Option<Action> {
        let name = section.text("receive")?;
        let locations = || self.plan.receive.iter().flat_map(|port| &port.locations);
        let all = || locations().map(|location| &location.name);
        // A port with one location may stand for that.
        let ports = self.plan.receive.iter().map(|port| &port.name);
        let of_port = full(Some(self.app), name, ports).and_then(|port| {
            let port = self.plan.receive.iter().find(|one| one.name == port)?;
            match port.locations.as_slice() {
                [only] => Some(only.name.clone()),
                _ => None,
            }
        });
        let location = full(Some(self.app), name, all()).or(of_port);
        if location.is_none() {
            self.unknown(section, "receive", "receive location", name, all());
        }
        let body = self.body(section);
        let mut context = Context::new();
        if let Some(properties) = section.section("properties") {
            for (name, _, value) in self.values(&properties) {
                context.promote_text(&name, &value);
            }
        }
        Some(Action::Receive {
            location: location?,
            body: body?,
            context,
        })
    }

    fn reply(&self, section: &Section<'_>) -> Option<Action> {
        let name = section.text("reply")?;
        let ports = || self.plan.send.iter().map(|port| &port.name);
        let who = full(Some(self.app), name, ports());
        let who = who.or_else(|| self.worker(name));
        if who.is_none() {
            self.unknown(section, "reply", "send port or worker", name, ports());
        }
        let failure = section.text("failure");
        let code = section.text("code");
        let beats = section.boolean("heartbeat").unwrap_or(false);
        let status = section.integer("status", 100..=599);
        let has_body = section.get("file").is_some() || section.get("text").is_some();
        let reply = if let Some(detail) = failure {
            Reply::Failed {
                code: Text::lossy(code.unwrap_or("QS0809")),
                detail: Text::lossy(detail),
            }
        } else if beats {
            Reply::Heartbeat
        } else if has_body || status.is_some() {
            let body = if has_body {
                self.body(section)?
            } else {
                part(Bytes::new(), None)
            };
            let status = status.and_then(|status| u16::try_from(status).ok());
            Reply::Answered {
                status: status.unwrap_or(200),
                body,
            }
        } else {
            Reply::Delivered
        };
        Some(Action::Reply(who?, reply))
    }

    /// A worker that orchestrations of the application may ask.
    fn worker(&self, name: &str) -> Option<Name> {
        let apps = self.plan.orchestrations.iter();
        let own = apps.filter(|one| one.name.starts_with(&format!("{}.", self.app)));
        let mut workers = own.flat_map(|one| &one.environment.workers);
        let found = workers.any(|worker| worker.as_str() == name);
        Name::new(format!("{}.{name}", self.app))
            .ok()
            .filter(|_| found)
    }

    fn order(&self, section: &Section<'_>) -> Option<Action> {
        let reason = Text::lossy(section.text("reason").unwrap_or("a test"));
        let step = section.text("at");
        let step = step.and_then(|step| Name::new(step).ok());
        let words = [
            ("suspend", 0),
            ("resume", 1),
            ("retry-step", 2),
            ("terminate", 3),
        ];
        let order = section.choice("order", &words)?;
        let order = match order {
            0 => Order::Suspend(reason),
            1 => Order::Resume,
            2 => Order::RetryStep(step),
            _ => Order::Terminate(reason),
        };
        let orchestration = self.orchestration(section)?;
        let number = section.integer("number", 1..=10_000).unwrap_or(1);
        Some(Action::Order(orchestration, number as usize, order))
    }

    fn orchestration(&self, section: &Section<'_>) -> Option<Name> {
        let name = section.required_text("orchestration")?;
        let all = || self.plan.orchestrations.iter().map(|one| &one.name);
        let found = full(Some(self.app), name, all());
        if found.is_none() {
            self.unknown(section, "orchestration", "orchestration", name, all());
        }
        found
    }

    fn unknown<'n>(
        &self,
        section: &Section<'_>,
        key: &str,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n Name>,
    ) {
        let own = format!("{}.", self.app);
        let known: Vec<&str> = known
            .map(|one| one.strip_prefix(own.as_str()).unwrap_or(one))
            .collect();
        let message = format!("there is no {what} `{name}`{}", suggestion(name, &known));
        section.error(codes::WRONG_VALUE, key, message);
    }

    /// The message that stands in `file` or `text`.
    fn body(&self, section: &Section<'_>) -> Option<Part> {
        let content_type = section.text("content_type");
        let bytes = self.content(section, "file", "text")?;
        let by_name = section
            .text("file")
            .map(|file| content_type_of(Path::new(file)));
        Some(part(bytes, content_type.or(by_name)))
    }

    fn content(&self, section: &Section<'_>, file: &str, text: &str) -> Option<Bytes> {
        match (section.text(file), section.text(text)) {
            (Some(path), None) => match self.read(path) {
                Ok(bytes) => Some(bytes.into()),
                Err(why) => {
                    let message = format!("`{path}` cannot be read: {why}");
                    section.error(codes::UNREADABLE, file, message);
                    None
                }
            },
            (None, Some(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
            _ => {
                let message = format!("write either `{file}` or `{text}`");
                section.error(codes::WRONG_VALUE, file, message);
                None
            }
        }
    }

    /// Reads a file that is named from the folder of the cases, and stands in that of the application.
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let folder = self.folder.canonicalize().map_err(|e| e.to_string())?;
        let file = folder.join(super::FOLDER).join(path);
        let file = file.canonicalize().map_err(|e| e.to_string())?;
        if !file.starts_with(&folder) {
            return Err("it is not in the folder of the application".to_owned());
        }
        read_bounded(&file, MESSAGE_MAX)
    }

    /// The values of a table, each with its place, as text.
    fn values(&self, section: &Section<'_>) -> Vec<(String, usize, String)> {
        let mut values = Vec::new();
        for (name, node) in section.node.table().into_iter().flatten() {
            match as_text(node) {
                Some(text) => values.push((name.clone(), node.key_at, text)),
                // A name with dots may be written with them: `http.method` is a table in a table.
                None if node.table().is_some() => {
                    let inner =
                        Section::new(section.report, section.source, section.name_of(name), node);
                    let below = self.values(&inner).into_iter();
                    values.extend(below.map(|(key, at, text)| (format!("{name}.{key}"), at, text)));
                }
                None => section.wrong(node, &section.name_of(name), "one value"),
            }
        }
        values
    }

    fn expect(&self, section: &Section<'_>) -> Expect {
        let ports = || self.plan.send.iter().map(|port| &port.name);
        let to_ports = |key| {
            self.wanted(section, key, "port", &|name| {
                full(Some(self.app), name, ports())
            })
        };
        let places = || {
            let locations = self.plan.receive.iter().flat_map(|port| &port.locations);
            let locations = locations.map(|location| &location.name);
            let orchestrations = self.plan.orchestrations.iter().map(|one| &one.name);
            ports().chain(locations).chain(orchestrations)
        };
        let any = |name: &str| full(Some(self.app), name, places());
        let refused = section.text("refused");
        let received = Wanted {
            at: section.node.key_at,
            message_type: said(section, "type"),
            properties: self.pairs(section, "promoted"),
            ..Wanted::default()
        };
        let asked = received.message_type.is_some() || !received.properties.is_empty();
        let instances = tables(section, "instance").into_iter();
        Expect {
            refused: refused.map(|code| (place(section, "refused"), code.to_owned())),
            received: asked.then_some(received),
            sent: to_ports("sent"),
            worker: self.wanted(section, "worker", "name", &|name| self.worker(name)),
            published: self.wanted(section, "published", "by", &any),
            answered: self.wanted(section, "answered", "", &|_| None),
            suspended: self.wanted(section, "suspended", "place", &any),
            instances: instances.filter_map(|one| self.instance(one)).collect(),
        }
    }

    /// The messages under `key`, each with the name under `by`.
    fn wanted(
        &self,
        section: &Section<'_>,
        key: &str,
        by: &str,
        resolve: &dyn Fn(&str) -> Option<Name>,
    ) -> Vec<Wanted> {
        let mut all = Vec::new();
        for inner in tables(section, key) {
            // What is published needs no name.
            let named = match (key, by) {
                (_, "") => None,
                ("published", by) => inner.text(by),
                (_, by) => inner.required_text(by),
            };
            let place = named.and_then(|name| {
                let found = resolve(name);
                if found.is_none() {
                    let message = format!("there is no `{name}`");
                    inner.error(codes::WRONG_VALUE, by, message);
                }
                found
            });
            all.push(self.one(inner, place));
        }
        all
    }

    fn one(&self, section: Section<'_>, found: Option<Name>) -> Wanted {
        let has_body = section.get("body").is_some() || section.get("body_file").is_some();
        let body = match has_body {
            true => self.content(&section, "body_file", "body"),
            false => None,
        };
        let key = if section.get("body").is_some() {
            "body"
        } else {
            "body_file"
        };
        let status = section.integer("status", 100..=599);
        let wanted = Wanted {
            at: section.node.key_at,
            place: found,
            message_type: said(&section, "type"),
            properties: self.pairs(&section, "properties"),
            body: body.map(|body| (place(&section, key), body)),
            paths: self.paths(&section),
            status: status.map(|status| (place(&section, "status"), status)),
            code: said(&section, "code"),
        };
        section.finish();
        wanted
    }

    fn pairs(&self, section: &Section<'_>, key: &str) -> Vec<(usize, String, String)> {
        let Some(inner) = section.section(key) else {
            return Vec::new();
        };
        let values = self.values(&inner).into_iter();
        values.map(|(name, at, value)| (at, name, value)).collect()
    }

    fn paths(&self, section: &Section<'_>) -> Vec<(usize, String, Vec<String>)> {
        let Some(inner) = section.section("at") else {
            return Vec::new();
        };
        let mut paths = Vec::new();
        for (path, node) in inner.node.table().into_iter().flatten() {
            let texts = match &node.value {
                Value::List(list) => list.iter().map(as_text).collect(),
                _ => as_text(node).map(|text| vec![text]),
            };
            match texts {
                Some(texts) => paths.push((node.key_at, path.clone(), texts)),
                None => inner.wrong(node, &inner.name_of(path), "a value or a list of values"),
            }
        }
        paths
    }

    fn instance(&self, section: Section<'_>) -> Option<WantedInstance> {
        let orchestration = self.orchestration(&section);
        let state = section.choice("state", &STATES);
        let list = |key: &str| {
            section.get(key)?;
            let texts = section.texts(key).into_iter();
            let texts = texts.map(|(text, _)| text.to_owned()).collect();
            Some((place(&section, key), texts))
        };
        let wanted = WantedInstance {
            at: section.node.key_at,
            state: state.map(|state| (place(&section, "state"), state.to_owned())),
            steps: list("at"),
            variables: self.pairs(&section, "variables"),
            consumed: list("consumed"),
            left: list("left"),
            code: said(&section, "code"),
            orchestration: orchestration?,
        };
        section.finish();
        Some(wanted)
    }
}

fn said(section: &Section<'_>, key: &str) -> Option<(usize, String)> {
    let text = section.text(key)?;
    Some((place(section, key), text.to_owned()))
}

fn part(bytes: Bytes, content_type: Option<&str>) -> Part {
    Part {
        name: Name::new("body").expect("`body` is a name"),
        content_type: content_type.map(Text::lossy),
        content: Content::Inline(bytes),
    }
}

/// What the prefixes in the paths of a case stand for: those of the application's messages.
pub(super) fn namespaces(app: &Name, plan: &Plan, of: Option<&str>) -> BTreeMap<String, String> {
    let own = format!("{app}.");
    let receive = plan.receive.iter().flat_map(|port| &port.messages);
    let process = plan.orchestrations.iter().flat_map(|one| &one.messages);
    let messages: Vec<_> = receive.chain(process).collect();
    let own = messages
        .iter()
        .filter(|message| message.name.starts_with(&own));
    let of_type = messages
        .iter()
        .filter(|message| of.is_some() && message.message_type.as_deref() == of);
    // What comes later counts.
    let all = own.chain(of_type);
    all.flat_map(|message| message.namespaces.clone()).collect()
}
