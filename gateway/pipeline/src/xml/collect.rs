//! Collecting the promoted values of a document.

use quayside_model::{Name, Text, Value};

use crate::{
    Invalid, codes,
    found::Found,
    promotions::Compiled,
    xml::follow::Follower,
    xpath::{Target, XPath},
};

/// An attribute with its namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'t> {
    pub(super) namespace: &'t str,
    pub(super) local: &'t str,
    pub(super) value: &'t str,
}

/// Collects the promoted values of one document.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    found: Found<'a>,
    tracks: Vec<Track<'a>>,
    depth: usize,
    /// How many tracks are taking text.
    taking: usize,
}

/// One path and what was taken at its end.
#[derive(Debug)]
struct Track<'a> {
    rule: usize,
    path: &'a XPath,
    steps: Follower<'a>,
    /// The text of the element at the end of the path, and where that begins.
    taken: Option<(String, u64)>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(rules: &'a [Compiled]) -> Self {
        let tracks = rules.iter().enumerate();
        let tracks = tracks.filter_map(|(rule, r)| Some(Track::new(rule, r.xpath.as_ref()?)));
        Self {
            found: Found::streaming(rules),
            tracks: tracks.collect(),
            depth: 0,
            taking: 0,
        }
    }

    /// Whether text is of any use now.
    pub(super) fn collecting(&self) -> bool {
        self.taking > 0
    }

    pub(super) fn start(
        &mut self,
        namespace: &str,
        local: &str,
        attributes: &[Attribute<'_>],
        at: u64,
    ) -> Result<(), Invalid> {
        self.depth += 1;
        for track in &mut self.tracks {
            if !track.steps.enter(self.depth, namespace, local) {
                continue;
            }
            if let Target::Attribute(test) = &track.path.target {
                for attribute in attributes {
                    if test.fits(attribute.namespace, attribute.local) {
                        self.found.set(track.rule, attribute.value, at)?;
                    }
                }
            } else {
                self.found.vacant(track.rule, at)?;
                track.taken = Some((String::new(), at));
                self.taking += 1;
            }
        }
        Ok(())
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), Invalid> {
        if self.taking == 0 {
            return Ok(());
        }
        for track in &mut self.tracks {
            let own = self.depth == track.path.steps.len();
            let Some((taken, at)) = &mut track.taken else {
                continue;
            };
            if track.path.target == Target::Text && !own {
                continue;
            }
            if taken.len() + text.len() > Text::MAX {
                let what = "is longer than a property can be";
                return Err(self
                    .found
                    .fault(track.rule, codes::VALUE_TOO_LONG, *at, what));
            }
            taken.push_str(text);
        }
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        for track in &mut self.tracks {
            if !track.steps.leave(self.depth) {
                continue;
            }
            if let Some((text, at)) = track.taken.take() {
                self.taking -= 1;
                // No text is no text node: nothing is found then.
                if track.path.target == Target::Content || !text.is_empty() {
                    self.found.set(track.rule, &text, at)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// What was found so far.
    pub(super) fn found(&self) -> &Found<'a> {
        &self.found
    }

    pub(super) fn finish(self, offset: u64) -> Result<Vec<(Name, Value)>, Invalid> {
        self.found.finish(offset)
    }
}

impl<'a> Track<'a> {
    fn new(rule: usize, path: &'a XPath) -> Self {
        Self {
            rule,
            path,
            steps: Follower::new(&path.steps),
            taken: None,
        }
    }
}
