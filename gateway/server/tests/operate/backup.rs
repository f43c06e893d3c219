//! A backup is of the store that was meant, or there is none; and only its owner can read it.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
};

use crate::dev::{Dev, quayside, text};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

/// Without a node that is named.
fn nameless(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(args)
        .current_dir(dir)
        .env_remove("QUAYSIDE_ADMIN")
        .output()
        .expect("the program runs")
}

fn mode(path: impl AsRef<Path>) -> u32 {
    let path = path.as_ref();
    let metadata = std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    metadata.permissions().mode() & 0o777
}

/// The refusal of a backup of a store that process `pid` has open.
fn assert_occupied(output: &Output, exit: i32, pid: u32, dir: &Path) {
    let said = text(output);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.starts_with("error[QS0108]"), "{said}");
    assert!(said.contains(&format!("process {pid} has")), "{said}");
    assert!(said.contains("`--admin URL`"), "{said}");
    assert!(!dir.join("copy.db").exists(), "{said}");
}

#[test]
fn another_node_does_not_copy_its_store_instead() {
    let (meant, other) = (Dev::start(), Dev::start());
    let (dir, pid) = (&meant.dir, meant.process.id());
    std::fs::write(dir.join("node.toml"), "[node]\ndata_dir = \"data\"\n").expect("written");
    for named in [["--data-dir", "data"], ["--node", "node.toml"]] {
        let backup = [&["store", "backup", "copy.db"], &named[..]].concat();
        let refused = quayside(dir, &other.admin, &backup);
        assert_occupied(&refused, 1, pid, dir);
        let folder = other.dir.join("data");
        let wrong = format!("the store of this node is in {}", folder.display());
        assert!(text(&refused).contains(&wrong), "{refused:?}");
        assert_occupied(&quayside(dir, NOBODY, &backup), 4, pid, dir);
    }
    // Whoever listens at the address that holds without one: not the process that is meant.
    let refused = nameless(dir, &["store", "backup", "copy.db", "--data-dir", "data"]);
    let exit = refused.status.code().expect("it ended by itself");
    assert!([1, 4].contains(&exit), "{refused:?}");
    assert_occupied(&refused, exit, pid, dir);
}

#[test]
fn the_node_that_has_the_folder_copies_it_under_whatever_path() {
    let dev = Dev::start();
    symlink(dev.dir.join("data"), dev.dir.join("link")).expect("a link");
    for (folder, copy) in [("data", "a.db"), ("link", "b.db")] {
        let copied = dev.run(&["store", "backup", copy, "--data-dir", folder]);
        assert!(copied.status.success(), "{copied:?}");
        assert!(dev.dir.join(copy).is_file());
    }
    // What the right node refuses keeps its own words.
    let again = dev.run(&["store", "backup", "a.db", "--data-dir", "data"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(text(&again).contains("exists already"), "{again:?}");
    assert!(text(&again).starts_with("error[QS0708]"), "{again:?}");
}

#[test]
fn a_backup_replaces_no_file() {
    let mut dev = Dev::start();
    std::fs::write(dev.dir.join("a.db"), "precious").expect("written");
    let refusal = |output: Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output)
    };
    let said = refusal(dev.run(&["store", "backup", "a.db"]));
    dev.process.kill().expect("ended");
    dev.process.wait().expect("gone");
    let alone = ["store", "backup", "a.db", "--data-dir", "data"];
    for said in [said, refusal(nameless(&dev.dir, &alone))] {
        assert!(said.starts_with("error[QS0708]"), "{said}");
        assert!(said.contains("a.db exists already\n"), "{said}");
        assert!(said.contains("help: Name another place"), "{said}");
    }
    let kept = std::fs::read_to_string(dev.dir.join("a.db")).expect("it is there");
    assert_eq!(kept, "precious");
}

#[test]
fn the_commands_for_postgres_are_those_of_the_guide() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = "postgres://quayside@db.example/quayside?sslmode=verify-full";
    let node = format!("[store]\nurl = \"{url}\"\n");
    std::fs::write(folder.path().join("node.toml"), node).expect("written");
    let guide = include_str!("../../../../docs/operations.md").replace(" \\\n ", "");
    for verb in ["backup", "restore"] {
        let args = ["store", verb, "quayside.dump", "--node", "node.toml"];
        let output = nameless(folder.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output);
        assert!(said.starts_with("error[QS0712]"), "{said}");
        let command = said.split('`').nth(1).expect("a command");
        assert!(guide.contains(&format!("\n{command}\n")), "{said}");
    }
}

#[test]
fn a_node_and_a_folder_that_no_process_has_open_do_not_fit() {
    let dev = Dev::start();
    let prepared = dev.run(&["store", "backup", "copy.db"]);
    assert!(prepared.status.success(), "{prepared:?}");
    let restored = dev.run(&["store", "restore", "copy.db", "--data-dir", "free"]);
    assert!(restored.status.success(), "{restored:?}");
    let backup = ["store", "backup", "second.db", "--data-dir", "free"];
    let refused = dev.run(&backup);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = text(&refused);
    assert!(said.starts_with("error[QS0705] no process has"), "{said}");
    assert!(!dev.dir.join("second.db").exists(), "{said}");
    let copied = nameless(&dev.dir, &backup);
    assert!(copied.status.success(), "{copied:?}");
    assert!(dev.dir.join("second.db").is_file());
}

#[test]
fn contents_of_messages_are_for_their_owner_alone() {
    let dev = Dev::start();
    let at = |name: &str| dev.dir.join(name);
    assert_eq!(mode(at("data")), 0o700);
    for file in ["quayside.db", "quayside.db-wal", "quayside.db-shm"] {
        assert_eq!(mode(at("data").join(file)), 0o600, "{file}");
    }
    let copied = dev.run(&["store", "backup", "copy.db"]);
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(mode(at("copy.db")), 0o600);

    // However a backup was kept, what is restored from it is private.
    std::fs::set_permissions(at("copy.db"), PermissionsExt::from_mode(0o644)).expect("changed");
    let restored = dev.run(&["store", "restore", "copy.db", "--data-dir", "other/data"]);
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(mode(at("other/data")), 0o700);
    assert_eq!(mode(at("other/data/quayside.db")), 0o600);
    let backup = ["store", "backup", "second.db", "--data-dir", "other/data"];
    let copied = nameless(&dev.dir, &backup);
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(mode(at("second.db")), 0o600);
}
