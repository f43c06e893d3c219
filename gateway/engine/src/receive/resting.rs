//! Why a receive location takes nothing for now, in words for who sends to it, and when to come back.
//!
//! What an operator wrote as a reason is for operators and not told.

use std::time::Duration;

use quayside_adapter_api::Resting;
use quayside_model::{PortControl, PortStatus, Timestamp};

use crate::plan::Location;

/// When to come back to what nobody knows the end of.
const UNKNOWN: Duration = Duration::from_secs(60);

/// When to come back to a host that may be taken over at any moment.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// The longest that a sender is told to stay away: an operator may change their mind.
const LONGEST: Duration = Duration::from_secs(3600);

/// Why `location` may not receive at `now`: the operator's word, the dates, the service window. `None`: it
/// may.
pub(crate) fn why(
    location: &Location,
    control: Option<&PortControl>,
    now: Timestamp,
) -> Option<Resting> {
    let resting = |why: String, until: Option<Timestamp>| {
        let left = until.map_or(UNKNOWN, |until| until.since(now));
        Some(Resting {
            why,
            retry_after: left.min(LONGEST),
        })
    };
    match control {
        Some(control) if control.status != PortStatus::Started => {
            return resting("was stopped by an operator".to_owned(), None);
        }
        Some(control) => {
            if let Some(until) = control.paused_until.filter(|until| *until > now) {
                return resting(format!("is paused until {until}"), Some(until));
            }
        }
        None if !location.enabled => {
            return resting("is disabled by its configuration".to_owned(), None);
        }
        None => {}
    }
    if let Some(start) = location.start.filter(|start| *start > now) {
        return resting(format!("does not open before {start}"), Some(start));
    }
    if let Some(stop) = location.stop.filter(|stop| *stop <= now) {
        let why = format!("has been closed for good since {stop}");
        return Some(Resting {
            why,
            retry_after: LONGEST,
        });
    }
    let window = location.window.as_ref();
    let window = window.filter(|window| !window.is_open(now))?;
    match window.next_change(now) {
        Some(opens) => resting(
            format!("is outside of its hours until {opens}"),
            Some(opens),
        ),
        None => resting("is outside of its hours".to_owned(), None),
    }
}

/// Another instance runs its host, or is about to.
pub(crate) fn standby() -> Resting {
    Resting {
        why: "stands by: its host runs elsewhere".to_owned(),
        retry_after: TAKE_OVER,
    }
}

/// It failed so often in a row that it was disabled.
pub(crate) fn failed() -> Resting {
    Resting {
        why: "was disabled after too many failures".to_owned(),
        retry_after: UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::Name;

    use super::*;
    use crate::window::ServiceWindow;

    fn location() -> Location {
        Location {
            name: Name::new("a.in.web").expect("a name"),
            adapter: "http".to_owned(),
            block: serde_json::json!({}),
            enabled: true,
            start: None,
            stop: None,
            window: None,
            max_in_flight: 1,
            error_threshold: None,
        }
    }

    #[test]
    fn each_reason_has_its_words_and_its_time() {
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().expect("a time");
        let at = |text: &str| Some(text.parse::<Timestamp>().expect("a time"));
        let control = |status, paused_until| PortControl {
            status,
            paused_until,
            reason: Some(quayside_model::Text::lossy("the ERP is down")),
        };
        let said = |location: &Location, control: Option<&PortControl>| {
            why(location, control, now).map(|it| (it.why, it.retry_after.as_secs()))
        };
        let (open, started) = (location(), control(PortStatus::Started, None));
        assert_eq!(said(&open, None), None);
        assert_eq!(said(&open, Some(&started)), None);

        let stopped = control(PortStatus::Stopped, None);
        let told = |why: &str, secs| Some((why.to_owned(), secs));
        let want = told("was stopped by an operator", 60);
        assert_eq!(said(&open, Some(&stopped)), want);
        let paused = control(PortStatus::Started, at("2026-11-21T09:00:07Z"));
        let (why, secs) = said(&open, Some(&paused)).expect("it rests");
        assert!(
            why.starts_with("is paused until 2026-11-21T09:00:07"),
            "{why}"
        );
        assert_eq!(secs, 7);

        let mut disabled = location();
        disabled.enabled = false;
        let want = told("is disabled by its configuration", 60);
        assert_eq!(said(&disabled, None), want);
        assert_eq!(said(&disabled, Some(&started)), None, "by an operator");

        let mut later = location();
        later.start = at("2026-12-24T00:00:00Z");
        let (why, secs) = said(&later, None).expect("it rests");
        assert!(why.starts_with("does not open before 2026-12-24"), "{why}");
        assert_eq!(secs, 3600, "nobody is sent away for weeks");
        let mut over = location();
        over.stop = at("2026-11-21T09:00:00Z");
        let (why, _) = said(&over, None).expect("it rests");
        assert!(why.starts_with("has been closed for good"), "{why}");

        let mut at_night = location();
        let window = ServiceWindow::parse(&["daily 09:10-10:00"], "UTC");
        at_night.window = Some(window.expect("a window"));
        let (why, secs) = said(&at_night, None).expect("it rests");
        assert!(
            why.starts_with("is outside of its hours until 2026-11-21T09:10"),
            "{why}"
        );
        assert_eq!(secs, 600);
    }
}
