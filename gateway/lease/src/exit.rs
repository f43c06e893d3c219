//! Why a host's process ended, and what that means for its group.

use std::fmt;

/// Why this node killed a host's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// It sent no beat for too long.
    Hang,
    /// It did not become ready or online in time.
    TooSlow,
    /// It did not finish its drain in time. What it was sending is in doubt.
    DrainTooLong,
    /// Trust has ended and it still had effects under way.
    TrustEnded,
    /// Its session was ended by another node.
    SessionLost,
    /// Its grant is void: somebody else has the group, or the store has another history.
    GrantVoid,
    /// It is not needed any more.
    Unneeded,
    /// An operator rehearses its death.
    Drill,
}

/// How a host's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal that this node did not send.
    Signal(i32),
    /// This node killed it.
    Killed(KillReason),
    /// It could not be started or registered.
    NotStarted,
}

/// What an end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It had finished its work, or was to.
    Done,
    /// Starting it again cannot help: wrong configuration or schema.
    Fatal,
    /// A new process takes its place; no failure is counted.
    Respawn,
    /// A failure, counted against the budgets.
    Failure,
}

impl Exit {
    /// What this end means.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Code(0) | Self::Killed(KillReason::DrainTooLong) => Verdict::Done,
            Self::Code(10 | 11) => Verdict::Fatal,
            Self::Code(20 | 21)
            | Self::Killed(
                KillReason::TrustEnded
                | KillReason::SessionLost
                | KillReason::GrantVoid
                | KillReason::Unneeded,
            ) => Verdict::Respawn,
            Self::Code(_)
            | Self::Signal(_)
            | Self::NotStarted
            | Self::Killed(KillReason::Hang | KillReason::TooSlow | KillReason::Drill) => {
                Verdict::Failure
            }
        }
    }
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hang => "it sent no beat",
            Self::TooSlow => "it was not ready in time",
            Self::DrainTooLong => "it did not drain in time",
            Self::TrustEnded => "trust had ended with effects under way",
            Self::SessionLost => "the node's session was ended",
            Self::GrantVoid => "its grant was void",
            Self::Unneeded => "it was not needed any more",
            Self::Drill => "a drill",
        })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(0) => f.write_str("drained"),
            Self::Code(10) => f.write_str("exit 10, wrong configuration"),
            Self::Code(11) => f.write_str("exit 11, another schema"),
            Self::Code(20) => f.write_str("exit 20, fenced"),
            Self::Code(21) => f.write_str("exit 21, past its deadline"),
            Self::Code(30) => f.write_str("exit 30, broker unusable at start"),
            Self::Code(31) => f.write_str("exit 31, an adapter failed for good"),
            Self::Code(70) => f.write_str("exit 70, a part failed"),
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Killed(reason) => write!(f, "killed: {reason}"),
            Self::NotStarted => f.write_str("could not be started"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_mean_what_the_table_says() {
        let table = [
            (0, Verdict::Done),
            (10, Verdict::Fatal),
            (11, Verdict::Fatal),
            (20, Verdict::Respawn),
            (21, Verdict::Respawn),
            (30, Verdict::Failure),
            (31, Verdict::Failure),
            (70, Verdict::Failure),
            (1, Verdict::Failure),
        ];
        for (code, verdict) in table {
            assert_eq!(Exit::Code(code).verdict(), verdict, "{code}");
        }
        assert_eq!(Exit::Signal(9).verdict(), Verdict::Failure);
        assert_eq!(Exit::Killed(KillReason::Hang).verdict(), Verdict::Failure);
        let trust = Exit::Killed(KillReason::TrustEnded);
        assert_eq!(trust.verdict(), Verdict::Respawn);
        assert_eq!(
            trust.to_string(),
            "killed: trust had ended with effects under way"
        );
    }
}
