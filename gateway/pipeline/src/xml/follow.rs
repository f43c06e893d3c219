//! Following a path down a document.
//!
//! A path has child steps only, so at each depth an element is on it or off it: one number per path
//! says how far the open elements follow it, and nothing else of the document is remembered.

use crate::xpath::Test;

/// How far the open elements follow one path.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    steps: &'a [Vec<Test>],
    /// How many of the open elements, from the root, are on the path.
    on_path: usize,
    /// For each step, how many siblings passed each of its position tests so far.
    counts: Vec<Vec<u64>>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(steps: &'a [Vec<Test>]) -> Self {
        let counts = steps.iter().map(|tests| vec![0; tests.len()]).collect();
        Self {
            steps,
            on_path: 0,
            counts,
        }
    }

    /// How many of the open elements, from the root, are on the path.
    pub(super) fn on_path(&self) -> usize {
        self.on_path
    }

    /// Whether the element that opens at `depth` is the end of the path.
    pub(super) fn enter(&mut self, depth: usize, namespace: &str, local: &str) -> bool {
        if self.on_path + 1 != depth || depth > self.steps.len() {
            return false;
        }
        let tests = &self.steps[depth - 1];
        let counts = &mut self.counts[depth - 1];
        for (test, count) in tests.iter().zip(counts) {
            let passes = match test {
                Test::Name(name) => name.fits(namespace, local),
                Test::Position(position) => {
                    *count += 1;
                    count == position
                }
            };
            if !passes {
                return false;
            }
        }
        self.on_path = depth;
        if let Some(below) = self.counts.get_mut(depth) {
            below.fill(0);
        }
        depth == self.steps.len()
    }

    /// The element at `depth` closes. Whether it was on the path.
    pub(super) fn leave(&mut self, depth: usize) -> bool {
        let was = self.on_path == depth;
        self.on_path -= usize::from(was);
        was
    }
}
