//! Values made from secrets: kept for a moment, then made again, so that a rotated secret is taken up.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quayside_adapter_api::{
    AdapterError,
    model::{Clock, Monotonic},
};

/// How long a value is used. Reading secrets for each message would put their provider (a file system,
/// say) into the path of every message.
const LIFE: Duration = Duration::from_secs(5);

/// A value that is made again when it is older than five seconds.
pub(crate) struct Fresh<T> {
    clock: Arc<dyn Clock>,
    value: Mutex<Option<(Monotonic, T)>>,
}

impl<T> fmt::Debug for Fresh<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(***)")
    }
}

impl<T: Clone> Fresh<T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            value: Mutex::new(None),
        }
    }

    /// The value, made by `make` if there is none or it is too old.
    ///
    /// # Errors
    /// Those of `make`; an old value is not used instead, because it may have been revoked.
    pub(crate) fn get(
        &self,
        make: impl FnOnce() -> Result<T, AdapterError>,
    ) -> Result<T, AdapterError> {
        let now = self.clock.monotonic();
        let mut kept = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, value)) = &*kept
            && now.since(*made) < LIFE
        {
            return Ok(value.clone());
        }
        let value = make()?;
        *kept = Some((now, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use quayside_adapter_api::model::{ManualClock, Timestamp};

    use super::*;
    use crate::error::{BAD_TLS, config};

    #[test]
    fn a_value_lives_for_a_moment_and_a_failure_is_not_hidden() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let fresh = Fresh::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(fresh.get(|| Ok(1)), Ok(1));
        assert_eq!(fresh.get(|| Ok(2)), Ok(1), "kept");
        clock.advance(LIFE);
        assert_eq!(fresh.get(|| Ok(3)), Ok(3), "made again");
        clock.advance(LIFE);
        assert!(fresh.get(|| Err(config(BAD_TLS, "gone"))).is_err());
    }
}
