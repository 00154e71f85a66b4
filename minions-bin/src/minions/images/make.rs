//! `minions image build` and `minions image import`: made here, then taken in by the service on the same machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use minions_core::config::Environment;
use minions_core::error::{Error, Result};
use minions_core::image::{
    self, BakeConfig, BuildConfig, DebianConfig, ImageTools, ImportConfig, KernelFiles, Kernels,
};
use minions_core::types::{ByteSize, ImageBundle, ImageDefaults, Vcpus, check_tag};

use crate::cli::{Bake, Debian, Global, Making, Recipe};
use crate::client::Client;
use crate::follow::Progress;
use crate::output::{Failure, Outcome, Output};
use crate::place::DEFAULT_DIR;
use crate::serve::Folder;

/// Where images are made.
#[derive(Debug)]
pub struct Place(Folder);

impl Place {
    pub fn new(global: &Global, environment: &Environment) -> Result<Self> {
        let dir = global.dir.clone().or_else(|| environment.dir.clone());
        Ok(Self(Folder::at(&dir.unwrap_or_else(|| DEFAULT_DIR.into()))?))
    }

    /// The kernels that are kept here.
    pub fn kernels(&self) -> Kernels {
        Kernels::at(&self.0.dir().join("kernels"))
    }

    /// A kernel by its name, or by its files.
    async fn kernel(&self, words: &Path, modules: Option<PathBuf>) -> Result<KernelFiles> {
        match (words.to_str(), modules) {
            (_, Some(modules)) => Ok(KernelFiles { kernel: absolute(words)?, modules: absolute(&modules)? }),
            (Some(name), None) if !name.contains('/') && !words.is_file() => {
                self.kernels().find(name, &ImageTools::find()).await
            }
            _ => {
                let message = format!("{} is a file: say where its modules are with --modules", words.display());
                Err(Error::invalid("modules", message))
            }
        }
    }

    async fn config(
        &self,
        making: Making,
        name: &str,
        defaults: ImageDefaults,
        root_size: ByteSize,
    ) -> Result<BuildConfig> {
        let agent = making.agent.unwrap_or_else(|| self.0.program("minions-agent"));
        if !agent.is_file() {
            let message = format!("{} is not there; build it, or say where it is with --agent", agent.display());
            return Err(Error::not_found(message).with_field("agent"));
        }
        let name = making.name.unwrap_or_else(|| name.to_owned());
        // Before anything is made: the name becomes part of a path below.
        check_tag(&name).map_err(|error| Error::invalid("name", format!("{error}; choose one with --name")))?;
        // Elsewhere, what is left speeds up the next time; here, all images share one.
        let kept = making.work_dir.as_ref().map(|work| absolute(&work.join("kernel"))).transpose()?;
        // The service opens the files by these paths.
        let work = absolute(&making.work_dir.unwrap_or_else(|| self.0.dir().join("build")))?;
        let kernel = match making.kernel {
            Some(kernel) => Some(self.kernel(&kernel, making.modules).await?),
            None => None,
        };
        Ok(BuildConfig {
            // A folder that is nobody else's: it is removed in the end.
            work_dir: work.join(format!("minions-image-{name}")),
            kernel_cache: kept.unwrap_or_else(|| self.kernels().debian_cache()),
            agent,
            kernel,
            name,
            root_size,
            tools: ImageTools::find(),
            mirror: None,
            defaults,
        })
    }
}

/// What the words and the environment say about a Debian.
pub fn debian(words: Debian, environment: &Environment) -> Result<DebianConfig> {
    let newest = environment.source_date_epoch.as_deref().map(|text| {
        let message = "SOURCE_DATE_EPOCH is not a number of seconds; set it to one, or unset it";
        text.parse().map_err(|_| Error::invalid("SOURCE_DATE_EPOCH", message))
    });
    Ok(DebianConfig {
        user: (!words.no_user).then_some(words.user),
        locale: words.locale,
        packages: words.packages,
        snapshot: words.snapshot,
        newest: newest.transpose()?,
    })
}

#[expect(clippy::too_many_arguments, reason = "each is a word that was typed")]
pub async fn build(
    client: &Client,
    output: &Output,
    place: &Place,
    making: Making,
    recipe: Recipe,
    root_size: Option<ByteSize>,
    mirror: Option<String>,
    debian: &DebianConfig,
) -> Outcome {
    let (name, size, defaults) = match recipe {
        Recipe::Debian => (image::DEBIAN, ByteSize::gib(1), ImageDefaults::default()),
        Recipe::Busybox => (image::BUSYBOX, ByteSize::mib(32), small()),
    };
    let mut config = place.config(making, name, defaults, root_size.unwrap_or(size)).await?;
    config.mirror = mirror;
    let progress = Progress::new(output, "making the image");
    let tell = |step: image::Progress| tell(output, &progress, &step);
    let bundle = match recipe {
        Recipe::Debian => image::build_debian(&config, debian, &tell).await?,
        Recipe::Busybox => image::build_busybox(&config, &tell).await?,
    };
    progress.clear();
    hand_over(client, output, &bundle, &config.work_dir).await
}

pub async fn import(client: &Client, output: &Output, place: &Place, making: Making, file: &Path) -> Outcome {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or("imported").to_owned();
    let build = place.config(making, &name, ImageDefaults::default(), ByteSize::default()).await?;
    let config = ImportConfig { root: absolute(file)?, build };
    let progress = Progress::new(output, "making the image");
    let bundle = image::import(&config, &|step| tell(output, &progress, &step)).await?;
    progress.clear();
    hand_over(client, output, &bundle, &config.build.work_dir).await
}

pub async fn bake(client: &Client, output: &Output, place: &Place, args: Bake) -> Outcome {
    if !args.source.exists() {
        let message = format!(
            "there is no folder or archive {}; of an image that is here, give what it was made of",
            args.source.display()
        );
        return Err(Error::not_found(message).with_field("source").into());
    }
    let name = args.source.file_stem().and_then(|name| name.to_str()).unwrap_or("baked").to_owned();
    let Bake { source, root_size, name: tag, agent, work_dir } = args;
    let making = Making { name: tag, agent, kernel: None, modules: None, work_dir };
    let build = place.config(making, &name, ImageDefaults::default(), root_size).await?;
    let config = BakeConfig { source: absolute(&source)?, build };
    let progress = Progress::new(output, "making the image");
    let bundle = image::bake_agent(&config, &|step| tell(output, &progress, &step)).await?;
    progress.clear();
    hand_over(client, output, &bundle, &config.build.work_dir).await
}

/// What a tiny VM is content with.
fn small() -> ImageDefaults {
    ImageDefaults {
        vcpus: Some(Vcpus(1)),
        memory: Some(ByteSize::mib(256)),
        root: Some(ByteSize::gib(1)),
        ..ImageDefaults::default()
    }
}

/// Where a person watches, the line says which step it is, and for how long; else each step is a line.
fn tell(output: &Output, progress: &Progress, step: &image::Progress) {
    let text = format!("[{}/{}] {}", step.number, step.of, step.step);
    if output.lively {
        progress.show(&text);
    } else {
        output.note(&text);
    }
}

async fn hand_over(client: &Client, output: &Output, bundle: &ImageBundle, work: &Path) -> Outcome {
    output.note("handing it to the service");
    let image = client.plane.import_image(&client.caller, bundle).await?;
    // The service has its own copy.
    tokio::fs::remove_dir_all(work).await.map_err(|error| {
        Failure::from(Error::internal(format!("cannot remove {}", work.display())).with_source(error))
    })?;
    if output.json {
        output.object(&image)?;
    } else {
        output.note(&format!("{} ({}) is there; try: minions create web --image {0}", image.name, image.id.short()));
    }
    Ok(ExitCode::SUCCESS)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Error::invalid("path", format!("{} cannot be found", path.display())).with_source(error))
}
