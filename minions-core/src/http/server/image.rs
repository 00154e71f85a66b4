//! Images.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;

use super::App;
use super::answer::{self, Answer};
use super::auth::Who;
use super::operation::run;
use super::request::Json;
use crate::api::v1::ImportImage;
use crate::error::Error;
use crate::types::ImageId;

pub(super) async fn list(State(app): State<Arc<App>>, Who(caller): Who) -> Answer {
    Ok(answer::json(&app.plane.images(&caller).await?))
}

pub(super) async fn import(State(app): State<Arc<App>>, Who(caller): Who, Json(request): Json<ImportImage>) -> Answer {
    let (plane, bundle) = (app.plane.clone(), request.into());
    let image = run(async move { plane.import_image(&caller, &bundle).await }).await?;
    Ok(answer::json(&image))
}

pub(super) async fn delete(State(app): State<Arc<App>>, Who(caller): Who, Path(id): Path<String>) -> Answer {
    let id: ImageId = id.parse().map_err(|_| Error::not_found("there is no such image"))?;
    let plane = app.plane.clone();
    run(async move { plane.delete_image(&caller, id).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
