//! `/metrics` in the text format of Prometheus.

use std::fmt::Write as _;

use axum::{extract::State, http::header, response::IntoResponse};
use quayside_store::measure::TransactionStats;

use super::Admin;

/// All metrics. Asks the store nothing, so that it answers while the store does not.
pub(super) async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut page = Page::default();
    let ready = admin.gateway.health().ready;
    page.metric(
        "quayside_ready",
        "gauge",
        "Whether messages can be accepted now.",
    );
    page.value("quayside_ready", "", u64::from(ready));
    page.metric("quayside_info", "gauge", "What runs.");
    let labels = format!(
        "version=\"{}\",store=\"{}\"",
        env!("CARGO_PKG_VERSION"),
        admin.gateway.store.dialect()
    );
    page.value("quayside_info", &labels, 1);
    if let Some(engine) = admin.gateway.engine().await.as_ref() {
        for (name, count) in engine.counters().each() {
            let name = format!("quayside_{name}_total");
            page.metric(
                &name,
                "counter",
                "Counted by the engine since its process started.",
            );
            page.value(&name, "", count);
        }
    }
    transactions(&mut page, &admin.gateway.store.transactions().stats());
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        page.text,
    )
}

fn transactions(page: &mut Page, stats: &[TransactionStats]) {
    let name = "quayside_store_transactions_total";
    page.metric(
        name,
        "counter",
        "Transactions of the store by name and end.",
    );
    for stat in stats {
        page.value(
            name,
            &format!("name=\"{}\",end=\"done\"", stat.name),
            stat.done,
        );
        page.value(
            name,
            &format!("name=\"{}\",end=\"failed\"", stat.name),
            stat.failed,
        );
    }
    let name = "quayside_store_transaction_microseconds_total";
    page.metric(
        name,
        "counter",
        "The time that transactions of the store took.",
    );
    for stat in stats {
        page.value(name, &format!("name=\"{}\"", stat.name), stat.micros);
    }
    let name = "quayside_store_transaction_items_total";
    page.metric(
        name,
        "counter",
        "How many items committed transactions held.",
    );
    for stat in stats {
        page.value(name, &format!("name=\"{}\"", stat.name), stat.items);
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("writing to a string cannot fail");
    }

    fn value(&mut self, name: &str, labels: &str, value: u64) {
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        writeln!(self.text, "{name}{labels} {value}").expect("writing to a string cannot fail");
    }
}
