//! Who holds lanes, and for how long: everybody else waits for them a second at most.

use quayside_harness::Session;

use crate::server::{DATABASE, Fresh};

/// The planner's settings of every connection.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
SET enable_hashjoin = off; SET enable_mergejoin = off";

/// Five thousand deliveries, all ended but one.
const CHURN: &str = "
INSERT INTO delivery (message, no, state, priority, slot, seq, rank, due, port, lane, order_key)
SELECT gen_random_uuid(), 0, 0, 5, 0, n, n, 0, 'a', 0, int4send(n) FROM generate_series(1, 5000) AS n;
DELETE FROM delivery WHERE seq < 5000";

async fn plan_of(session: &Session, name: &str, types: &str, sql: &str, args: &str) -> String {
    let prepare = format!("PREPARE {name} ({types}) AS {sql}");
    session.batch_execute(&prepare).await.expect("prepare");
    let explain = format!("EXPLAIN EXECUTE {name} ({args})");
    let rows = session.query(&explain, &[]).await.expect("explain");
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}

/// Statistics are those of a queue that was empty a moment ago. What a batch does under its lanes costs by what is in
/// the batch all the same, and not by what waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_batch_reads_the_backlog() {
    let fresh = Fresh::start().await;
    let session = fresh.server.connect(DATABASE).await;
    for step in [PLANS, CHURN, "VACUUM (ANALYZE) delivery"] {
        session.batch_execute(step).await.expect(step);
    }
    let advance = include_str!("../../sql/order_advance.sql");
    let types = "text[], bytea[]";
    let plan = plan_of(&session, "advance", types, advance, r"'{a}', '{\\x00}'").await;
    assert!(plan.contains("Tid Scan on delivery d"), "{plan}");
    assert!(!plan.contains("delivery_parked"), "{plan}");

    let id = "'{00000000-0000-0000-0000-000000000000}', '{0}'";
    let keys = include_str!("../../sql/order_keys.sql");
    let keys = plan_of(&session, "keys", "uuid[], int[]", keys, id).await;
    let lock = include_str!("../../sql/lane_lock.sql");
    let types = "uuid, text[], int[], uuid[], int[]";
    let args = format!("NULL, '{{a}}', '{{0}}', {id}");
    let lock = plan_of(&session, "lock", types, lock, &args).await;
    for plan in [keys, lock] {
        assert!(plan.contains("using delivery_pkey on delivery"), "{plan}");
        assert!(!plan.contains("using delivery_order"), "{plan}");
    }
}
