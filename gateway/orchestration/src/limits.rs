//! How much of anything an orchestration may have.

use std::time::Duration;

/// The longest file of a definition, in bytes.
pub const SOURCE_BYTES: usize = 256 * 1024;
/// How deep the YAML of a definition nests.
pub(crate) const YAML_DEPTH: usize = 100;
/// How many values the YAML of a definition has.
pub(crate) const YAML_NODES: usize = 50_000;
/// How deep lists of steps nest; scopes alone have 21 levels in BizTalk.
pub const NESTING: usize = 24;
/// How many steps a definition has.
pub const STEPS: usize = 2_000;
/// How many messages, variables or correlations a definition has, each.
pub const NAMES: usize = 256;
/// The longest expression, in bytes.
pub const EXPRESSION_BYTES: usize = 4 * 1024;
/// How deep `map`, `filter`, `all` and `exists` nest in one expression.
pub const EXPRESSION_LOOPS: u32 = 2;
/// How many operations an expression may come to at most, estimated from the lengths of its lists.
pub const EXPRESSION_COST: u64 = 2_000_000;
/// How many elements a list has.
pub const LIST: usize = 10_000;
/// How many steps an instance runs between two points at which it is kept.
pub const STEPS_BETWEEN_POINTS: u32 = 20_000;
/// After how many steps in a row an `each` has the instance kept before its next round, so that a long one is many commits.
pub const STEPS_OF_EACH: u32 = 1_000;
/// After how many maps in a row a loop or an `each` does: a run is made again for every one that it lacks.
pub const MAPS_OF_ROUNDS: u32 = 32;
/// How many effects one commit has. Reached outside of an atomic scope, it makes a commit.
pub const EFFECTS: usize = 500;
/// How many effects an atomic scope may come to.
pub const ATOMIC_EFFECTS: usize = 5_000;
/// How large the state of an instance is, in bytes of its encoded form, roughly.
pub const STATE_BYTES: usize = 1024 * 1024;
/// How many branches an instance has at once.
pub const BRANCHES: usize = 256;
/// How far the time in the id of a new message lies back at most. Stores keep messages by that time, so it
/// must not be the time at which an instance fell asleep weeks ago.
pub const ID_AGE: Duration = Duration::from_secs(3600);
