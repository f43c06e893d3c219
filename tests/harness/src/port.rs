//! Loopback ports that nobody else takes while they are held.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process,
};

use rustix::fs::{FlockOperation, flock};

/// Below the range from which Linux takes the ports of outgoing connections, so that a port stays free
/// between two runs of the same server.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port that this value keeps for its holder, across restarts of the server on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The loopback address with this port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// A loopback port that nothing listens on and no other harness holds.
///
/// # Panics
/// When every port of the range is taken.
#[must_use]
pub fn free_port() -> Port {
    // Test programs that start together begin at different places.
    let start = u16::try_from(u64::from(process::id()) * 97 % u64::from(RANGE.end - RANGE.start))
        .expect("below the length of the range");
    RANGE
        .map(|port| RANGE.start + (port - RANGE.start + start) % (RANGE.end - RANGE.start))
        .find_map(take)
        .expect("a free port between 20000 and 32000")
}

fn take(number: u16) -> Option<Port> {
    let folder = std::env::temp_dir().join("quayside-test-ports");
    std::fs::create_dir_all(&folder).expect("creating the folder of port locks");
    let lock = File::create(folder.join(number.to_string())).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
    Some(Port {
        number,
        _lock: lock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_holders_never_share_a_port() {
        let (a, b) = (free_port(), free_port());
        assert_ne!(a.number(), b.number());
        assert!(take(a.number()).is_none(), "held ports cannot be taken");
        let number = a.number();
        drop(a);
        assert!(take(number).is_some(), "a dropped port is free again");
    }
}
