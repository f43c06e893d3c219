//! A site: an application, its partner, a store and the machines that run it.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use quayside_harness::{
    App, Broken, Gateway, Node, Partner, Postgres, Reply, Session, client, scenario::pass_through,
    wait_for,
};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The database of every site on PostgreSQL.
pub const DATABASE: &str = "quayside";

/// How long an ordinary request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which store a scenario runs on. Every promise holds on both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The embedded one.
    Sqlite,
    /// A server of the test's own.
    Postgres,
}

/// A site. The fields end in this order: gateways first.
#[derive(Debug)]
pub struct Site {
    /// What runs, one for each machine.
    pub gateways: Vec<Gateway>,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The application.
    pub app: App,
    /// The partner behind it.
    pub partner: Partner,
    /// The database server, if there is one.
    pub server: Option<Postgres>,
}

impl Site {
    /// One machine with the pass-through application.
    pub async fn start(store: Store) -> Self {
        Self::with(store, 1, "", "").await
    }

    /// `machines` machines; `send` is added to the send port `t.out`, `more` to the application.
    pub async fn with(store: Store, machines: usize, send: &str, more: &str) -> Self {
        Self::new(
            store,
            machines,
            &|partner| pass_through(partner, send, more),
            &[],
        )
        .await
    }

    /// Machines with an application of the test's own, and with variables in their environment.
    pub async fn new(
        store: Store,
        machines: usize,
        app: &dyn Fn(SocketAddr) -> String,
        env: &[(&str, &str)],
    ) -> Self {
        let server = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Postgres::start().await),
        };
        Self::on(server, machines, app, env).await
    }

    /// The same on a given server, or on SQLite without one.
    pub async fn on(
        server: Option<Postgres>,
        machines: usize,
        app: &dyn Fn(SocketAddr) -> String,
        env: &[(&str, &str)],
    ) -> Self {
        let in_env = |node| {
            env.iter()
                .fold(node, |node: Node, (k, v)| node.with_env(k, v))
        };
        Self::of(server, machines, app, &in_env).await
    }

    /// The same with machines that `made` has the last word on.
    pub async fn of(
        server: Option<Postgres>,
        machines: usize,
        app: &dyn Fn(SocketAddr) -> String,
        made: &dyn Fn(Node) -> Node,
    ) -> Self {
        Self::all(server, machines, app, &|_| {}, made).await
    }

    /// The same with further files, which `files` writes into the folder of the application, and with machines that `made`
    /// has the last word on.
    pub async fn prepared(
        store: Store,
        machines: usize,
        app: &dyn Fn(SocketAddr) -> String,
        files: &dyn Fn(&Path),
        made: &dyn Fn(Node) -> Node,
    ) -> Self {
        let server = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Postgres::start().await),
        };
        Self::all(server, machines, app, files, made).await
    }

    async fn all(
        server: Option<Postgres>,
        machines: usize,
        app: &dyn Fn(SocketAddr) -> String,
        files: &dyn Fn(&Path),
        made: &dyn Fn(Node) -> Node,
    ) -> Self {
        let partner = Partner::start().await;
        let app = App::new(&app(partner.addr()));
        files(app.path());
        let mut url = None;
        if let Some(server) = &server {
            url = Some(server.create_database(DATABASE).await);
        }
        let names = ["node-a", "node-b", "node-c"];
        let nodes: Vec<_> = names[..machines]
            .iter()
            .map(|name| {
                let node = Node::new(name, app.path());
                made(url.iter().fold(node, |node, url| node.with_store(url)))
            })
            .collect();
        let mut gateways = Vec::new();
        for node in &nodes {
            gateways.push(node.start().await);
        }
        Self {
            gateways,
            nodes,
            app,
            partner,
            server,
        }
    }

    /// Where requests go: the HTTP listeners of all machines.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::http).collect()
    }

    /// The first gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateways[0]
    }

    /// Posts an order to the first gateway; its key is its business id.
    pub async fn order(&self, id: &str) -> Reply {
        let body = quayside_harness::order_xml(id, "k", 300);
        post(self.gateway().http, id, body)
            .await
            .unwrap_or_else(|e| panic!("order {id}: {e}"))
    }

    /// Starts the gateway of machine `no` again.
    pub async fn restart(&mut self, no: usize) {
        self.gateways[no] = self.nodes[no].start().await;
    }

    /// Waits until machine `no` accepts requests that some load balancer sends to it.
    pub async fn in_rotation(&self, no: usize) {
        let before = self.accepted(no).await;
        wait_for(
            "the load balancer to use it",
            Duration::from_secs(20),
            async || {
                let now = self.accepted(no).await;
                if now > before {
                    Ok(())
                } else {
                    Err(format!("{now} requests"))
                }
            },
        )
        .await;
    }

    /// How many messages the gateway of machine `no` has accepted.
    async fn accepted(&self, no: usize) -> u64 {
        let status = self.gateways[no].api("status").await.expect("its status");
        status["counters"]["accepted"].as_u64().expect("a counter")
    }

    /// How many deliveries the store says are claimed by instances of machine `no`, whether or not that
    /// machine runs on.
    pub async fn claimed(&self, no: usize) -> i64 {
        self.number(&self.claims(no)).await
    }

    /// Pauses machine `no`, and tells how many deliveries it has claimed. Not between the two copies that it writes of the head
    /// of the embedded store: nobody can read that until it goes on.
    pub async fn pause(&self, no: usize) -> i64 {
        loop {
            self.gateways[no].process.pause().await;
            match self.look(&self.claims(no)).await {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::FileLockingProtocolFailed) => {}
                claimed => return claimed.unwrap_or_else(|e| panic!("what it has claimed: {e}")),
            }
            self.gateways[no].process.resume();
        }
    }

    fn claims(&self, no: usize) -> String {
        let name = self.node_name(no);
        format!(
            "SELECT count(*) FROM delivery d JOIN instance i ON i.id = d.instance \
             WHERE d.state = 1 AND i.node = '{name}'"
        )
    }

    /// The number that a query of the store gives.
    ///
    /// # Panics
    /// When the store cannot be read.
    pub async fn number(&self, query: &str) -> i64 {
        let number = self.look(query).await;
        number.unwrap_or_else(|e| panic!("{query}: {e}"))
    }

    async fn look(&self, query: &str) -> rusqlite::Result<i64> {
        if let Some(server) = &self.server {
            let session: Session = server.connect(DATABASE).await;
            let row = session.query_one(query, &[]).await;
            return Ok(row.unwrap_or_else(|e| panic!("{query}: {e}")).get(0));
        }
        let file = self.nodes[0].data_dir().join("quayside.db");
        let conn = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let conn = conn.expect("opening the store beside the gateway");
        conn.busy_timeout(Duration::from_secs(5))
            .expect("a busy timeout");
        conn.query_row(query, [], |row| row.get(0))
    }

    /// How many messages are stored with their bodies, and how many of them have the body of another: no two
    /// messages of these scenarios are the same.
    pub async fn stored_bodies(&self) -> (usize, usize) {
        let all = "SELECT count(*) FROM part WHERE no = 0 AND bytes IS NOT NULL";
        let different = "SELECT count(DISTINCT bytes) FROM part WHERE no = 0";
        let (all, different) = (self.number(all).await, self.number(different).await);
        let of = |count: i64| usize::try_from(count).expect("a count");
        (of(all), of(all - different))
    }

    fn node_name(&self, no: usize) -> &'static str {
        assert!(no < self.nodes.len(), "there is no machine {no}");
        ["node-a", "node-b", "node-c"][no]
    }
}

/// Orders go to `/orders` as they come, and to `/sequence` in the order of each customer.
#[must_use]
pub fn two_ports(partner: SocketAddr) -> String {
    let sequence = format!(
        "[send.sequence]\nhost = \"edge\"\nfilter = \"msg.type == 'urn:orders#Order'\"\n\
         ordered = {{ by = \"CustomerId\" }}\n\
         retry = {{ attempts = 1000, first = \"50ms\", factor = 1.5, max = \"500ms\" }}\n\
         [send.sequence.primary.http]\nurl = \"http://{partner}/sequence\"\n"
    );
    pass_through(partner, "", &sequence)
}

/// Posts XML to `/in/orders` with an idempotency key, on a connection of its own.
///
/// # Errors
/// [`Broken`].
pub async fn post(addr: SocketAddr, key: &str, body: Bytes) -> Result<Reply, Broken> {
    let quoted = format!("\"{key}\"");
    post_with(addr, "/in/orders", &[("idempotency-key", &quoted)], body).await
}

/// Posts XML with headers of the test's own.
///
/// # Errors
/// [`Broken`].
pub async fn post_with(
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Reply, Broken> {
    let mut all = vec![("content-type", "application/xml")];
    all.extend_from_slice(headers);
    client::once(
        addr,
        client::request("POST", addr, path, &all, body),
        PATIENCE,
    )
    .await
}
