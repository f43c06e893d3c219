//! When a server takes connections again, to the millisecond.

use std::{net::SocketAddr, time::Duration};

use quayside_harness::unix_micros;
use tokio::{net::TcpStream, time::sleep};
use tokio_postgres::NoTls;

/// How often it is tried.
const EVERY: Duration = Duration::from_millis(1);

/// When a PostgreSQL lets somebody log in to `url`, in microseconds since the epoch.
pub(super) async fn logs_in(url: &str) -> u64 {
    // The connection that comes with it ends here: nothing is asked over it.
    while tokio_postgres::connect(url, NoTls).await.is_err() {
        sleep(EVERY).await;
    }
    unix_micros()
}

/// When something listens at `addr`, in microseconds since the epoch.
pub(super) async fn listens(addr: SocketAddr) -> u64 {
    while TcpStream::connect(addr).await.is_err() {
        sleep(EVERY).await;
    }
    unix_micros()
}
