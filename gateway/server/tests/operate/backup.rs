//! Only its owner can read a store and what was copied from it.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use crate::dev::Dev;

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
