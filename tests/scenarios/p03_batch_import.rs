//! P3 and P2 for batches: of a file of records the good ones go on once each, the faulty ones wait for an operator,
//! and where one fault refuses all of them nothing of it goes on.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use quayside_harness::{App, Gateway, Node, Partner, client, effects, items, wait_for};
use quayside_tests::note;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(240);

const APP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../fixtures/apps/batch-import/app.toml"
);

/// How many payments the file has.
const LINES: usize = 10_000;

/// Which of them cannot be read.
const FAULTY: [usize; 7] = [1, 2, 257, 4_999, 5_000, 9_999, 10_000];

/// How much the file, or a hostile one, may add to the memory of the process.
const GROWTH: u64 = 96 * 1024 * 1024;

/// The fixture with this partner, looking at its folder often.
fn app(partner: SocketAddr) -> App {
    let text = fs::read_to_string(APP).expect("the fixture");
    let text = text.replace("127.0.0.1:9471", &partner.to_string());
    let text = text.replace(
        "create = true\n",
        "create = true\npoll = \"50ms\"\nstable_for = \"0s\"\n",
    );
    assert_eq!(text.matches("stable_for").count(), 1, "{text}");
    App::new(&text)
}

fn file() -> String {
    let mut text = "H2026-11-30\n".to_owned();
    for number in 1..=LINES {
        let amount = if FAULTY.contains(&number) {
            "12.x".to_owned()
        } else {
            format!("{number:012}")
        };
        let account = format!("bid:{number}");
        text.push_str(&format!("D{number:08}{account:<22}{amount}\n"));
    }
    text.push_str(&format!("T{LINES:08}\n"));
    text
}

/// Aside and renamed, as every writer must who wants no look at half a file.
fn drop_file(inbox: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(inbox.join(".part"), content).expect("writing a file");
    fs::rename(inbox.join(".part"), inbox.join(name)).expect("dropping a file");
}

/// The suspended deliveries.
async fn suspended(gateway: &Gateway) -> Result<Vec<Value>, String> {
    let list = gateway.api("deliveries?state=suspended&limit=1000").await?;
    Ok(items(&list).to_vec())
}

/// Waits until nothing is under way: what is left of deliveries is suspended.
async fn at_rest(gateway: &Gateway) {
    wait_for("every delivery to end or wait", PATIENCE, async || {
        let list = gateway.api("deliveries?limit=1000").await?;
        let live = items(&list).iter();
        match live.filter(|one| one["state"] != "suspended").count() {
            0 => Ok(()),
            live => Err(format!("{live} are under way")),
        }
    })
    .await;
}

async fn id_of_message(delivery: &Value) -> String {
    let id = delivery["id"].as_str().expect("an id");
    id.split('.').next().expect("a message").to_owned()
}

/// What is left in the folder, taken files too.
fn left(inbox: &Path) -> Vec<String> {
    let entries = fs::read_dir(inbox).expect("the folder").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.collect()
}

async fn gone(inbox: &Path) {
    wait_for("the file to be gone", PATIENCE, async || {
        match left(inbox) {
            names if names.is_empty() => Ok(()),
            names => Err(format!("{names:?}")),
        }
    })
    .await;
}

/// Every good payment has arrived once, and every faulty one waits with its place.
async fn all_is_well(gateway: &Gateway, partner: &Partner, inbox: &Path) {
    let good: Vec<String> = (1..=LINES)
        .filter(|number| !FAULTY.contains(number))
        .map(|number| number.to_string())
        .collect();
    let ids: Vec<&str> = good.iter().map(String::as_str).collect();
    partner.wait_for_ids(&ids, PATIENCE).await;
    at_rest(gateway).await;
    gone(inbox).await;
    let found = effects(&partner.log().await);
    let odd: Vec<_> = found
        .iter()
        .filter(|(_, effects)| effects.effects != 1 || effects.keys.len() != 1)
        .take(5)
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!(found.len(), good.len(), "no faulty one is among them");
    let waiting = suspended(gateway).await.expect("a list");
    let mut places = Vec::new();
    for delivery in &waiting {
        let failure = &delivery["failure"];
        assert_eq!(failure["code"], "QS0277", "{delivery:#}");
        let way = gateway.way(&id_of_message(delivery).await).await;
        let way = way.expect("the way of a faulty record");
        let number = way["context"]["interchange.no"]["v"]["integer"].as_u64();
        let number = usize::try_from(number.expect("a number")).expect("a number");
        let detail = failure["detail"].as_str().unwrap_or_default();
        let place = format!("record {number}, line {}", number + 1);
        assert!(detail.starts_with(&place), "{place}: {detail}");
        places.push(number);
    }
    places.sort_unstable();
    assert_eq!(places, FAULTY);
}

#[tokio::test(flavor = "multi_thread")]
async fn good_lines_go_on_once_each_and_faulty_ones_wait() {
    let partner = Partner::start().await;
    let app = app(partner.addr());
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let inbox = node.data_dir().join("inbox");
    let before = gateway.process.rss();
    drop_file(&inbox, "payments.txt", file());
    all_is_well(&gateway, &partner, &inbox).await;
    let grown = gateway.process.peak_rss().saturating_sub(before);
    note(&format!("{LINES} lines, {} KiB of memory", grown / 1024));
    assert!(grown < GROWTH, "{grown} bytes more than before");
    // The batch is a message, too, which says what became of it.
    let waiting = suspended(&gateway).await.expect("a list");
    let way = gateway.way(&id_of_message(&waiting[0]).await).await;
    let way = way.expect("the way of a faulty record");
    let batch = way["context"]["interchange.id"]["v"]["text"].as_str();
    let batch = gateway.way(batch.expect("an id")).await.expect("the batch");
    assert_eq!(batch["live"], 0, "{batch:#}");
    let told = batch["legs"][0].to_string();
    assert!(
        told.contains("split into 10000 records, 7 of them faulty"),
        "{batch:#}"
    );
}

/// Drops the file into a gateway that is killed between two commits of its records, and starts `node` on what it
/// left.
async fn killed_in_the_middle(partner: &Partner, node: &Node, app: &App) -> (Gateway, PathBuf) {
    let held = Node::new("node-a", app.path())
        .with_data(node.data_dir())
        .with_env("QUAYSIDE_FAIL_POINTS", "hold-in-batch@20");
    let mut gateway = held.start().await;
    let inbox = node.data_dir().join("inbox");
    drop_file(&inbox, "payments.txt", file());
    wait_for("the batch to be held", PATIENCE, async || {
        let said = gateway.process.stderr();
        if said.contains("held between the records of a batch") {
            return Ok(());
        }
        Err(gateway.process.stderr_tail())
    })
    .await;
    gateway.kill9();
    let arrived = effects(&partner.log().await).len();
    assert!(arrived < LINES - FAULTY.len(), "it was over already");
    note(&format!("killed with {arrived} payments at the partner"));
    (node.start().await, inbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_batch_loses_no_line_and_doubles_none() {
    let partner = Partner::start().await;
    let app = app(partner.addr());
    let node = Node::new("node-a", app.path());
    let (gateway, inbox) = killed_in_the_middle(&partner, &node, &app).await;
    all_is_well(&gateway, &partner, &inbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_keys_of_records_the_same_kill_doubles_lines() {
    let partner = Partner::start().await;
    let app = app(partner.addr());
    let node = Node::new("node-a", app.path()).with_env("QUAYSIDE_FAIL_POINTS", "no-dedupe");
    let (gateway, inbox) = killed_in_the_middle(&partner, &node, &app).await;
    gone(&inbox).await;
    at_rest(&gateway).await;
    let found = effects(&partner.log().await);
    let twice = found.values().filter(|effects| effects.effects > 1).count();
    assert!(twice > 0, "nobody would notice");
}

/// A document that would be large if its entities were.
const ENTITIES: &[u8] =
    br#"<!DOCTYPE a [<!ENTITY x "xxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><a><b>&y;&y;</b></a>"#;

/// An application that takes batches over HTTP, as a whole or each record for itself.
fn over_http(partner: SocketAddr) -> App {
    let port = |name: &str, pipeline: &str| {
        format!(
            "[receive.{name}]\nmessage = \"item\"\ndedupe = {{ key = \"http.header.idempotency-key\" }}\n\
             pipeline = {pipeline}\n\
             [receive.{name}.location.web.http]\npath = \"/in/{name}\"\nmax_body = \"20 MiB\"\n"
        )
    };
    let json = |batch: &str| {
        format!(
            "{{ kind = \"json\", split = {{ format = \"json\", path = \"$.items\", batch = \"{batch}\", header.Sender.jsonpath = \"$.sender\" }} }}"
        )
    };
    App::new(&format!(
        "[app]\nname = \"t\"\n[message.item]\n[message.item.promote]\nItem = {{ jsonpath = \"$.id\", required = true }}\n\
         {}{}{}{}{}[send.out]\nfilter = \"Item != 'odd' && Sender == 's'\"\n\
         [send.out.primary.http]\nurl = \"http://{partner}/items\"\n",
        port("all", &json("all")),
        port("each", &json("per-message")),
        port(
            "lines",
            "{ kind = \"flat-file\", split = { format = \"csv\", names = true, max_record_bytes = 65536 } }"
        ),
        port(
            "xml",
            "{ kind = \"xml\", split = { format = \"xml\", path = \"/a/b\", batch = \"per-message\" } }"
        ),
        port(
            "zipped",
            "{ decode = { stages = [\"gzip\"] }, split = { format = \"json\", path = \"$.items\", header.Sender.jsonpath = \"$.sender\" } }"
        ),
    ))
}

async fn post(gateway: &Gateway, path: &str, key: &str, body: impl Into<Bytes>) -> client::Reply {
    let key = format!("\"{key}\"");
    let headers = [("idempotency-key", key.as_str())];
    let path = format!("/in/{path}");
    let request = client::request("POST", gateway.http, &path, &headers, body.into());
    let reply = client::once(gateway.http, request, Duration::from_secs(20)).await;
    reply.unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn batch(items: &[&str]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|id| format!("{{\"id\": \"{id}\"}}"))
        .collect();
    format!("{{\"sender\": \"s\", \"items\": [{}]}}", items.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_as_a_whole_or_record_by_record_and_a_repeat_is_none() {
    let partner = Partner::start().await;
    let app = over_http(partner.addr());
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;

    // One record that is no message refuses all of them, with its number.
    let reply = post(
        &gateway,
        "all",
        "a1",
        batch(&["bid:1", "bid:2"]).replace("\"id\": \"bid:2\"", "\"no\": 2"),
    )
    .await;
    assert!(reply.status.is_client_error(), "{}", reply.text());
    assert!(
        reply.text().contains("record 2, line 1: "),
        "{}",
        reply.text()
    );
    // So does one that nobody wants.
    let reply = post(&gateway, "all", "a2", batch(&["bid:1", "odd"])).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (422, "QS0801".to_owned())
    );
    // Whole, it is accepted once.
    for _ in 0..2 {
        let reply = post(&gateway, "all", "a3", batch(&["bid:1", "bid:2"])).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    // The same key for one record more is another batch.
    let reply = post(&gateway, "all", "a3", batch(&["bid:1", "bid:2", "bid:3"])).await;
    assert_eq!(reply.code(), "QS0802", "{}", reply.text());
    // A batch without records is accepted, and nobody gets anything.
    let reply = post(&gateway, "all", "a4", batch(&[])).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    at_rest(&gateway).await;
    let found = effects(&partner.log().await);
    let ids: Vec<&String> = found.keys().collect();
    assert_eq!(ids, ["1", "2"], "{found:?}");

    // Each for itself: the odd one waits, and a repeat brings nothing.
    for _ in 0..2 {
        let reply = post(&gateway, "each", "e1", batch(&["bid:11", "odd", "bid:12"])).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    partner.wait_for_ids(&["11", "12"], PATIENCE).await;
    at_rest(&gateway).await;
    let found = effects(&partner.log().await);
    assert!(found.values().all(|effects| effects.raw == 1), "{found:?}");
    let waiting = suspended(&gateway).await.expect("a list");
    assert_eq!(waiting.len(), 1, "{waiting:#?}");
    assert_eq!(waiting[0]["failure"]["code"], "QS0801", "{waiting:#?}");

    // What is broken as a whole is refused as a whole, though its first records are fine.
    let cut = batch(&["bid:21", "bid:22"]);
    let reply = post(&gateway, "each", "e2", cut[..cut.len() - 2].to_owned()).await;
    assert_eq!(reply.code(), "QS0212", "{}", reply.text());
    at_rest(&gateway).await;
    assert_eq!(
        effects(&partner.log().await).len(),
        4,
        "nothing of it went on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_batches_are_refused_with_their_code_in_little_memory() {
    let partner = Partner::start().await;
    let app = over_http(partner.addr());
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let before = gateway.process.rss();
    let bomb = {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![b' '; 1024 * 1024];
        for _ in 0..2_000 {
            gzip.write_all(&zeros).expect("in memory");
        }
        gzip.finish().expect("in memory")
    };
    let deep = format!("{{\"sender\": \"s\", \"items\": [{}", "[".repeat(10_000));
    let line = format!("Item\n{}", "x".repeat(16 * 1024 * 1024));
    for (path, body, code) in [
        ("zipped", Bytes::from(bomb), "QS0261"),
        ("each", Bytes::from(deep), "QS0206"),
        (
            "xml",
            Bytes::from(format!("<a>{}", "<b>".repeat(10_000))),
            "QS0206",
        ),
        ("xml", Bytes::from_static(ENTITIES), "QS0202"),
        ("lines", Bytes::from(line), "QS0272"),
        ("zipped", Bytes::from_static(b"no gzip"), "QS0260"),
    ] {
        let reply = post(&gateway, path, code, body).await;
        assert!(
            reply.status.is_client_error() && reply.code() == code,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
        // Other traffic goes on.
        let reply = post(&gateway, "all", &format!("after-{code}"), batch(&["bid:9"])).await;
        assert_eq!(reply.status, 202, "{}", reply.text());
    }
    let grown = gateway.process.peak_rss().saturating_sub(before);
    note(&format!(
        "{} KiB of memory for hostile batches",
        grown / 1024
    ));
    assert!(grown < GROWTH, "{grown} bytes more than before");
}

/// In memory and in chunks, before and after.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_decoded_and_what_leaves_is_encoded() {
    use std::io::{Read as _, Write as _};
    let app = App::new(
        "[app]\nname = \"t\"\n[receive.in]\npipeline = { kind = \"json\", decode = { stages = [\"gzip\"] } }\n\
         [receive.in.location.drop.file]\nfolder = \"in\"\ncreate = true\npoll = \"50ms\"\nstable_for = \"0s\"\n\
         [send.out]\nfilter = \"file.name != ''\"\npipeline = { encode = { stages = [\"gzip\", \"base64\"] } }\n\
         [send.out.primary.file]\nfolder = \"out\"\ncreate = true\nfile_name = \"{file.name}\"\n",
    );
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let (inbox, out) = (node.data_dir().join("in"), node.data_dir().join("out"));
    // Digits that do not compress well.
    let digits = |count: u64| {
        let next = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) % 10_000_000;
        (0..count)
            .map(|at| format!("{:07}", next(at)))
            .collect::<String>()
    };
    let bodies = [("small.gz", digits(20)), ("large.gz", digits(200_000))];
    for (name, digits) in &bodies {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        write!(gzip, "[\"{digits}\"]").expect("in memory");
        drop_file(&inbox, name, gzip.finish().expect("in memory"));
    }
    for (name, digits) in &bodies {
        let path = out.join(name);
        wait_for(name, PATIENCE, async || match path.exists() {
            true => Ok(()),
            false => Err(format!("{:?}", suspended(&gateway).await)),
        })
        .await;
        let armoured = fs::read_to_string(&path).expect("text");
        let spec = armoured.into_bytes();
        let decoded = unarmour(&spec);
        let mut text = String::new();
        let mut gzip = flate2::read::GzDecoder::new(&decoded[..]);
        gzip.read_to_string(&mut text).expect("gzip");
        assert!(text == format!("[\"{digits}\"]"), "{name} is another one");
    }
    // What is no JSON inside waits as it came.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"<a/>").expect("in memory");
    drop_file(&inbox, "odd.gz", gzip.finish().expect("in memory"));
    wait_for("the odd one to wait", PATIENCE, async || {
        match suspended(&gateway).await?.as_slice() {
            [one] if one["failure"]["code"] == "QS0217" => Ok(()),
            other => Err(format!("{other:#?}")),
        }
    })
    .await;
}

/// base64 with the standard alphabet.
fn unarmour(text: &[u8]) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no base64"),
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.chunks(4) {
        let filled = group.iter().filter(|byte| **byte != b'=').count();
        let bits = group.iter().fold(0_u32, |bits, &byte| {
            bits << 6 | u32::from(if byte == b'=' { 0 } else { value(byte) })
        });
        bytes.extend_from_slice(&bits.to_be_bytes()[1..filled]);
    }
    bytes
}
