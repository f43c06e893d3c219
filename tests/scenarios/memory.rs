//! Bodies are streamed: a large file passes in little memory, and arrives as it was.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::Path,
    time::Duration,
};

use quayside_harness::{App, Node, SharePoint, wait_for};
use quayside_tests::{Store, note};

const MIB: usize = 1024 * 1024;

/// How large a file is, in MiB.
const FILE: usize = 256;

/// How much a large body may add to the memory of the process.
const GROWTH: u64 = 64 * 1024 * 1024;

const FOLDER_TO_FOLDER: &str = r#"[app]
name = "t"
[receive.big]
host = "edge"
[receive.big.location.drop.file]
folder = "drop"
create = true
poll = "50ms"
stable_for = "0s"
[send.out]
host = "edge"
filter = "file.name != ''"
[send.out.primary.file]
folder = "out"
create = true
file_name = "{file.name}"
"#;

/// Writes aside and renames, as a well-behaved writer does.
fn write_large(folder: &Path, size: usize) {
    let part = folder.join(".large");
    let mut file = BufWriter::new(File::create(&part).expect("creating a file"));
    for block in 0..size {
        let fill = u8::try_from(block % 251).expect("below 251");
        file.write_all(&vec![fill; MIB]).expect("writing a file");
    }
    file.flush().expect("writing a file");
    std::fs::rename(part, folder.join("large.bin")).expect("publishing the file");
}

fn is_the_large_one(path: &Path, size: usize) -> bool {
    let mut file = BufReader::new(File::open(path).expect("opening the result"));
    let mut block = vec![0; MIB];
    for no in 0..size {
        let fill = u8::try_from(no % 251).expect("below 251");
        if file.read_exact(&mut block).is_err() || block.iter().any(|b| *b != fill) {
            return false;
        }
    }
    file.read(&mut block).is_ok_and(|rest| rest == 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_256_mib_passes_from_folder_to_folder_on_sqlite() {
    passes(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_256_mib_passes_from_folder_to_folder_on_postgres() {
    passes(Store::Postgres).await;
}

async fn arrives(result: &Path) {
    wait_for("the file to arrive", Duration::from_secs(180), async || {
        if result.exists() {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
}

async fn passes(store: Store) {
    let app = App::new(FOLDER_TO_FOLDER);
    let server = match store {
        Store::Sqlite => None,
        Store::Postgres => Some(quayside_harness::Postgres::start().await),
    };
    let mut node = Node::new("node-a", app.path());
    if let Some(server) = &server {
        node = node.with_store(&server.create_database("quayside").await);
    }
    let gateway = node.start().await;
    let before = gateway.process.rss();
    write_large(&node.data_dir().join("drop"), FILE);
    let result = node.data_dir().join("out/large.bin");
    arrives(&result).await;
    let grown = gateway.process.peak_rss().saturating_sub(before);
    assert!(
        is_the_large_one(&result, FILE),
        "{store:?}: it arrived changed"
    );
    assert!(
        grown < GROWTH,
        "{store:?}: {} MiB more than before",
        grown / (MIB as u64)
    );
}

/// How large a document is that goes through a library, in MiB.
const DOCUMENT: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_300_mib_goes_into_a_library_and_out_of_it() {
    let libraries = ["--library", "Big=Big", "--token", "t-app"];
    let farm = SharePoint::start(1, &libraries).await;
    let site = format!("http://{}/sites/team", farm.front_ends()[0]);
    let library = format!(
        "site = \"{site}\"\nlibrary = \"Big\"\nauth = {{ bearer = {{ secret = \"farm\" }} }}"
    );
    let app = App::new(&format!(
        r#"[app]
name = "t"
[receive.big]
host = "edge"
[receive.big.location.drop.file]
folder = "drop"
create = true
poll = "50ms"
stable_for = "0s"
[send.in]
host = "edge"
filter = "msg.origin == 't.big.drop'"
[send.in.primary.sharepoint]
{library}
file_name = "%MessageID%.bin"
[receive.library]
host = "edge"
[receive.library.location.in.sharepoint]
{library}
poll = "100ms"
[send.out]
host = "edge"
filter = "msg.origin == 't.library.in'"
[send.out.primary.file]
folder = "out"
create = true
file_name = "large.bin"
"#
    ));
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    let before = gateway.process.rss();
    write_large(&node.data_dir().join("drop"), DOCUMENT);
    let result = node.data_dir().join("out/large.bin");
    arrives(&result).await;
    let grown = gateway.process.peak_rss().saturating_sub(before);
    assert!(is_the_large_one(&result, DOCUMENT), "it arrived changed");
    note(&format!(
        "{DOCUMENT} MiB in and out: {} MiB more",
        grown / (MIB as u64)
    ));
    assert!(
        grown < GROWTH,
        "{} MiB more than before",
        grown / (MIB as u64)
    );
    let counts = farm.counts().await;
    assert!(
        counts["changes"]["upload-continued"].as_u64() > Some(30),
        "{counts}"
    );
}
