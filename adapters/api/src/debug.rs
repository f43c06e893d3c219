//! `Debug` of what holds streams and callbacks: the data, without the machinery.

use std::fmt;

use crate::{Delivery, Incoming, Outbound};

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("message", &self.message)
            .field("others", &self.others)
            .field("source", &self.source)
            .field("reply", &self.reply)
            .field("resumable", &self.resumable)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("content_type", &self.content_type)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound")
            .field("delivery", &self.delivery)
            .field("rendered", &self.rendered)
            .field("in_doubt", &self.in_doubt)
            .finish_non_exhaustive()
    }
}
