//! What the answers of the API look like, as JSON Schema. A test holds real answers against them.

use serde_json::{Map, Value, json};

/// Every schema by its name.
pub(super) fn all() -> Value {
    json!({
        "Problem": problem(),
        "MessageList": object(json!({ "messages": list(&message(json!({}))), "next": maybe("string") })),
        "MessageWay": message_way(),
        "Routing": object(json!({
            "message_type": maybe("string"),
            "origin": text(),
            "properties": list(&object(json!({
                "name": text(), "value": text(), "promoted": { "type": "boolean" },
            }))),
            "subscriptions": list(&object(json!({
                "name": text(),
                "kind": { "type": "string", "enum": ["send-port", "orchestration"] },
                "group": maybe("string"),
                "matched": { "type": "boolean" },
                "enlisted": { "type": "boolean" },
                "filter": or_null(reference("Term")),
                "notes": list(&text()),
            }))),
        })),
        "Term": object(json!({
            "text": text(),
            "verdict": {
                "type": "string", "enum": ["true", "false", "absent", "no-condition", "error"],
            },
            "join": { "type": ["string", "null"], "enum": ["all", "any", "not", null] },
            "parts": list(&reference("Term")),
            "named": list(&object(json!({
                "property": text(), "value": maybe("string"), "hidden": { "type": "boolean" },
            }))),
            "why": maybe("string"),
        })),
        "MessageId": object(json!({ "id": text() })),
        "DeliveryList": object(json!({ "deliveries": list(&delivery()), "next": maybe("string") })),
        "Outcomes": object(json!({ "outcomes": list(&outcome()) })),
        "PortList": object(json!({ "ports": list(&reference("Port")) })),
        "Port": port(),
        "Tested": object(json!({ "ok": { "type": "boolean" }, "detail": text() })),
        "Accepted": object(json!({
            "id": text(),
            "replayed": { "type": "boolean" },
            "answer": or_null(object(json!({
                "status": count(), "content_type": maybe("string"), "body": text(),
            }))),
        })),
        "Cluster": object(json!({
            "shared": { "type": "boolean" },
            "hosts": list(&reference("ClusterHost")),
            "nodes": list(&reference("ClusterNode")),
        })),
        "ClusterHost": cluster_host(),
        "ClusterNode": cluster_node(),
        "ClusterMove": object(json!({ "order": count(), "host": reference("ClusterHost") })),
        "ClusterHistory": object(json!({ "events": list(&cluster_event()) })),
        "ClusterDrill": object(json!({
            "order": count(), "at": maybe("string"), "node": maybe("string"), "epoch": text(),
        })),
        "ClusterTakeover": object(json!({
            "host": text(), "node": maybe("string"), "sends": count(), "gap_ms": maybe("integer"),
            "went_on": { "type": "boolean" }, "out_of_work_ms": maybe("integer"), "released": count(),
            "in_doubt": count(), "repeats": count(), "kept": count(), "open": count(), "lost": count(),
        })),
        "ClusterInDoubt": object(json!({ "deliveries": list(&doubt()), "next": maybe("string") })),
        "OrchestrationList": object(json!({
            "orchestrations": list(&object(json!({
                "name": text(), "host": text(), "about": text(),
                "instances": { "type": "object", "additionalProperties": count() },
            }))),
        })),
        "OrchestrationInstanceList": object(json!({
            "instances": list(&run(json!({}))), "next": maybe("string"),
        })),
        "OrchestrationInstance": run(json!({
            "correlations": list(&object(json!({
                "name": text(), "values": { "type": "object", "additionalProperties": text() },
            }))),
            "messages": list(&object(json!({ "name": text(), "id": text() }))),
            "variables": list(&object(json!({
                "name": text(), "value": { "type": ["string", "array"], "items": text() },
            }))),
            "positions": list(&object(json!({
                "step": text(), "rounds": list(&count()), "waits_for": maybe("string"),
                "until": or_null(moment()),
            }))),
            "ordered": maybe("string"),
            "inbox": list(&object(json!({ "delivery": text(), "route": text() }))),
            "keys": list(&text()),
        })),
        "OrchestrationOrdered": object(json!({ "id": text() })),
        "OrchestrationGraph": object(json!({ "text": text(), "svg": text() })),
        "InstanceList": object(json!({ "instances": list(&instance()) })),
        "BackedUp": object(json!({ "file": text() })),
        "Status": status(),
        "OpenApi": { "type": "object" },
    })
}

/// A reference to the schema `name`.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn problem() -> Value {
    object(json!({
        "type": text(), "title": text(), "status": count(), "detail": text(), "code": text(),
        "help": text(), "retryable": { "type": "boolean" },
    }))
}

fn message(more: Value) -> Value {
    let mut properties = json!({
        "id": text(),
        "received_at": moment(),
        "origin": text(),
        "message_type": maybe("string"),
        "body_len": count(),
        "deliveries": count(),
        "live": count(),
        "suspended": count(),
        "terminated": count(),
        "failed": count(),
        "state": words(&super::messages::STATES),
    });
    merge(&mut properties, more);
    object(properties)
}

fn run(more: Value) -> Value {
    let mut properties = json!({
        "id": text(),
        "orchestration": text(),
        "definition": text(),
        "state": words(&super::orchestrations::STATES),
        "started_at": moment(),
        "changed_at": moment(),
        "due": or_null(moment()),
        "instance": maybe("string"),
        "reason": maybe("string"),
        "discarded": count(),
    });
    merge(&mut properties, more);
    object(properties)
}

fn message_way() -> Value {
    let property = json!({
        "type": "object",
        "properties": {
            "v": { "type": "object", "description": "The value under the name of its type" },
            "p": { "type": "boolean", "description": "Whether filters see it; absent: no" },
        },
        "required": ["v"],
        "additionalProperties": false,
    });
    message(json!({
        "context": { "type": "object", "additionalProperties": property },
        "content_type": maybe("string"),
        "config_version": { "type": "integer" },
        "live_deliveries": list(&delivery()),
        "history": list(&event()),
        "resubmitted_from": maybe("string"),
        "resubmitted_as": list(&text()),
        "legs": list(&leg()),
    }))
}

fn delivery() -> Value {
    object(json!({
        "id": text(),
        "port": text(),
        "state": words(&["ready", "claimed", "held", "suspended", "taken"]),
        "transport": words(&["primary", "backup"]),
        "attempts": count(),
        "due": moment(),
        "instance": maybe("string"),
        "in_doubt": { "type": "boolean" },
        "rendered": maybe("string"),
        "failure": or_null(failure()),
        "behind": maybe("string"),
    }))
}

fn failure() -> Value {
    object(json!({
        "code": text(), "class": words(&["retry", "stop", "give-up"]), "detail": text(),
        "resumable": { "type": "boolean" },
    }))
}

fn event() -> Value {
    object(json!({
        "at": moment(), "event": text(), "port": maybe("string"), "no": maybe("integer"),
        "attempts": count(), "detail": text(),
    }))
}

fn leg() -> Value {
    object(json!({
        "id": text(),
        "no": count(),
        "port": maybe("string"),
        "state": text(),
        "transport": maybe("string"),
        "attempts": count(),
        "ended_at": maybe("string"),
        "next_attempt_at": maybe("string"),
        "in_doubt": { "type": "boolean" },
        "failure": or_null(object(json!({ "at": maybe("string"), "code": text(), "detail": text() }))),
        "waits": list(&text()),
        "detail": text(),
    }))
}

fn doubt() -> Value {
    object(json!({
        "id": text(),
        "port": text(),
        "host": maybe("string"),
        "partner": maybe("string"),
        "order_key": maybe("string"),
        "state": words(&["ready", "claimed", "held", "suspended", "taken"]),
        "attempts": count(),
        "begun_at": maybe("string"),
        "released_at": maybe("string"),
        "restored_at": maybe("string"),
        "node": maybe("string"),
        "instance": maybe("string"),
        "epoch": maybe("string"),
        "policy": or_null(words(&["resend", "hold"])),
        "failure": or_null(failure()),
        "then": text(),
    }))
}

fn outcome() -> Value {
    object(json!({
        "id": text(), "outcome": words(&["done", "busy", "not-found", "unchanged", "not-resumable", "not-in-doubt"]),
    }))
}

fn port() -> Value {
    object(json!({
        "name": text(),
        "kind": words(&["send", "location", "orchestration", "removed"]),
        "host": text(),
        "adapter": text(),
        "status": words(&["started", "stopped", "unenlisted"]),
        "paused_until": maybe("string"),
        "reason": maybe("string"),
        "resting": { "type": "boolean" },
        "running": { "type": "boolean" },
        "standby": { "type": "boolean" },
        "trouble": or_null(object(json!({
            "kind": words(&["disconnected", "back-pressure"]), "code": text(), "detail": text(),
            "since": moment(),
        }))),
        "in_flight": count(),
        "backlog": or_null(object(json!({
            "port": text(), "ready": count(), "claimed": count(), "held": count(),
            "suspended": count(),
        }))),
        "last_failure": or_null(failure()),
        "last_failure_at": maybe("string"),
        "opens_at": maybe("string"),
        "tally": object(json!({
            "done": count(), "failed": count(), "suspended": count(),
            "last_done_at": maybe("string"),
        })),
    }))
}

fn instance() -> Value {
    object(json!({
        "instance": text(), "node": text(), "hosts": text(), "live": { "type": "boolean" },
        "since": moment(), "claims": count(),
    }))
}

fn cluster_host() -> Value {
    let states = super::cluster::HostState::ALL.map(|(_, word)| word);
    let spent = or_null(object(json!({
        "used": count(), "allowed": count(), "within_ms": count(),
    })));
    let since = object(json!({
        "at": moment(), "ago_ms": count(), "node": text(), "cause": text(), "evidence": list(&text()),
    }));
    let report = object(json!({
        "node": text(), "warm": { "type": "boolean" }, "broken": maybe("string"),
        "adapters_down": list(&text()), "adapters_up": list(&text()),
    }));
    let lease = or_null(words(&["renewed", "overdue"]));
    let order = object(json!({ "order": count(), "to": maybe("string"), "at": maybe("string") }));
    object(json!({
        "host": text(),
        "state": words(&states),
        "node": maybe("string"),
        "instance": maybe("string"),
        "here": { "type": "boolean" },
        "agent": { "type": "boolean" },
        "epoch": text(),
        "since": or_null(since),
        "why": maybe("string"),
        "claims": maybe("integer"),
        "in_doubt": maybe("integer"),
        "lease": lease,
        "online": { "type": "boolean" },
        "paused": { "type": "boolean" },
        "pinned": maybe("string"),
        "order": or_null(order),
        "answered": or_null(object(json!({ "order": count(), "refused": maybe("string") }))),
        "failed_ms": maybe("integer"),
        "moves": spent,
        "restarts": spent,
        "next": maybe("string"),
        "candidates": list(&text()),
        "excluded": list(&object(json!({ "node": text(), "why": text() }))),
        "reports": list(&report),
        "advice": list(&cluster_advice()),
    }))
}

fn cluster_node() -> Value {
    object(json!({
        "node": text(),
        "session": words(&["live", "overdue", "none"]),
        "processes": count(),
        "drained": { "type": "boolean" },
        "quarantined_ms": maybe("integer"),
        "lost": count(),
        "last_lost_ms": maybe("integer"),
        "runs": list(&text()),
        "advice": list(&cluster_advice()),
    }))
}

fn cluster_advice() -> Value {
    let command = object(json!({ "command": text(), "for": text() }));
    object(json!({ "title": text(), "means": text(), "then": text(), "commands": list(&command) }))
}

fn cluster_event() -> Value {
    object(json!({
        "no": count(), "host": maybe("string"), "node": text(), "from": maybe("string"), "to": maybe("string"),
        "cause": text(),
        "evidence": list(&text()), "epoch": maybe("string"), "at": moment(), "stored_at": moment(),
        "lasted_ms": count(),
    }))
}

fn status() -> Value {
    let transaction = object(json!({
        "name": text(), "done": count(), "failed": count(), "micros": count(), "items": count(),
    }));
    object(json!({
        "node": text(),
        "version": text(),
        "pid": count(),
        "store": words(&["sqlite", "postgres"]),
        "ready": { "type": "boolean" },
        "standby": { "type": "boolean" },
        "reasons": list(&text()),
        "instance": maybe("string"),
        "config_version": maybe("integer"),
        "counters": { "type": ["object", "null"], "additionalProperties": count() },
        "transactions": list(&transaction),
    }))
}

/// An object that has each of `properties` and no other.
fn object(properties: Value) -> Value {
    let names: Vec<String> = properties
        .as_object()
        .map(Map::keys)
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    json!({
        "type": "object", "properties": properties, "required": names, "additionalProperties": false,
    })
}

fn merge(properties: &mut Value, more: Value) {
    if let (Value::Object(properties), Value::Object(more)) = (properties, more) {
        properties.extend(more);
    }
}

fn list(item: &Value) -> Value {
    json!({ "type": "array", "items": item })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}
