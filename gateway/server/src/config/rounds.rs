//! Queues that two parts of a configuration have in common, which is seldom meant: names of MSMQ that differ in their
//! machine alone are one queue of a broker.

use std::collections::{BTreeMap, BTreeSet};

use super::{app::App, codes, queues::uses, reach::Origin, report::Report};
use crate::wiring::declare::whereabouts;

/// A queue, with the places of its brokers.
type Queue = (Vec<String>, String);

/// Warns of two locations that take from one queue, and of ports that fill the queue that their messages come from.
pub(super) fn check(report: &Report, apps: &[App], origins: &[Origin<'_>]) {
    let taken = taken(report, apps);
    for port in apps.iter().flat_map(|app| &app.send) {
        let filled = uses([], [&port.value]);
        let filled: BTreeSet<Queue> = filled.iter().filter_map(whereabouts).collect();
        let mut told = BTreeSet::new();
        for origin in origins.iter().filter(|origin| !origin.is_failed()) {
            let location = origin.location.name.as_str();
            let Some(queue) = taken.get(location).filter(|queue| filled.contains(queue)) else {
                continue;
            };
            if origin.reaches(&port.value) && told.insert(location) {
                let message = format!(
                    "`{}` puts what `{location}` took from the queue `{}` back into it: it would go round",
                    port.value.name, queue.1
                );
                report.warning(codes::ROUND, port.source, port.at, message);
            }
        }
    }
}

/// The queues of all locations by their names.
fn taken(report: &Report, apps: &[App]) -> BTreeMap<String, Queue> {
    let (mut by_location, mut by_queue) = (BTreeMap::new(), BTreeMap::<Queue, String>::new());
    for port in apps.iter().flat_map(|app| &app.receive) {
        for one in uses([&port.value], []) {
            let Some(queue) = whereabouts(&one) else {
                continue;
            };
            if let Some(other) = by_queue.get(&queue) {
                let message = format!(
                    "`{other}` and `{}` both take from the queue `{}`: each message goes to one of them",
                    one.place, queue.1
                );
                report.warning(codes::SAME_QUEUE, port.source, port.at, message);
            }
            by_queue.insert(queue.clone(), one.place.to_owned());
            by_location.insert(one.place.to_owned(), queue);
        }
    }
    by_location
}
