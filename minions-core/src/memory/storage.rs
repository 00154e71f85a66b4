//! The storage view of a simulated host.

use async_trait::async_trait;

use super::image::{HostFile, Recipe};
use super::model::{Model, Volume, volume_path};
use super::tree::Tree;
use super::{InMemoryHost, conflict, takes};
use crate::env::CallCx;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Storage, StorageCapabilities, StorageUsage, VolumeConfig, VolumeSource, VolumeStatus};
use crate::types::{ByteSize, ImageBundle, ImageId, ImageInfo, StepReport, VmId, VolumeId};

/// The storage of an [`InMemoryHost`].
#[derive(Clone, Debug)]
pub struct InMemoryStorage(InMemoryHost);

impl InMemoryStorage {
    pub(super) fn new(host: InMemoryHost) -> Self {
        Self(host)
    }

    fn timings(&self) -> super::Timings {
        self.0.lock().settings.timings.clone()
    }
}

/// What a bundle's files say, once they were found.
fn recipe(model: &Model, bundle: &ImageBundle) -> Result<Recipe> {
    let file = |path: &std::path::Path| -> Result<HostFile> {
        model.files.get(path).cloned().ok_or_else(|| {
            Error::invalid("image", format!("the simulated host has no file {}", path.display()))
                .with_reason("image_unreadable")
        })
    };
    Ok(Recipe {
        name: bundle.name.clone(),
        root: file(&bundle.root)?,
        kernel: file(&bundle.boot.kernel)?,
        initrd: file(&bundle.boot.initrd)?,
        defaults: bundle.defaults.clone(),
    })
}

fn room(model: &Model, more: u64) -> Result<()> {
    let total = model.settings.limits.storage.get();
    if model.used().saturating_add(more) > total {
        return Err(Error::new(ErrorKind::Exhausted, "the storage is full; destroy a VM or delete an image")
            .with_reason("no_capacity"));
    }
    Ok(())
}

/// The volume is there, at least as something unfinished. `true` if it is whole already, and large enough now.
fn begin(model: &mut Model, config: &VolumeConfig) -> Result<bool> {
    let VolumeConfig { id, size, source } = config;
    if *size > model.settings.limits.max_volume {
        return Err(Error::invalid("size", format!("a volume has at most {}", model.settings.limits.max_volume)));
    }
    if let Some(volume) = model.volumes.get(id).filter(|volume| volume.whole) {
        let now = volume.size;
        if *size < now {
            return Err(Error::invalid("size", format!("{id} has {now}; a volume never shrinks")));
        }
        room(model, size.get() - now.get())?;
        model.volumes.resize(id, *size);
        return Ok(true);
    }
    let (least, base, tree) = match source {
        VolumeSource::Empty => (ByteSize::bytes(1), None, Tree::default()),
        VolumeSource::Image(image) => {
            let image = model.images.get(image).ok_or_else(|| Error::not_found(format!("no image {image}")))?;
            (image.info.root_size, Some(image.info.id), image.tree.clone())
        }
    };
    if *size < least {
        return Err(Error::invalid("size", format!("{id} needs at least {least}")));
    }
    // What an unfinished one holds is given back before it is begun anew.
    model.volumes.remove(id);
    room(model, size.get())?;
    model.volumes.insert(*id, Volume { whole: false, size: *size, base, tree, raw: Vec::new() });
    Ok(false)
}

#[async_trait]
impl Storage for InMemoryStorage {
    fn capabilities(&self) -> StorageCapabilities {
        StorageCapabilities {
            name: "memory".to_owned(),
            copy_on_write: true,
            simulated: true,
            max_volume: self.0.lock().settings.limits.max_volume,
        }
    }

    async fn usage(&self, cx: &CallCx) -> Result<StorageUsage> {
        takes(cx, self.timings().observe).await?;
        let model = self.0.lock();
        Ok(StorageUsage { total: model.settings.limits.storage, used: ByteSize::bytes(model.used()), metadata: None })
    }

    async fn ensure_image(&self, cx: &CallCx, bundle: &ImageBundle) -> Result<StepReport> {
        takes(cx, self.timings().image).await?;
        let mut model = self.0.lock();
        if model.images.contains_key(&bundle.id) {
            return Ok(StepReport::empty());
        }
        let recipe = recipe(&model, bundle)?;
        if recipe.id() != bundle.id {
            return Err(Error::invalid("image", format!("the files of {} do not match {}", bundle.name, bundle.id))
                .with_reason("image_corrupt"));
        }
        let image = recipe.image(model.clock.wall());
        room(&model, image.info.root_size.get())?;
        model.images.insert(bundle.id, image);
        Ok(StepReport::empty())
    }

    async fn ensure_image_absent(&self, cx: &CallCx, id: ImageId) -> Result<StepReport> {
        takes(cx, self.timings().image).await?;
        let mut model = self.0.lock();
        let aside = model.quarantine.iter().map(|(id, volume)| (id, volume));
        if let Some((volume, _)) = model.volumes.iter().chain(aside).find(|(_, volume)| volume.base == Some(id)) {
            return Err(conflict(format!("{volume} is made from {id}")).with_reason("image_in_use"));
        }
        model.images.remove(&id);
        Ok(StepReport::empty())
    }

    async fn images(&self, cx: &CallCx) -> Result<Vec<ImageInfo>> {
        takes(cx, self.timings().observe).await?;
        Ok(self.0.lock().images.values().map(|image| image.info.clone()).collect())
    }

    async fn ensure_volume(&self, cx: &CallCx, config: &VolumeConfig) -> Result<StepReport> {
        if begin(&mut self.0.lock(), config)? {
            return Ok(StepReport::empty());
        }
        takes(cx, self.timings().volume).await?;
        let mut model = self.0.lock();
        // Whoever cleared it away meanwhile has been overtaken: this call promised that it is there.
        if !begin(&mut model, config)?
            && let Some(volume) = model.volumes.get_mut(&config.id)
        {
            volume.whole = true;
        }
        Ok(StepReport::empty())
    }

    async fn ensure_volume_absent(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        takes(cx, self.timings().volume).await?;
        let mut model = self.0.lock();
        if let Some(vm) = model.openers(id).next() {
            return Err(conflict(format!("{id} is open by the monitor of {vm}")));
        }
        model.volumes.remove(&id);
        Ok(StepReport::empty())
    }

    async fn volumes_of(&self, cx: &CallCx, vm: VmId) -> Result<Vec<VolumeStatus>> {
        takes(cx, self.timings().observe).await?;
        let model = self.0.lock();
        let volumes = model.volumes.range(VolumeId::root(vm)..).take_while(|(id, _)| id.vm == vm);
        Ok(volumes
            .map(|(id, volume)| VolumeStatus {
                id: *id,
                size: volume.size,
                path: volume_path(*id),
                whole: volume.whole,
                active: true,
            })
            .collect())
    }

    async fn volumes(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        takes(cx, self.timings().observe).await?;
        Ok(self.0.lock().volumes.keys().copied().collect())
    }

    async fn quarantine(&self, cx: &CallCx, id: VolumeId) -> Result<StepReport> {
        takes(cx, self.timings().volume).await?;
        let mut model = self.0.lock();
        if let Some(vm) = model.openers(id).next() {
            return Err(conflict(format!("{id} is open by the monitor of {vm}")));
        }
        if let Some(volume) = model.volumes.remove(&id) {
            model.quarantine.push((id, volume));
        } else if !model.quarantine.iter().any(|(known, _)| *known == id) {
            return Err(Error::not_found(format!("no volume {id}")));
        }
        Ok(StepReport::empty())
    }

    async fn quarantined(&self, cx: &CallCx) -> Result<Vec<VolumeId>> {
        takes(cx, self.timings().observe).await?;
        let mut ids: Vec<_> = self.0.lock().quarantine.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}
