//! How long a lease lasts and how often it is renewed.

use std::time::Duration;

/// The timings of a session. All of one group of nodes should use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How long the store trusts a session after a renewal.
    pub ttl: Duration,
    /// How often it is renewed.
    pub renew_every: Duration,
    /// How much earlier the holder stops trusting itself.
    pub margin: Duration,
    /// How long one renewal may take before it counts as failed.
    pub client_timeout: Duration,
}

/// Timings under which a healthy session could lapse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "four renewals of {} ms and one timeout of {} ms do not fit into the {} ms that a session is trusted",
    .renew_every.as_millis(),
    .client_timeout.as_millis(),
    .trusted.as_millis()
)]
pub struct TooTight {
    renew_every: Duration,
    client_timeout: Duration,
    trusted: Duration,
}

impl Timings {
    /// For nodes of one network: the default.
    pub const LAN: Self = Self::millis(3000, 500, 500, 400);
    /// For nodes side by side on a quiet network: takes over sooner, lapses sooner.
    pub const FAST: Self = Self::millis(2000, 300, 400, 300);
    /// For virtual machines that their hosts pause now and then.
    pub const CLOUD: Self = Self::millis(10_000, 2000, 1000, 900);
    /// For nodes of several sites.
    pub const WAN: Self = Self::millis(30_000, 5000, 3000, 4000);

    const fn millis(ttl: u64, renew_every: u64, margin: u64, client_timeout: u64) -> Self {
        Self {
            ttl: Duration::from_millis(ttl),
            renew_every: Duration::from_millis(renew_every),
            margin: Duration::from_millis(margin),
            client_timeout: Duration::from_millis(client_timeout),
        }
    }

    /// The profile `lan`, `fast`, `cloud` or `wan`.
    #[must_use]
    pub fn profile(name: &str) -> Option<Self> {
        match name {
            "lan" => Some(Self::LAN),
            "fast" => Some(Self::FAST),
            "cloud" => Some(Self::CLOUD),
            "wan" => Some(Self::WAN),
            _ => None,
        }
    }

    /// How long a holder trusts itself after it sent a renewal that succeeded.
    #[must_use]
    pub fn trusted(&self) -> Duration {
        self.ttl.saturating_sub(self.margin)
    }

    /// Refuses timings under which a few slow renewals end a healthy session.
    ///
    /// # Errors
    /// [`TooTight`] if four renewals and one timeout do not fit into the trusted time.
    pub fn check(&self) -> Result<(), TooTight> {
        let (renew_every, client_timeout) = (self.renew_every, self.client_timeout);
        if renew_every * 4 + client_timeout > self.trusted() {
            return Err(TooTight {
                renew_every,
                client_timeout,
                trusted: self.trusted(),
            });
        }
        Ok(())
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self::LAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_leaves_room_for_slow_renewals() {
        for name in ["lan", "fast", "cloud", "wan"] {
            let timings = Timings::profile(name).expect("a profile");
            assert_eq!(timings.check(), Ok(()), "{name}");
        }
        assert!(Timings::profile("moon").is_none());
        let tight = Timings {
            renew_every: Duration::from_millis(700),
            ..Timings::LAN
        };
        let refusal = tight.check().expect_err("it is too tight").to_string();
        assert!(refusal.contains("four renewals of 700 ms"), "{refusal}");
    }
}
