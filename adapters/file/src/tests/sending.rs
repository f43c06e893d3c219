//! Files go out whole, once, and only where they may.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, Body, ErrorKind, Outbound, Sent, Transmit,
    model::{
        Clock, Content, Context, DeliveryId, Message, MessageId, Name, Part, SystemClock,
        SystemEntropy, Text,
    },
};
use serde_json::json;

use crate::{
    codes,
    testing::{Process, Store, names_in},
};

async fn port(block: Block) -> Arc<dyn Transmit> {
    let process = Process::new(&Arc::new(Store::default()), 1);
    let services = process.services(Arc::new(SystemClock));
    let name = Name::new("app.port").unwrap();
    process
        .adapter
        .open_send(&name, &block, services)
        .await
        .expect("the port opens")
}

async fn port_to(folder: &Path, overwrite: &str, file_name: &str) -> Arc<dyn Transmit> {
    port(json!({
        "folder": folder, "file_name": file_name, "overwrite": overwrite, "replaces": true,
        "subfolders": true,
    }))
    .await
}

fn outbound(file_name: &str, pieces: &[&str]) -> Outbound {
    let id = MessageId::new(SystemClock.now(), &SystemEntropy);
    let body: Bytes = pieces.concat().into();
    let pieces: Vec<Bytes> = pieces
        .iter()
        .map(|piece| Bytes::copy_from_slice(piece.as_bytes()))
        .collect();
    let message = Message {
        id,
        received_at: SystemClock.now(),
        origin: Text::lossy("app/port/location"),
        message_type: None,
        context: Context::new(),
        parts: vec![Part {
            name: Name::new("body").unwrap(),
            content_type: None,
            content: Content::Inline(body),
        }],
    };
    Outbound {
        delivery: DeliveryId { message: id, no: 0 },
        message: Arc::new(message),
        open: Arc::new(move || -> Body {
            Box::pin(stream::iter(pieces.clone().into_iter().map(Ok)))
        }),
        rendered: BTreeMap::from([("file_name".to_owned(), Text::lossy(file_name))]),
        in_doubt: false,
        answer_wanted: false,
        epoch: None,
        guard: Arc::new(|| true),
    }
}

fn in_doubt(outbound: &Outbound) -> Outbound {
    Outbound {
        delivery: outbound.delivery,
        message: outbound.message.clone(),
        open: outbound.open.clone(),
        rendered: outbound.rendered.clone(),
        in_doubt: true,
        answer_wanted: false,
        epoch: None,
        guard: outbound.guard.clone(),
    }
}

fn kind_and_code(result: Result<Sent, AdapterError>) -> (ErrorKind, &'static str) {
    let error = result.expect_err("it fails");
    (error.kind, error.code.code)
}

#[tokio::test]
async fn a_message_becomes_a_whole_file() {
    let temp = tempfile::tempdir().unwrap();
    let port = port_to(temp.path(), "no", "{a}").await;
    let large = "x".repeat(700_000);
    let sent = port
        .send(outbound("a.xml", &["<a>", &large, &large, "</a>"]))
        .await
        .unwrap();
    assert_eq!(sent.detail, *temp.path().join("a.xml").to_string_lossy());
    assert_eq!(names_in(temp.path()), ["a.xml"]);
    let written = fs::read_to_string(temp.path().join("a.xml")).unwrap();
    assert_eq!(written, format!("<a>{large}{large}</a>"));
    port.send(outbound("2026/11/empty", &[])).await.unwrap();
    assert_eq!(
        fs::metadata(temp.path().join("2026/11/empty"))
            .unwrap()
            .len(),
        0
    );
}

#[tokio::test]
async fn a_repeat_after_an_unknown_outcome_leaves_one_file() {
    for overwrite in ["no", "yes", "rename"] {
        let temp = tempfile::tempdir().unwrap();
        let port = port_to(temp.path(), overwrite, "{a}").await;
        fs::write(temp.path().join("b.xml"), "somebody else's").unwrap();
        let first = outbound("a.xml", &["<a/>"]);
        let repeat = in_doubt(&first);
        port.send(first).await.unwrap();
        let inode = inode(&temp.path().join("a.xml"));
        port.send(repeat).await.unwrap();
        assert_eq!(names_in(temp.path()), ["a.xml", "b.xml"], "{overwrite}");
        assert_eq!(
            inode,
            self::inode(&temp.path().join("a.xml")),
            "it is the same file"
        );
    }
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

#[tokio::test]
async fn a_repeat_finds_the_name_that_it_was_given() {
    let temp = tempfile::tempdir().unwrap();
    let port = port_to(temp.path(), "rename", "{a}").await;
    fs::write(temp.path().join("a.xml"), "<b/>").unwrap();
    let first = outbound("a.xml", &["<a/>"]);
    let repeat = in_doubt(&first);
    let (sent, again) = (
        port.send(first).await.unwrap(),
        port.send(repeat).await.unwrap(),
    );
    assert_eq!(sent, again);
    assert_eq!(names_in(temp.path()), ["a-2.xml", "a.xml"]);
}

#[tokio::test]
async fn another_message_of_the_same_name_is_treated_as_the_port_says() {
    for (overwrite, expected, content) in [
        ("no", None, "<a/>"),
        ("yes", Some(1), "<b/>"),
        ("rename", Some(2), "<a/>"),
    ] {
        // The same content must not make another message this one: only doubt can.
        for other in ["<b/>", "<a/>"] {
            let temp = tempfile::tempdir().unwrap();
            let port = port_to(temp.path(), overwrite, "{a}").await;
            port.send(outbound("a", &["<a/>"])).await.unwrap();
            let result = port.send(outbound("a", &[other])).await;
            match expected {
                None => {
                    assert_eq!(kind_and_code(result), (ErrorKind::Rejected, "QS0510"));
                    assert_eq!(names_in(temp.path()), ["a"]);
                }
                Some(files) => {
                    result.expect("sent");
                    assert_eq!(names_in(temp.path()).len(), files, "{overwrite}");
                }
            }
            if other == "<b/>" {
                assert_eq!(fs::read_to_string(temp.path().join("a")).unwrap(), content);
            }
        }
    }
}

#[tokio::test]
async fn a_unique_name_with_the_same_content_is_the_message_itself() {
    let temp = tempfile::tempdir().unwrap();
    let port = port_to(temp.path(), "no", "{msg.id}.xml").await;
    let first = outbound("1.xml", &["<a/>"]);
    port.send(outbound("1.xml", &["<a/>"])).await.unwrap();
    port.send(first).await.unwrap();
    assert_eq!(names_in(temp.path()), ["1.xml"]);
}

#[tokio::test]
async fn who_may_not_act_publishes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let port = port_to(temp.path(), "no", "{a}").await;
    let (asked, saw) = (Arc::new(AtomicBool::new(false)), temp.path().to_owned());
    let mut late = outbound("a", &["x"]);
    let mark = asked.clone();
    late.guard = Arc::new(move || {
        let names = names_in(&saw);
        assert!(
            names.len() == 1 && names[0].ends_with(".part"),
            "asked right before: {names:?}"
        );
        mark.store(true, Ordering::SeqCst);
        false
    });
    assert_eq!(
        kind_and_code(port.send(late).await),
        (ErrorKind::Retry(None), "QS0511")
    );
    assert!(asked.load(Ordering::SeqCst));
    assert_eq!(names_in(temp.path()), [""; 0]);
}

#[tokio::test]
async fn parts_of_dead_attempts_go_and_those_of_others_stay() {
    let temp = tempfile::tempdir().unwrap();
    let port = port_to(temp.path(), "no", "{a}").await;
    let message = in_doubt(&outbound("a", &["x"]));
    let own = format!(".quayside-{}-00000000.part", message.delivery);
    let other = ".quayside-0199-0-00000000.part";
    fs::write(temp.path().join(own), "half").unwrap();
    fs::write(temp.path().join(other), "half").unwrap();
    port.send(message).await.unwrap();
    assert_eq!(names_in(temp.path()), [other, "a"]);
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let port = port_to(temp.path(), "no", "{a}").await;
    let mut broken = outbound("a", &["x"]);
    broken.open = Arc::new(|| {
        let error = AdapterError::new(ErrorKind::Retry(None), codes::IO, "the store is away");
        Box::pin(stream::iter([Ok(Bytes::from_static(b"x")), Err(error)]))
    });
    assert_eq!(
        kind_and_code(port.send(broken).await),
        (ErrorKind::Retry(None), "QS0504")
    );
    let mut short = outbound("a", &["x"]);
    short.open = Arc::new(|| Box::pin(stream::empty()));
    assert_eq!(
        kind_and_code(port.send(short).await),
        (ErrorKind::Retry(None), "QS0504")
    );
    assert_eq!(names_in(temp.path()), [""; 0]);
}

#[tokio::test]
async fn no_message_leaves_its_folder() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), temp.path().join("out")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), temp.path().join("link")).unwrap();
    fs::create_dir(temp.path().join("folder")).unwrap();
    let port = port_to(temp.path(), "yes", "{msg.id}").await;
    for name in [
        "../a",
        "/a",
        "out/a",
        ".a",
        "a\u{1b}[2J",
        "a/",
        "",
        "folder",
    ] {
        let (kind, _) = kind_and_code(port.send(outbound(name, &["x"])).await);
        assert_eq!(kind, ErrorKind::Rejected, "{name:?}");
    }
    let strict = port_to(temp.path(), "no", "{msg.id}").await;
    let (kind, code) = kind_and_code(strict.send(outbound("link", &["x"])).await);
    assert_eq!((kind, code), (ErrorKind::Rejected, "QS0510"));
    assert_eq!(names_in(outside.path()), [""; 0]);
    assert_eq!(names_in(temp.path()), ["folder", "link", "out"]);
}

#[tokio::test]
async fn a_missing_folder_stops_the_port_or_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("a/b");
    let stopped = port(json!({ "folder": folder, "file_name": "{msg.id}" })).await;
    let failed = stopped.send(outbound("a", &["x"])).await;
    assert_eq!(kind_and_code(failed), (ErrorKind::Config, "QS0501"));
    assert_eq!(
        stopped.test().await.expect_err("missing").code,
        codes::FOLDER_MISSING
    );
    let making = port(json!({ "folder": folder, "file_name": "{msg.id}", "create": true })).await;
    making.test().await.expect("it can be made");
    assert_eq!(names_in(temp.path()), [""; 0], "a test changes nothing");
    making.send(outbound("a", &["x"])).await.expect("sent");
    making.test().await.expect("it is there");
    assert_eq!(names_in(&folder), ["a"]);
}
