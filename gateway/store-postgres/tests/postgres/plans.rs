//! Plans are made once for a connection, mostly over tables that are empty then. None of them may read all of a queue
//! that has become long.

use std::{collections::BTreeMap, fs, path::Path};

use quayside_harness::Session;

use crate::server::{DATABASE, Fresh};

/// The settings by which connections of the store plan.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                        SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";

/// Statements that may walk over the deliveries: `delivery_backlog` and `effects` count them for people, the two words
/// of operators name what they mean and wait for nobody, of `delivery_release_dead` the index holds claims alone, and
/// nobody works while `restored_doubt` marks whatever is open.
const WALKS: [&str; 6] = [
    "delivery_backlog",
    "delivery_release_dead",
    "delivery_resume",
    "delivery_terminate",
    "effects",
    "restored_doubt",
];

/// Five thousand deliveries, all ended but one.
const CHURN: &str = "
INSERT INTO delivery (message, no, state, priority, slot, seq, rank, due, port, lane, order_key)
SELECT gen_random_uuid(), 0, 0, 5, 0, n, n, 0, 'a', 0, int4send(n) FROM generate_series(1, 5000) AS n;
DELETE FROM delivery WHERE seq < 5000";

#[tokio::test]
async fn no_statement_that_was_planned_over_an_empty_queue_walks_over_a_long_one() {
    let fresh = Fresh::start().await;
    let client = fresh.server.connect(DATABASE).await;
    client.batch_execute(SETTINGS).await.expect("settings");
    // One that never held anything, and one that has been through a lot.
    for before in ["", CHURN] {
        client.batch_execute(before).await.expect("deliveries");
        let seen = client.batch_execute("VACUUM (ANALYZE) delivery").await;
        seen.expect("the planner has seen the table");
        refuse_walks(&client).await;
    }
}

async fn refuse_walks(client: &Session) {
    let mut walks = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql");
    for entry in fs::read_dir(folder).expect("the statements").flatten() {
        let path = entry.path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a statement");
        if !text.contains("delivery") || WALKS.contains(&name.as_str()) {
            continue;
        }
        let statement = client.prepare(&text).await.expect("it can be prepared");
        let nulls = vec!["NULL"; statement.params().len()].join(", ");
        let given = if nulls.is_empty() {
            String::new()
        } else {
            format!("({nulls})")
        };
        let prepare = format!("PREPARE it AS {text}");
        client.batch_execute(&prepare).await.expect("prepare");
        let explain = format!("EXPLAIN EXECUTE it{given}");
        let rows = client.query(&explain, &[]).await.expect("explain");
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        client.batch_execute("DEALLOCATE it").await.expect("again");
        if lines.windows(2).any(|pair| is_walk(&pair[0], &pair[1])) {
            walks.insert(name, lines.join("\n"));
        }
    }
    let named: Vec<_> = walks.keys().collect();
    assert!(walks.is_empty(), "{named:?} walk:\n{walks:#?}");
}

/// Whether a line of a plan, and the one below it, tell of a scan of the deliveries that no condition bounds.
fn is_walk(line: &str, below: &str) -> bool {
    let scan = line.contains(" on delivery ") && line.contains("Scan");
    scan && !line.contains("Tid Scan") && !below.contains("Index Cond")
}

#[test]
fn a_walk_is_told_from_a_look() {
    let scan = "  ->  Index Scan using delivery_pkey on delivery d  (cost=0.12..8.14 rows=1)";
    assert!(is_walk(scan, "        Filter: (state = 2)"));
    assert!(!is_walk(scan, "        Index Cond: (message = m.id)"));
    assert!(!is_walk("  ->  Tid Scan on delivery d  (cost)", ""));
    assert!(!is_walk("  ->  Seq Scan on lane l  (cost)", ""));
}
