//! Bodies on their way in and out: one part of several becomes a message; documents with records leave as files of lines, and what cannot waits for an operator with nothing sent.

use std::{collections::BTreeMap, fs, time::Duration};

use quayside_harness::{Reply, client, items, wait_for};
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
[receive.uploads]
message = "batch"
[receive.uploads.location.in.http]
path = "/uploads"
[receive.uploads.pipeline]
decode = { multipart = { body = { type = "application/xml" }, others = "drop" } }
[receive.related]
message = "batch"
[receive.related.location.in.http]
path = "/related"
[receive.related.location.drop.file]
folder = "drop"
create = true
poll = "50ms"
stable_for = "0s"
[receive.related.pipeline]
decode = { multipart = {} }
[receive.each]
message = "batch"
[receive.each.location.in.http]
path = "/each"
[receive.each.pipeline]
decode = { multipart = {} }
split = { format = "xml", path = "/All/p:Batch", namespaces = { p = "urn:payments" }, batch = "per-message" }
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
    site.gateways[0].stop(PATIENCE).await;
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

/// Posts a body as one of this type.
async fn post(site: &Site, path: &str, content_type: &str, body: String) -> Reply {
    let addr = site.servers()[0];
    let headers = [("content-type", content_type)];
    let request = client::request("POST", addr, path, &headers, body.into());
    let reply = client::once(addr, request, PATIENCE).await;
    reply.unwrap_or_else(|broken| panic!("{broken}"))
}

/// The content type and body of a message, as they are kept.
async fn body(site: &Site, id: &str) -> (String, String) {
    let (admin, path) = (site.gateway().admin, format!("/api/v1/messages/{id}/body"));
    let request = client::request("GET", admin, &path, &[], bytes::Bytes::new());
    let kept = client::once(admin, request, PATIENCE).await;
    let kept = kept.unwrap_or_else(|broken| panic!("{broken}"));
    (kept.header("content-type").to_owned(), kept.text())
}

/// A form as `curl -F note=hello -F 'file=@batch.xml;type=application/xml'` sends it.
fn form(document: &str) -> String {
    format!(
        "--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
         --------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"file\"; filename=\"batch.xml\"\r\n\
         Content-Type: application/xml\r\n\r\n{document}\r\n--------------------------d74496d66958873e--\r\n"
    )
}

const FORM: &str = "multipart/form-data; boundary=------------------------d74496d66958873e";

#[tokio::test(flavor = "multi_thread")]
async fn one_part_of_several_becomes_the_message() {
    let site = site().await;
    let document = batch("U1", &["DE1"]);
    let reply = post(&site, "/uploads", FORM, form(&document)).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let file = has(&site, "bank", "U1").await;
    assert!(
        file.starts_with(b"HU1 "),
        "{}",
        String::from_utf8_lossy(&file)
    );
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    let (content_type, kept) = body(&site, &id).await;
    assert_eq!((content_type.as_str(), kept), ("application/xml", document));

    // A large one goes through the store in chunks.
    let many = vec!["DE1"; 10_000];
    let reply = post(&site, "/uploads", FORM, form(&batch("U2", &many))).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    assert_eq!(has(&site, "bank", "U2").await.len(), 13 + 10_000 * 45 + 11);

    // Of a related one with attachments, where others are not to be lost.
    let related = "multipart/related; type=\"application/xml\"; boundary=\"b 1\"";
    let alone = format!(
        "--b 1\r\nContent-Type: application/xml\r\n\r\n{}\r\n--b 1--",
        batch("R1", &["DE2"])
    );
    let reply = post(&site, "/related", related, alone.clone()).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    has(&site, "bank", "R1").await;
    let attached = alone.replace(
        "\r\n--b 1--",
        "\r\n--b 1\r\nContent-Type: image/png\r\n\r\nx\r\n--b 1--",
    );
    for (path, content_type, body, code) in [
        ("/related", related, attached, "QS0269"),
        (
            "/related",
            "application/xml",
            batch("R2", &["DE1"]),
            "QS0263",
        ),
        ("/related", "multipart/related", alone.clone(), "QS0263"),
        (
            "/uploads",
            FORM,
            form("").replace("application/xml", "text/css"),
            "QS0265",
        ),
        (
            "/uploads",
            FORM,
            form("<Batch xmlns='urn:payments'>"),
            "QS0212",
        ),
    ] {
        let reply = post(&site, path, content_type, body).await;
        let told = (reply.status.as_u16(), reply.code());
        assert_eq!(told, (422, code.to_owned()), "{path}: {}", reply.text());
    }

    // A file has no content type: its first line is the boundary. One that has none waits as it came.
    let drop = site.nodes[0].data_dir().join("drop");
    fs::write(drop.join("one"), alone.replace("R1", "R3")).expect("written");
    has(&site, "bank", "R3").await;
    fs::write(drop.join("two"), "no boundary").expect("written");
    let waiting = wait_for("the file to be suspended", PATIENCE, async || {
        let waiting = suspended(&site).await?;
        waiting.into_iter().next().ok_or_else(|| "none".to_owned())
    })
    .await;
    assert_eq!(waiting["failure"]["code"], "QS0263", "{waiting:#}");

    // A part that is a batch is taken apart, also after it was stored.
    let all = format!(
        "<All>{}{}</All>",
        batch("E1", &["DE1"]),
        batch("E2", &["DE1"])
    );
    let all = format!("--b 1\r\n\r\n{all}\r\n--b 1--");
    let reply = post(&site, "/each", related, all).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    has(&site, "bank", "E1").await;
    has(&site, "bank", "E2").await;
}
