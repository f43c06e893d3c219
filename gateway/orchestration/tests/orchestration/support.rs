//! An application for the tests, and a world of documents and maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use quayside_model::{MessageId, Name, Text, Timestamp, Value, ValueType};
use quayside_orchestration::{
    Datum, Defect, Definition, Environment, Lookup, MapCall, MapSpec, Mapped, MessageSpec,
    PortSpec, Want, World,
};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + seconds * 1_000_000)
}

/// The application that the examples and tests are written for.
pub(crate) fn environment() -> Environment {
    use ValueType::{Decimal, Integer, String};
    let mut messages = BTreeMap::new();
    for (message, properties) in [
        (
            "order",
            vec![
                ("OrderId", String),
                ("Total", Decimal),
                ("Priority", String),
                ("Lines", Integer),
            ],
        ),
        (
            "approval-request",
            vec![("OrderId", String), ("Priority", String)],
        ),
        (
            "approval-answer",
            vec![("OrderId", String), ("Decision", String)],
        ),
        ("confirmation", vec![]),
        ("cancellation", vec![]),
        (
            "claim",
            vec![("ClaimId", String), ("Country", String), ("Parts", Integer)],
        ),
        (
            "claim-part",
            vec![
                ("ClaimId", String),
                ("Country", String),
                ("Amount", Decimal),
            ],
        ),
        ("claim-summary", vec![]),
        ("batch", vec![("Key", String)]),
        ("posting", vec![]),
        ("receipt", vec![]),
        ("batch-report", vec![]),
        ("t0", vec![("Key", String), ("N", Integer)]),
        ("t1", vec![("Key", String), ("N", Integer)]),
        ("t2", vec![("Key", String), ("N", Integer)]),
        ("t3", vec![("Key", String), ("N", Integer)]),
    ] {
        let properties = properties.into_iter().map(|(p, t)| (name(p), t)).collect();
        let message_type = Text::lossy(&format!("urn:test#{message}"));
        messages.insert(
            name(message),
            MessageSpec {
                message_type,
                properties,
            },
        );
    }
    let one_way = [
        "erp",
        "approvers",
        "customers",
        "stock-cancel",
        "operators",
        "p0",
        "p1",
    ];
    let mut ports: BTreeMap<Name, PortSpec> = one_way
        .iter()
        .map(|p| (name(p), PortSpec { two_way: false }))
        .collect();
    ports.extend(["stock", "ledger", "ask"].map(|p| (name(p), PortSpec { two_way: true })));
    let map = |from: &str, to: &str| MapSpec {
        from: Some(vec![name(from)]),
        to: Some(name(to)),
        params: None,
    };
    let maps = BTreeMap::from([
        (name("order-to-request"), map("order", "approval-request")),
        (name("order-to-cancellation"), map("order", "cancellation")),
        (name("claim-to-summary"), map("claim", "claim-summary")),
        (name("batch-line-to-posting"), map("batch", "posting")),
        (name("batch-to-report"), map("batch", "batch-report")),
        (name("any"), MapSpec::default()),
        (
            name("with-limit"),
            MapSpec {
                params: Some(BTreeMap::from([
                    (name("limit"), true),
                    (name("note"), false),
                ])),
                ..MapSpec::default()
            },
        ),
    ]);
    Environment {
        messages,
        maps,
        ports,
        orchestrations: BTreeSet::from([name("settlement"), name("other")]),
        workers: BTreeSet::from([name("reconcile")]),
    }
}

pub(crate) fn compile(text: &str) -> Result<Definition, Vec<Defect>> {
    Definition::compile(&name("test"), text, &environment())
}

pub(crate) fn compiled(text: &str) -> Definition {
    compile(text).unwrap_or_else(|defects| {
        let list: Vec<String> = defects.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", list.join("\n"))
    })
}

/// Documents that say of every path what it is, and maps that promote what they are given. What is `missing`
/// is not there at the first call.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) items: Vec<Value>,
    pub(crate) failing: BTreeSet<Name>,
    pub(crate) loaded: Option<std::cell::RefCell<BTreeSet<MessageId>>>,
}

impl World for Documents {
    fn read(&self, message: MessageId, path: &Arc<str>, want: Want) -> Lookup<Datum> {
        if let Some(loaded) = &self.loaded
            && !loaded.borrow().contains(&message)
        {
            return Lookup::Missing;
        }
        let value = match want {
            Want::Text => Value::Text(Text::lossy(path)),
            Want::Decimal => Value::Decimal("1.5".parse().expect("a decimal")),
            Want::Integer => Value::Integer(3),
            Want::Items => return Lookup::Ready(Datum::Many(self.items.clone())),
            Want::Found => Value::Boolean(true),
        };
        Lookup::Ready(Datum::One(value))
    }

    fn map(&self, call: &MapCall) -> Lookup<Mapped> {
        if self.failing.contains(&call.map) {
            return Lookup::Failed("it is made to fail".to_owned());
        }
        if let Some(loaded) = &self.loaded
            && !loaded.borrow().contains(&call.id)
        {
            return Lookup::Missing;
        }
        let properties = call.with.iter().filter_map(|(name, datum)| match datum {
            Datum::One(value) => Some((name.clone(), value.clone())),
            Datum::Many(_) => None,
        });
        Lookup::Ready(Mapped {
            properties: properties.collect(),
        })
    }
}
