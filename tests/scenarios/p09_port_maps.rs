//! P9: maps at receive and send ports. The first map for the type of a message is applied; what cannot be mapped is told or kept
//! in the form in which it came, and can be taken in again when the map is repaired.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use quayside_harness::{
    client::{self, Reply},
    order_xml, wait_for,
};
use quayside_tests::{Site, Store, post_with};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Orders become parcels; those whose id has `bad` are refused by the stylesheet itself, and those with `odd` have no weight.
const PARCEL: &str = r#"<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:o="urn:orders" exclude-result-prefixes="o">
<xsl:include href="common/note.xsl"/>
<xsl:template match="/o:Order">
  <xsl:if test="contains(o:Id, 'bad')"><xsl:message terminate="yes">no such region</xsl:message></xsl:if>
  <Parcel xmlns="urn:parcels">
    <Id><xsl:value-of select="o:Id"/></Id>
    <Country><xsl:value-of select="document('common/countries.xml')/countries/country[@code = 'AT']"/></Country>
    <xsl:if test="not(contains(o:Id, 'odd'))"><Weight>7</Weight></xsl:if>
    <xsl:call-template name="note"/>
  </Parcel>
</xsl:template>
</xsl:stylesheet>"#;

const NOTE: &str = r#"<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:o="urn:orders" exclude-result-prefixes="o">
<xsl:template name="note"><Note xmlns="urn:parcels"><xsl:value-of select="o:Note"/></Note></xsl:template>
</xsl:stylesheet>"#;

const SLIP: &str = r#"
[source.parcel]
format = "xml"
namespaces = { p = "urn:parcels" }
[target]
format = "json"
[to]
"$.no" = "/p:Parcel/p:Id"
"$.weight" = { xpath = "/p:Parcel/p:Weight", type = "number", required = true }
"#;

const APP: &str = r#"[app]
name = "t"
[message.order]
type = "urn:orders#Order"
[message.order.promote]
OrderId = { xpath = "/*[local-name()='Order']/*[local-name()='Id']" }
[message.parcel]
type = "urn:parcels#Parcel"
[message.parcel.promote]
Country = { xpath = "/*[local-name()='Parcel']/*[local-name()='Country']" }
[message.other]
type = "urn:other#Other"
[message.slip]
type = "slip"
[map.parcel]
xslt = "maps/parcel.xsl"
from = "order"
to = "parcel"
[map.slip]
file = "maps/slip.toml"
from = "parcel"
to = "slip"
[receive.web]
message = ["order", "other"]
maps = ["parcel"]
[receive.web.location.in.http]
path = "/in"
max_body = "20 MiB"
[receive.drop]
message = "order"
maps = "parcel"
[receive.drop.location.in.file]
folder = "drop"
create = true
poll = "50ms"
stable_for = "0s"
[receive.each]
message = "order"
maps = "parcel"
[receive.each.location.in.http]
path = "/each"
[receive.each.pipeline.split]
format = "xml"
path = "/Batch/o:Order"
namespaces = { o = "urn:orders" }
batch = "per-message"
[receive.all]
message = "order"
maps = "parcel"
[receive.all.location.in.http]
path = "/all"
[receive.all.pipeline.split]
format = "xml"
path = "/Batch/o:Order"
namespaces = { o = "urn:orders" }
batch = "all"
[send.parcels]
filter = "msg.type == 'urn:parcels#Parcel' && Country == 'Austria'"
primary.file = { folder = "parcels", create = true, file_name = "{OrderId}" }
[send.slips]
filter = "msg.type == 'urn:parcels#Parcel'"
maps = ["slip"]
primary.file = { folder = "slips", create = true, file_name = "{OrderId}" }
[send.others]
filter = "msg.type == 'urn:other#Other'"
maps = ["slip"]
primary.file = { folder = "others", create = true, file_name = "{msg.id}" }
"#;

fn files(folder: &Path) {
    fs::create_dir_all(folder.join("maps/common")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
    write("maps/parcel.xsl", PARCEL);
    write("maps/common/note.xsl", NOTE);
    let countries = "<countries><country code='AT'>Austria</country></countries>";
    write("maps/common/countries.xml", countries);
    write("maps/slip.toml", SLIP);
}

async fn site() -> Site {
    let app = |_| APP.to_owned();
    Site::prepared(Store::Sqlite, 1, &app, &files, &|node| node).await
}

async fn post(site: &Site, body: impl Into<bytes::Bytes>) -> Reply {
    let reply = post_with(site.servers()[0], "/in", &[], body.into()).await;
    reply.unwrap_or_else(|broken| panic!("{broken}"))
}

/// What lies in a folder of the node, by its names.
fn folder(site: &Site, name: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(site.nodes[0].data_dir().join(name))
        .into_iter()
        .flatten()
        .flatten();
    let read = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let name = entry.file_name().into_string().ok()?;
        (!name.starts_with('.')).then_some((name, text))
    });
    read.collect()
}

async fn has(site: &Site, name: &str, file: &str) -> String {
    let what = format!("{file} in {name}");
    wait_for(&what, PATIENCE, async || {
        let there = folder(site, name);
        there
            .get(file)
            .cloned()
            .ok_or_else(|| format!("{:?}", there.keys()))
    })
    .await
}

/// The suspended deliveries of a port or location.
async fn suspended(site: &Site, port: &str) -> Result<Vec<Value>, String> {
    let told = site.gateway().api("deliveries?state=suspended").await?;
    let all = quayside_harness::items(&told).iter();
    Ok(all.filter(|one| one["port"] == port).cloned().collect())
}

async fn fails(site: &Site, port: &str, code: &str) -> Value {
    wait_for(&format!("{code} at {port}"), PATIENCE, async || {
        let suspended = suspended(site, port).await?;
        let found = suspended.iter().find(|one| one.to_string().contains(code));
        found.cloned().ok_or_else(|| format!("{suspended:#?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_mapped_where_they_come_in_and_where_they_go_out() {
    let site = site().await;
    let reply = post(&site, order_xml("1", "k", 300)).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let parcel = has(&site, "parcels", "bid:1").await;
    assert!(
        parcel.contains("<Id>bid:1</Id><Country>Austria</Country><Weight>7</Weight>"),
        "{parcel}"
    );
    assert_eq!(
        has(&site, "slips", "bid:1").await,
        r#"{"no":"bid:1","weight":7}"#
    );
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    let message = site
        .gateway()
        .api(&format!("messages/{id}"))
        .await
        .expect("it is there");
    assert!(
        message.to_string().contains("urn:parcels#Parcel"),
        "{message:#}"
    );

    // What no map takes stays as it is.
    let other = "<Other xmlns='urn:other'/>";
    let reply = post(&site, other).await;
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(has(&site, "others", &id).await, other);

    // A large one lies in the store in chunks, before and after.
    let reply = post(&site, order_xml("large", "k", 2_000_000)).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let parcel = has(&site, "parcels", "bid:large").await;
    assert!(
        parcel.len() > 1_999_000 && parcel.ends_with("</Parcel>\n"),
        "{} bytes",
        parcel.len()
    );
    assert_eq!(
        has(&site, "slips", "bid:large").await,
        r#"{"no":"bid:large","weight":7}"#
    );
    let reply = post(&site, order_xml("larger", "k", 5_000_000)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (422, "QS0251"),
        "{}",
        reply.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mapped_is_told_or_kept_as_it_came() {
    let site = site().await;
    let reply = post(&site, order_xml("bad-1", "k", 300)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (422, "QS0844"),
        "{}",
        reply.text()
    );
    assert!(
        reply.text().contains("no such region") && reply.text().contains("t.parcel"),
        "{}",
        reply.text()
    );

    // Nobody waits for what comes from a folder: it is kept.
    let drop = site.nodes[0].data_dir().join("drop");
    let body = order_xml("bad-2", "k", 300);
    fs::write(drop.join("two.xml"), &body).expect("written");
    let kept = fails(&site, "t.drop.in", "QS0844").await;
    let delivery = kept["id"].as_str().expect("an id").to_owned();
    let message = delivery.split('.').next().expect("an id");
    let text = site
        .gateway()
        .api(&format!("messages/{message}"))
        .await
        .expect("it is there")
        .to_string();
    assert!(text.contains("urn:orders#Order"), "{text}");

    // What cannot be mapped at a send port fails there alone.
    let reply = post(&site, order_xml("odd-3", "k", 300)).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    fails(&site, "t.slips", "QS0252").await;
    has(&site, "parcels", "bid:odd-3").await;

    // The map is repaired, and the kept message is taken in again.
    let mended = PARCEL.replace("'bad'", "'worse'");
    fs::write(site.app.path().join("maps/parcel.xsl"), mended).expect("written");
    site.gateway().process.signal(Signal::HUP);
    wait_for("the repaired map", PATIENCE, async || {
        let reply = post(&site, order_xml("bad-4", "k", 300)).await;
        match reply.status.as_u16() {
            202 => Ok(()),
            _ => Err(reply.text()),
        }
    })
    .await;
    let ids = json!({ "ids": [delivery], "reason": "the map is repaired" });
    site.gateway()
        .post("deliveries/resume", &ids)
        .await
        .expect("resumed");
    has(&site, "slips", "bid:bad-2").await;
}

/// A partner is asked, whose receipt becomes a confirmation on its way into the store and a page on its way to the sender.
fn asking(partner: SocketAddr) -> String {
    format!(
        r#"[app]
name = "t"
[message.order]
type = "urn:orders#Order"
[message.receipt]
type = "urn:stock#Receipt"
[message.confirmation]
type = "urn:orders#Confirmation"
[map.confirm]
file = "maps/confirm.toml"
from = "receipt"
to = "confirmation"
[map.page]
file = "maps/page.toml"
from = "confirmation"
[receive.web]
message = "order"
answer_within = "20s"
answer_maps = "page"
[receive.web.location.in.http]
path = "/in"
[send.stock]
filter = "msg.type == 'urn:orders#Order'"
answers = true
answer_maps = "confirm"
primary.http = {{ url = "http://{partner}/stock" }}
backup.http = {{ url = "http://{partner}/other" }}
"#
    )
}

const CONFIRM: &str = r#"
[source.receipt]
format = "xml"
namespaces = { s = "urn:stock" }
[target]
format = "xml"
namespace = "urn:orders"
[to]
"/Confirmation/No" = { xpath = "/s:Receipt/s:No", required = true }
"#;

const PAGE: &str = r#"
[source.confirmation]
format = "xml"
namespaces = { o = "urn:orders" }
[target]
format = "json"
[to]
"$.confirmed" = "/o:Confirmation/o:No"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_mapped_where_they_come_in_and_where_they_go_out() {
    let files = |folder: &Path| {
        fs::create_dir_all(folder.join("maps")).expect("a folder");
        fs::write(folder.join("maps/confirm.toml"), CONFIRM).expect("written");
        fs::write(folder.join("maps/page.toml"), PAGE).expect("written");
    };
    let site = Site::prepared(Store::Sqlite, 1, &asking, &files, &|node| node).await;
    let partner_says = async |status: u16, body: &'static str| {
        let addr = site.partner.addr();
        let path = format!("/_control/reply?status={status}");
        let headers = [("content-type", "application/xml")];
        let request = client::request("PUT", addr, &path, &headers, body.into());
        let reply = client::once(addr, request, PATIENCE).await;
        assert!(reply.expect("the partner").status.is_success());
    };
    let ask = async |key: &str| {
        let headers = [("idempotency-key", key)];
        let body = order_xml("1", "k", 300);
        let reply = post_with(site.servers()[0], "/in", &headers, body).await;
        reply.unwrap_or_else(|broken| panic!("{broken}"))
    };
    partner_says(200, "<Receipt xmlns='urn:stock'><No>7</No></Receipt>").await;
    let reply = ask("\"a\"").await;
    assert_eq!(
        (reply.status.as_u16(), reply.text().as_str()),
        (200, r#"{"confirmed":"7"}"#)
    );

    // An answer that no map takes is the sender's as it came.
    partner_says(200, "<Other/>").await;
    assert_eq!(ask("\"b\"").await.text(), "<Other/>");

    // One that cannot be mapped is for an operator, and no other partner gets the message.
    partner_says(200, "<Receipt xmlns='urn:stock'/>").await;
    let reply = ask("\"c\"").await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (502, "QS0820"),
        "{}",
        reply.text()
    );
    let kept = fails(&site, "t.stock", "QS0252").await;
    let log = site.partner.log().await;
    assert!(log.iter().all(|seen| seen.path == "/stock"), "{log:?}");

    // The partner is right again: it is asked under the same key, and the same question has its answer.
    partner_says(200, "<Receipt xmlns='urn:stock'><No>8</No></Receipt>").await;
    let ids = json!({ "ids": [kept["id"]], "reason": "the partner is right again" });
    let resumed = site.gateway().post("deliveries/resume", &ids).await;
    resumed.expect("resumed");
    wait_for("the answer", PATIENCE, async || {
        let reply = ask("\"c\"").await;
        match reply.text().as_str() {
            r#"{"confirmed":"8"}"# => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let log = site.partner.log().await;
    let keys: Vec<&str> = log[2..].iter().map(|seen| seen.key.as_str()).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

/// A batch of orders with these ids.
fn batch(ids: &[&str]) -> String {
    let order = |id: &&str| format!("<Order xmlns='urn:orders'><Id>bid:{id}</Id></Order>");
    let orders: String = ids.iter().map(order).collect();
    format!("<Batch>{orders}</Batch>")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_batch_are_mapped_one_by_one() {
    let site = site().await;
    let send = async |path: &str, ids: &[&str]| {
        let reply = post_with(site.servers()[0], path, &[], batch(ids).into()).await;
        reply.unwrap_or_else(|broken| panic!("{broken}"))
    };
    let reply = send("/each", &["e1", "bad-e2", "e3"]).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    for id in ["e1", "e3"] {
        let slip = has(&site, "slips", &format!("bid:{id}")).await;
        assert_eq!(slip, format!(r#"{{"no":"bid:{id}","weight":7}}"#));
    }
    let kept = fails(&site, "t.each.in", "QS0844").await;
    assert!(kept.to_string().contains("record 2"), "{kept:#}");

    // Of a batch that goes as a whole nothing is there once a record cannot be mapped.
    let reply = send("/all", &["a1", "bad-a2"]).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code().as_str()),
        (422, "QS0844"),
        "{}",
        reply.text()
    );
    let reply = send("/all", &["a3", "a4"]).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    for id in ["a3", "a4"] {
        has(&site, "parcels", &format!("bid:{id}")).await;
    }
    let parcels = folder(&site, "parcels");
    assert!(!parcels.contains_key("bid:a1"), "{:?}", parcels.keys());
}
