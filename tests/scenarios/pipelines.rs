//! Bodies on their way out: documents with records leave as files of lines, and what cannot waits for an operator with nothing sent.

use std::{collections::BTreeMap, fs, time::Duration};

use quayside_harness::{items, wait_for};
use quayside_tests::{Site, Store, post_with};
use serde_json::{Value, json};

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const APP: &str = r#"[app]
name = "t"
[message.batch]
type = "urn:payments#Batch"
[message.batch.promote]
BatchId = { xpath = "/*[local-name()='Batch']/*[local-name()='BatchId']" }
[receive.web]
message = "batch"
[receive.web.location.in.http]
path = "/in"
max_body = "8 MiB"
[send.bank]
filter = "msg.type == 'urn:payments#Batch'"
primary.file = { folder = "bank", create = true, file_name = "{BatchId}" }
[send.bank.pipeline]
encode = { stages = [{ charset = "iso-8859-15" }] }
[send.bank.pipeline.assemble]
format = "fixed"
path = "/p:Batch/p:Payment"
namespaces = { p = "urn:payments" }
line_end = "crlf"
tag = "D"
columns = [
    { name = "Kind", width = 1, skip = true },
    { name = "Number", width = 8, type = "integer", required = true, align = "right", pad = "0" },
    { name = "Account", width = 22, required = true },
    { name = "Amount", width = 12, type = "decimal", scale = 2, align = "right", pad = "0" },
]
[send.bank.pipeline.assemble.head]
tag = "H"
columns = [{ name = "Kind", width = 1, skip = true }, { name = "BatchId", width = 10 }]
[send.bank.pipeline.assemble.trailer]
tag = "T"
columns = [{ name = "Kind", width = 1, skip = true }, { name = "Payments", width = 8, type = "integer", align = "right", pad = "0" }]
count = "Payments"
"#;

async fn site() -> Site {
    Site::new(Store::Sqlite, 1, &|_| APP.to_owned(), &[]).await
}

/// What lies in a folder of the node, by its names.
fn folder(site: &Site, name: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(site.nodes[0].data_dir().join(name));
    let read = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let bytes = fs::read(entry.path()).ok()?;
        (!name.starts_with('.')).then_some((name, bytes))
    });
    read.collect()
}

async fn has(site: &Site, name: &str, file: &str) -> Vec<u8> {
    let what = format!("{file} in {name}");
    wait_for(&what, PATIENCE, async || {
        let mut there = folder(site, name);
        let found = there.remove(file);
        found.ok_or_else(|| format!("{:?}", there.keys()))
    })
    .await
}

fn batch(id: &str, accounts: &[&str]) -> String {
    let payments = accounts.iter().zip(1..).map(|(account, number)| {
        format!("<Payment><Number>{number}</Number><Account>{account}</Account><Amount>{number}.5</Amount></Payment>")
    });
    let payments: String = payments.collect();
    format!("<Batch xmlns='urn:payments'><BatchId>{id}</BatchId>{payments}</Batch>")
}

async fn send(site: &Site, body: String) {
    let reply = post_with(site.servers()[0], "/in", &[], body.into()).await;
    let reply = reply.unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(reply.status, 202, "{}", reply.text());
}

async fn suspended(site: &Site) -> Result<Vec<Value>, String> {
    let told = site.gateway().api("deliveries?state=suspended").await?;
    Ok(items(&told).to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_leaves_as_a_file_of_lines() {
    let site = site().await;
    send(
        &site,
        batch(
            "B1",
            &["DE1", "Müller & Söhne".replace('&', "&amp;").as_str()],
        ),
    )
    .await;
    let file = has(&site, "bank", "B1").await;
    let wanted = b"HB1        \r\nD00000001DE1                   000000000150\r\n\
        D00000002M\xfcller & S\xf6hne        000000000250\r\nT00000002\r\n";
    assert_eq!(file, wanted, "{}", String::from_utf8_lossy(&file));

    // A large one lies in the store in chunks, and is never whole in it as what it becomes.
    let many = vec!["DE1"; 20_000];
    send(&site, batch("B2", &many)).await;
    let file = has(&site, "bank", "B2").await;
    assert_eq!(file.len(), 13 + 20_000 * 45 + 11);
    assert!(file.ends_with(b"\r\nT00020000\r\n"));
    assert_eq!(suspended(&site).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_its_column_waits_for_an_operator() {
    let mut site = site().await;
    let long = "DE345678901234567890123";
    send(&site, batch("B3", &["DE1", long])).await;
    let waiting = wait_for("the batch to be suspended", PATIENCE, async || {
        let waiting = suspended(&site).await?;
        waiting.into_iter().next().ok_or_else(|| "none".to_owned())
    })
    .await;
    let failure = &waiting["failure"];
    assert_eq!(
        (&waiting["port"], &failure["code"]),
        (&json!("t.bank"), &json!("QS0285"))
    );
    let detail = failure["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("record 2: `Account`"), "{detail}");
    assert_eq!(folder(&site, "bank").len(), 0, "nothing was sent");

    // The column is widened, and the same message goes.
    let widened = APP.replace("\"Account\", width = 22", "\"Account\", width = 23");
    fs::write(site.app.path().join("app.toml"), widened).expect("written");
    site.restart(0).await;
    let ids = json!({ "ids": [waiting["id"]], "reason": "the column is wider" });
    site.gateway()
        .post("deliveries/resume", &ids)
        .await
        .expect("resumed");
    let file = has(&site, "bank", "B3").await;
    let text = String::from_utf8_lossy(&file);
    assert!(
        text.contains(&format!("D00000002{long}000000000250\r\n")),
        "{text}"
    );
}
