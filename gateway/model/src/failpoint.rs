//! Switches that break one promise on purpose, so that a test can show that it would notice.
//!
//! They exist in builds with debug assertions only; in a release build [`enabled`] is `false` at
//! compile time. The names are read once from `QUAYSIDE_FAIL_POINTS`, separated by commas.

/// The names a process knows.
pub const NAMES: [&str; 4] = [
    "no-idempotency-key",
    "no-dedupe",
    "no-claim-release",
    "no-sync",
];

/// Whether the fail point `name` is on.
#[must_use]
pub fn enabled(name: &str) -> bool {
    debug_assert!(NAMES.contains(&name), "unknown fail point {name}");
    cfg!(debug_assertions) && active().iter().any(|on| on == name)
}

fn active() -> &'static [String] {
    static ACTIVE: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    ACTIVE.get_or_init(|| {
        let names = std::env::var("QUAYSIDE_FAIL_POINTS").unwrap_or_default();
        names
            .split(',')
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
            .collect()
    })
}
