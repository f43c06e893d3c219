//! A process that starts before its database: it listens, says what it waits for, and begins by itself. What
//! waiting cannot mend ends it with the code for that.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use quayside_harness::{App, Gateway, Node, Partner, Postgres, Reply, client, order_xml, wait_for};
use quayside_tests::post;

/// How long a process may take to listen, or to see that its database is there.
const SOON: Duration = Duration::from_secs(20);

/// The exit code for a configuration that cannot be used.
const BAD_CONFIG: i32 = 10;

async fn get(addr: SocketAddr, path: &str) -> Result<Reply, String> {
    let get = client::request("GET", addr, path, &[], Bytes::new());
    let reply = client::once(addr, get, Duration::from_secs(5)).await;
    reply.map_err(|error| format!("{path}: {error}"))
}

/// A process that was started while its database is down.
struct Early {
    server: Postgres,
    partner: Partner,
    gateway: Gateway,
    _machine: (App, Node),
}

impl Early {
    async fn start() -> Self {
        let mut server = Postgres::start().await;
        let url = server.create_database("quayside").await;
        server.stop_immediate().await;
        let partner = Partner::start().await;
        let app = App::pass_through(partner.addr(), "", "");
        let node = Node::new("node-a", app.path()).with_store(&url);
        Self {
            server,
            partner,
            gateway: node.spawn(),
            _machine: (app, node),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_waits_for_its_database_in_sight_of_everybody() {
    let Early {
        mut server,
        partner,
        mut gateway,
        _machine,
    } = Early::start().await;

    wait_for("the reason in /readyz", SOON, async || {
        let reply = get(gateway.admin, "/readyz").await?;
        let says_why = reply.status == 503 && reply.text().contains("QS0101");
        says_why.then_some(()).ok_or_else(|| reply.text())
    })
    .await;
    for listener in [gateway.admin, gateway.http] {
        let live = get(listener, "/livez").await.expect("it lives");
        assert_eq!(live.status, 200, "{}", live.text());
        let ready = get(listener, "/readyz").await.expect("it answers");
        assert_eq!(ready.status, 503, "{}", ready.text());
    }
    let order = order_xml("early", "k", 300);
    let refused = post(gateway.http, "early", order.clone()).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    assert!(gateway.process.lines().is_empty(), "it is not ready");

    server.start_again().await;
    gateway.ready().await;
    let ready = get(gateway.admin, "/readyz").await.expect("it answers");
    assert_eq!(ready.status, 200, "{}", ready.text());
    // The line says ready: the very next request finds its place.
    let accepted = post(gateway.http, "early", order).await.expect("an answer");
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    gateway.drained(SOON).await;
    let log = partner.log().await;
    assert_eq!(log.iter().filter(|seen| seen.effect).count(), 1, "{log:?}");
    assert_eq!(gateway.stop(SOON).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_waits_for_its_database_stops_when_told() {
    let mut early = Early::start().await;
    let gateway = &mut early.gateway;
    wait_for("it to listen", SOON, async || {
        get(gateway.admin, "/livez").await.map(drop)
    })
    .await;
    assert_eq!(gateway.stop(SOON).await, Some(0));
}

/// The password of every login, and another one.
const PASSWORD: &str = "7Zq-is-right";
const WRONG: &str = "7Zq-is-wrong";

/// Who asks for what, with which password, and what the text has to say about it.
struct Login {
    user: &'static str,
    database: &'static str,
    password: Option<&'static str>,
    remedy: &'static str,
}

/// `clerk` owns the database `desk`, `guest` may look at it, and `outsider` is not let in at all.
async fn server_with_logins() -> Postgres {
    let mut server = Postgres::start().await;
    server.create_database("desk").await;
    let session = server.connect("desk").await;
    for user in ["clerk", "guest", "outsider"] {
        let login = format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'");
        session.batch_execute(&login).await.expect("a login");
    }
    let own = "ALTER DATABASE desk OWNER TO clerk; REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    session.batch_execute(own).await.expect("an owner");
    let rules = "host all outsider all reject\nhost all all all scram-sha-256\n";
    server.admit(rules).await;
    server
}

fn node_of(login: &Login, server: &Postgres, app: &App) -> Node {
    let (user, database, addr) = (login.user, login.database, server.addr());
    let url = format!("postgres://{user}@{addr}/{database}?sslmode=disable");
    let node = Node::new("node-a", app.path()).with_store(&url);
    let Some(password) = login.password else {
        return node;
    };
    let node = node.with_config("[store.password]\nsecret = \"store-password\"\n");
    node.with_secret("store-password", password)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_refuses_ends_the_process_and_says_whom_where_and_what_to_do() {
    let server = server_with_logins().await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let login = |user, database, password, remedy| Login {
        user,
        database,
        password,
        remedy,
    };
    let secret = "correct the secret that `[store] password` names";
    for refused in [
        login("clerk", "desk", Some(WRONG), secret),
        login("nobody", "desk", Some(WRONG), secret),
        login(
            "clerk",
            "desk",
            None,
            "name the secret that holds its password",
        ),
        login("clerk", "nowhere", Some(PASSWORD), "create this database"),
        login("guest", "desk", Some(PASSWORD), "make this user the owner"),
        login("outsider", "desk", Some(PASSWORD), "pg_hba.conf"),
    ] {
        let node = node_of(&refused, &server, &app);
        let mut gateway = node.spawn();
        let exit = gateway.process.wait_exit(SOON).await;
        let said = gateway.process.stderr();
        assert_eq!(exit.code(), Some(BAD_CONFIG), "{said}");
        let (user, database, addr) = (refused.user, refused.database, server.addr());
        let place = format!(
            "user `{user}`, database `{database}`, host {}, port {}",
            addr.ip(),
            addr.port()
        );
        for part in ["error[QS0109]", &place, refused.remedy] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
        for password in [PASSWORD, WRONG] {
            assert!(!said.contains(password), "a password is told: {said}");
        }
    }
    let let_in = login("clerk", "desk", Some(PASSWORD), "");
    let node = node_of(&let_in, &server, &app);
    let mut gateway = node.start().await;
    assert_eq!(gateway.stop(SOON).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_is_taken_up_without_a_restart() {
    let server = server_with_logins().await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let login = Login {
        user: "clerk",
        database: "desk",
        password: Some(PASSWORD),
        remedy: "",
    };
    let node = node_of(&login, &server, &app);
    let mut gateway = node.start().await;
    let session = server.connect("desk").await;
    let change = format!("ALTER ROLE clerk PASSWORD '{WRONG}'");
    let cut =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'".to_owned();
    // One after the other: who comes back in between would still be let in.
    for statement in [change, cut] {
        session.batch_execute(&statement).await.expect("a change");
    }

    wait_for("the refusal in the log", SOON, async || {
        let said = gateway.process.stderr();
        let told = said.contains("correct the secret that `[store] password` names");
        told.then_some(()).ok_or(said)
    })
    .await;
    node.set_secret("store-password", WRONG);
    wait_for("a message to be accepted", SOON, async || {
        let reply = post(gateway.http, "changed", order_xml("changed", "k", 300)).await;
        let reply = reply.map_err(|error| error.to_string())?;
        let accepted = reply.status == 202;
        accepted.then_some(()).ok_or_else(|| reply.text())
    })
    .await;
    gateway.drained(SOON).await;
    let log = partner.log().await;
    assert_eq!(log.iter().filter(|seen| seen.effect).count(), 1, "{log:?}");
    assert_eq!(gateway.stop(SOON).await, Some(0));
}
