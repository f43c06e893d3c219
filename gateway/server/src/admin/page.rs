//! `/`: a status page that works without scripts, styles from elsewhere or a network.

use std::fmt::Write as _;

use axum::{extract::State, http::header, response::IntoResponse};
use quayside_engine::PortView;
use quayside_model::{DeliveryState, PortStatus};
use quayside_store::browse::{MessageFilter, MessageRow};

use super::Admin;

/// How many suspended messages are shown.
const SUSPENDED: u32 = 20;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;\
padding:0 1rem;color:#1b1f24;background:#fff}h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .75rem .25rem 0;\
border-bottom:1px solid #d8dee4;vertical-align:top}td.n,th.n{text-align:right}\
.bad{color:#b42318;font-weight:600}.good{color:#116329;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#d8dee4;background:#14181d}th,td{border-color:#333a42}\
.bad{color:#ff8a80}.good{color:#7ee787}}";

/// The page.
pub(super) async fn page(State(admin): State<Admin>) -> impl IntoResponse {
    let mut html = head(&admin);
    match admin.gateway.engine().await.as_ref() {
        None => html.push_str("<p>The engine is starting, restarting or stopping.</p>"),
        Some(engine) => {
            match engine.ports().await {
                Ok(ports) => port_table(&mut html, &ports),
                Err(error) => failed(&mut html, &error.to_string()),
            }
            counter_table(&mut html, &engine.counters().each());
        }
    }
    let filter = MessageFilter {
        state: Some(DeliveryState::Suspended),
        ..MessageFilter::default()
    };
    match admin.gateway.store.messages(&filter, None, SUSPENDED).await {
        Ok(messages) => suspended_table(&mut html, &messages),
        Err(error) => failed(&mut html, &error.to_string()),
    }
    html.push_str("<p><a href=\"/metrics\">metrics</a> · <a href=\"/api/v1/openapi.json\">API</a></p></body></html>\n");
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, html)
}

fn head(admin: &Admin) -> String {
    let health = admin.gateway.health();
    let state = if health.ready {
        "<span class=\"good\">ready</span>".to_owned()
    } else {
        format!(
            "<span class=\"bad\">not ready: {}</span>",
            escape(&health.reasons.join(", "))
        )
    };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Quayside {node}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Quayside · {node} · {state}</h1><p>Version {version}, store {store}, process {pid}</p>",
        node = escape(&admin.gateway.node),
        version = env!("CARGO_PKG_VERSION"),
        store = admin.gateway.store.dialect(),
        pid = std::process::id(),
    )
}

fn failed(html: &mut String, cause: &str) {
    write!(html, "<p class=\"bad\">{}</p>", escape(cause))
        .expect("writing to a string cannot fail");
}

fn port_table(html: &mut String, ports: &[PortView]) {
    html.push_str(
        "<h2>Ports</h2><table><tr><th>Name<th>Kind<th>Adapter<th>Host<th>State<th class=n>In hand\
         <th class=n>Waiting<th class=n>Held<th class=n>Suspended<th>Last failure</tr>",
    );
    for port in ports {
        let backlog = port.backlog.as_ref();
        let count = |count: Option<u32>| count.map_or_else(String::new, |count| count.to_string());
        let state = match (port.paused_until, &port.reason) {
            (Some(until), _) if port.status == PortStatus::Started => {
                format!("paused until {until}")
            }
            (Some(until), _) => format!("{:?}, paused until {until}", port.status),
            (None, Some(reason)) => format!("{:?} ({reason})", port.status),
            (None, None) => format!("{:?}", port.status),
        };
        let failure = port.last_failure.as_ref();
        let failure = failure.map_or_else(String::new, |f| format!("{} {}", f.code, f.detail));
        row(
            html,
            &[
                (&port.name, ""),
                (port.kind, ""),
                (&port.adapter, ""),
                (&port.host, ""),
                (&state.to_lowercase(), ""),
                (&port.in_flight.to_string(), "n"),
                (&count(backlog.map(|b| b.ready)), "n"),
                (&count(backlog.map(|b| b.held)), "n"),
                (&count(backlog.map(|b| b.suspended)), "n"),
                (&failure, "bad"),
            ],
        );
    }
    html.push_str("</table>");
}

fn counter_table(html: &mut String, counters: &[(&str, u64)]) {
    html.push_str("<h2>Since the start of the process</h2><table>");
    for (name, count) in counters {
        row(
            html,
            &[(&name.replace('_', " "), ""), (&count.to_string(), "n")],
        );
    }
    html.push_str("</table>");
}

fn suspended_table(html: &mut String, messages: &[MessageRow]) {
    html.push_str("<h2>Suspended</h2>");
    if messages.is_empty() {
        html.push_str("<p>Nothing.</p>");
        return;
    }
    html.push_str("<table><tr><th>Message<th>Received<th>From<th>Type<th class=n>Deliveries</tr>");
    for message in messages {
        row(
            html,
            &[
                (&message.id.to_string(), ""),
                (&message.received_at.to_string(), ""),
                (&message.origin, ""),
                (message.message_type.as_deref().unwrap_or_default(), ""),
                (
                    &format!("{} of {}", message.suspended, message.deliveries),
                    "n",
                ),
            ],
        );
    }
    html.push_str("</table>");
}

fn row(html: &mut String, cells: &[(&str, &str)]) {
    html.push_str("<tr>");
    for (cell, class) in cells {
        write!(html, "<td class=\"{class}\">{}</td>", escape(cell))
            .expect("writing to a string cannot fail");
    }
    html.push_str("</tr>");
}

/// Text as text, whatever it holds: most of it comes from partners.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
