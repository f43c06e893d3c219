//! What agents report about their processes, as text in a column.

use quayside_lease::{Exit, KillReason, StandbySeen};
use quayside_model::Name;
use serde::{Deserialize, Serialize};

/// Every reason to kill.
const KILLED: [KillReason; 8] = [
    KillReason::Hang,
    KillReason::TooSlow,
    KillReason::DrainTooLong,
    KillReason::TrustEnded,
    KillReason::SessionLost,
    KillReason::GrantVoid,
    KillReason::Unneeded,
    KillReason::Drill,
];

fn word(reason: KillReason) -> &'static str {
    match reason {
        KillReason::Hang => "hang",
        KillReason::TooSlow => "too-slow",
        KillReason::DrainTooLong => "drain-too-long",
        KillReason::TrustEnded => "trust-ended",
        KillReason::SessionLost => "session-lost",
        KillReason::GrantVoid => "grant-void",
        KillReason::Unneeded => "unneeded",
        KillReason::Drill => "drill",
    }
}

/// The report without its node, which has a column of its own.
#[derive(Serialize, Deserialize)]
struct Report {
    warm: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    down: Vec<Name>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    up: Vec<Name>,
}

/// The text of `exit`, for machines: `code 10`, `signal 9`, `killed hang`, `not-started`.
#[must_use]
pub fn encode_exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Killed(reason) => format!("killed {}", word(reason)),
        Exit::NotStarted => "not-started".to_owned(),
    }
}

/// The exit that [`encode_exit`] made `text` of; `None`: it is of another version.
#[must_use]
pub fn decode_exit(text: &str) -> Option<Exit> {
    match text.split_once(' ') {
        Some(("code", code)) => code.parse().ok().map(Exit::Code),
        Some(("signal", signal)) => signal.parse().ok().map(Exit::Signal),
        Some(("killed", why)) => {
            let reason = KILLED.into_iter().find(|reason| word(*reason) == why);
            reason.map(Exit::Killed)
        }
        _ => (text == "not-started").then_some(Exit::NotStarted),
    }
}

/// The JSON of `report`, its node left out. Equal reports have equal texts.
#[must_use]
pub fn encode_report(report: &StandbySeen) -> String {
    let report = Report {
        warm: report.warm,
        broken: report.broken.map(encode_exit),
        down: report.adapters_down.clone(),
        up: report.adapters_up.clone(),
    };
    serde_json::to_string(&report).expect("plain data has a JSON form")
}

/// The report that `node` wrote as `text`. An exit of a later version is read as one that did not
/// start, so that the node stays excluded.
///
/// # Errors
/// It is no report.
pub fn decode_report(node: Name, text: &str) -> Result<StandbySeen, serde_json::Error> {
    let report: Report = serde_json::from_str(text)?;
    let exit = |text: String| decode_exit(&text).unwrap_or(Exit::NotStarted);
    Ok(StandbySeen {
        node,
        warm: report.warm,
        broken: report.broken.map(exit),
        adapters_down: report.down,
        adapters_up: report.up,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn every_exit_returns() {
        let killed = KILLED.map(Exit::Killed);
        let others = [
            Exit::Code(0),
            Exit::Code(-1),
            Exit::Code(70),
            Exit::Signal(9),
            Exit::NotStarted,
        ];
        for exit in killed.into_iter().chain(others) {
            let text = encode_exit(exit);
            assert_eq!(decode_exit(&text), Some(exit), "{text}");
        }
        assert_eq!(encode_exit(Exit::Killed(KillReason::Hang)), "killed hang");
        for text in ["", "code", "code x", "killed", "killed sang", "not"] {
            assert_eq!(decode_exit(text), None, "{text}");
        }
    }

    #[test]
    fn a_report_returns_under_its_node() {
        let full = StandbySeen {
            node: name("a"),
            warm: true,
            broken: Some(Exit::Code(10)),
            adapters_down: vec![name("amqp")],
            adapters_up: vec![name("http"), name("file")],
        };
        let bare = StandbySeen {
            node: name("a"),
            warm: false,
            broken: None,
            adapters_down: vec![],
            adapters_up: vec![],
        };
        for report in [full, bare] {
            let text = encode_report(&report);
            let back = decode_report(name("a"), &text).expect("it was encoded");
            assert_eq!(back, report, "{text}");
        }
        assert!(decode_report(name("a"), "[]").is_err());
    }

    #[test]
    fn a_report_of_a_later_version_is_read() {
        let text = r#"{"warm":false,"broken":"melted","moon":"full"}"#;
        let report = decode_report(name("a"), text).expect("what is known is there");
        assert_eq!(report.broken, Some(Exit::NotStarted));
    }
}
