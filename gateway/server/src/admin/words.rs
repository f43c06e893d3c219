//! Values of the model in the words that people and files use.

use quayside_adapter_api::TroubleKind;
use quayside_model::{PortStatus, Timestamp};

/// The status as an operator writes it.
pub(super) fn status(status: PortStatus) -> &'static str {
    match status {
        PortStatus::Started => "started",
        PortStatus::Stopped => "stopped",
        PortStatus::Unenlisted => "unenlisted",
    }
}

/// What keeps a port from working that is open.
pub(super) fn trouble(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::Disconnected => "not connected",
        TroubleKind::BackPressure => "held back by its partner",
    }
}

/// A moment to the second: the rest helps nobody who reads.
pub(crate) fn second(moment: Timestamp) -> String {
    let text = moment.to_string();
    let seconds = text.split(['.', 'Z']).next().unwrap_or_default();
    format!("{}Z", seconds.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_ends_with_its_second() {
        let moment = Timestamp::from_micros(1_795_266_540_371_920);
        assert_eq!(second(moment), "2026-11-21 13:09:00Z");
    }
}
