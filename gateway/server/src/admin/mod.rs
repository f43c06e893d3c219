//! The admin listener: the API that the command line uses, health, metrics and a status page.
//!
//! Each resource is one file that lists its routes; the router and the OpenAPI document are both made
//! from these lists, so that neither can have a route that the other lacks.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use quayside_adapter_api::{SecretRef, Secrets};
use quayside_model::hash16;

mod cluster;
mod deliveries;
mod extract;
mod instances;
mod joined;
mod locations;
mod messages;
mod metrics;
mod names;
mod openapi;
mod orchestrations;
mod page;
mod ports;
mod problem;
mod schemas;
mod status;
mod store;
mod way;
mod words;

use crate::{cli::codes, gateway::Gateway};
#[cfg(test)]
pub(crate) use cluster::samples as cluster_samples;
pub(crate) use cluster::{Policies, lasting, policies};
pub(crate) use joined::Processes;
pub(crate) use messages::STATES as MESSAGE_STATES;
pub(crate) use metrics::Transitions;
pub(crate) use orchestrations::STATES as RUN_STATES;
use problem::Problem;
pub(crate) use words::second;

/// Where the API begins.
const BASE: &str = "/api/v1";
/// The longest body of a call, but for messages that are handed in.
const MAX_BODY: usize = 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Admin {
    /// What runs here.
    pub(crate) gateway: Arc<Gateway>,
    /// The policies of the clustered hosts.
    pub(crate) policies: Policies,
    /// Where its store is, if that is PostgreSQL.
    pub(crate) store_url: Option<String>,
    /// Which token callers have to bear.
    pub(crate) token: Option<SecretRef>,
    /// The other processes of this node, if this one answers for all.
    pub(crate) joined: Option<Arc<Processes>>,
    /// The changes of the cluster that the metrics have counted.
    pub(crate) transitions: Arc<Transitions>,
    /// Where the token is found, anew for each call.
    pub(crate) secrets: Arc<dyn Secrets>,
}

/// One route of the API.
struct Route {
    method: &'static str,
    /// Below [`BASE`].
    path: &'static str,
    summary: &'static str,
    /// Parameters of the query with what they mean.
    query: &'static [(&'static str, &'static str)],
    /// What the body of the request holds.
    body: Option<&'static str>,
    /// The status of success and what comes with it.
    answer: (u16, Content),
    handler: MethodRouter<Admin>,
}

impl Route {
    fn get(path: &'static str, summary: &'static str, handler: MethodRouter<Admin>) -> Self {
        Self {
            method: "get",
            path,
            summary,
            query: &[],
            body: None,
            answer: (200, Content::Json("OpenApi")),
            handler,
        }
    }

    fn post(path: &'static str, summary: &'static str, handler: MethodRouter<Admin>) -> Self {
        Self {
            method: "post",
            ..Self::get(path, summary, handler)
        }
    }

    fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    /// JSON after the schema `name` comes back.
    fn answers(self, name: &'static str) -> Self {
        let answer = (200, Content::Json(name));
        Self { answer, ..self }
    }

    /// Success has this status instead of 200.
    fn status(self, status: u16) -> Self {
        let answer = (status, self.answer.1);
        Self { answer, ..self }
    }

    /// The bytes of a message come back.
    fn bytes(self) -> Self {
        let answer = (200, Content::Bytes);
        Self { answer, ..self }
    }

    fn body(self, body: &'static str) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }
}

/// What an answer holds.
#[derive(Clone, Copy)]
enum Content {
    /// JSON after the schema of this name.
    Json(&'static str),
    /// The bytes of a partner.
    Bytes,
}

/// Every route of the API.
fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(messages::routes());
    routes.extend(deliveries::routes());
    routes.extend(ports::routes());
    routes.extend(locations::routes());
    routes.extend(instances::routes());
    routes.extend(orchestrations::routes());
    routes.extend(cluster::routes());
    routes.extend(store::routes());
    routes.extend(status::routes());
    routes.push(openapi::route());
    routes
}

/// Everything that the admin listener serves.
pub(crate) fn router(admin: Admin) -> Router {
    let mut api = Router::new();
    for route in routes() {
        api = api.route(&format!("{BASE}{}", route.path), route.handler);
    }
    api.route("/", get(page::page))
        .route("/metrics", get(metrics::metrics))
        .layer(middleware::from_fn_with_state(admin.clone(), authorize))
        // Probes bear no token and learn nothing but the answer.
        .route("/livez", get(status::livez))
        .route("/readyz", get(status::readyz))
        .layer(middleware::from_fn(same_origin))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            let detail = "this path has other methods";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, codes::BAD_REQUEST, detail)
        })
        .with_state(admin)
}

/// Refuses callers without the token, where one is configured.
async fn authorize(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let Some(reference) = &admin.token else {
        // Without a token the listener is on loopback, and only its own names may lead to it: a page
        // whose name was made to point here has another one.
        if is_own_name(request.headers()) {
            return next.run(request).await;
        }
        let detail = "without a token, call the admin API by its IP address or as localhost";
        return Problem::new(StatusCode::FORBIDDEN, codes::FOREIGN, detail).into_response();
    };
    let wanted = match admin.secrets.resolve(reference) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(code = %error.code, error = %error.detail, "no call can be authorized");
            return Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                codes::SECRET,
                "no token is configured",
            )
            .into_response();
        }
    };
    let given = bearer(request.headers());
    let wanted = wanted.expose_text().unwrap_or_default();
    // Hashes are compared: how long that takes tells nothing about the token.
    let same =
        given.is_some_and(|given| hash16(&[given.as_bytes()]) == hash16(&[wanted.as_bytes()]));
    if same && !wanted.is_empty() {
        return next.run(request).await;
    }
    let detail = match given {
        Some(_) => "the token is not the one of this node",
        None => "a token is needed",
    };
    let problem = Problem::new(StatusCode::UNAUTHORIZED, codes::UNAUTHORIZED, detail);
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}

fn is_own_name(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host
        .parse::<SocketAddr>()
        .map(|_| "localhost")
        .unwrap_or(host);
    let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
    name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::trim)
}

/// Refuses what a web page of another origin makes a browser send. On loopback there may be no token, so
/// the browser of whoever sits at the machine would otherwise be a way in.
async fn same_origin(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        let detail = "pages of other origins may not call the admin API";
        return Problem::new(StatusCode::FORBIDDEN, codes::FOREIGN, detail).into_response();
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let from_page = text(header::ORIGIN).is_some_and(|origin| {
        origin
            .split_once("://")
            .is_none_or(|(_, from)| from != host)
    });
    from_page
        || headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site")
}
