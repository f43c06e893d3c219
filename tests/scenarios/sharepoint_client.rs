//! The SharePoint farm of the fixtures is one for a client that was not made for it: it does its usual operations
//! through a load balancer before two front ends, and each has to end as on a real farm.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use quayside_harness::{Haproxy, Process, SharePoint, process};

const OPERATIONS: &str = "scenarios/sharepoint_client/operations.py";

/// All operations together take some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_not_made_for_it_does_all_that_it_does() {
    let view = "Approved=<Where><Eq><FieldRef Name='Status'/><Value Type='Text'>Approved</Value></Eq></Where>";
    let farm = SharePoint::start(
        2,
        &[
            "--library",
            "Shared Documents=Documents",
            "--library",
            "Archive=Archive",
            "--column",
            "Status:Text",
            "--column",
            "Amount:Number",
            "--column",
            "Due:DateTime",
            "--view",
            view,
            "--token",
            "t-app",
            "--token",
            "t-other=i:0#.f|membership|other",
        ],
    )
    .await;
    let balancer = Haproxy::start(farm.front_ends(), true).await;

    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut client = process::command(&python());
    client
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(OPERATIONS))
        .arg(format!("http://{}/sites/team", balancer.addr()))
        .arg(format!("http://{}", farm.control()))
        .env("PYTHONUNBUFFERED", "1");
    let mut client = Process::spawn("client", client, dir.path());
    let end = client.wait_exit(PATIENCE).await;
    let table = client.lines().join("\n");
    println!("{table}");
    assert!(end.success(), "{table}\n{}", client.stderr());
    assert!(table.contains(" 0 deviations"), "{table}");

    let held: Vec<_> = farm.documents().await;
    let held: Vec<_> = held.iter().filter(|d| d.checked_out_by.is_some()).collect();
    assert!(held.is_empty(), "checked out at the end: {held:?}");
    let counts = farm.counts().await;
    assert_eq!(counts["kills"], 1, "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_logs_in_as_it_does_on_premises() {
    let farm = SharePoint::start(1, &["--token", "t-app", "--account", "FARM\\bob:secret"]).await;
    for (password, expected) in [("secret", "200"), ("wrong", "401")] {
        let out = Command::new("curl")
            .args([
                "--silent",
                "--ntlm",
                "--user",
                &format!("FARM\\bob:{password}"),
            ])
            .args(["--header", "accept: application/json;odata=nometadata"])
            .args([
                "--request",
                "POST",
                "--data",
                "",
                "--write-out",
                "\n%{http_code}",
            ])
            .arg(format!(
                "http://{}/sites/team/_api/contextinfo",
                farm.front_ends()[0]
            ))
            .output()
            .expect("starting curl");
        let text = String::from_utf8_lossy(&out.stdout);
        let (body, status) = text.rsplit_once('\n').expect("a status");
        assert_eq!(status, expected, "{password}: {text}");
        let digest = body.contains("\"FormDigestValue\":\"0x");
        assert_eq!(digest, expected == "200", "{password}: {text}");
    }
    let log = farm.log_from(0).await;
    assert_eq!(log.len(), 1, "{log:?}");
    assert_eq!(log[0]["account"], "i:0#.w|farm\\bob");
}

/// The Python of the client, which `tests/sharepoint-client` installs beside the built programs.
fn python() -> std::path::PathBuf {
    let farm = process::program("mock-sharepoint");
    let target = farm
        .ancestors()
        .nth(2)
        .expect("a program lies in TARGET/PROFILE");
    let python = target.join("sharepoint-client/bin/python");
    let works = Command::new(&python)
        .args(["-c", "import office365"])
        .stderr(Stdio::null())
        .status();
    assert!(
        works.is_ok_and(|status| status.success()),
        "{} is not there: run tests/run, or tests/sharepoint-client",
        python.display()
    );
    python
}
