//! `/`: a status page that works without scripts, styles from elsewhere or a network.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::{extract::State, http::header, response::IntoResponse};
use quayside_adapter_api::Trouble;
use quayside_engine::{Health, PortView};
use quayside_model::{DeliveryState, Name, PortStatus};
use quayside_store::{
    browse::{DeliveryFilter, DeliveryRow},
    sessions::InstanceRow,
};

use super::{
    Admin,
    cluster::{self, HostState, Standing},
    joined::Told,
    ports, status,
    words::{self, second},
};
use crate::exit::root;

/// How many suspended deliveries are shown.
const SUSPENDED: u32 = 20;

const STYLE: &str = "\
:root{--text:#1b1f24;--dim:#59636e;--line:#d8dee4;--back:#fff;--card:#f6f8fa;--bad:#b42318;--good:#116329;\
--rest:#7a5b00}\
@media(prefers-color-scheme:dark){:root{--text:#d8dee4;--dim:#8b949e;--line:#333a42;--back:#14181d;\
--card:#1c2128;--bad:#ff8a80;--good:#7ee787;--rest:#e3b341}}\
body{font:14px/1.45 system-ui,sans-serif;margin:1.5rem auto;max-width:80rem;padding:0 1.25rem;\
color:var(--text);background:var(--back)}\
h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:1.75rem 0 .4rem}p{margin:.3rem 0}\
.dim{color:var(--dim)}.bad{color:var(--bad)}.good{color:var(--good)}.rest{color:var(--rest)}\
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}\
.tile{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.45rem .9rem;\
min-width:6.5rem}.tile b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-weight:600;color:var(--dim);white-space:nowrap}td.n,th.n{text-align:right;\
font-variant-numeric:tabular-nums}td.id{font-family:ui-monospace,monospace;font-size:12.5px;\
white-space:nowrap}td.t{white-space:nowrap}td.w{overflow-wrap:anywhere;min-width:14rem}\
footer{margin-top:2rem;padding-top:.6rem;border-top:1px solid var(--line)}";

/// The page.
pub(super) async fn page(State(admin): State<Admin>) -> impl IntoResponse {
    let mut html = Html::default();
    head(&mut html, &admin, &status::health(&admin).await);
    let told = match &admin.joined {
        Some(processes) => Some(processes.told().await),
        None => None,
    };
    work(&mut html, &admin, told.as_ref()).await;
    hosts(&mut html, &admin, told.as_ref()).await;
    let store = &admin.gateway.store;
    let filter = DeliveryFilter {
        state: Some(DeliveryState::Suspended),
        ..DeliveryFilter::default()
    };
    match store.deliveries(&filter, None, SUSPENDED).await {
        Ok(rows) => suspended_table(&mut html, &rows),
        Err(error) => html.line(
            "bad",
            &format!("What is suspended is not known: {}", root(&error)),
        ),
    }
    match store.instances().await {
        Ok(rows) => instance_table(&mut html, &rows),
        Err(error) => html.line("bad", &format!("Who works is not known: {}", root(&error))),
    }
    html.raw(
        "<footer class=dim><a href=\"/metrics\">metrics</a> · <a href=\"/api/v1/openapi.json\">API\
         </a> · <a href=\"/readyz\">readyz</a></footer></body></html>\n",
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, html.text)
}

/// What is counted, and every port and location.
async fn work(html: &mut Html, admin: &Admin, told: Option<&BTreeMap<Name, Told>>) {
    let (mut ports, counters) = match admin.gateway.engine().await.as_ref() {
        None => {
            html.line("bad", "The engine is starting, restarting or stopping.");
            return;
        }
        Some(engine) => {
            let ports = match engine.ports().await {
                Ok(ports) => ports,
                Err(error) => {
                    html.line("bad", &format!("What waits is not known: {}", root(&error)));
                    engine.ports_here()
                }
            };
            (ports, engine.counters().each())
        }
    };
    ports::join(admin, &mut ports).await;
    let elsewhere = |name: &str| -> u64 {
        let all = told.into_iter().flatten();
        all.filter_map(|(_, told)| told.counters.get(name)).sum()
    };
    let counters = counters.into_iter();
    let counters: Vec<_> = counters
        .map(|(name, count)| (name, count + elsewhere(name)))
        .collect();
    tiles(html, &ports, &counters);
    port_table(html, "Send ports", &ports, |port| port.kind != "location");
    port_table(html, "Receive locations", &ports, |port| {
        port.kind == "location"
    });
}

/// What the hosts of this node do here, and where each clustered host is.
async fn hosts(html: &mut Html, admin: &Admin, told: Option<&BTreeMap<Name, Told>>) {
    if let Some(told) = told {
        html.open("Hosts of this node", &[("Host", ""), ("Here", "")]);
        for (host, told) in told {
            let (state, class) = match told.fault(host) {
                None if told.stands_by() => ("stands by".to_owned(), "rest"),
                None => ("works".to_owned(), "good"),
                Some(fault) if told.answers() || told.fault_here(host).is_some() => (fault, "bad"),
                Some(fault) => (fault, "rest"),
            };
            html.row(&[(host, "t"), (&state, class)]);
        }
        html.close();
    }
    if admin.policies.is_empty() {
        return;
    }
    match cluster::standings(admin).await {
        Ok(standings) => cluster_table(html, &standings),
        Err(_) => html.line("bad", "Where the clustered hosts are is not known."),
    }
}

fn cluster_table(html: &mut Html, standings: &[Standing]) {
    let headings = [
        ("Host", ""),
        ("State", ""),
        ("Node", ""),
        ("Could take over", "n"),
        ("Why", ""),
    ];
    html.open("Clustered hosts", &headings);
    for standing in standings {
        let class = match standing.state {
            HostState::Active => "good",
            HostState::Failed | HostState::NobodyCanRunIt => "bad",
            _ => "rest",
        };
        html.row(&[
            (&standing.host, "t"),
            (&standing.state.in_words(), class),
            (standing.node.as_deref().unwrap_or("–"), "t"),
            (&count(standing.candidates as u64), "n"),
            (standing.why.as_deref().unwrap_or_default(), "w"),
        ]);
    }
    html.close();
    html.line("dim", "More of it, and what to do: quayside cluster status");
}

fn head(html: &mut Html, admin: &Admin, health: &Health) {
    let node = escape(&admin.gateway.node);
    let now = admin.gateway.clock.now();
    let state = if health.ready {
        "<span class=good>ready</span>".to_owned()
    } else if health.standby {
        "<span class=rest>stands by</span>".to_owned()
    } else {
        format!(
            "<span class=bad>not ready: {}</span>",
            escape(&health.reasons.join(", "))
        )
    };
    html.raw(&format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Quayside {node}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Quayside · {node} · {state}</h1><p class=dim>Version {version}, store {store}, process {pid}, \
         as of {now}</p>",
        version = env!("CARGO_PKG_VERSION"),
        store = admin.gateway.store.dialect(),
        pid = std::process::id(),
        now = second(now),
    ));
}

/// What a glance is for: how much waits in all, and what this process has done.
fn tiles(html: &mut Html, ports: &[PortView], counters: &[(&str, u64)]) {
    let sum = |count: fn(&quayside_store::browse::PortBacklog) -> u32| {
        let counts = ports.iter().filter_map(|port| port.backlog.as_ref());
        counts.map(|backlog| u64::from(count(backlog))).sum::<u64>()
    };
    let since = "since the process started";
    html.raw("<div class=tiles>");
    html.tile("waiting", sum(|b| b.ready), "in the store now", "");
    html.tile("held", sum(|b| b.held), "behind their order key", "rest");
    html.tile("suspended", sum(|b| b.suspended), "for an operator", "bad");
    for (name, count) in counters {
        let class = match *name {
            "rejected" | "retried" | "fenced" => "rest",
            "suspended_on_receipt" => "bad",
            _ => "",
        };
        if matches!(*name, "accepted" | "delivered") || (*count > 0 && !class.is_empty()) {
            html.tile(&name.replace('_', " "), *count, since, class);
        }
    }
    html.raw("</div>");
}

fn port_table(html: &mut Html, title: &str, ports: &[PortView], fits: fn(&PortView) -> bool) {
    let mut ports = ports.iter().filter(|port| fits(port)).peekable();
    if ports.peek().is_none() {
        return;
    }
    html.open(
        title,
        &[
            ("Name", ""),
            ("Adapter", ""),
            ("Host", ""),
            ("State", ""),
            ("In hand", "n"),
            ("Waiting", "n"),
            ("Held", "n"),
            ("Suspended", "n"),
            ("Done here", "n"),
            ("Last failure", ""),
        ],
    );
    for port in ports {
        let backlog = port.backlog.as_ref();
        let (state, class) = state(port);
        let at = port.last_failure_at.map(second).unwrap_or_default();
        let failure = port.last_failure.as_ref();
        let failure = failure.map_or_else(String::new, |f| format!("{at} {} {}", f.code, f.detail));
        let host = if port.kind == "removed" {
            ""
        } else {
            &port.host
        };
        html.row(&[
            (&port.name, "t"),
            (&port.adapter, ""),
            (host, ""),
            (&state, class),
            (&count(port.in_flight as u64), "n"),
            (&count(backlog.map_or(0, |b| b.ready).into()), "n"),
            (&count(backlog.map_or(0, |b| b.held).into()), "n rest"),
            (&count(backlog.map_or(0, |b| b.suspended).into()), "n bad"),
            (&count(port.tally.done), "n"),
            (&failure, "w bad"),
        ]);
    }
    html.close();
}

/// Where a port stands, and the colour of that.
fn state(port: &PortView) -> (String, &'static str) {
    if port.kind == "removed" {
        return ("not in the configuration".to_owned(), "bad");
    }
    let because = port.reason.as_ref();
    let because = because.map_or_else(String::new, |reason| format!(": {reason}"));
    let paused = port.paused_until.map(second);
    match (port.status, paused) {
        (PortStatus::Started, Some(until)) => (format!("paused until {until}{because}"), "rest"),
        (status, Some(until)) => (
            format!("{}, paused until {until}{because}", words::status(status)),
            "rest",
        ),
        (PortStatus::Started, None) => match port.opens_at {
            Some(opens) => (format!("shut until {}", second(opens)), "rest"),
            None if port.standby => ("started, standing by".to_owned(), "rest"),
            None if port.resting => (format!("started, not working{because}"), "bad"),
            None if port.running => match &port.trouble {
                None => ("started".to_owned(), "good"),
                Some(trouble) => (in_trouble(trouble), "bad"),
            },
            None => match &port.reason {
                None => ("started, not here".to_owned(), "dim"),
                // Its process is not there, or finishes.
                Some(_) => (format!("started, not here{because}"), "bad"),
            },
        },
        (status, None) => (format!("{}{because}", words::status(status)), "rest"),
    }
}

fn in_trouble(trouble: &Trouble) -> String {
    format!(
        "{} since {}: {} {}",
        words::trouble(trouble.kind),
        second(trouble.since),
        trouble.code,
        trouble.detail
    )
}

fn suspended_table(html: &mut Html, rows: &[DeliveryRow]) {
    if rows.is_empty() {
        html.raw("<h2>Suspended deliveries</h2>");
        html.line("dim", "None.");
        return;
    }
    html.open(
        "Suspended deliveries",
        &[
            ("Delivery", ""),
            ("Port", ""),
            ("Attempts", "n"),
            ("Why", ""),
        ],
    );
    for row in rows {
        let failure = row.failure.as_ref();
        let failure = failure.map_or_else(String::new, |f| format!("{} {}", f.code, f.detail));
        html.row(&[
            (&row.id.to_string(), "id"),
            (&row.port, "t"),
            (&row.attempts.to_string(), "n"),
            (&failure, "w"),
        ]);
    }
    html.close();
    if rows.len() == SUSPENDED as usize {
        let more = "There are more: quayside messages list --state suspended";
        html.line("dim", more);
    }
}

fn instance_table(html: &mut Html, rows: &[InstanceRow]) {
    html.open(
        "Processes",
        &[
            ("Instance", ""),
            ("Node", ""),
            ("Hosts", ""),
            ("State", ""),
            ("Since", ""),
            ("In hand", "n"),
        ],
    );
    for row in rows {
        let (state, class) = if row.live {
            ("live", "good")
        } else {
            ("dead", "bad")
        };
        html.row(&[
            (&row.instance.to_string(), "id"),
            (&row.node, ""),
            (&row.hosts, ""),
            (state, class),
            (&second(row.since), "t"),
            (&count(row.claims), "n"),
        ]);
    }
    html.close();
}

/// A number; none at all where it is 0, so that the others stand out.
fn count(count: u64) -> String {
    match count {
        0 => "–".to_owned(),
        count => count.to_string(),
    }
}

/// The page as it is written.
#[derive(Default)]
struct Html {
    text: String,
}

impl Html {
    fn raw(&mut self, html: &str) {
        self.text.push_str(html);
    }

    fn line(&mut self, class: &str, text: &str) {
        write!(self.text, "<p class={class}>{}</p>", escape(text))
            .expect("writing to a string cannot fail");
    }

    fn tile(&mut self, name: &str, count: u64, what: &str, class: &str) {
        let class = if count > 0 { class } else { "" };
        let name = escape(name);
        write!(
            self.text,
            "<div class=tile title=\"{what}\"><b class=\"{class}\">{count}</b>{name}</div>"
        )
        .expect("writing to a string cannot fail");
    }

    fn open(&mut self, title: &str, headings: &[(&str, &str)]) {
        write!(self.text, "<h2>{title}</h2><div class=wide><table><tr>")
            .expect("writing to a string cannot fail");
        for (heading, class) in headings {
            write!(self.text, "<th class=\"{class}\">{heading}</th>")
                .expect("writing to a string cannot fail");
        }
        self.raw("</tr>");
    }

    fn row(&mut self, cells: &[(&str, &str)]) {
        self.raw("<tr>");
        for (cell, class) in cells {
            let class = if *cell == "–" { "n dim" } else { class };
            write!(self.text, "<td class=\"{class}\">{}</td>", escape(cell))
                .expect("writing to a string cannot fail");
        }
        self.raw("</tr>");
    }

    fn close(&mut self) {
        self.raw("</table></div>");
    }
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
