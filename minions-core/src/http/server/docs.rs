//! The API's description, generated from the table of routes and the wire types.

use std::fmt::Write as _;

use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::answer;
use super::route::{Access, RouteInfo, routes};
use crate::api::v1;

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in routes() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(&route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "minions",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Virtual machines. Errors are problem details; lists are read page by page.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "mnt_…" } },
        },
    })
}

fn operation(route: &RouteInfo) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let content = |name: &str| json!({ "application/json": { "schema": reference(name) } });
    let mut parameters = Vec::new();
    for part in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        parameters.push(json!({ "name": part, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    for (name, meaning) in route.query {
        parameters.push(json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } }));
    }
    if route.mutates && route.answer == Some("Operation") {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "maxLength": 128 },
            "description": "your own name for this request: repeating it has no second effect",
        }));
    }
    let mut responses = Map::new();
    let ok = match route.answer {
        Some(name) => json!({ "description": "done", "content": content(name) }),
        None => json!({ "description": "done" }),
    };
    if route.answer == Some("Operation") && route.mutates {
        responses.insert("202".to_owned(), json!({ "description": "under way", "content": content("Operation") }));
    }
    let status = match route.path {
        "/v1/vms/{vm}/open" | "/v1/vms/{vm}/console" => "101",
        "/v1/images/{id}" => "204",
        _ => "200",
    };
    responses.insert(status.to_owned(), ok);
    let problem = json!({ "application/problem+json": { "schema": reference("Problem") } });
    responses.insert("default".to_owned(), json!({ "description": "an error", "content": problem }));
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = route.body {
        operation["requestBody"] = json!({ "content": content(body) });
    }
    if route.access == Access::Caller {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

/// Such as `post_vms_start`.
fn operation_id(route: &RouteInfo) -> String {
    let words = route.path.trim_start_matches("/v1").split(['/', '.']).filter(|part| !part.is_empty());
    words.fold(route.method.to_ascii_lowercase(), |id, word| format!("{id}_{}", word.trim_matches(['{', '}'])))
}

fn schemas() -> Map<String, Value> {
    let mut all: Vec<(String, RefOr<Schema>)> = Vec::new();
    macro_rules! add {
        ($($name:ident)*) => {
            $(
                all.push((stringify!($name).to_owned(), <v1::$name as PartialSchema>::schema()));
                <v1::$name as ToSchema>::schemas(&mut all);
            )*
        };
    }
    add!(CreateVm StartVm StopVm RestartVm DestroyVm RenameVm ExposeVm ShareVm Access ResizeVm RebaseVm DeleteDisk Disk DiskPage Vm VmPage Operation OperationOutcome Event EventBody
        EventPage AddUser UpdateUser User UserPage AddKey DeleteKey Key KeyList AddToken TokenInfo NewToken TokenList WhoAmI AuditEntry AuditPage Image ImageList ImportImage HostStatus VersionInfo Problem);
    all.into_iter().filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?))).collect()
}

pub(super) async fn document() -> Response {
    answer::json(&openapi())
}

/// The same for people: one page, nothing loaded from elsewhere.
pub(super) async fn page() -> Response {
    let mut rows = String::new();
    for route in routes() {
        let parameters: Vec<String> = route.query.iter().map(|(name, meaning)| format!("{name}: {meaning}")).collect();
        // Writing to a String cannot fail, and nothing in the table needs escaping.
        let _ = write!(
            rows,
            "<tr><td>{}<td><code>{}</code><td>{}<td>{}<td>{}<td>{}</tr>",
            route.method,
            route.path,
            route.summary,
            route.body.unwrap_or_default(),
            route.answer.unwrap_or_default(),
            parameters.join("; "),
        );
    }
    let text = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>minions API</title>\
         <style>body{{font:15px system-ui;margin:2em;max-width:80em}}td,th{{text-align:left;padding:.3em .8em .3em 0;\
         vertical-align:top;border-bottom:1px solid #ddd}}</style>\
         <h1>minions API v1</h1><p>JSON over HTTP. Authenticate with <code>Authorization: Bearer mnt_…</code>, or as the \
         daemon's own user on its UNIX socket. Schemas and errors: <a href=/v1/openapi.json>openapi.json</a>.</p>\
         <table><tr><th>method<th>path<th>does<th>takes<th>answers<th>query</tr>{rows}</table></html>"
    );
    let mut response = Html(text).into_response();
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_the_document_names_is_in_it() {
        let document = openapi();
        let text = document.to_string();
        for piece in text.split("#/components/schemas/").skip(1) {
            let name = piece.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_route_has_its_own_operation_id() {
        let mut ids: Vec<String> = routes().iter().map(operation_id).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }
}
