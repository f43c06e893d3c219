//! The life of an engine on a real store: what it refuses to run, and what it does when its session is over.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quayside_adapter_api::{
    AdapterError, ErrorKind, Secrets,
    services::{Secret, SecretRef},
};
use quayside_engine::{
    Engine, Options, Roles, codes,
    plan::{Location, Plan, ReceivePipeline, ReceivePort, Unrouted, Validate},
};
use quayside_model::{Name, SystemClock, SystemEntropy};
use quayside_store::{AnyStore, maintain::Retention};
use quayside_store_sqlite::SqliteStore;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        let what = format!("no secret `{}`", reference.secret);
        Err(AdapterError::new(ErrorKind::Config, codes::NOT_FOUND, what))
    }
}

fn open(folder: &tempfile::TempDir) -> AnyStore {
    let options = quayside_store_sqlite::Options::default();
    let store = SqliteStore::open(folder.path(), Arc::new(SystemClock), options);
    Arc::new(store.expect("the folder is free"))
}

fn options() -> Options {
    Options {
        node: name("node-a"),
        hosts: Vec::new(),
        clustered: Vec::new(),
        roles: Roles::default(),
        timings: quayside_lease::Timings::default(),
        agent: None,
        retention: Retention::default(),
        adapters: BTreeMap::new(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        secrets: Arc::new(NoSecrets),
        outside: quayside_engine::outside::Settings::in_folder(
            std::env::temp_dir().join("quayside-maps"),
            quayside_engine::outside::Command::plain(&["false"]),
        ),
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A plan with nothing to do.
fn idle(hash: &str) -> Plan {
    Plan {
        hash: hash.to_owned(),
        ..Plan::default()
    }
}

/// A plan with a location that no adapter is there for.
fn impossible(hash: &str) -> Plan {
    let location = Location {
        name: name("a.in.web"),
        adapter: "pigeon".to_owned(),
        block: serde_json::json!({}),
        enabled: true,
        start: None,
        stop: None,
        window: None,
        max_in_flight: 1,
        error_threshold: None,
    };
    let port = ReceivePort {
        name: name("a.in"),
        host: name("host"),
        pipeline: ReceivePipeline::default(),
        messages: Vec::new(),
        validate: Validate::Off,
        maps: Vec::new(),
        answer_maps: Vec::new(),
        dedupe: quayside_engine::plan::DedupePlan::default(),
        unrouted: Unrouted::Reject,
        ordered: false,
        answer_within: None,
        priority: quayside_model::Priority::default(),
        publish_failures: false,
        locations: vec![location],
    };
    Plan {
        receive: vec![port],
        ..idle(hash)
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_run_is_neither_recorded_nor_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let refused = Engine::start(Arc::clone(&store), impossible("0"), options()).await;
    let refused = refused.expect_err("there is no such adapter");
    assert_eq!(refused.code(), codes::NO_ADAPTER, "{refused}");
    assert_eq!(store.live_sessions().await.expect("a list"), []);

    let engine = Engine::start(Arc::clone(&store), idle("1"), options()).await;
    let engine = engine.expect("it runs");
    assert_eq!(engine.config_version(), 1, "the first that was recorded");
    let refused = engine.apply(impossible("2")).await;
    let refused = refused.expect_err("there is no such adapter");
    assert_eq!(refused.code(), codes::NO_ADAPTER, "{refused}");
    assert_eq!(engine.config_version(), 1, "the old one stays in force");
    assert_eq!(engine.apply(idle("3")).await.expect("it runs"), 2);
    assert_eq!(engine.config_version(), 2);
    assert!(engine.stop(Duration::from_secs(5)).await.ended);
}

#[tokio::test]
async fn an_engine_whose_session_is_over_says_so_and_ends_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let engine = Engine::start(Arc::clone(&store), idle("1"), options()).await;
    let engine = engine.expect("it runs");
    assert!(engine.health().ready, "{:?}", engine.health());
    let session = store.live_sessions().await.expect("a list")[0].session;
    // As another node does, for good.
    store.close_session(session).await.expect("it ends");

    let error = engine.fatal().await;
    assert_eq!(error.code(), codes::SESSION_LOST, "{error}");
    let health = engine.health();
    assert!(
        !health.ready && health.reasons[0].contains("ended the session"),
        "{health:?}"
    );
    assert!(engine.stop(Duration::ZERO).await.ended);

    let next = Engine::start(Arc::clone(&store), idle("1"), options()).await;
    let next = next.expect("another one takes its place");
    assert!(next.health().ready, "{:?}", next.health());
    assert!(next.stop(Duration::from_secs(5)).await.ended);
    assert_eq!(store.live_sessions().await.expect("a list"), []);
}
