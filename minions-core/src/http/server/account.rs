//! People.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;

use super::App;
use super::answer::{self, Answer};
use super::auth::Who;
use super::request::{Json, Params, TokenPath, UserPath, limit};
use crate::api::v1;
use crate::error::{Error, ErrorKind, Result};
use crate::service::DynDirectory;

/// The accounts, where the service keeps any.
fn directory(app: &App) -> Result<&DynDirectory> {
    app.people
        .as_ref()
        .map(|people| &people.directory)
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "this service keeps no accounts").with_reason("no_accounts"))
}

pub(super) async fn whoami(Who(caller): Who) -> Answer {
    Ok(answer::json(&v1::WhoAmI { name: caller.owner.0, role: caller.role, scope: caller.scope }))
}

pub(super) async fn add(State(app): State<Arc<App>>, Who(caller): Who, Json(request): Json<v1::AddUser>) -> Answer {
    Ok(answer::json(&directory(&app)?.add_user(&caller, &request).await?))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    Params(mut query): Params<v1::ListUsers>,
) -> Answer {
    query.limit = Some(limit(query.limit, 100)?);
    Ok(answer::json(&directory(&app)?.users(&caller, &query).await?))
}

pub(super) async fn show(State(app): State<Arc<App>>, Who(caller): Who, UserPath(user): UserPath) -> Answer {
    Ok(answer::json(&directory(&app)?.user(&caller, &user).await?))
}

pub(super) async fn update(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    UserPath(user): UserPath,
    Json(request): Json<v1::UpdateUser>,
) -> Answer {
    Ok(answer::json(&directory(&app)?.update_user(&caller, &user, &request).await?))
}

pub(super) async fn delete(State(app): State<Arc<App>>, Who(caller): Who, UserPath(user): UserPath) -> Answer {
    directory(&app)?.delete_user(&caller, &user).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn keys(State(app): State<Arc<App>>, Who(caller): Who, UserPath(user): UserPath) -> Answer {
    Ok(answer::json(&directory(&app)?.keys(&caller, &user).await?))
}

pub(super) async fn add_key(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    UserPath(user): UserPath,
    Json(request): Json<v1::AddKey>,
) -> Answer {
    Ok(answer::json(&directory(&app)?.add_key(&caller, &user, &request).await?))
}

pub(super) async fn delete_key(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    UserPath(user): UserPath,
    Json(request): Json<v1::DeleteKey>,
) -> Answer {
    let key = request.fingerprint.parse()?;
    directory(&app)?.delete_key(&caller, &user, &key).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn tokens(State(app): State<Arc<App>>, Who(caller): Who, UserPath(user): UserPath) -> Answer {
    Ok(answer::json(&directory(&app)?.tokens(&caller, &user).await?))
}

pub(super) async fn add_token(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    UserPath(user): UserPath,
    Json(request): Json<v1::AddToken>,
) -> Answer {
    Ok(answer::json(&directory(&app)?.add_token(&caller, &user, &request).await?))
}

pub(super) async fn delete_token(
    State(app): State<Arc<App>>,
    Who(caller): Who,
    TokenPath(user, token): TokenPath,
) -> Answer {
    directory(&app)?.delete_token(&caller, &user, token).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which entries of the audit log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

pub(super) async fn audit(State(app): State<Arc<App>>, Who(caller): Who, Params(query): Params<AuditQuery>) -> Answer {
    let limit = usize::try_from(limit(query.limit, 100)?).unwrap_or(usize::MAX);
    Ok(answer::json(&directory(&app)?.audit(&caller, query.after, limit).await?))
}
