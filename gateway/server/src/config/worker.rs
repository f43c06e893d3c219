//! `[worker.NAME]`: an outside program that orchestrations give work to, over HTTP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quayside_adapter_api::{Block, SendTerms};
use quayside_engine::{
    WORK_ATTEMPT, WORK_LEASE, WORK_TICKET,
    plan::{ATTEMPT_TIMEOUT, InDoubt, SendPipeline, SendPort, TransportPlan},
    template::Template,
};
use quayside_model::RetryPolicy;
use serde_json::json;

use super::{
    app::{Placed, Reading},
    codes,
    section::Section,
    transport::{self, Adapters, Direction},
};

/// How many programs are asked at once, unless it says otherwise.
const MAX_IN_FLIGHT: u32 = 64;
/// The adapter by which programs are asked.
const ADAPTER: &str = "http";
/// A program that does not answer is asked again as long as its lease runs.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    first: Duration::from_secs(1),
    factor: 2.0,
    max: Duration::from_secs(10),
};

/// Reads one worker: the port by which it is asked. `None` if it has a fault.
pub(crate) fn read(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
) -> Option<Placed<SendPort>> {
    let full = reading.full_name(&section, &["worker", name]);
    let host = reading.host(&section, "send");
    let max_in_flight = section
        .integer("max_in_flight", 1..=65_536)
        .unwrap_or(MAX_IN_FLIGHT);
    let callback = section.text("callback");
    let callback_fits = callback.is_none_or(|url| is_address(&section, url));
    let http = http_alone(reading.adapters);
    let terms = SendTerms {
        ordered: false,
        answers: true,
    };
    let direction = Direction::Send(terms);
    let transport = transport::read(&section, &http, direction, reading.data_dir);
    let (source, at) = (section.source, section.node.key_at);
    let transport = transport
        .filter(|transport| transport.is_whole && templates_fit(&section, &http, &transport.block));
    section.finish();
    let (mut transport, host) = (transport?, host?);
    tell(&mut transport.block, callback.unwrap_or_default());
    let value = SendPort {
        name: full.filter(|_| callback_fits)?,
        clustered: reading.group.is_some_and(|g| g.is_clustered(&host)),
        host,
        filter: None,
        group_filters: Vec::new(),
        pipeline: SendPipeline::default(),
        maps: Vec::new(),
        answer_maps: Vec::new(),
        primary: TransportPlan {
            adapter: transport.adapter,
            block: transport.block,
            retry: RETRY,
        },
        backup: None,
        ordered: None,
        max_in_flight: max_in_flight as usize,
        priority: None,
        window: None,
        answers: true,
        in_doubt: InDoubt::Resend,
        publish_failures: false,
        attempt_timeout: ATTEMPT_TIMEOUT,
    };
    Some(Placed { source, at, value })
}

fn http_alone(adapters: &Adapters) -> Adapters {
    let http = adapters.iter().filter(|(name, _)| **name == ADAPTER);
    http.map(|(name, adapter)| (*name, Arc::clone(adapter)))
        .collect::<BTreeMap<_, _>>()
}

/// Whether `callback` is the beginning of an address, to which a path can be added.
fn is_address(section: &Section<'_>, url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let fits = rest.is_some_and(|rest| {
        let is_plain = |c: char| c.is_ascii_graphic() && !"{}?#@\"\\".contains(c);
        !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_plain)
    });
    if !fits {
        let message = format!(
            "`{}` is no address such as `https://gateway.example`",
            section.name_of("callback")
        );
        section.error(codes::WRONG_VALUE, "callback", message);
    }
    fits
}

/// Whether the templates of the block can be read.
fn templates_fit(section: &Section<'_>, http: &Adapters, block: &Block) -> bool {
    let mut fit = true;
    let texts = http.get(ADAPTER).map(|http| http.templates(block));
    for (key, text) in texts.into_iter().flatten() {
        if let Err(error) = Template::parse(&text) {
            let message = format!("`{}.{key}`: {error}", section.name_of(ADAPTER));
            section.error(codes::TEMPLATE, ADAPTER, message);
            fit = false;
        }
    }
    fit
}

/// What the program is told beside its work: under which key, which attempt this is, how long its lease is, and where it
/// says how it goes.
fn tell(block: &mut Block, callback: &str) {
    let Some(block) = block.as_object_mut() else {
        return;
    };
    block.insert("idempotency_key".to_owned(), json!(true));
    let headers = block.entry("headers").or_insert_with(|| json!({}));
    let callback = callback.trim_end_matches('/');
    for (name, text) in [
        ("Quayside-Attempt", format!("{{{WORK_ATTEMPT}}}")),
        ("Quayside-Lease", format!("{{{WORK_LEASE}}}")),
        (
            "Quayside-Work",
            format!("{callback}/works/{{{WORK_TICKET}}}"),
        ),
    ] {
        if let Some(headers) = headers.as_object_mut() {
            // Names of headers are the same in capitals and in small letters.
            headers.retain(|key, _| !key.eq_ignore_ascii_case(name));
            headers.insert(name.to_owned(), json!(text));
        }
    }
}
