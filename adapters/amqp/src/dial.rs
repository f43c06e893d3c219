//! Connecting to one broker and logging in, once: TCP, TLS, AMQP.

use std::sync::{Arc, Mutex, PoisonError};

use lapin::{AsyncTcpStream, Connection, ConnectionProperties, uri::AMQPUri};
use quayside_adapter_api::{AdapterError, ErrorKind, Secrets};
use tokio::time::timeout;

use crate::{
    codes,
    config::{Broker, is_tls},
    error, wire,
};

/// Connects to the broker of the number `at` and logs in, each within `connect_timeout`. The broker shows
/// the connection under `name`. Dropping the plug ends it, unless it is left in.
///
/// # Errors
/// `Disconnected` if the broker cannot be reached, else what waiting does not mend.
pub(crate) async fn dial(
    broker: &Broker,
    at: usize,
    name: &str,
    secrets: &dyn Secrets,
) -> Result<(Connection, wire::Plug), AdapterError> {
    let mut uri = broker.uris[at].clone();
    let place = format!("{}:{}", uri.authority.host, uri.authority.port);
    uri.query.heartbeat = Some(broker.heartbeat);
    if let Some(user) = &broker.user {
        uri.authority.userinfo.username.clone_from(user);
    }
    if let Some(reference) = &broker.password {
        let secret = secrets.resolve(reference)?;
        let password = secret.expose_text().unwrap_or_default();
        password.clone_into(&mut uri.authority.userinfo.password);
    }
    let within = broker.connect_timeout;
    let late = || error::unreachable(format!("{place} did not answer within {within:?}"));
    let tls = if is_tls(&uri) {
        tls(broker).await?
    } else {
        None
    };
    let connected = timeout(within, wire::connect(&uri, tls)).await;
    let (stream, plug) = connected
        .map_err(|_| late())?
        .map_err(|error| error::of_connecting(&place, &error))?;
    match timeout(within, log_in(uri, stream, name)).await {
        Ok(Ok(connection)) => Ok((connection, plug)),
        Ok(Err(error)) => Err(error::of_broker(&format!("{place}: connecting"), &error)),
        Err(_) => Err(late()),
    }
}

async fn tls(broker: &Broker) -> Result<Option<Arc<rustls::ClientConfig>>, AdapterError> {
    let (uris, ca) = (broker.uris.clone(), broker.ca.clone());
    let read = tokio::task::spawn_blocking(move || wire::tls(&uris, ca.as_deref())).await;
    read.unwrap_or_else(|error| {
        let detail = format!("reading the authorities: {error}");
        Err(AdapterError::new(ErrorKind::Config, codes::BAD_TLS, detail))
    })
}

async fn log_in(uri: AMQPUri, stream: wire::Stream, name: &str) -> lapin::Result<Connection> {
    let properties =
        ConnectionProperties::default().with_connection_name(format!("quayside {name}").into());
    let stream = Mutex::new(Some(wire::compat(stream, name)));
    // Asked for once: the library's own recovery is off.
    let hand_over = async move |_, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = stream.ok_or(std::io::ErrorKind::NotConnected);
        let stream = stream.map_err(std::io::Error::from)?;
        Ok(AsyncTcpStream::Plain(stream))
    };
    Connection::connector(uri, wire::runtime(), hand_over, properties).await
}
