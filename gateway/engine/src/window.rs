//! Service windows: at what times of the week a port works, in the zone of the people it works for.

use std::str::FromStr;

use jiff::{
    ToSpan, Zoned,
    civil::{Time, Weekday},
    tz::{TimeZone, TimeZoneDatabase},
};
use quayside_model::Timestamp;

/// Times of the week in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceWindow {
    spans: Vec<Span>,
    zone: TimeZone,
}

/// Some days, each from one time to another; to a time at or before the first means to the next day.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    days: Vec<Weekday>,
    from: Time,
    to: Time,
}

/// The text is no service window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A span does not have the form `mon-fri 06:00-22:00`.
    #[error(
        "`{0}` is no span of the week: write `mon-fri 06:00-22:00`, `sat 08:00-14:00` or `daily 22:00-04:00`"
    )]
    Span(String),
    /// No such zone.
    #[error("`{0}` is no time zone: write a name such as `Europe/Berlin` or `UTC`")]
    Zone(String),
    /// There is no span at all, so that the window would never open.
    #[error("a service window needs at least one span")]
    Empty,
}

impl ServiceWindow {
    /// A window that is open during any of `allow`, in the zone with the IANA name `timezone`.
    ///
    /// # Errors
    /// [`WindowError`] with the part that does not fit.
    pub fn parse(allow: &[impl AsRef<str>], timezone: &str) -> Result<Self, WindowError> {
        // That of the program: one rule on every machine, whatever is installed there.
        let zones = TimeZoneDatabase::bundled();
        let zone = zones
            .get(timezone)
            .map_err(|_| WindowError::Zone(timezone.to_owned()))?;
        let spans: Vec<Span> = allow
            .iter()
            .map(|text| text.as_ref().parse())
            .collect::<Result<_, _>>()?;
        if spans.is_empty() {
            return Err(WindowError::Empty);
        }
        Ok(Self { spans, zone })
    }

    /// Whether it is open at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        // A clock beyond what the calendar knows must not stop a port.
        self.local(now)
            .is_none_or(|local| self.spans.iter().any(|span| span.holds(&local)))
    }

    /// When it opens or shuts next, within two weeks after `now`.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let open = self.is_open(now);
        let mut edges = self.edges(now)?;
        edges.sort_unstable();
        edges
            .into_iter()
            .find(|edge| *edge > now && self.is_open(*edge) != open)
    }

    /// Every moment of the two weeks after `now` at which it may open or shut.
    fn edges(&self, now: Timestamp) -> Option<Vec<Timestamp>> {
        let local = self.local(now)?;
        let mut edges = Vec::new();
        for day in 0..=14 {
            let date = local.date().checked_add(day.days()).ok()?;
            for time in self.spans.iter().flat_map(|span| [span.from, span.to]) {
                // An hour that the clocks repeat has the same edge twice.
                let edge = || self.zone.to_ambiguous_timestamp(date.to_datetime(time));
                edges.extend([edge().earlier().ok()?, edge().later().ok()?]);
            }
        }
        // Setting the clocks is an edge itself: it may skip over one, or fall back behind one.
        let last = local.checked_add(15.days()).ok()?.timestamp();
        let set = self
            .zone
            .following(local.timestamp())
            .map(|transition| transition.timestamp());
        edges.extend(set.take_while(|time| *time < last));
        Some(
            edges
                .iter()
                .map(|edge| Timestamp::from_micros(edge.as_microsecond()))
                .collect(),
        )
    }

    fn local(&self, now: Timestamp) -> Option<Zoned> {
        let instant = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?;
        Some(instant.to_zoned(self.zone.clone()))
    }
}

impl Span {
    fn holds(&self, local: &Zoned) -> bool {
        let (day, time) = (local.weekday(), local.time());
        if self.from < self.to {
            return self.days.contains(&day) && self.from <= time && time < self.to;
        }
        // Over midnight: the evening belongs to its own day, the small hours to the day before.
        let evening = self.days.contains(&day) && self.from <= time;
        let small_hours = self.days.contains(&day.previous()) && time < self.to;
        evening || small_hours
    }
}

impl FromStr for Span {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let fault = || WindowError::Span(text.to_owned());
        let (days, times) = text.trim().split_once(' ').ok_or_else(fault)?;
        let (from, to) = times.trim().split_once('-').ok_or_else(fault)?;
        let days = parse_days(days).ok_or_else(fault)?;
        // Midnight at the end of a day is the midnight at which the next one begins.
        let to = if to.trim() == "24:00" { "00:00" } else { to };
        let (from, to) = (
            parse_time(from).ok_or_else(fault)?,
            parse_time(to).ok_or_else(fault)?,
        );
        Ok(Self { days, from, to })
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

fn parse_days(text: &str) -> Option<Vec<Weekday>> {
    if text == "daily" {
        return Some(DAYS.iter().map(|(_, day)| *day).collect());
    }
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let mut at = DAYS.iter().position(|(name, _)| *name == first)?;
        let last = DAYS.iter().position(|(name, _)| *name == last)?;
        loop {
            days.push(DAYS[at].1);
            if at == last {
                break;
            }
            at = (at + 1) % DAYS.len();
        }
    }
    Some(days)
}

/// `HH:MM`.
fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(allow: &[&str], zone: &str) -> ServiceWindow {
        ServiceWindow::parse(allow, zone).expect("a window")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn it_opens_by_the_local_week() {
        let window = window(&["mon-fri 06:00-22:00", "sat 08:00-14:00"], "Europe/Berlin");
        // 2026-11-20 is a Friday; Berlin is at UTC+1 in winter.
        for (time, open) in [
            ("2026-11-20T04:59:59Z", false),
            ("2026-11-20T05:00:00Z", true),
            ("2026-11-20T20:59:59Z", true),
            ("2026-11-20T21:00:00Z", false),
            ("2026-11-21T07:00:00Z", true),
            ("2026-11-21T13:00:00Z", false),
            ("2026-11-22T10:00:00Z", false),
        ] {
            assert_eq!(window.is_open(at(time)), open, "{time}");
        }
        assert_eq!(
            window.next_change(at("2026-11-21T14:00:00Z")),
            Some(at("2026-11-23T05:00:00Z"))
        );
    }

    #[test]
    fn summer_time_moves_it_with_the_people() {
        let window = window(&["daily 08:00-09:00"], "Europe/Berlin");
        // 2026-03-29 is the change to summer time.
        assert!(window.is_open(at("2026-03-28T07:30:00Z")));
        assert!(window.is_open(at("2026-03-29T06:30:00Z")));
        assert!(!window.is_open(at("2026-03-29T07:30:00Z")));
        assert_eq!(
            window.next_change(at("2026-03-28T08:30:00Z")),
            Some(at("2026-03-29T06:00:00Z"))
        );
    }

    #[test]
    fn a_skipped_hour_is_short_and_a_repeated_one_long() {
        // Berlin skips 02:00 to 03:00 on 2026-03-29 and has it twice on 2026-10-25.
        let night = window(&["daily 01:30-02:30"], "Europe/Berlin");
        let changes = |from: &str, to: &str| {
            let mut now = at(from);
            let mut changes = Vec::new();
            while let Some(next) = night.next_change(now).filter(|next| *next < at(to)) {
                changes.push((next.to_string()[..16].to_owned(), night.is_open(next)));
                now = next;
            }
            changes
        };
        let said = |time: &str, open| (time.to_owned(), open);
        assert_eq!(
            changes("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
            [
                said("2026-03-29T00:30", true),
                said("2026-03-29T01:00", false)
            ]
        );
        assert_eq!(
            changes("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"),
            [
                said("2026-10-24T23:30", true),
                said("2026-10-25T00:30", false),
                said("2026-10-25T01:00", true),
                said("2026-10-25T01:30", false),
            ]
        );
    }

    #[test]
    fn what_never_shuts_has_no_next_change() {
        let always = window(&["daily 00:00-24:00"], "America/New_York");
        assert_eq!(always.next_change(at("2026-10-31T00:00:00Z")), None);
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let window = window(&["fri 22:00-04:00"], "UTC");
        assert!(window.is_open(at("2026-11-20T23:00:00Z")));
        assert!(window.is_open(at("2026-11-21T03:59:00Z")));
        assert!(!window.is_open(at("2026-11-21T23:00:00Z")));
        assert!(!window.is_open(at("2026-11-20T03:00:00Z")));
    }

    #[test]
    fn a_whole_day_has_24_hours() {
        let window = window(&["sun 00:00-24:00"], "UTC");
        assert!(window.is_open(at("2026-11-22T00:00:00Z")));
        assert!(window.is_open(at("2026-11-22T23:59:59Z")));
        assert!(!window.is_open(at("2026-11-23T00:00:00Z")));
    }

    #[test]
    fn faults_name_the_part() {
        for bad in [
            "mon",
            "mon 6-7",
            "mon 06:00",
            "moon 06:00-07:00",
            "mon 06:00-25:00",
            "mon 24:00-06:00",
            "mon +6:00-07:00",
            "mon-fry 06:00-07:00",
            "",
        ] {
            let window = ServiceWindow::parse(&[bad], "UTC");
            assert_eq!(window, Err(WindowError::Span(bad.to_owned())));
        }
        let mars = ServiceWindow::parse(&["daily 06:00-07:00"], "Mars/Olympus");
        assert_eq!(mars, Err(WindowError::Zone("Mars/Olympus".to_owned())));
        assert_eq!(
            ServiceWindow::parse(&[""; 0], "UTC"),
            Err(WindowError::Empty)
        );
    }
}
