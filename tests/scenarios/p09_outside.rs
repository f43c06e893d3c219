//! P9: maps in processes of their own. A stylesheet that never ends, takes all memory or writes without end comes to a coded
//! error within a bounded time, and other traffic is not harmed: neither what is not mapped nor what another map makes.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use quayside_harness::{Effects, Node, Stopwatch, client, effects, items, order_xml, wait_for};
use quayside_tests::{Site, Store, note, post_with};
use rustix::process::Pid;
use serde_json::Value;

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one document may take in a map, here.
const TIMEOUT: &str = "1500ms";
/// How much memory a process may have, in MiB.
const MEMORY: u64 = 128;
/// How many of them work at once.
const PROCESSES: usize = 4;
/// How many wait at most.
const SPARES: usize = 4;

/// What a stylesheet does with an order by the beginning of its id: hang, eat all memory, write without end; any other becomes a
/// parcel.
const HOSTILE: &str = r#"<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:o="urn:orders" exclude-result-prefixes="o">
<xsl:template match="/">
  <xsl:variable name="id" select="/o:Order/o:Id"/>
  <xsl:choose>
    <xsl:when test="contains($id, 'hang')"><xsl:call-template name="twice"><xsl:with-param name="n" select="90"/></xsl:call-template></xsl:when>
    <xsl:when test="contains($id, 'eat')"><xsl:call-template name="double"><xsl:with-param name="n" select="60"/><xsl:with-param name="s" select="$id"/></xsl:call-template></xsl:when>
    <xsl:when test="contains($id, 'flood')"><flood><xsl:call-template name="write"><xsl:with-param name="n" select="18"/></xsl:call-template></flood></xsl:when>
    <xsl:otherwise><Parcel xmlns="urn:parcels"><Id><xsl:value-of select="$id"/></Id></Parcel></xsl:otherwise>
  </xsl:choose>
</xsl:template>
<xsl:template name="twice"><xsl:param name="n"/>
  <xsl:if test="$n &gt; 0">
    <xsl:call-template name="twice"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
    <xsl:call-template name="twice"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
  </xsl:if>
</xsl:template>
<xsl:template name="double"><xsl:param name="n"/><xsl:param name="s"/>
  <xsl:if test="$n &gt; 0">
    <xsl:call-template name="double"><xsl:with-param name="n" select="$n - 1"/><xsl:with-param name="s" select="concat($s, $s)"/></xsl:call-template>
  </xsl:if><xsl:value-of select="$s"/>
</xsl:template>
<xsl:template name="write"><xsl:param name="n"/>
  <xsl:if test="$n &gt; 0">
    <xsl:call-template name="write"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
    <xsl:call-template name="write"><xsl:with-param name="n" select="$n - 1"/></xsl:call-template>
  </xsl:if>and on and on</xsl:template>
</xsl:stylesheet>"#;

const GOOD: &str = r#"<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:o="urn:orders" exclude-result-prefixes="o">
<xsl:param name="region"/>
<xsl:template match="/"><Parcel xmlns="urn:parcels"><Id><xsl:value-of select="/o:Order/o:Id"/></Id><Region><xsl:value-of select="$region"/></Region></Parcel></xsl:template>
</xsl:stylesheet>"#;

fn orchestration(map: &str, with: &str) -> String {
    format!(
        "about: Makes parcels of orders.\nmessages:\n  order: {map}-order\n  parcel: parcel\nsteps:\n\
         \x20 - receive: order\n    activate: true\n\
         \x20 - transform: {map}\n    from: order\n    to: parcel\n{with}\
         \x20 - send: parcel\n    to: {map}\n"
    )
}

/// Orders of three kinds come in by three paths: one passes, two are mapped.
fn app(partner: SocketAddr) -> String {
    let mut app =
        "[app]\nname = \"t\"\n[message.parcel]\ntype = \"urn:parcels#Parcel\"\n".to_owned();
    for map in ["hostile", "good"] {
        app.push_str(&format!(
            "[message.{map}-order]\ntype = \"urn:{map}#Order\"\n[map.{map}]\nxslt = \"maps/{map}.xsl\"\nfrom = \"{map}-order\"\nto = \"parcel\"\n"
        ));
    }
    app.push_str("[message.plain-order]\ntype = \"urn:plain#Order\"\n");
    for name in ["hostile", "good", "plain"] {
        let filter = match name {
            "plain" => "filter = \"msg.type == 'urn:plain#Order'\"\n",
            _ => "",
        };
        app.push_str(&format!(
            "[receive.{name}]\nmessage = \"{name}-order\"\n[receive.{name}.location.web.http]\npath = \"/in/{name}\"\n\
             [send.{name}]\n{filter}retry = {{ attempts = 100, first = \"50ms\", max = \"500ms\" }}\n\
             [send.{name}.primary.http]\nurl = \"http://{partner}/{name}\"\n"
        ));
    }
    app
}

fn files(folder: &Path) {
    fs::create_dir_all(folder.join("maps")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
    write(
        "maps/hostile.xsl",
        &HOSTILE.replace("urn:orders", "urn:hostile"),
    );
    write("maps/good.xsl", &GOOD.replace("urn:orders", "urn:good"));
    write(
        "make-hostile.orchestration.yaml",
        &orchestration("hostile", ""),
    );
    let with = "    with: { region: \"'north'\" }\n";
    write("make-good.orchestration.yaml", &orchestration("good", with));
}

async fn site() -> Site {
    let limits = format!(
        "[maps]\ntimeout = \"{TIMEOUT}\"\nmemory = \"{MEMORY} MiB\"\nprocesses = {PROCESSES}\nspares = {SPARES}\n"
    );
    let made = |node: Node| node.with_config(&limits);
    Site::prepared(Store::Sqlite, 1, &app, &files, &made).await
}

async fn hand_in(site: &Site, name: &str, id: &str) {
    let text = String::from_utf8(order_xml(id, "k", 300).to_vec()).expect("UTF-8");
    let body = text.replace("urn:orders", &format!("urn:{name}")).into();
    let reply = post_with(site.servers()[0], &format!("/in/{name}"), &[], body).await;
    let reply = reply.unwrap_or_else(|broken| panic!("{name} {id}: {broken}"));
    assert_eq!(reply.status, 202, "{name} {id}: {}", reply.text());
}

async fn at(site: &Site, name: &str) -> BTreeMap<String, Effects> {
    let log = site.partner.log().await;
    let there: Vec<_> = log
        .into_iter()
        .filter(|seen| seen.path == format!("/{name}"))
        .collect();
    effects(&there)
}

async fn arrived(site: &Site, name: &str, id: &str) {
    wait_for(
        &format!("{name} {id} to arrive"),
        PATIENCE,
        async || match at(site, name).await.get(id) {
            Some(effects) if effects.effects == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}

/// Every suspended instance, as it is told of.
async fn suspended(site: &Site) -> Result<Vec<Value>, String> {
    let told = site
        .gateway()
        .api("orchestrations/instances?state=suspended&limit=200")
        .await?;
    Ok(items(&told).to_vec())
}

/// The processes of maps, and the memory that the largest of them has, in KiB of address space.
fn processes(site: &Site) -> (usize, u64) {
    let all = site.gateway().family().into_iter().map(Pid::as_raw_pid);
    let maps = all.filter(|pid| {
        let args = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        args.is_ok_and(|args| args.starts_with("xsltproc"))
    });
    let sizes = maps.map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
        let size = size.and_then(|size| size.split_whitespace().next()?.parse().ok());
        size.unwrap_or(0)
    });
    sizes.fold((0, 0), |(count, most), size| (count + 1, most.max(size)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_never_ends_harms_nobody_else() {
    let mut site = site().await;
    hand_in(&site, "hostile", "tame").await;
    arrived(&site, "hostile", "tame").await;
    let hostile = 16;
    let ids: Vec<String> = (0..hostile).map(|no| format!("hang-{no}")).collect();
    join_all(ids.iter().map(|id| hand_in(&site, "hostile", id))).await;
    wait_for(
        "the first ones to hang",
        PATIENCE,
        async || match processes(&site) {
            (0, _) => Err("nothing runs".to_owned()),
            _ => Ok(()),
        },
    )
    .await;

    // Others go on, each in a moment, while these hang two at a time.
    let done = AtomicBool::new(false);
    let watch = async {
        let (mut count, mut memory) = (0, 0);
        while !done.load(Ordering::SeqCst) {
            let (now, size) = processes(&site);
            (count, memory) = (now.max(count), size.max(memory));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (count, memory)
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for no in 0..5 {
            for name in ["plain", "good"] {
                let (watch, id) = (Stopwatch::start(), format!("{name}-{no}"));
                hand_in(&site, name, &id).await;
                arrived(&site, name, &id).await;
                slowest = slowest.max(watch.elapsed());
            }
        }
        let failed = suspended(&site).await.expect("instances").len();
        done.store(true, Ordering::SeqCst);
        (slowest, failed)
    };
    let ((slowest, failed), (count, memory)) = tokio::join!(others, watch);
    note(&format!(
        "while {} of {hostile} hung, 10 others took {slowest:?} each at most; {count} processes at once, the largest of {} MiB",
        hostile - failed,
        memory / 1024
    ));
    assert!(failed < hostile, "they did not hang for so long");
    assert!(
        slowest < Duration::from_secs(5),
        "others waited for those that hang"
    );
    assert!(count <= PROCESSES + SPARES, "{count} processes");
    assert!(memory <= MEMORY * 1024, "a process of {memory} KiB");

    wait_for("each of them to fail", PATIENCE, async || {
        let suspended = suspended(&site).await?;
        match suspended.len() == hostile {
            true => Ok(()),
            false => Err(format!("{} have failed", suspended.len())),
        }
    })
    .await;
    for instance in suspended(&site).await.expect("instances") {
        assert!(instance.to_string().contains("QS0841"), "{instance:#}");
    }
    let code = site.gateways[0].stop(PATIENCE).await;
    assert_eq!(code, Some(0));
    assert_eq!(processes(&site).0, 0, "a process of a map is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_takes_all_memory_or_writes_without_end_comes_to_a_code() {
    let site = site().await;
    for (id, code) in [("eat-1", "QS0842"), ("flood-1", "QS0843")] {
        let before = suspended(&site).await.expect("instances").len();
        hand_in(&site, "hostile", id).await;
        let what = format!("{id} to fail");
        let failed = wait_for(&what, PATIENCE, async || {
            let suspended = suspended(&site).await?;
            let fresh = suspended.len() > before
                && suspended.iter().any(|one| one.to_string().contains(code));
            if fresh {
                Ok(())
            } else {
                Err(format!("{suspended:#?}"))
            }
        });
        failed.await;
    }
    hand_in(&site, "hostile", "tame").await;
    arrived(&site, "hostile", "tame").await;
    hand_in(&site, "good", "1").await;
    arrived(&site, "good", "1").await;
}

/// What a program of jq does by the beginning of an id; any other becomes a slip.
const JQ: &str = r#"
if .id | startswith("hang") then (def f: f; f)
elif .id | startswith("eat") then [range(1e12)]
elif .id | startswith("deep") then (def f: 1 + f; f)
elif .id | startswith("flood") then [range(30000) | "and on and on " * 100]
elif .id | startswith("two") then 1, 2
else { no: .id, amount: .amount } end
"#;

const JQ_APP: &str = r#"[app]
name = "t"
[message.order]
type = "order"
[message.order.promote]
Id = { jsonpath = "$.id" }
[message.slip]
type = "slip"
[message.slip.promote]
No = { jsonpath = "$.no" }
[map.slip]
jq = "maps/slip.jq"
from = "order"
to = "slip"
[receive.web]
message = "order"
maps = "slip"
[receive.web.location.in.http]
path = "/in"
[send.slips]
filter = "msg.type == 'slip'"
primary.file = { folder = "slips", create = true, file_name = "{No}" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_jq_is_bounded_as_a_stylesheet_is() {
    let limits = format!(
        "[maps]\ntimeout = \"{TIMEOUT}\"\nmax_output = \"8 MiB\"\nprocesses = {PROCESSES}\n"
    );
    let made = |node: Node| node.with_config(&limits);
    let files = |folder: &Path| {
        fs::create_dir_all(folder.join("maps")).expect("a folder");
        fs::write(folder.join("maps/slip.jq"), JQ).expect("written");
    };
    let app = |_| JQ_APP.to_owned();
    let site = Site::prepared(Store::Sqlite, 1, &app, &files, &made).await;
    let post = async |id: &str| {
        let body = format!(r#"{{"id":"{id}","amount":12.50}}"#);
        let headers = [("content-type", "application/json")];
        let server = site.servers()[0];
        let request = client::request("POST", server, "/in", &headers, body.into());
        let reply = client::once(server, request, PATIENCE).await;
        reply.unwrap_or_else(|broken| panic!("{id}: {broken}"))
    };
    let passes = async |id: &str| {
        let reply = post(id).await;
        assert_eq!(reply.status, 202, "{id}: {}", reply.text());
        let file = site.nodes[0].data_dir().join("slips").join(id);
        let wanted = format!(r#"{{"no":"{id}","amount":12.50}}"#);
        wait_for(
            &format!("the slip {id}"),
            PATIENCE,
            async || match fs::read_to_string(&file) {
                Ok(text) if text == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
    };
    passes("tame").await;
    for (id, codes) in [
        ("hang", &["QS0841"][..]),
        ("eat", &["QS0842", "QS0841"]),
        ("deep", &["QS0844", "QS0842", "QS0841"]),
        ("flood", &["QS0843"]),
        ("two", &["QS0844"]),
    ] {
        let bad = async {
            let reply = post(id).await;
            let code = reply.code();
            assert_eq!(reply.status, 422, "{id}: {}", reply.text());
            assert!(codes.contains(&code.as_str()), "{id}: {}", reply.text());
            note(&format!("{id}: {}", reply.text()));
        };
        // Another one goes through beside it.
        let beside = format!("beside-{id}");
        tokio::join!(bad, passes(&beside));
    }
}
