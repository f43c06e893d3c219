//! `[receive.NAME]`: a receive port and its locations.

use std::sync::Arc;

use quayside_adapter_api::{Span, Terms};
use quayside_engine::plan::{
    DedupePlan, Expects, Location, MessagePlan, Party, ReceivePipeline, ReceivePort, Unrouted,
    Validate,
};
use quayside_model::{Priority, Timestamp};

use super::{
    app::{ON_FAILURE, Placed, Reading},
    codes, pipeline,
    port_maps::PortMaps,
    properties::{Use, Wanted},
    section::{Section, list},
    spans::Value,
    transport::{self, Direction},
    window,
};

/// How many deliveries of a location are on their way into the store, unless it says otherwise.
const MAX_IN_FLIGHT: u32 = 512;

/// Reads one receive port. `None` after a fault.
pub(crate) fn read(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
    port_maps: &PortMaps<'_>,
    parties: &[Party],
) -> Option<Placed<ReceivePort>> {
    let full = reading.full_name(&section, &[name]);
    let host = reading.host(&section, "receive");
    let answer_within = section.parsed::<Span>("answer_within").map(Span::duration);
    if answer_within.is_some_and(|within| within.is_zero()) {
        let message = format!("`{}` must not be zero", section.name_of("answer_within"));
        section.error(codes::LIMIT, "answer_within", message);
    }
    let ordered = section.boolean("ordered").unwrap_or(false);
    let locations = section.named("location");
    if locations.is_empty() {
        let message = format!(
            "{} has no location: add [{}.location.NAME]",
            section.path, section.path
        );
        section.error(codes::NOTHING_TO_DO, "location", message);
    }
    let count = locations.len();
    let locations: Vec<Location> = locations
        .into_iter()
        .filter_map(|(location, inner)| {
            let terms = Terms {
                ordered,
                error_threshold: None,
                answer_within,
            };
            read_location(reading, &[name, location], inner, terms)
        })
        .collect();
    let pipeline = pipeline::read(&section, parties);
    let messages = messages_of(reading, &section, port_maps.messages);
    let maps = port_maps.of(&section);
    let answer_maps = port_maps.of_answers(&section, (answer_within.is_some(), "answer_within"));
    if let Some(pipeline) = &pipeline {
        check_pipeline(
            &section,
            pipeline,
            !messages.is_empty(),
            answer_within.is_some(),
        );
    }
    let validate = validate(&section, &messages);
    let dedupe = dedupe(reading, &section);
    let unrouted = [("reject", Unrouted::Reject), ("suspend", Unrouted::Suspend)];
    let unrouted = section.choice("unrouted", &unrouted).unwrap_or_default();
    let priority = priority(&section).unwrap_or_default();
    let publish_failures = section.choice("on_failure", ON_FAILURE).unwrap_or(false);
    let (source, at) = (section.source, section.node.key_at);
    section.finish();
    if locations.len() < count {
        return None;
    }
    let (name, host, pipeline) = (full?, host?, pipeline?);
    let value = ReceivePort {
        name,
        host,
        pipeline,
        messages,
        validate,
        maps,
        answer_maps,
        dedupe,
        unrouted,
        ordered,
        answer_within,
        priority,
        publish_failures,
        locations,
    };
    Some(Placed { source, at, value })
}

/// A pipeline that does not go together with what else the port says.
fn check_pipeline(
    section: &Section<'_>,
    pipeline: &ReceivePipeline,
    has_messages: bool,
    answers: bool,
) {
    if pipeline.expects == Expects::Anything && has_messages {
        let message = format!(
            "`{}` is never looked at: the pipeline `pass-through` does not look into the body",
            section.name_of("message")
        );
        section.error(codes::NOTHING_TO_DO, "message", message);
    }
    if pipeline.split.is_some() && answers {
        let message = format!(
            "{} cannot answer: a body that is split becomes several messages, and an answer is to one",
            section.path
        );
        section.error(codes::TWO_WAY, "answer_within", message);
    }
}

/// `priority` of a port.
pub(crate) fn priority(section: &Section<'_>) -> Option<Priority> {
    let number = section.integer("priority", 1..=10)?;
    u8::try_from(number).ok().and_then(Priority::new)
}

fn messages_of(
    reading: &Reading<'_>,
    section: &Section<'_>,
    messages: &[Arc<MessagePlan>],
) -> Vec<Arc<MessagePlan>> {
    let find = |name: &str| {
        let full = format!("{}.{name}", reading.app);
        messages
            .iter()
            .find(|message| message.name == full.as_str())
            .cloned()
    };
    let mut found = Vec::new();
    for (name, node) in section.texts("message") {
        // A message that is there but faulty has its own fault already.
        match find(name) {
            Some(message) => found.push(message),
            None => {
                reading.check_message(section, name, node);
            }
        }
    }
    found
}

/// What happens to a message that does not fit the schema of its type: refused, where there is a schema and the port says
/// nothing else.
fn validate(section: &Section<'_>, messages: &[Arc<MessagePlan>]) -> Validate {
    let words = [
        ("off", Validate::Off),
        ("warn", Validate::Warn),
        ("suspend", Validate::Suspend),
        ("reject", Validate::Reject),
    ];
    let wanted = section.choice("validate", &words);
    let has_schema = messages.iter().any(|message| message.schema.is_some());
    match wanted {
        None if has_schema => Validate::Reject,
        None => Validate::Off,
        Some(wanted) => {
            // One that is faulty has its own fault already, and may have a schema.
            let all_read = section.texts("message").len() == messages.len();
            if wanted != Validate::Off && !has_schema && all_read {
                let message = format!(
                    "`{}` has nothing to judge by: no message of the port names a `schema`",
                    section.name_of("validate")
                );
                section.error(codes::NOTHING_TO_DO, "validate", message);
            }
            wanted
        }
    }
}

fn dedupe(reading: &Reading<'_>, section: &Section<'_>) -> DedupePlan {
    let mut plan = DedupePlan::default();
    let Some(dedupe) = section.section("dedupe") else {
        return plan;
    };
    for (key, node) in dedupe.texts("key") {
        reading.check_property(Wanted {
            source: dedupe.source,
            at: node.key_at,
            property: key.to_owned(),
            by: dedupe.name_of("key"),
            purpose: Use::Key,
        });
        plan.keys.push(key.to_owned());
    }
    if let Some(window) = dedupe.parsed::<Span>("window") {
        if window.duration().is_zero() {
            dedupe.error(
                codes::LIMIT,
                "window",
                format!("`{}` must not be zero", dedupe.name_of("window")),
            );
        }
        plan.window = window.duration();
    }
    dedupe.finish();
    plan
}

fn read_location(
    reading: &Reading<'_>,
    name: &[&str],
    section: Section<'_>,
    terms: Terms,
) -> Option<Location> {
    let full = reading.full_name(&section, name);
    let window = window::read(&section);
    let enabled = section.boolean("enabled").unwrap_or(true);
    let (start, stop) = (time(&section, "start"), time(&section, "stop"));
    if let (Some(start), Some(stop)) = (start, stop)
        && stop <= start
    {
        let message = format!("`{}` is not after `start`", section.name_of("stop"));
        section.error(codes::WRONG_VALUE, "stop", message);
    }
    let max_in_flight = section
        .integer("max_in_flight", 1..=65_536)
        .unwrap_or(MAX_IN_FLIGHT);
    let error_threshold = section.integer("error_threshold", 1..=1_000_000);
    let answer_within = terms.answer_within;
    let terms = Terms {
        error_threshold,
        ..terms
    };
    let transport = transport::read(
        &section,
        reading.adapters,
        Direction::Receive(terms),
        reading.data_dir,
    );
    let path = section.path.clone();
    let at = section.node.key_at;
    let (report, source) = (section.report, section.source);
    section.finish();
    let transport = transport.filter(|transport| transport.is_whole)?;
    let (adapter, mut block) = (transport.adapter, transport.block);
    if let Some(within) = answer_within {
        // Only an adapter whose partner waits for an answer can hold one back: it is told how long.
        match adapter.as_str() {
            "http" => block["answer_within"] = serde_json::json!(Span::new(within)),
            // By its terms.
            "amqp" => {}
            _ => {
                let waiting = list(&["http", "amqp"]);
                let message = format!(
                    "{path} cannot answer: `answer_within` needs an adapter whose sender waits, {waiting}"
                );
                report.error(codes::TWO_WAY, source, at, message);
            }
        }
    }
    Some(Location {
        name: full?,
        adapter,
        block,
        enabled,
        start,
        stop,
        window,
        max_in_flight: max_in_flight as usize,
        error_threshold,
    })
}

/// A moment, as TOML's own or as text.
fn time(section: &Section<'_>, key: &str) -> Option<Timestamp> {
    let node = section.get(key)?;
    let text = match &node.value {
        Value::Time(text) | Value::Text(text) => text,
        _ => return section.parsed(key),
    };
    let time = text.parse::<Timestamp>();
    if time.is_err() {
        let message = format!(
            "`{}` is not a moment: write date, time and offset, such as 2026-11-21T09:00:00+01:00",
            section.name_of(key)
        );
        section.error(codes::WRONG_VALUE, key, message);
    }
    time.ok()
}
