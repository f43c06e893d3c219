//! `quayside queue list`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::{failed, place::Place};
use crate::{
    cli::{
        Show,
        output::{self, Table},
    },
    exit::{Exit, Failure},
    wiring::{
        declare::{Argument, Site},
        manage::{Listed, Management, Session},
    },
};

/// Whose queues.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    show: Show,
}

/// One queue, as far as it is known.
#[derive(Debug, Default)]
struct Row {
    broker: String,
    name: String,
    /// What it is for, or else how the broker keeps it.
    kind: String,
    is_missing: bool,
    ready: Option<u64>,
    unacked: Option<u64>,
    consumers: Option<u64>,
    roles: Vec<String>,
}

/// Prints what is known of all queues.
pub(super) async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let known = args.place.known()?;
    let mut rows = Vec::new();
    let mut notes = known.plan.notes.clone();
    for site in &known.plan.sites {
        let management = Management::of(site, &*known.secrets).map_err(failed)?;
        let listed = match &management {
            None => None,
            Some(management) => match management.queues().await {
                Ok(queues) => Some(queues),
                // There is nothing else to show.
                Err(error) if site.queues.is_empty() => return Err(failed(error)),
                Err(error) => {
                    notes.push(format!(
                        "{} ({}); only what AMQP tells is shown",
                        error.detail, error.code
                    ));
                    None
                }
            },
        };
        let mut here = match listed {
            Some(queues) => of_management(site, &queues),
            None => {
                let session = Session::open(site, &*known.secrets).await.map_err(failed)?;
                let rows = of_amqp(site, &session).await?;
                session.close().await;
                rows
            }
        };
        here.sort_by(|a, b| a.name.cmp(&b.name));
        rows.append(&mut here);
    }
    let value = json!({
        "queues": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        "notes": notes,
    });
    let output = args.show.output();
    let mut table = Table::new(&["queue", "kind", "ready", "unacked", "consumers", "what"]);
    for row in &rows {
        table.row(row.cells());
    }
    let nothing = match known
        .plan
        .sites
        .iter()
        .all(|site| site.management.is_none())
    {
        true => "No queue is known. The management API tells all of them: `--management URL`.",
        false => "No queues.",
    };
    let mut text = output.render_or(&table, nothing);
    if rows
        .iter()
        .any(|row| !row.is_missing && row.unacked.is_none())
    {
        text.push_str("note: `?` is what only the management API tells: `--management URL`\n");
    }
    for note in &notes {
        text.push_str(&format!("note: {}\n", output::printable(note)));
    }
    output.text(&value, &text)
}

/// The queues of the application, each asked for.
async fn of_amqp(site: &Site, session: &Session) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for planned in &site.queues {
        let counts = session.look(&planned.wanted.name).await.map_err(failed)?;
        rows.push(Row {
            broker: site.url.clone(),
            name: planned.wanted.name.clone(),
            kind: planned.wanted.kind.word().to_owned(),
            is_missing: counts.is_none(),
            ready: counts.map(|counts| counts.ready.into()),
            unacked: None,
            consumers: counts.map(|counts| counts.consumers.into()),
            roles: planned.roles.clone(),
        });
    }
    Ok(rows)
}

/// Every queue of the virtual host, and those of the application that are not there.
fn of_management(site: &Site, queues: &BTreeMap<String, Listed>) -> Vec<Row> {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (name, queue) in queues {
        let row = Row {
            broker: site.url.clone(),
            name: name.clone(),
            kind: queue.kind.clone(),
            is_missing: false,
            ready: queue.ready,
            unacked: queue.unacked,
            consumers: queue.consumers,
            roles: Vec::new(),
        };
        rows.insert(name, row);
    }
    for (name, queue) in queues {
        if let Some(dead) = dead_letters_of(queue)
            && let Some(row) = rows.get_mut(dead)
        {
            row.roles.push(format!("dead letters of {name}"));
        }
        if let Some(of) = name.strip_suffix(".journal$")
            && let Some(row) = rows.get_mut(name.as_str())
        {
            row.roles.push(format!("journal of {of}"));
        }
    }
    for planned in &site.queues {
        let name = planned.wanted.name.as_str();
        let row = rows.entry(name).or_insert_with(|| Row {
            broker: site.url.clone(),
            name: name.to_owned(),
            is_missing: true,
            ..Row::default()
        });
        row.kind = planned.wanted.kind.word().to_owned();
        row.roles.retain(|role| !planned.roles.contains(role));
        row.roles.splice(0..0, planned.roles.iter().cloned());
    }
    rows.into_values().collect()
}

/// The queue that the broker puts into what it gives up in `queue`.
fn dead_letters_of(queue: &Listed) -> Option<&str> {
    let text = |key: &str| match queue.arguments.get(key) {
        Some(Argument::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let by_name = text("x-dead-letter-exchange") == Some("");
    by_name.then(|| text("x-dead-letter-routing-key"))?
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let count = |count: Option<u64>| match count {
            _ if self.is_missing => "-".to_owned(),
            None => "?".to_owned(),
            Some(count) => count.to_string(),
        };
        let ready = match self.is_missing {
            true => "missing".to_owned(),
            false => count(self.ready),
        };
        vec![
            self.name.clone(),
            self.kind.clone(),
            ready,
            count(self.unacked),
            count(self.consumers),
            self.roles.join(", "),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "broker": self.broker,
            "queue": self.name,
            "kind": self.kind,
            "exists": !self.is_missing,
            "ready": self.ready,
            "unacked": self.unacked,
            "consumers": self.consumers,
            "roles": self.roles,
        })
    }
}
