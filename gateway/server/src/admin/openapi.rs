//! `/openapi.json`: the description of the API, made from the same list as its router.

use axum::{Json, routing::get};
use serde_json::{Map, Value, json};

use super::{BASE, Content, Route, schemas};

pub(super) fn route() -> Route {
    let handler = get(|| async { Json(document()) });
    Route::get("/openapi.json", "Describes this API", handler)
}

/// The whole document.
fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in super::routes() {
        let path = paths
            .entry(format!("{BASE}{}", route.path))
            .or_insert_with(|| json!({}));
        path[route.method] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Quayside admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What operators do with a node. Errors are problem documents (RFC 9457) \
                            with `code` and `help`.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route
        .path
        .split('/')
        .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = route.query.iter().map(|(name, meaning)| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } })
    });
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "default": {
                "description": "Refused",
                "content": { "application/problem+json": { "schema": schemas::reference("Problem") } },
            },
        },
    });
    let (status, content) = route.answer;
    let content = match content {
        Content::Json(name) => {
            json!({ "application/json": { "schema": schemas::reference(name) } })
        }
        Content::Bytes => json!({ "*/*": {} }),
    };
    operation["responses"][status.to_string()] =
        json!({ "description": "Done", "content": content });
    if let Some(body) = route.body {
        operation["requestBody"] = json!({ "description": body, "content": { "*/*": {} } });
    }
    operation
}

/// `get_messages_id_body`: unique, because method and path together are.
fn operation_id(route: &Route) -> String {
    let parts = route
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|p| !p.is_empty());
    std::iter::once(route.method)
        .chain(parts)
        .collect::<Vec<_>>()
        .join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described() {
        let document = document();
        let mut ids = BTreeSet::new();
        for route in crate::admin::routes() {
            let operation = &document["paths"][format!("{BASE}{}", route.path)][route.method];
            assert_eq!(
                operation["summary"], route.summary,
                "{} {}",
                route.method, route.path
            );
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{operation}"
            );
            let (status, content) = route.answer;
            let answer = &operation["responses"][status.to_string()]["content"];
            if let Content::Json(name) = content {
                assert_eq!(
                    answer["application/json"]["schema"],
                    schemas::reference(name)
                );
                assert!(
                    document["components"]["schemas"][name].is_object(),
                    "{name}"
                );
            }
            let parameters = operation["parameters"].as_array().expect("a list").len();
            assert_eq!(
                parameters,
                route.path.matches('{').count() + route.query.len()
            );
        }
        let described: usize = document["paths"]
            .as_object()
            .expect("paths")
            .values()
            .map(|p| p.as_object().map_or(0, Map::len))
            .sum();
        assert_eq!(described, ids.len());
    }
}
