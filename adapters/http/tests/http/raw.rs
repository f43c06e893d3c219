//! A client that sends exactly the bytes it is told to.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::gateway::within;

/// A connection of raw bytes.
pub(crate) struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            unread: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends until the other side does not take more; says whether all was taken.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Says that nothing more comes, if anybody still listens.
    pub(crate) async fn try_end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Everything until the other side closes.
    pub(crate) async fn rest(mut self) -> String {
        let reading = self.stream.read_to_end(&mut self.unread);
        // A reset after the answer is an end as well: the answer is what counts.
        let _ = within("the end of the connection", reading).await;
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// The next head, up to its empty line.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..at + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            self.more().await;
        }
    }

    /// The next answer: its head, and its body by its Content-Length.
    pub(crate) async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        while self.unread.len() < length {
            self.more().await;
        }
        let body: Vec<u8> = self.unread.drain(..length).collect();
        (head, String::from_utf8(body).unwrap())
    }

    async fn more(&mut self) {
        let mut buffer = [0; 4096];
        let read = within("an answer", self.stream.read(&mut buffer))
            .await
            .unwrap();
        assert!(
            read > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&self.unread)
        );
        self.unread.extend_from_slice(&buffer[..read]);
    }
}
