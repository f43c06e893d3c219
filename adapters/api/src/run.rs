//! Messages of one order key that are under way together.

use crate::{AdapterError, Sent};

/// What became of messages that were sent as a run: the partner has the first ones for good, one failed, and
/// whatever was behind that one comes again after it.
#[derive(Debug)]
pub struct RunEnd {
    sent: Vec<Sent>,
    failed: Option<(AdapterError, usize)>,
}

impl RunEnd {
    /// All of them are sent.
    #[must_use]
    pub fn all(sent: Vec<Sent>) -> Self {
        Self { sent, failed: None }
    }

    /// The first ones are sent, and the next one failed with `error`. Of those behind it the first `doubtful` may
    /// have reached the partner all the same.
    #[must_use]
    pub fn until(sent: Vec<Sent>, error: AdapterError, doubtful: usize) -> Self {
        let failed = Some((error, doubtful));
        Self { sent, failed }
    }

    /// Whether the partner can have nothing of the run.
    #[must_use]
    pub fn did_nothing(&self) -> bool {
        let failed = self.failed.as_ref();
        self.sent.is_empty()
            && failed.is_some_and(|(error, doubtful)| !error.in_doubt && *doubtful == 0)
    }

    /// Those that are sent; why the next one failed, if it did; how many behind that one are in doubt.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Sent>, Option<(AdapterError, usize)>) {
        (self.sent, self.failed)
    }
}
