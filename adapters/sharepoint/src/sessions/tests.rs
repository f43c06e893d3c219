//! Sessions with a farm that speaks HTTP over pipes in memory.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{server::conn::http1 as serving, service::service_fn};
use hyper_util::rt::TokioIo;
use quayside_adapter_api::{
    model::SystemClock,
    services::{Secret, SecretRef},
    units::Span,
};
use tokio::task::JoinSet;

use super::*;
use crate::{
    config::Auth,
    dial::Line,
    odata::Site,
    testing_ntlm::{kind, question},
};

/// What the farm does beside what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quirk {
    /// Refuses the next third message.
    Wrong,
    /// Asks again instead of taking the next third message.
    Shared,
    /// Forgets who the connection of the next call is.
    Forgets,
    /// Closes the connection after the next call.
    Closes,
    /// Breaks the connection instead of answering the next call, which is done.
    Breaks,
    /// Has no time for the next call.
    Throttles,
    /// Takes no NTLM.
    Bearer,
}

/// What it saw: the connection, what was asked, the message of NTLM, and how many bytes came along.
type Seen = (usize, String, Option<u32>, usize);

#[derive(Debug, Default)]
struct Script {
    quirks: Mutex<VecDeque<Quirk>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// The connections that are used at this moment, and the most there were.
    served: Mutex<JoinSet<()>>,
}

#[derive(Debug, Clone, Default)]
struct Fake(Arc<Script>);

#[async_trait]
impl Dial for Fake {
    async fn dial(&self) -> Result<Line, String> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let number = self.0.connections.fetch_add(1, Ordering::SeqCst);
        let farm = self.clone();
        let known = Arc::new(Mutex::new(false));
        let service = service_fn(move |request| {
            let (farm, known) = (farm.clone(), known.clone());
            async move { farm.answer(number, request, &known).await }
        });
        self.0.served.lock().unwrap().spawn(async move {
            let serving = serving::Builder::new();
            drop(serving.serve_connection(TokioIo::new(far), service).await);
        });
        Ok(Line {
            io: Box::new(TokioIo::new(near)),
            binding: None,
        })
    }
}

impl Fake {
    async fn answer(
        &self,
        number: usize,
        request: Request<Incoming>,
        known: &Mutex<bool>,
    ) -> io::Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let sent = parts.headers.get(AUTHORIZATION);
        let sent = sent.and_then(|it| it.to_str().ok()?.strip_prefix("NTLM "));
        let message = sent.map(|it| STANDARD.decode(it).expect("base64"));
        let kind = message.as_deref().and_then(kind);
        let asked = format!("{} {}", parts.method, parts.uri.path());
        self.0
            .seen
            .lock()
            .unwrap()
            .push((number, asked, kind, body.len()));
        assert_eq!(parts.headers[HOST], "farm.example");
        let ask = |challenge: &str| {
            Response::builder()
                .status(401)
                .header("www-authenticate", "Negotiate")
                .header("www-authenticate", format!("NTLM {challenge}").trim())
                .body(Full::new(Bytes::from_static(b"who are you?")))
                .map_err(io::Error::other)
        };
        let challenge = STANDARD.encode(question());
        let quirk = self.next(kind, *known.lock().unwrap());
        match (kind, quirk) {
            (_, Some(Quirk::Bearer)) => {
                let answer = Response::builder()
                    .status(401)
                    .header("www-authenticate", "Bearer realm=\"x\"");
                return answer.body(Full::default()).map_err(io::Error::other);
            }
            (Some(1), _) => return ask(&challenge),
            (_, Some(Quirk::Wrong)) => return ask(""),
            (_, Some(Quirk::Shared)) => return ask(&challenge),
            (_, Some(Quirk::Forgets)) => {
                *known.lock().unwrap() = false;
                return ask("");
            }
            (Some(3), _) => *known.lock().unwrap() = true,
            _ => {}
        }
        if !*known.lock().unwrap() {
            return ask("");
        }
        let answer = match quirk {
            Some(Quirk::Breaks) => return Err(io::ErrorKind::ConnectionReset.into()),
            Some(Quirk::Closes) => Response::builder().header("connection", "close"),
            Some(Quirk::Throttles) => Response::builder().status(503),
            _ => Response::builder(),
        };
        let long = parts.uri.path().ends_with("$value");
        let content = vec![b'x'; if long { 1 << 20 } else { 2 }];
        answer
            .body(Full::new(content.into()))
            .map_err(io::Error::other)
    }

    /// The next quirk, if this is its moment.
    fn next(&self, kind: Option<u32>, known: bool) -> Option<Quirk> {
        let mut quirks = self.0.quirks.lock().unwrap();
        let fits = match quirks.front()? {
            Quirk::Bearer => kind == Some(1),
            Quirk::Wrong | Quirk::Shared => kind == Some(3),
            Quirk::Forgets => known,
            _ => known || kind == Some(3),
        };
        if fits { quirks.pop_front() } else { None }
    }

    fn plays(&self, quirks: &[Quirk]) {
        self.0.quirks.lock().unwrap().extend(quirks);
    }

    /// What it saw since the last look.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.seen.lock().unwrap())
    }
}

/// A secret that can be changed.
#[derive(Debug, Clone, Default)]
struct Vault(Arc<Mutex<&'static str>>);

impl Secrets for Vault {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, AdapterError> {
        Ok(Secret::new(self.0.lock().unwrap().as_bytes()))
    }
}

fn sessions(fake: &Fake, vault: &Vault) -> Sessions {
    let password = SecretRef {
        secret: "farm".to_owned(),
    };
    let user = "FARM\\bob".to_owned();
    let farm = Farm {
        site: Site::parse("http://farm.example/sites/team").expect("an address"),
        auth: Auth::Ntlm {
            user: user.clone(),
            password: password.clone(),
        },
        ca: None,
        timeout: Span::secs(5),
        connect_timeout: Span::secs(5),
    };
    let who = (user.as_str(), &password, Arc::default());
    let clock = Arc::new(SystemClock);
    Sessions::over(
        Box::new(fake.clone()),
        &farm,
        who,
        clock,
        Arc::new(vault.clone()),
    )
    .expect("sessions")
}

/// A call: one with content is a write, one whose name ends with `$value` brings a document.
fn call(name: &str, content: &'static str) -> reqwest::Request {
    let method = if content.is_empty() { "GET" } else { "POST" };
    let url = format!("http://farm.example/sites/team/_api/{name}");
    let method = method.parse().expect("a method");
    let mut call = reqwest::Request::new(method, url.parse().expect("an address"));
    if !content.is_empty() {
        *call.body_mut() = Some(content.into());
    }
    if !name.ends_with("$value") {
        *call.timeout_mut() = Some(Duration::from_secs(5));
    }
    call
}

async fn done(sessions: &Sessions, name: &str, content: &'static str) -> Result<u16, Failure> {
    let answer = sessions.send(call(name, content), "trying").await?;
    let status = answer.status().as_u16();
    drop(answer.bytes().await.expect("the whole answer"));
    Ok(status)
}

const ASK: &str = "GET /sites/team/_api/web/currentuser";
const SAVE: &str = "POST /sites/team/_api/save";

fn saw(number: usize, what: &str, message: Option<u32>, length: usize) -> Seen {
    (number, what.to_owned(), message, length)
}

#[tokio::test]
async fn one_login_is_good_for_many_calls_and_content_goes_once() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    for _ in 0..3 {
        assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    }
    let expected = [
        saw(0, ASK, Some(1), 0),
        saw(0, SAVE, Some(3), 7),
        saw(0, SAVE, None, 7),
        saw(0, SAVE, None, 7),
    ];
    assert_eq!(fake.seen(), expected);
}

#[tokio::test]
async fn a_connection_that_was_closed_logs_in_again() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    fake.plays(&[Quirk::Closes, Quirk::Closes]);
    for _ in 0..3 {
        assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    }
    let expected = (0..3).flat_map(|no| [saw(no, ASK, Some(1), 0), saw(no, SAVE, Some(3), 7)]);
    assert_eq!(fake.seen(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_farm_that_forgets_is_told_once_more() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    fake.seen();
    fake.plays(&[Quirk::Forgets]);
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    let expected = [
        saw(0, SAVE, None, 7),
        saw(1, ASK, Some(1), 0),
        saw(1, SAVE, Some(3), 7),
    ];
    assert_eq!(fake.seen(), expected);
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_the_call_in_doubt() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    for _ in 0..2 {
        fake.plays(&[Quirk::Breaks]);
        let lost = done(&sessions, "save", "content").await;
        assert!(matches!(lost, Err(Failure::Unknown(_))), "{lost:?}");
        assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    }
    let saves = fake.seen().into_iter().filter(|seen| seen.1 == SAVE);
    assert_eq!(saves.count(), 4);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_by_many_calls_and_a_new_one_at_once() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    fake.plays(&[Quirk::Wrong]);
    *vault.0.lock().unwrap() = "old";
    let calls = (0..20).map(|_| done(&sessions, "save", "content"));
    for failed in futures_util::future::join_all(calls).await {
        let Err(Failure::NotDone(error)) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!(
            (error.kind, error.code),
            (ErrorKind::Config, codes::LOGIN_REFUSED)
        );
        assert!(error.detail.contains("`FARM\\bob`"), "{error}");
    }
    assert_eq!(
        fake.seen(),
        [saw(0, ASK, Some(1), 0), saw(0, SAVE, Some(3), 7)]
    );
    *vault.0.lock().unwrap() = "new";
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
}

#[tokio::test]
async fn a_password_that_was_good_is_not_given_up_for_one_refusal() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    fake.plays(&[Quirk::Closes, Quirk::Wrong, Quirk::Wrong]);
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    for kind in [ErrorKind::Retry(None), ErrorKind::Config, ErrorKind::Config] {
        let failed = done(&sessions, "save", "content").await;
        assert_eq!(failed.expect_err("refused").error().kind, kind);
    }
}

#[tokio::test]
async fn what_keeps_ntlm_from_working_is_named() {
    for (quirk, word) in [
        (Quirk::Shared, "shares its connections"),
        (Quirk::Bearer, "takes no NTLM, but Bearer"),
    ] {
        let (fake, vault) = (Fake::default(), Vault::default());
        let sessions = sessions(&fake, &vault);
        fake.plays(&[quirk]);
        let failed = done(&sessions, "save", "content").await;
        let error = failed.expect_err("no login").error();
        assert_eq!(error.kind, ErrorKind::Config);
        assert!(error.detail.contains(word), "{error}");
    }
}

#[tokio::test]
async fn what_may_be_said_before_the_farm_proves_no_login() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    fake.plays(&[Quirk::Throttles]);
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(503));
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    let logins = fake.seen().into_iter().filter(|seen| seen.2 == Some(1));
    assert_eq!(logins.count(), 2);
}

#[tokio::test]
async fn a_document_keeps_its_session_until_its_end() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    let mut document = sessions.send(call("a/$value", ""), "reading").await;
    let document = document.as_mut().expect("a document");
    drop(document.chunk().await.expect("a piece"));
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    while let Some(piece) = document.chunk().await.expect("a piece") {
        drop(piece);
    }
    // The session of the document was given back last.
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    let numbers: Vec<_> = fake.seen().iter().map(|seen| seen.0).collect();
    assert_eq!(numbers, [0, 0, 1, 1, 0]);
    // One that is given up takes its connection along.
    let document = sessions.send(call("a/$value", ""), "reading").await;
    drop(document.expect("a document"));
    assert_eq!(done(&sessions, "save", "content").await.ok(), Some(200));
    let numbers: Vec<_> = fake.seen().iter().map(|seen| seen.0).collect();
    assert_eq!(numbers, [0, 1]);
}

#[tokio::test]
async fn there_are_so_many_sessions_as_calls_at_once_and_no_more_than_are_allowed() {
    let (fake, vault) = (Fake::default(), Vault::default());
    let sessions = sessions(&fake, &vault);
    for _ in 0..3 {
        let calls = (0..50).map(|_| done(&sessions, "save", "content"));
        for done in futures_util::future::join_all(calls).await {
            assert_eq!(done.ok(), Some(200));
        }
    }
    let made = fake.0.connections.load(Ordering::SeqCst);
    assert!((2..=CALLS).contains(&made), "{made}");
}
