//! Following the promoted paths down a document, for each type of message that it may be.

use quayside_model::Text;

use crate::{
    Invalid, codes,
    found::Found,
    jsonpath::{JsonPath, Step},
    scanner::{Numbered, Scanned},
};

/// What a value that is no container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Text,
    Number,
    Boolean,
    Null,
}

/// Collects for one type of message.
#[derive(Debug)]
pub(super) struct Tracker<'a> {
    no: usize,
    message_type: Option<&'a str>,
    found: Found<'a>,
    tracks: Vec<Track<'a>>,
    /// How many containers are open.
    depth: usize,
    /// The positions reached in the open arrays; objects count nothing.
    positions: Vec<u64>,
    /// Why the document is not of this type.
    refused: Option<Invalid>,
}

/// How far the open containers follow one path.
#[derive(Debug)]
struct Track<'a> {
    rule: usize,
    path: &'a JsonPath,
    /// How many steps lead to the innermost container that is on the path.
    on_path: usize,
    /// Whether the next value is one step further on the path.
    hit: bool,
    /// For each step, whether its member was seen in the container at hand.
    seen: Vec<bool>,
}

/// Lets each tracker see an event. One that refuses is left out from then on; when all have refused,
/// the document is of no expected type.
pub(super) fn each<'a>(
    trackers: &mut [Tracker<'a>],
    mut event: impl FnMut(&mut Tracker<'a>) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let mut news = false;
    for tracker in trackers.iter_mut().filter(|t| t.refused.is_none()) {
        if let Err(invalid) = event(tracker) {
            tracker.refused = Some(invalid);
            news = true;
        }
    }
    if news && trackers.iter().all(|t| t.refused.is_some()) {
        Err(why(trackers))
    } else {
        Ok(())
    }
}

/// The first type that the document, which ends at `offset`, is of.
pub(super) fn choose(mut trackers: Vec<Tracker<'_>>, offset: u64) -> Result<Scanned, Invalid> {
    if trackers.is_empty() {
        return Ok(Scanned::default());
    }
    for tracker in trackers.iter_mut().filter(|t| t.refused.is_none()) {
        let found = std::mem::replace(&mut tracker.found, Found::new(&[]));
        match found.finish(offset) {
            Ok(properties) => {
                let message_type = tracker.message_type.map(Text::lossy);
                return Ok(Scanned {
                    message_type,
                    expected: Some(tracker.no),
                    properties,
                });
            }
            Err(invalid) => tracker.refused = Some(invalid),
        }
    }
    Err(why(&trackers))
}

fn why(trackers: &[Tracker<'_>]) -> Invalid {
    let mut reasons = trackers.iter().filter_map(|t| t.refused.as_ref());
    match (reasons.next(), reasons.next()) {
        (Some(only), None) => only.clone(),
        (first, _) => {
            let first = first
                .map(|invalid| invalid.detail.as_str())
                .unwrap_or_default();
            let detail = format!("none of the expected messages fits; of the first one: {first}");
            let offset = trackers
                .iter()
                .filter_map(|t| Some(t.refused.as_ref()?.offset))
                .max();
            Invalid::new(codes::UNEXPECTED_TYPE, offset.unwrap_or(0), detail)
        }
    }
}

impl<'a> Tracker<'a> {
    pub(super) fn new((no, (message_type, promotions)): Numbered<'a>) -> Self {
        let rules = promotions.rules();
        let tracks = rules.iter().enumerate();
        let tracks = tracks.filter_map(|(rule, r)| Some(Track::new(rule, r.jsonpath.as_ref()?)));
        Self {
            no,
            message_type,
            found: Found::new(rules),
            tracks: tracks.collect(),
            depth: 0,
            positions: Vec::new(),
            refused: None,
        }
    }

    /// What was found so far.
    pub(super) fn found(&self) -> &Found<'a> {
        &self.found
    }

    /// Whether the next value is promoted.
    pub(super) fn wants_value(&self) -> bool {
        self.refused.is_none() && self.tracks.iter().any(Track::at_end)
    }

    /// An object or array opens.
    pub(super) fn open(&mut self, at: u64) -> Result<(), Invalid> {
        for track in &mut self.tracks {
            if track.at_end() {
                let what = "is an object or an array";
                return Err(self.found.fault(track.rule, codes::NOT_A_VALUE, at, what));
            }
            if std::mem::take(&mut track.hit) {
                track.on_path = self.depth;
                track.seen[self.depth] = false;
            }
        }
        self.depth += 1;
        self.positions.push(0);
        Ok(())
    }

    /// The innermost container closes.
    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.positions.pop();
        for track in &mut self.tracks {
            if track.on_path == self.depth {
                track.on_path = self.depth.saturating_sub(1);
            }
        }
    }

    /// The key of the next value, in the innermost object.
    pub(super) fn member(&mut self, key: &str, at: u64) -> Result<(), Invalid> {
        self.step(at, |step| matches!(step, Step::Member(name) if name == key))
    }

    /// The next value is the next element of the innermost array.
    pub(super) fn element(&mut self, at: u64) -> Result<(), Invalid> {
        let Some(reached) = self.positions.last_mut() else {
            return Ok(());
        };
        let position = *reached;
        *reached += 1;
        self.step(at, |step| *step == Step::Element(position))
    }

    fn step(&mut self, at: u64, fits: impl Fn(&Step) -> bool) -> Result<(), Invalid> {
        let last = self.depth - 1;
        for track in self.tracks.iter_mut().filter(|track| track.on_path == last) {
            if !track.path.0.get(last).is_some_and(&fits) {
                continue;
            }
            if track.seen[last] {
                let what = "or an object around it occurs twice";
                return Err(self.found.fault(track.rule, codes::DUPLICATE_KEY, at, what));
            }
            track.seen[last] = true;
            track.hit = true;
        }
        Ok(())
    }

    /// A whole value that is no container.
    pub(super) fn scalar(&mut self, value: Value, text: &str, at: u64) -> Result<(), Invalid> {
        for track in &mut self.tracks {
            let wanted = track.at_end();
            track.hit = false;
            // A null says that there is no value.
            if wanted && value != Value::Null {
                self.found.set(track.rule, text, at)?;
            }
        }
        Ok(())
    }
}

impl<'a> Track<'a> {
    fn new(rule: usize, path: &'a JsonPath) -> Self {
        Self {
            rule,
            path,
            on_path: 0,
            hit: false,
            seen: vec![false; path.0.len()],
        }
    }

    /// Whether the next value is the one at the end of the path.
    fn at_end(&self) -> bool {
        self.hit && self.on_path + 1 == self.path.0.len()
    }
}
