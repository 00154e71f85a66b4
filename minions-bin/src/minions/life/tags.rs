//! What images are called.

use std::collections::{HashMap, HashSet};

use minions_core::types::ImageId;

use crate::client::Client;
use crate::output::Output;

/// The tags of the images that there are.
#[derive(Debug, Default)]
pub struct Tags(HashMap<ImageId, String>);

impl Tags {
    /// Asks the service. Where it does not say, images are shown by their ids.
    pub async fn read(client: &Client, output: &Output) -> Self {
        match client.plane.images(&client.caller).await {
            // The newest of a tag comes first; the others are not what the tag means any more.
            Ok(list) => {
                let mut known = HashSet::new();
                let newest = list.images.into_iter().filter(|image| known.insert(image.name.clone()));
                Self(newest.map(|image| (image.id, image.name)).collect())
            }
            Err(error) => {
                output.note(&format!("cannot tell the tags of images: {}", error.chain()));
                Self::default()
            }
        }
    }

    /// The tag that means this very image, if there is one.
    pub fn of(&self, image: ImageId) -> Option<&str> {
        self.0.get(&image).map(String::as_str)
    }
}
