//! `minions image`.

mod make;

pub use make::Place;

use std::process::ExitCode;

use minions_core::config::Environment;
use minions_core::error::Error;

use crate::cli::{Bake, Global, Image};
use crate::client::Client;
use crate::clock::rfc3339;
use crate::output::{Outcome, Output};

pub async fn run(client: &Client, output: &Output, verb: Image, global: &Global, environment: &Environment) -> Outcome {
    let place = || make::Place::new(global, environment);
    match verb {
        Image::Build { recipe, root_size, mirror, debian, making } => {
            let debian = make::debian(debian, environment)?;
            make::build(client, output, &place()?, making, recipe, root_size, mirror, &debian).await
        }
        Image::Import { file, making } => make::import(client, output, &place()?, making, &file).await,
        Image::List => list(client, output).await,
        Image::Delete { image } => delete(client, output, &image).await,
    }
}

pub async fn bake(client: &Client, output: &Output, args: Bake, global: &Global, environment: &Environment) -> Outcome {
    make::bake(client, output, &make::Place::new(global, environment)?, args).await
}

/// Every image.
pub async fn list(client: &Client, output: &Output) -> Outcome {
    let list = client.plane.images(&client.caller).await?;
    if output.json {
        output.object(&list)?;
    } else if list.images.is_empty() {
        output.note("no images yet; make one: minions image build busybox");
    } else {
        let rows: Vec<Vec<String>> = list
            .images
            .iter()
            .map(|image| vec![image.name.clone(), image.id.short(), image.size.to_string(), rfc3339(image.created)])
            .collect();
        output.table(&["NAME", "ID", "SIZE", "CREATED"], &rows, &["CREATED", "SIZE"])?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(client: &Client, output: &Output, typed: &str) -> Outcome {
    let list = client.plane.images(&client.caller).await?;
    let fits = |image: &&minions_core::api::v1::Image| image.name == typed || image.id.begins_with(typed);
    let found: Vec<_> = list.images.iter().filter(fits).collect();
    let image = match found.as_slice() {
        [image] => image,
        [] => return Err(Error::not_found(format!("there is no image {typed}; see minions image list")).into()),
        _ => {
            let message = format!("{typed} may be any of {} images; name one by its id", found.len());
            return Err(Error::invalid("image", message).into());
        }
    };
    client.plane.delete_image(&client.caller, image.id).await?;
    if output.json {
        output.object(&serde_json::json!({ "deleted": image.id }))?;
    } else {
        output.note(&format!("{} ({}) is gone", image.name, image.id.short()));
    }
    Ok(ExitCode::SUCCESS)
}
