//! One connection: TLS, the choice between HTTP/1.1 and HTTP/2, and its end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use quayside_adapter_api::model::Text;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{interval, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    adapter::Life,
    answering::{Answering, Answers},
    listener::Shared,
    receive,
    stream::Stream,
    tls::ClientCertificate,
};

/// How long the TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the requests of a connection share.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) life: Arc<Life>,
    pub(crate) remote: Text,
    pub(crate) certificate: Option<ClientCertificate>,
    /// How many requests came.
    pub(crate) requests: AtomicU64,
    /// Whether an answer was given before its request had been read: then the end has to linger.
    pub(crate) linger: Arc<AtomicBool>,
}

/// Counts a connection while it lives.
struct Counted(Arc<Life>);

impl Counted {
    fn new(life: &Arc<Life>) -> Self {
        life.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(life))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    life: Arc<Life>,
) {
    let _counted = Counted::new(&life);
    // Answers are small and written whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        shared,
        life: Arc::clone(&life),
        remote: Text::lossy(&remote.to_string()),
        certificate: None,
        requests: AtomicU64::new(0),
        linger: Arc::default(),
    };
    let Some(tls) = tls else {
        // The future is large, and tasks that wait for a handshake should not pay for it.
        return Box::pin(drive(stream, Arc::new(connection))).await;
    };
    let handshake = timeout(HANDSHAKE, tls.accept(stream));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = life.stop.cancelled() => return,
        () = life.cut.cancelled() => return,
    };
    match stream {
        Ok(Ok(stream)) => {
            connection.certificate = ClientCertificate::of(stream.get_ref().1);
            Box::pin(drive(stream, Arc::new(connection))).await;
        }
        Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
    }
}

async fn drive<S>(stream: S, connection: Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let life = Arc::clone(&connection.life);
    let options = &connection.shared.options;
    let header_timeout = options.header_timeout.duration();
    let builder = builder(&connection);
    // A client may be as slow to take an answer as to send a head.
    let lingers = Arc::clone(&connection.linger);
    let io = TokioIo::new(Stream::new(stream, header_timeout, lingers));
    let answers = Arc::new(Answers::default());
    let service = service_fn(|request| {
        connection.requests.fetch_add(1, Ordering::Relaxed);
        let (connection, answers) = (Arc::clone(&connection), Arc::clone(&answers));
        async move {
            let reply = receive::answer(&connection, request).await;
            Ok::<_, Infallible>(reply.map(|body| Answering::new(body, &answers)))
        }
    });
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut look = interval(header_timeout.max(Duration::from_millis(1)));
    let mut done_before = None;
    let mut first_request = pin!(sleep(header_timeout));
    let mut waiting_for_first = true;
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(remote = %connection.remote, error, "connection ended");
                }
                return;
            }
            () = life.cut.cancelled() => return,
            () = life.stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
            // The stream sees writes that wait; a client that grants no window keeps answers from being written.
            _ = look.tick() => {
                let done = answers.done_of_waiting();
                if done.is_some() && done == done_before {
                    return;
                }
                done_before = done;
            }
            // hyper begins its own time limit only when it knows the protocol, so that a client that
            // connects and says nothing would stay for ever.
            () = first_request.as_mut(), if waiting_for_first => {
                waiting_for_first = false;
                if connection.requests.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        }
    }
}

fn builder(connection: &Connection) -> auto::Builder<Streams> {
    let options = &connection.shared.options;
    let max_header = options.max_header.as_len().clamp(8 * 1024, 1024 * 1024);
    let mut builder = auto::Builder::new(Streams {
        tasks: connection.life.tasks.clone(),
        cut: connection.life.cut.clone(),
    });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout.duration())
        .max_buf_size(max_header)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(u32::try_from(max_header).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Runs the requests of an HTTP/2 connection as tasks that the adapter owns.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            cut.run_until_cancelled(stream).await;
        });
    }
}
