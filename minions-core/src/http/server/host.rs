//! The host, and which version answers.

use std::sync::Arc;

use axum::extract::State;

use super::App;
use super::answer::{self, Answer};
use super::auth::Who;
use crate::api::v1::VersionInfo;

pub(super) async fn show(State(app): State<Arc<App>>, Who(caller): Who) -> Answer {
    Ok(answer::json(&app.plane.host(&caller).await?))
}

pub(super) async fn version(State(app): State<Arc<App>>, Who(_): Who) -> Answer {
    Ok(answer::json(&VersionInfo { version: app.settings.version.clone(), api: "v1".to_owned() }))
}
