//! `[send.NAME]`: a send port with its transports, and `[group.NAME]`: one filter, many ports.

use quayside_adapter_api::{Block, SendTerms, Span};
use quayside_engine::{
    filter::Filter,
    plan::{ATTEMPT_TIMEOUT, InDoubt, OrderPlan, SendPort, TransportPlan},
};
use quayside_model::{Name, OnOrderFailure, RetryPolicy, Severity};

use super::{
    app::{ON_FAILURE, Placed, Reading},
    codes, pipeline,
    port_maps::PortMaps,
    properties::{self, Use, Wanted},
    receive,
    section::{Section, suggestion},
    transport::{self, Direction},
    window,
};

/// How many sends are under way at once, unless the port says otherwise.
const MAX_IN_FLIGHT: u32 = 64;
/// How many lanes the keys of an ordered port fall into, unless it says otherwise.
const LANES: u32 = 16;

/// A send port as far as it could be read.
pub(crate) struct Read {
    pub(crate) port: Placed<SendPort>,
    /// Whether all of it could be read.
    pub(crate) is_whole: bool,
}

/// Reads one send port. `None` if it has no proper name.
pub(crate) fn read(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
    port_maps: &PortMaps<'_>,
) -> Option<Read> {
    let full = reading.full_name(&section, &[name]);
    let host = reading.host(&section, "send");
    let retry = retry(&section).unwrap_or_default();
    let answers = section.boolean("answers").unwrap_or(false);
    let ordered = ordered(reading, &section);
    let terms = SendTerms {
        ordered: ordered.is_some(),
        answers,
    };
    let primary = section.section("primary");
    if primary.is_none() {
        section.missing("primary");
    }
    let primary = primary.map(|primary| transport_plan(reading, primary, retry, terms));
    let backup = section.section("backup");
    let has_backup = backup.is_some();
    let backup = backup.map(|backup| transport_plan(reading, backup, retry, terms));
    if has_backup && ordered.is_some() {
        let message = format!(
            "{} is `ordered` and has a `backup`: a backup transport cannot keep the order",
            section.path
        );
        section.error(codes::ORDERED_BACKUP, "ordered", message);
    }
    let filter = filter(reading, &section);
    let filter_is_wrong = section.get("filter").is_some() && filter.is_none();
    let max_in_flight = section
        .integer("max_in_flight", 1..=65_536)
        .unwrap_or(MAX_IN_FLIGHT);
    let maps = port_maps.of(&section);
    let answer_maps = port_maps.of_answers(&section, (answers, "answers = true"));
    let priority = receive::priority(&section);
    let pipeline = pipeline::read_send(&section);
    let window = window::read(&section);
    let in_doubt = in_doubt(&section).unwrap_or_default();
    let publish_failures = section.choice("on_failure", ON_FAILURE).unwrap_or(false);
    let attempt_timeout = section
        .parsed::<Span>("attempt_timeout")
        .map_or(ATTEMPT_TIMEOUT, Span::duration);
    let (source, at) = (section.source, section.node.key_at);
    section.finish();
    let transports = [primary.as_ref(), backup.as_ref()];
    let has_faulty = transports.iter().flatten().any(|(_, is_whole)| !is_whole);
    let is_whole = !filter_is_wrong
        && pipeline.is_some()
        && !has_faulty
        && host.is_some()
        && primary.is_some();
    // Where a part is missing there is a fault, so that what stands for it here is never run.
    let value = SendPort {
        name: full?,
        clustered: host
            .as_ref()
            .is_some_and(|host| reading.group.is_some_and(|g| g.is_clustered(host))),
        host: host.unwrap_or_else(|| reading.app.clone()),
        filter,
        group_filters: Vec::new(),
        maps,
        pipeline: pipeline.unwrap_or_default(),
        answer_maps,
        primary: primary.map_or_else(|| nothing(retry), |(plan, _)| plan),
        backup: backup.map(|(plan, _)| plan),
        ordered,
        max_in_flight: max_in_flight as usize,
        priority,
        window,
        answers,
        in_doubt,
        publish_failures,
        attempt_timeout,
    };
    let port = Placed { source, at, value };
    Some(Read { port, is_whole })
}

/// Stands for a transport that could not be read.
fn nothing(retry: RetryPolicy) -> TransportPlan {
    TransportPlan {
        adapter: String::new(),
        block: Block::Null,
        retry,
    }
}

fn in_doubt(section: &Section<'_>) -> Option<InDoubt> {
    section.choice(
        "in_doubt",
        &[("resend", InDoubt::Resend), ("hold", InDoubt::Hold)],
    )
}

/// `filter` of a port or a group.
pub(crate) fn filter(reading: &Reading<'_>, section: &Section<'_>) -> Option<Filter> {
    let source = section.text("filter")?;
    let at = section.node.nearest(&["filter".to_owned()]).key_at;
    let hyphened = properties::hyphened(source);
    // What else is wrong with it is found in the filter that was meant.
    let mut meant = source.to_owned();
    for (place, name) in hyphened.iter().rev() {
        meant.replace_range(place.clone(), name);
    }
    for (place, name) in &hyphened {
        let message = format!(
            "`{}` names `{}`, where `-` is a minus: write `{name}`",
            section.name_of("filter"),
            &source[place.clone()]
        );
        let help = "In a filter, write a name that has a hyphen in brackets and quotes.".to_owned();
        let place = Some((section.source, at));
        section.report.add(
            codes::NEVER_PROMOTED,
            Severity::Error,
            place,
            message,
            Some(help),
        );
    }
    match Filter::compile(&meant) {
        Ok(filter) => {
            for property in filter.references() {
                reading.check_property(Wanted {
                    source: section.source,
                    at,
                    property: property.clone(),
                    by: section.name_of("filter"),
                    purpose: Use::Filter,
                });
            }
            // The places in it are not those of the text, so that nothing more can be told of it.
            hyphened.is_empty().then_some(filter)
        }
        Err(error) => {
            let place = match hyphened.is_empty() {
                true => format!(
                    " (line {}, column {} of the expression)",
                    error.line, error.column
                ),
                false => String::new(),
            };
            let message = format!(
                "`{}` cannot be compiled: {}{place}",
                section.name_of("filter"),
                error.message,
            );
            section.error(codes::FILTER, "filter", message);
            None
        }
    }
}

/// A transport as far as it could be read, and whether that is all of it.
fn transport_plan(
    reading: &Reading<'_>,
    section: Section<'_>,
    retry: RetryPolicy,
    terms: SendTerms,
) -> (TransportPlan, bool) {
    let retry = self::retry(&section).unwrap_or(retry);
    let transport = transport::read(
        &section,
        reading.adapters,
        Direction::Send(terms),
        reading.data_dir,
    );
    section.finish();
    let Some(transport) = transport else {
        return (nothing(retry), false);
    };
    let plan = TransportPlan {
        adapter: transport.adapter,
        block: transport.block,
        retry,
    };
    (plan, transport.is_whole)
}

/// `retry = { attempts, first, factor, max }`.
fn retry(section: &Section<'_>) -> Option<RetryPolicy> {
    let retry = section.section("retry")?;
    let default = RetryPolicy::default();
    let policy = RetryPolicy {
        attempts: retry
            .integer("attempts", 1..=1_000_000)
            .unwrap_or(default.attempts),
        first: retry
            .parsed::<Span>("first")
            .map_or(default.first, Span::duration),
        factor: retry
            .number("factor", 1.0..=100.0)
            .unwrap_or(default.factor),
        max: retry
            .parsed::<Span>("max")
            .map_or(default.max, Span::duration),
    };
    if policy.first > policy.max {
        let message = format!(
            "`{}` is longer than `max`, so that every wait is `max`",
            retry.name_of("first")
        );
        retry.warning(codes::LIMIT, "first", message);
    }
    retry.finish();
    Some(policy)
}

/// `ordered = { by, on_failure, lanes }`.
fn ordered(reading: &Reading<'_>, section: &Section<'_>) -> Option<OrderPlan> {
    const ON_ORDER_FAILURE: &[(&str, OnOrderFailure)] = &[
        ("hold-key", OnOrderFailure::HoldKey),
        ("stop-port", OnOrderFailure::StopPort),
        ("skip", OnOrderFailure::Skip),
    ];
    let ordered = section.section("ordered")?;
    let by = ordered.required_text("by");
    if let Some(by) = by {
        let at = ordered.node.nearest(&["by".to_owned()]).key_at;
        reading.check_property(Wanted {
            source: ordered.source,
            at,
            property: by.to_owned(),
            by: ordered.name_of("by"),
            purpose: Use::Order,
        });
    }
    let lanes = ordered.integer("lanes", 1..=1024).unwrap_or(LANES);
    let plan = OrderPlan {
        by: by.unwrap_or_default().to_owned(),
        on_failure: ordered
            .choice("on_failure", ON_ORDER_FAILURE)
            .unwrap_or_default(),
        lanes: u16::try_from(lanes).expect("at most 1024 lanes"),
    };
    ordered.finish();
    Some(plan)
}

/// Reads one group and adds its filter to its members.
pub(crate) fn read_group(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
    ports: &mut [Read],
) {
    let full = reading.full_name(&section, &[name]);
    if section.get("filter").is_none() {
        section.missing("filter");
    }
    let filter = filter(reading, &section);
    let members = section.texts("members");
    if members.is_empty() {
        section.missing("members");
    }
    for (member, node) in members {
        if !reading.send_ports.iter().any(|known| known == member) {
            let known: Vec<&str> = reading.send_ports.iter().map(String::as_str).collect();
            let message = format!(
                "there is no send port `{member}`{}",
                suggestion(member, &known)
            );
            section
                .report
                .error(codes::NOT_A_MEMBER, section.source, node.key_at, message);
        }
        if let (Some(full), Some(filter)) = (&full, &filter) {
            join(reading, member, full, filter, ports);
        }
    }
    section.finish();
}

fn join(reading: &Reading<'_>, member: &str, group: &Name, filter: &Filter, ports: &mut [Read]) {
    let member = format!("{}.{member}", reading.app);
    for port in ports
        .iter_mut()
        .map(|read| &mut read.port)
        .filter(|port| port.value.name == member.as_str())
    {
        port.value
            .group_filters
            .push((group.clone(), filter.clone()));
    }
}
