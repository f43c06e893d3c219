//! Each verb does what its help says.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
};

use crate::dev::{APP, Dev, ORDER, quayside, text};

#[test]
fn a_message_is_sent_shown_and_sent_again() {
    let dev = Dev::start();
    let sent = dev.json(&["send", "orders.orders.web", "order.xml"]);
    let id = sent["id"].as_str().expect("an id").to_owned();
    let way = dev.wait_for("end of the delivery", |dev| {
        let way = dev.json(&["messages", "show", &id]);
        (way["live"] == 0).then_some(way)
    });
    assert_eq!(way["context"]["OrderId"]["v"]["text"], "7");
    assert_eq!(way["history"][0]["event"], "sent");
    let body = dev.run(&["messages", "body", &id]);
    assert_eq!(String::from_utf8_lossy(&body.stdout), ORDER);
    let archived = || std::fs::read_dir(dev.dir.join("data/archive")).map_or(0, Iterator::count);
    assert_eq!(archived(), 1);

    let again = dev.json(&["messages", "resubmit", &id]);
    assert_ne!(again["id"], sent["id"]);
    dev.wait_for("second file", |_| (archived() == 2).then_some(()));
    let listed = dev.json(&["messages", "list"]);
    assert_eq!(listed["messages"].as_array().map(Vec::len), Some(2));
    assert!(text(&dev.run(&["messages", "show", &id])).contains("orders.archive"));
}

#[test]
fn a_stopped_port_keeps_its_deliveries_until_it_starts() {
    let dev = Dev::start();
    let stopped = dev.json(&["ports", "stop", "orders.archive", "--reason", "at night"]);
    assert_eq!(
        (&stopped["status"], &stopped["reason"]),
        (&"stopped".into(), &"at night, by tester".into())
    );
    dev.json(&["send", "orders.orders.web", "order.xml"]);
    dev.wait_for("waiting delivery", |dev| {
        (dev.port()["backlog"]["ready"] == 1).then_some(())
    });
    assert!(text(&dev.run(&["ports", "list"])).contains("stopped"));
    dev.json(&["ports", "start", "orders.archive"]);
    dev.wait_for("empty backlog", |dev| {
        dev.port()["backlog"].is_null().then_some(())
    });

    let paused = dev.json(&["ports", "pause", "orders.archive", "--for", "10m"]);
    assert!(paused["paused_until"].is_string(), "{paused}");
    let resumed = dev.json(&["ports", "resume", "orders.archive"]);
    assert!(resumed["paused_until"].is_null(), "{resumed}");

    // Nobody subscribes any more: the sender is told.
    dev.json(&["ports", "unenlist", "orders.archive"]);
    let refused = dev.run(&["send", "orders.orders.web", "order.xml"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused).contains("QS0801"), "{refused:?}");
}

#[test]
fn a_delivery_can_be_ended() {
    let dev = Dev::start();
    dev.json(&["ports", "stop", "orders.archive"]);
    let id = dev.json(&["send", "orders.orders.web", "order.xml"])["id"].clone();
    let id = id.as_str().expect("an id");
    dev.wait_for("waiting delivery", |dev| {
        (dev.port()["backlog"]["ready"] == 1).then_some(())
    });
    let ended = dev.json(&["messages", "terminate", id]);
    assert_eq!(ended["outcomes"][0]["outcome"], "done");
    let way = dev.json(&["messages", "show", id]);
    assert_eq!(
        (&way["live"], &way["history"][0]["event"]),
        (&0.into(), &"terminated".into())
    );
    assert_eq!(way["history"][0]["detail"], "by tester");
    assert_eq!(way["state"], "terminated");
    assert!(text(&dev.run(&["messages", "list"])).contains("terminated"));
    assert_eq!(
        dev.run(&["messages", "terminate", id]).status.code(),
        Some(3)
    );
}

#[test]
fn failures_have_codes_and_exit_codes() {
    let dev = Dev::start();
    let unknown = "01a1fd9f-bda8-7aaa-8980-a336a86d5cba";
    for (args, exit, code) in [
        (&["messages", "show", unknown][..], 3, "QS0704"),
        (&["messages", "show", "x"], 2, "QS0705"),
        (&["ports", "stop", "orders.none"], 3, "QS0704"),
        (&["ports", "show", "orders.none"], 3, "QS0704"),
        (&["messages", "list", "--port", "orders.none"], 3, "QS0704"),
        (&["messages", "list", "--origin", "none"], 3, "QS0704"),
        (&["messages", "list", "--since", "yesterday"], 2, "QS0705"),
        (
            &["messages", "resume", "--port", "orders.none"],
            3,
            "QS0704",
        ),
        (&["ports", "test", "orders.orders.web"], 2, "QS0705"),
        (&["send", "orders.none", "order.xml"], 3, "QS0704"),
        (&["send", "orders.orders.web", "none.xml"], 1, "QS0707"),
    ] {
        let output = dev.run(args);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {output:?}");
        assert!(
            text(&output).starts_with(&format!("error[{code}]")),
            "{args:?}: {output:?}"
        );
    }
    // What is wrong, what is wanted, and an example.
    for (args, said) in [
        (
            &["messages", "show", "x"][..],
            "`x` is not the id of a message, such as 01a1fede-77c6-7db1-9dcd-9af525813a70",
        ),
        (
            &["messages", "show", "x.y"],
            "`x.y` is the id of no delivery: `y` is no number of one",
        ),
        (
            &["messages", "list", "--since", "yesterday"],
            "since: `yesterday` is not a moment, such as 2026-11-21T09:00:00Z",
        ),
        (
            &["messages", "resume", "x.0"],
            "ids[0]: `x.0` is not the id of a delivery",
        ),
        (
            &["ports", "pause", "orders.archive", "--for", "abc"],
            "`abc` is not a duration: write whole numbers with ms, s, m, h or d, such as 1h30m\n",
        ),
        (
            &["ports", "pause", "orders.archive", "--for", "99999999d"],
            "`for` is longer than a year",
        ),
        (
            &[
                "send",
                "orders.orders.web",
                "order.xml",
                "--property",
                "http.header.x=a\nb",
            ],
            "holds a line break",
        ),
        (&["messages", "body", ""], "the id is empty"),
        (
            &["messages", "body", unknown, "-o", "json"],
            "a body is printed as it is",
        ),
        (
            &["messages", "resume"],
            "quayside messages resume [OPTIONS] --port <PORT>",
        ),
        (
            &["ports", "resume", "orders.orders.web"],
            "only a send port can be resumed; use start\n",
        ),
        (
            &["ports", "test", "orders.orders.web"],
            "a location has no partner to connect to",
        ),
        (
            &["ports", "pause", "orders.archive", "--for", "0s"],
            "`for` is no time at all: write how long, as in 30m",
        ),
        (
            &[
                "send",
                "orders.orders.web",
                "order.xml",
                "--property",
                "error.code=x",
            ],
            "only the gateway sets `error.*`",
        ),
        (
            &[
                "send",
                "orders.orders.web",
                "order.xml",
                "--property",
                "msg.type=x",
            ],
            "only the gateway sets `msg.*`",
        ),
    ] {
        let output = dev.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(text(&output).contains(said), "{args:?}: {}", text(&output));
    }
    let slip = text(&dev.run(&["ports", "stop", "orders.archve"]));
    assert!(slip.contains("did you mean `orders.archive`?"), "{slip}");
    let slip = text(&dev.run(&["send", "orders.orders.wbe", "order.xml"]));
    assert!(slip.contains("did you mean `orders.orders.web`?"), "{slip}");
    let nobody = quayside(&dev.dir, "http://127.0.0.1:1", &["ports", "list"]);
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");
    assert_eq!(
        text(&nobody),
        "error[QS0701] cannot call the node at http://127.0.0.1:1: Connection refused (os error 111)\n   \
         help: Start one with `quayside run` or `quayside dev`, or name its address with `--admin URL` or \
         QUAYSIDE_ADMIN.\n"
    );
    let nowhere = quayside(&dev.dir, "127.0.0.1:9470", &["ports", "list"]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(text(&nowhere).contains("http://HOST:PORT"), "{nowhere:?}");
    assert_eq!(dev.run(&["ports", "lst"]).status.code(), Some(2));
    // A variable that is set to nothing names no node.
    let unset = quayside(&dev.dir, "", &["ports", "list", "--admin", &dev.admin]);
    assert!(unset.status.success(), "{unset:?}");
    let unset = text(&quayside(&dev.dir, "", &["ports", "list"]));
    assert!(!unset.contains("QS0705"), "{unset}");
    let empty = dev.run(&["ports", "list", "--admin", ""]);
    assert_eq!(empty.status.code(), Some(2), "{empty:?}");
    assert!(
        text(&empty).contains("the admin address is empty"),
        "{empty:?}"
    );
}

#[test]
fn a_store_is_copied_while_it_runs_and_put_back() {
    let dev = Dev::start();
    let id = dev.json(&["send", "orders.orders.web", "order.xml"])["id"].clone();
    dev.wait_for("empty backlog", |dev| {
        dev.port()["backlog"].is_null().then_some(())
    });
    // Through the node that is named; its data folder need not be known.
    let copied = dev.run(&["store", "backup", "copy.db"]);
    assert!(copied.status.success(), "{copied:?}");
    let again = dev.run(&["store", "backup", "copy.db"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");

    let left = dev.dir.join("other/restoring");
    std::fs::create_dir_all(&left).expect("as one that was cut off leaves it");
    std::fs::write(left.join("quayside.db-wal"), "of another copy").expect("written");
    let restored = dev.run(&["store", "restore", "copy.db", "--data-dir", "other"]);
    assert!(restored.status.success(), "{restored:?}");
    let said = String::from_utf8_lossy(&restored.stdout);
    for part in [
        "quayside.db.\nNo delivery is in doubt.\n",
        "count from epoch ",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(dev.dir.join("other/quayside.db").is_file());
    assert!(
        !dev.dir.join("other/restoring").exists(),
        "what it was made in is gone"
    );
    let released = dev.run(&["store", "restored", "--data-dir", "other"]);
    assert_eq!(released.status.code(), Some(2), "{released:?}");
    assert!(
        text(&released).contains("`quayside store restore FILE` releases itself"),
        "{released:?}"
    );
    let over = dev.run(&["store", "restore", "copy.db", "--data-dir", "other"]);
    assert!(text(&over).starts_with("error[QS0708]"), "{over:?}");
    // Without a node that is named, from the folder, which nobody has open.
    let offline = Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(["store", "backup", "second.db", "--data-dir", "other"])
        .current_dir(&dev.dir)
        .env_remove("QUAYSIDE_ADMIN")
        .output()
        .expect("the program runs");
    assert!(offline.status.success(), "{offline:?}");
    assert!(dev.dir.join("second.db").is_file());
    std::fs::write(dev.dir.join("no.db"), "no database").expect("written");
    let bad = dev.run(&["store", "restore", "no.db", "--data-dir", "third"]);
    assert!(!bad.status.success(), "{bad:?}");
    // The lock stays: whoever removed it could remove that of the next process.
    let left: Vec<_> = std::fs::read_dir(dev.dir.join("third"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["quayside.lock"], "{bad:?}");
    assert!(id.is_string());
}

#[test]
fn a_saved_change_is_taken_up_and_a_wrong_one_is_not() {
    let dev = Dev::start();
    let save = |text: &str| std::fs::write(dev.dir.join("app.toml"), text).expect("written");
    let log = |dev: &Dev| std::fs::read_to_string(dev.dir.join("log")).unwrap_or_default();
    save(&APP.replace("[send.archive]", "[send.archives]"));
    let names = |dev: &Dev| dev.json(&["ports", "list"]).to_string();
    dev.wait_for("new port", |dev| {
        names(dev).contains("orders.archives").then_some(())
    });
    save(&APP.replace("filter =", "fliter ="));
    dev.wait_for("fault", |dev| {
        log(dev).contains("did you mean `filter`?").then_some(())
    });
    assert!(
        names(&dev).contains("orders.archives"),
        "the old one stays in force"
    );
}

#[test]
fn told_to_stop_it_stops_with_nothing_to_complain_about() {
    let mut dev = Dev::start();
    dev.json(&["send", "orders.orders.web", "order.xml"]);
    let pid = dev.process.id().to_string();
    let told = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(told.success());
    let status = dev.process.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    let log = std::fs::read_to_string(dev.dir.join("log")).expect("a log");
    assert!(
        log.contains("stopped") && !log.contains("panicked"),
        "{log}"
    );
}

#[test]
fn a_store_is_made_only_where_one_was_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let migrate = |data: &str| {
        let output = quayside(
            dir,
            "http://127.0.0.1:1",
            &["store", "migrate", "--data-dir", data],
        );
        (output.status.code(), text(&output))
    };
    std::fs::create_dir(dir.join("photos")).expect("made");
    std::fs::write(dir.join("photos/sea.jpg"), "").expect("written");
    std::fs::create_dir(dir.join("data")).expect("made");
    for wrong in ["dta", "photos"] {
        let (code, said) = migrate(wrong);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("there is no embedded store in"), "{said}");
        assert!(!dir.join(wrong).join("quayside.db").exists());
    }
    for _ in 0..2 {
        let (code, said) = migrate("data");
        assert_eq!(code, Some(0), "{said}");
    }
    assert!(dir.join("data/quayside.db").is_file());
}

#[test]
fn what_is_no_node_is_told_from_one_that_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", stranger.local_addr().expect("an address"));
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = stranger.accept().expect("a caller");
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).expect("a request") > 0);
        let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope";
        stream.write_all(answer.as_bytes()).expect("answered");
    });
    let asked = quayside(folder.path(), &address, &["messages", "list"]);
    answering.join().expect("it has answered");
    assert_eq!(asked.status.code(), Some(4), "{asked:?}");
    assert!(
        text(&asked).contains("is no admin API: it says 404"),
        "{asked:?}"
    );
}

#[test]
fn dev_names_itself_in_the_command_that_looks_further() {
    let dev = Dev::start();
    let log = std::fs::read_to_string(dev.dir.join("log")).expect("a log");
    let command = format!("quayside messages list --admin {}\n", dev.admin);
    assert!(log.contains(&command), "{log}");
}
