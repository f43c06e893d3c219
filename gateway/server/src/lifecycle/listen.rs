//! Where a process listens: its API, and the HTTP listener of its receive locations.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::Router;
use quayside_adapter_api::SecretRef;
use quayside_adapter_http::DEFAULT_LISTENER;
use quayside_model::Name;
use tokio::net::{TcpListener, UnixListener};
use tracing::error;

use super::{Process, Work};
use crate::{
    admin::{self, Admin, Processes, Transitions},
    cli::codes,
    config::{Loaded, node::AdminConfig},
    exit::Failure,
    tls::{self, TlsListener},
};

/// The key of the adapter that takes requests.
const HTTP: &str = "http";

impl Process<'_> {
    /// Binds the admin listener and serves it: before anything else, so that probes are answered.
    pub(super) async fn start_admin(&mut self) -> Result<SocketAddr, Failure> {
        let AdminConfig { listen, token } = self.loaded.node.admin.clone();
        let tcp = bind(listen.address).await?;
        let address = tcp
            .local_addr()
            .map_err(|error| bind_failure(listen.address, &error))?;
        let router = self.api(token);
        let over = self.over.clone().cancelled_owned();
        match &listen.tls {
            None => self.tasks.spawn(async move {
                ended(axum::serve(tcp, router).with_graceful_shutdown(over).await)
            }),
            Some(tls) => {
                let tcp = TlsListener::new(tcp, tls::server_config(tls, &*self.secrets)?);
                self.tasks.spawn(async move {
                    ended(axum::serve(tcp, router).with_graceful_shutdown(over).await)
                })
            }
        };
        Ok(address)
    }

    /// Binds the HTTP listener of the node, where receive locations take requests.
    pub(super) async fn bind_http(&self) -> Result<SocketAddr, Failure> {
        let addresses = self.wired.http.bind().await;
        let addresses = addresses.map_err(|error| Failure::new(error.code, error.detail))?;
        addresses.get(DEFAULT_LISTENER).copied().ok_or_else(|| {
            Failure::new(codes::INTERNAL, "the HTTP adapter has no default listener")
        })
    }

    /// Serves the API at the socket `path`, for the process of the node that has the admin listener. Who may
    /// open the socket may use it: its folder is the user's alone.
    pub(super) fn start_api(&mut self, path: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            let message = format!("cannot listen on {}: {error}", path.display());
            Failure::new(codes::BIND, message)
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        let socket = UnixListener::bind(path).map_err(failed)?;
        let (router, over) = (self.api(None), self.over.clone().cancelled_owned());
        self.tasks.spawn(async move {
            ended(
                axum::serve(socket, router)
                    .with_graceful_shutdown(over)
                    .await,
            )
        });
        Ok(())
    }

    /// The processes of the node, for the one that answers for them.
    fn processes(&self) -> Processes {
        Processes {
            dir: self.loaded.node.run_dir.clone(),
            hosts: self.loaded.hosts_of_node(),
        }
    }

    fn api(&self, token: Option<SecretRef>) -> Router {
        admin::router(Admin {
            gateway: Arc::clone(&self.gateway),
            policies: admin::policies(self.loaded.group.as_ref()),
            store_url: self.loaded.node.store.url.clone(),
            joined: (self.work == Work::Api).then(|| Arc::new(self.processes())),
            transitions: Arc::new(Transitions::after(self.gateway.clock.now())),
            token,
            secrets: Arc::clone(&self.secrets),
        })
    }
}

/// Whether hosts of this process have receive locations that take requests.
pub(super) fn takes_requests(loaded: &Loaded) -> bool {
    let runs = |host: &Name| loaded.hosts.is_empty() || loaded.hosts.contains(host);
    let ports = loaded.plan.receive.iter().filter(|port| runs(&port.host));
    let mut locations = ports.flat_map(|port| &port.locations);
    locations.any(|location| location.adapter == HTTP)
}

fn ended(result: std::io::Result<()>) -> &'static str {
    if let Err(error) = result {
        error!(code = %codes::INTERNAL, %error, "the admin listener failed");
    }
    "admin listener"
}

/// Listens at `address`.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| bind_failure(address, &error))
}

fn bind_failure(address: SocketAddr, error: &std::io::Error) -> Failure {
    Failure::new(codes::BIND, format!("cannot listen on {address}: {error}"))
}
