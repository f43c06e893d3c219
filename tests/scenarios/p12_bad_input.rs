//! P12: bad input is a clear error with a code, and harms no other message.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use quayside_harness::{
    Load, LoadPlan, Stopwatch, client::request, items, order_xml, pass_through, wait_for,
};
use quayside_tests::{Site, Store, judge, post_with};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MIB: u64 = 1024 * 1024;

/// How much hostile input may add to the memory of a process.
const GROWTH: u64 = 64 * MIB;

#[derive(Deserialize)]
struct Manifest {
    file: BTreeMap<String, Hostile>,
}

/// How a hostile file is sent and what must come back.
#[derive(Deserialize)]
struct Hostile {
    format: String,
    content_type: String,
    code: String,
}

fn hostile() -> (PathBuf, BTreeMap<String, Hostile>) {
    let folder = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/messages/hostile"
    ));
    let text = fs::read_to_string(folder.join("manifest.toml")).expect("reading the manifest");
    let manifest: Manifest = toml::from_str(&text).expect("the manifest is valid");
    let listed: Vec<_> = manifest.file.keys().cloned().collect();
    let entries = fs::read_dir(&folder)
        .expect("the folder of hostile files")
        .flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let mut there: Vec<_> = names.filter(|n| n != "manifest.toml").collect();
    there.sort();
    assert_eq!(
        there, listed,
        "every hostile file has an entry, and every entry a file"
    );
    (folder, manifest.file)
}

/// Locations for XML and JSON over HTTP and from folders, as the manifest describes them.
fn four_locations(partner: SocketAddr) -> String {
    let json = "[message.json-order]\n[message.json-order.promote]\n\
         OrderId = { jsonpath = \"$.id\" }\n\
         CustomerId = { jsonpath = \"$.customer.id\", required = true }\n\
         Total = { jsonpath = \"$.total\", type = \"decimal\" }\n";
    let json_port = "[receive.json]\nhost = \"edge\"\nmessage = \"json-order\"\n\
         [receive.json.location.web.http]\npath = \"/in/json\"\nallow_empty = true\n";
    let folder = |name: &str, message: &str| {
        format!(
            "[receive.{name}]\nhost = \"edge\"\nmessage = \"{message}\"\n\
             [receive.{name}.location.drop.file]\nfolder = \"{name}\"\ncreate = true\n\
             poll = \"50ms\"\nstable_for = \"0s\"\n"
        )
    };
    let more = [
        json,
        json_port,
        &folder("xml-drop", "order"),
        &folder("json-drop", "json-order"),
    ];
    let text = pass_through(partner, "", &more.concat());
    let total = "Total = { xpath = \"/o:Order/o:Total\", type = \"decimal\" }";
    let text = text.replace(
        "path = \"/in/orders\"",
        "path = \"/in/orders\"\nallow_empty = true",
    );
    text.replacen(
        "\n\n[receive.orders]",
        &format!("\n{total}\n\n[receive.orders]"),
        1,
    )
    .replace(
        "filter = \"msg.type == 'urn:orders#Order'\"",
        "filter = \"CustomerId != ''\"",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_their_code_within_a_second_and_harm_nobody_on_sqlite() {
    hostile_requests(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_get_their_code_within_a_second_and_harm_nobody_on_postgres() {
    hostile_requests(Store::Postgres).await;
}

async fn hostile_requests(store: Store) {
    let (folder, files) = hostile();
    let site = Site::new(store, 1, &four_locations, &[]).await;
    assert_eq!(site.order("before").await.status, 202);
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 4);
    plan.rest = Some(Duration::from_millis(5));
    let load = Load::start(plan);
    load.wait_accepted(20, Duration::from_secs(20)).await;
    let rss = site.gateway().process.rss();
    let mut wrong = Vec::new();
    for (name, expected) in &files {
        let body = Bytes::from(fs::read(folder.join(name)).expect("a hostile file"));
        let path = if expected.format == "xml" {
            "/in/orders"
        } else {
            "/in/json"
        };
        let watch = Stopwatch::start();
        let key = format!("\"{name}\"");
        let headers = [("idempotency-key", key.as_str())];
        let reply = quayside_harness::client::once(
            site.gateway().http,
            request(
                "POST",
                site.gateway().http,
                path,
                &[("content-type", &expected.content_type), headers[0]],
                body,
            ),
            Duration::from_secs(10),
        )
        .await
        .unwrap_or_else(|e| panic!("{name}: {e}"));
        let fine = reply.status.is_client_error()
            && reply.code() == expected.code
            && reply.header("content-type") == "application/problem+json"
            && watch.elapsed() < Duration::from_secs(1);
        if !fine {
            let took = watch.elapsed();
            wrong.push(format!(
                "{name}: {} {} in {took:?}",
                reply.status,
                reply.text()
            ));
        }
    }
    let grown = site.gateway().process.peak_rss().saturating_sub(rss);
    load.wait_accepted(20, Duration::from_secs(20)).await;
    let report = load.finish().await;
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        files.len(),
        wrong.join("\n")
    );
    assert!(grown < GROWTH, "{} MiB more than before", grown / MIB);
    assert!(
        report.slowest() < Duration::from_secs(1),
        "beside it: {:?}",
        report.slowest()
    );
    site.gateway().drained(Duration::from_secs(20)).await;
    let verdict = judge(&report, &site.partner.log().await);
    assert!(verdict.exactly_once(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_suspended_with_their_code_on_sqlite() {
    hostile_files(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_files_are_suspended_with_their_code_on_postgres() {
    hostile_files(Store::Postgres).await;
}

async fn hostile_files(store: Store) {
    let (folder, files) = hostile();
    let site = Site::new(store, 1, &four_locations, &[]).await;
    assert_eq!(site.order("before").await.status, 202);
    let rss = site.gateway().process.rss();
    for (name, file) in &files {
        let drop = site.nodes[0]
            .data_dir()
            .join(format!("{}-drop", file.format));
        // Aside and renamed, as every writer must who wants no look at half a file.
        fs::copy(folder.join(name), drop.join(".part")).expect("copying a file");
        fs::rename(drop.join(".part"), drop.join(name)).expect("dropping a file");
    }
    let suspended = wait_for(
        "every file to be suspended",
        Duration::from_secs(60),
        async || {
            let found = suspended_files(&site).await?;
            if found.len() == files.len() {
                Ok(found)
            } else {
                Err(format!("{} are", found.len()))
            }
        },
    )
    .await;
    let wrong: Vec<_> = files
        .iter()
        .filter(|(name, file)| suspended.get(*name) != Some(&file.code))
        .collect();
    let told = |(name, file): &(&String, &Hostile)| {
        format!("{name}: {:?}, not {}", suspended.get(*name), file.code)
    };
    let text: Vec<_> = wrong.iter().map(told).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        files.len(),
        text.join("\n")
    );
    let grown = site.gateway().process.peak_rss().saturating_sub(rss);
    assert!(grown < GROWTH, "{} MiB more than before", grown / MIB);
    assert_eq!(site.order("after").await.status, 202);
    site.partner
        .wait_for_ids(&["before", "after"], Duration::from_secs(20))
        .await;
}

/// The codes of suspended messages by the name of their file.
async fn suspended_files(site: &Site) -> Result<BTreeMap<String, String>, String> {
    let list = site
        .gateway()
        .api("deliveries?state=suspended&limit=1000")
        .await?;
    let mut found = BTreeMap::new();
    for delivery in items(&list) {
        let id = delivery["id"]
            .as_str()
            .unwrap_or("")
            .split('.')
            .next()
            .unwrap_or("")
            .to_owned();
        let way = site.gateway().way(&id).await?;
        let name = &way["context"]["file.name"]["v"]["text"];
        let code = delivery["failure"]["code"].as_str().unwrap_or("");
        found.insert(name.as_str().unwrap_or("").to_owned(), code.to_owned());
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let site = Site::start(Store::Sqlite).await;
    let addr = site.gateway().http;
    for expect in ["", "expect: 100-continue\r\n"] {
        let mut stream = TcpStream::connect(addr).await.expect("connecting");
        let head = format!(
            "POST /in/orders HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/xml\r\n\
             idempotency-key: \"big\"\r\ncontent-length: 1099511627776\r\n{expect}\r\n"
        );
        stream
            .write_all(head.as_bytes())
            .await
            .expect("writing the head");
        // Not one byte of the body is sent, and still the answer comes.
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(2), read).await;
        let read = read.expect("an answer in time").expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 413"), "{expect:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong() {
    let site = Site::start(Store::Sqlite).await;
    let addr = site.gateway().http;
    let order = || order_xml("wrong", "k", 300);
    let key = ("idempotency-key", "\"wrong\"");
    for (path, headers, body, status, code) in [
        ("/in/nowhere", vec![key], order(), 404, "QS0401"),
        (
            "/in/orders",
            vec![("idempotency-key", "\"unclosed")],
            order(),
            400,
            "QS0409",
        ),
        (
            "/in/orders",
            vec![key, ("content-encoding", "br")],
            order(),
            415,
            "QS0406",
        ),
        (
            "/in/orders",
            vec![key, ("content-encoding", "gzip")],
            order(),
            400,
            "QS0415",
        ),
        (
            "/in/orders",
            vec![key, ("content-digest", "sha-256=:AAAA:")],
            order(),
            400,
            "QS0411",
        ),
        ("/in/orders", vec![key], Bytes::new(), 400, "QS0408"),
        (
            "/in/orders",
            vec![key],
            order_xml("wrong", "k", 11 << 20),
            413,
            "QS0407",
        ),
    ] {
        let reply = post_with(addr, path, &headers, body).await;
        let reply = reply.unwrap_or_else(|e| panic!("{path} {headers:?}: {e}"));
        let seen = (reply.status.as_u16(), reply.code());
        assert_eq!(
            seen,
            (status, code.to_owned()),
            "{path} {headers:?}: {}",
            reply.text()
        );
    }
    let get = request("GET", addr, "/in/orders", &[], Bytes::new());
    let reply = quayside_harness::client::once(addr, get, Duration::from_secs(5)).await;
    let reply = reply.expect("an answer");
    assert_eq!(
        (reply.status.as_u16(), reply.header("allow")),
        (405, "POST")
    );
    assert_eq!(site.order("right").await.status, 202);
}
