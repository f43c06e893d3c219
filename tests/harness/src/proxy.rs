//! A TCP proxy that can go silent, as a network does that loses every packet: no connection ends, and nothing comes
//! through.
//!
//! Put it between a process and its server. What is sent while a direction is [lost](Proxy::lose) comes when the
//! proxy [passes](Proxy::pass) again, as TCP would send it again after a partition: late, and still there.
//! Nothing is read meanwhile, so that no more waits than the kernel buffers. A new connection opens and is silent;
//! [`Proxy::refuse`] lets none open.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use crate::{free_port, port::Port};

/// How much is passed on at once, in bytes.
const PIECE: usize = 16 * 1024;

/// How long it waits when the system has no connection left to give.
const AGAIN: Duration = Duration::from_millis(10);

/// What does not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Neither direction: a partition.
    Both,
    /// What clients send.
    ToServer,
    /// What the server answers.
    ToClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// What the proxy does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traffic {
    lost: Option<Lost>,
    /// Rises to end every connection of before.
    cuts: u64,
}

impl Traffic {
    fn flows(self, direction: Direction) -> bool {
        !matches!(
            (self.lost, direction),
            (Some(Lost::Both), _)
                | (Some(Lost::ToServer), Direction::ToServer)
                | (Some(Lost::ToClient), Direction::ToClient)
        )
    }
}

type Connections = Arc<Mutex<JoinSet<()>>>;

/// A running proxy. Its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    server: SocketAddr,
    traffic: watch::Sender<Traffic>,
    connections: Connections,
    /// Empty while it refuses.
    listening: JoinSet<()>,
}

impl Proxy {
    /// Starts one before `server`, which need not be there yet. It runs on the runtime of the caller: one that
    /// has a thread to spare while the test waits for something else.
    pub async fn start(server: SocketAddr) -> Self {
        let traffic = watch::Sender::new(Traffic {
            lost: None,
            cuts: 0,
        });
        let mut proxy = Self {
            port: free_port(),
            server,
            traffic,
            connections: Connections::default(),
            listening: JoinSet::new(),
        };
        proxy.admit().await;
        proxy
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Lets nothing through that way from now on, and ends no connection.
    pub fn lose(&self, lost: Lost) {
        self.traffic.send_modify(|now| now.lost = Some(lost));
    }

    /// Lets everything through again, beginning with what was held back.
    pub fn pass(&self) {
        self.traffic.send_modify(|now| now.lost = None);
    }

    /// Ends every connection, and what it has held back with it.
    pub fn cut(&self) {
        self.traffic.send_modify(|now| now.cuts += 1);
    }

    /// Lets no new connection open: it is refused at once. Those that are open stay.
    pub async fn refuse(&mut self) {
        self.listening.shutdown().await;
    }

    /// Lets connections open again.
    ///
    /// # Panics
    /// When its port is taken.
    pub async fn admit(&mut self) {
        if !self.listening.is_empty() {
            return;
        }
        let addr = self.addr();
        let listener = TcpListener::bind(addr).await;
        let listener = listener.unwrap_or_else(|e| panic!("listening at {addr}: {e}"));
        let (traffic, connections) = (self.traffic.clone(), Arc::clone(&self.connections));
        let server = self.server;
        self.listening
            .spawn(accept(listener, server, traffic, connections));
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    traffic: watch::Sender<Traffic>,
    connections: Connections,
) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
                while connections.try_join_next().is_some() {}
                connections.spawn(connect(client, server, traffic.subscribe()));
            }
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// The life of one connection.
async fn connect(client: TcpStream, server: SocketAddr, mut traffic: watch::Receiver<Traffic>) {
    let cuts = traffic.borrow().cuts;
    let (to_server, to_client) = (traffic.clone(), traffic.clone());
    let both = async {
        let mut opening = to_server.clone();
        // The first packet of a connection is lost as all others are.
        if !flows(&mut opening, Direction::ToServer).await {
            return;
        }
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        // Small answers must not wait for the next ones: the clients and servers themselves say so, too.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, into_client) = client.into_split();
        let (from_server, into_server) = server.into_split();
        tokio::join!(
            pump(from_client, into_server, to_server, Direction::ToServer),
            pump(from_server, into_client, to_client, Direction::ToClient),
        );
    };
    tokio::select! {
        () = both => {}
        _ = traffic.wait_for(|now| now.cuts != cuts) => {}
    }
}

/// Passes bytes on until there are no more, then the end of them.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    direction: Direction,
) {
    let mut piece = vec![0; PIECE];
    while flows(&mut traffic, direction).await {
        let length = from.read(&mut piece).await.unwrap_or(0);
        // It may have been lost on its way.
        if !flows(&mut traffic, direction).await {
            return;
        }
        if length == 0 || to.write_all(&piece[..length]).await.is_err() {
            // The other direction finds out by itself.
            let _ = to.shutdown().await;
            return;
        }
    }
}

/// Returns when that direction flows. `false`: the proxy is gone.
async fn flows(traffic: &mut watch::Receiver<Traffic>, direction: Direction) -> bool {
    traffic.wait_for(|now| now.flows(direction)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;

    /// Long enough for a byte on the loopback, and the only way to see that none comes.
    const SILENCE: Duration = Duration::from_millis(100);

    struct Ends {
        proxy: Proxy,
        client: TcpStream,
        server: TcpStream,
    }

    async fn connected() -> Ends {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let proxy = Proxy::start(listener.local_addr().expect("its address")).await;
        let client = TcpStream::connect(proxy.addr()).await.expect("a client");
        let (server, _) = listener.accept().await.expect("the proxy connects");
        Ends {
            proxy,
            client,
            server,
        }
    }

    async fn says(from: &mut TcpStream, to: &mut TcpStream, word: &[u8; 3]) {
        from.write_all(word).await.expect("sending");
        hears(to, word).await;
    }

    async fn hears(to: &mut TcpStream, word: &[u8; 3]) {
        let mut heard = [0; 3];
        let read = timeout(Duration::from_secs(10), to.read_exact(&mut heard)).await;
        read.expect("in time").expect("open");
        assert_eq!(&heard, word);
    }

    async fn hears_nothing(to: &mut TcpStream) {
        let heard = timeout(SILENCE, to.read(&mut [0; 3])).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    #[tokio::test]
    async fn a_partition_ends_nothing_and_what_was_sent_comes_late() {
        let Ends {
            proxy,
            mut client,
            mut server,
        } = connected().await;
        says(&mut client, &mut server, b"one").await;
        says(&mut server, &mut client, b"two").await;
        proxy.lose(Lost::Both);
        client.write_all(b"ask").await.expect("nobody refuses it");
        server.write_all(b"say").await.expect("nobody refuses it");
        hears_nothing(&mut server).await;
        hears_nothing(&mut client).await;
        proxy.pass();
        hears(&mut server, b"ask").await;
        hears(&mut client, b"say").await;
        drop(client);
        let end = server.read(&mut [0; 3]).await.expect("an end in order");
        assert_eq!(end, 0);
    }

    #[tokio::test]
    async fn one_direction_can_be_lost_alone() {
        let mut ends = connected().await;
        for (lost, word) in [(Lost::ToServer, b"one"), (Lost::ToClient, b"two")] {
            let (deaf, other) = match lost {
                Lost::ToServer => (&mut ends.server, &mut ends.client),
                _ => (&mut ends.client, &mut ends.server),
            };
            ends.proxy.lose(lost);
            other.write_all(word).await.expect("nobody refuses it");
            hears_nothing(deaf).await;
            says(deaf, other, b"yes").await;
            ends.proxy.pass();
            hears(deaf, word).await;
        }
    }

    #[tokio::test]
    async fn new_connections_are_silent_or_refused_and_old_ones_end_only_when_cut() {
        let Ends {
            mut proxy,
            mut client,
            mut server,
        } = connected().await;
        proxy.lose(Lost::Both);
        let mut silent = TcpStream::connect(proxy.addr()).await.expect("it opens");
        hears_nothing(&mut silent).await;
        proxy.pass();
        proxy.refuse().await;
        let refused = TcpStream::connect(proxy.addr()).await;
        let refused = refused.expect_err("nobody listens").kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused);
        says(&mut client, &mut server, b"one").await;
        proxy.admit().await;
        TcpStream::connect(proxy.addr()).await.expect("it opens");
        proxy.cut();
        assert_eq!(client.read(&mut [0; 3]).await.unwrap_or(0), 0);
        assert_eq!(server.read(&mut [0; 3]).await.unwrap_or(0), 0);
    }
}
