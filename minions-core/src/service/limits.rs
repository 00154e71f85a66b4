//! With how much: what a VM may have, and what an owner may have in all. Pure.

use std::collections::BTreeSet;

use crate::api::v1;
use crate::error::{Error, ErrorKind, Result};
use crate::node::NodeInfo;
use crate::store::{Access, Guard, Owner, VmRow};
use crate::types::{ByteSize, Egress, ImageInfo, MIN_DATA_DISK, PortPolicy, RateLimit, UserName, Vcpus, VmSpec};

pub use crate::types::Quota;

impl Quota {
    pub(super) fn guards(&self, owner: &Owner) -> [Guard; 3] {
        [
            Guard::VmsAtMost { owner: owner.clone(), limit: self.vms },
            Guard::DiskAtMost { owner: owner.clone(), limit: self.disk },
            Guard::MemoryAtMost { owner: owner.clone(), limit: self.memory },
        ]
    }
}

/// What a VM gets where neither its creator nor its image says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The tag of the image; the only one there is where this is absent.
    pub image: Option<String>,
    /// Processors.
    pub vcpus: Vcpus,
    /// Memory.
    pub memory: ByteSize,
    /// Root disk.
    pub root: ByteSize,
    /// Data disk.
    pub data: ByteSize,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            image: None,
            vcpus: Vcpus(2),
            memory: ByteSize::gib(1),
            root: ByteSize::gib(10),
            data: ByteSize::gib(10),
        }
    }
}

/// What was asked, with defaults, checked against the host and the image.
pub(super) fn spec(request: &v1::CreateVm, image: &ImageInfo, defaults: &Defaults, host: &NodeInfo) -> Result<VmSpec> {
    let vcpus = request.cpus.or(image.defaults.vcpus).unwrap_or(defaults.vcpus);
    let memory = request.memory.or(image.defaults.memory).unwrap_or(defaults.memory);
    let root = request.disk.or(image.defaults.root).unwrap_or(defaults.root.max(image.root_size));
    let data = request.data_disk.unwrap_or(defaults.data);
    size(vcpus, memory, host)?;
    between("disk", root, image.root_size, host.storage.max_volume)?;
    if data != ByteSize::default() {
        between("data_disk", data, MIN_DATA_DISK, host.storage.max_volume)?;
    }
    let data = (data != ByteSize::default()).then_some(data);
    let policy = policy(request, host)?;
    Ok(VmSpec { vcpus, memory, root, data, policy, data_from: request.data_from, ..VmSpec::of(image.id) })
}

/// Most ranges that a guest is held to.
const MAX_RANGES: usize = 64;

/// The least that a port is held to: less, and no guest boots over it.
const MIN_RATE: ByteSize = ByteSize::bytes(16 << 10);

fn policy(request: &v1::CreateVm, host: &NodeInfo) -> Result<PortPolicy> {
    let unable =
        |field: &str, text: &'static str| Err(Error::new(ErrorKind::Unsupported, text).with_field(field.to_owned()));
    let egress = match &request.egress {
        None => Egress::Public,
        Some(_) if !host.network.isolated => {
            return unable("egress", "the network of this host cannot hold a guest to ranges of addresses");
        }
        Some(ranges) if ranges.len() > MAX_RANGES => {
            return Err(Error::invalid("egress", format!("a VM has at most {MAX_RANGES} ranges of addresses")));
        }
        Some(ranges) => Egress::Only(ranges.clone()),
    };
    let rate = match request.rate {
        Some(_) if !host.network.rate_limits => {
            return unable("rate", "the network of this host cannot hold a guest to a rate");
        }
        Some(rate) if rate < MIN_RATE => {
            return Err(Error::invalid("rate", format!("a rate is at least {MIN_RATE} a second")));
        }
        rate => rate.map(|rate| RateLimit(rate.get())),
    };
    Ok(PortPolicy { egress, rate })
}

/// Ports that no web name leads to.
const CLOSED_PORTS: [u16; 2] = [0, 22];

/// Most users that a VM is shared with by name.
const MAX_SHARED: usize = 100;

/// The port behind a web name.
pub(super) fn port(port: Option<u16>) -> Result<Option<u16>> {
    match port {
        Some(port) if CLOSED_PORTS.contains(&port) => {
            Err(Error::invalid("port", "a port is 1 to 65535, and not 22: SSH has a door of its own"))
        }
        port => Ok(port),
    }
}

/// Who may reach a new VM.
pub(super) fn access(request: &v1::CreateVm) -> Result<Access> {
    Ok(Access { port: port(request.port)?, public: request.public, shared: BTreeSet::new() })
}

/// Who may reach a VM, after this was asked.
pub(super) fn share(request: &v1::ShareVm, access: &mut Access) -> Result<()> {
    let user = |name: &String| -> Result<Owner> {
        let name: UserName = name.parse()?;
        Ok(Owner(name.to_string()))
    };
    access.public = request.public.unwrap_or(access.public);
    for name in &request.add {
        access.shared.insert(user(name)?);
    }
    for name in &request.remove {
        access.shared.remove(&user(name)?);
    }
    if access.shared.len() > MAX_SHARED {
        return Err(Error::invalid("add", format!("a VM is shared with at most {MAX_SHARED} users by name")));
    }
    Ok(())
}

/// The data disk that a new VM takes over: nobody else's, and not smaller than asked before.
pub(super) fn take_over(request: &v1::CreateVm, origin: &VmRow, spec: &mut VmSpec) -> Result<()> {
    let unknown = || Error::not_found("there is no such disk; see `minions disk list`").with_reason("disk_unknown");
    let have = origin.spec.data.filter(|_| origin.kept && origin.deleted.is_some()).ok_or_else(unknown)?;
    match request.data_disk {
        Some(asked) if asked < have => {
            return Err(Error::invalid("data_disk", format!("the disk has {have}; a disk never shrinks")));
        }
        Some(_) => {}
        None => spec.data = Some(have),
    }
    Ok(())
}

/// The sizes of disks that are there already.
pub(super) fn disks(resize: &v1::ResizeVm, spec: &VmSpec, host: &NodeInfo) -> Result<()> {
    let grown = |field, asked: Option<ByteSize>, have: ByteSize| match asked {
        Some(asked) if asked < have => Err(Error::invalid(field, format!("the disk has {have}; a disk never shrinks"))),
        Some(asked) => between(field, asked, have, host.storage.max_volume),
        None => Ok(()),
    };
    grown("disk", resize.disk, spec.root)?;
    match (resize.data_disk, spec.data) {
        (Some(_), None) => Err(Error::invalid("data_disk", "the VM has no data disk that could grow")),
        (asked, have) => grown("data_disk", asked, have.unwrap_or_default()),
    }
}

/// Processors and memory, checked against the host.
pub(super) fn size(vcpus: Vcpus, memory: ByteSize, host: &NodeInfo) -> Result<()> {
    let most = host.hypervisor.max_vcpus;
    if vcpus.0 == 0 {
        return Err(Error::invalid("cpus", "a VM has at least 1 processor"));
    }
    if vcpus.0 > most {
        return Err(no_capacity("cpus", format!("this host gives a VM at most {most} processors")));
    }
    between("memory", memory, host.hypervisor.min_memory, host.hypervisor.max_memory)?;
    // What monitors count in: nobody gets less than the quota was charged for.
    if !memory.get().is_multiple_of(1 << 20) {
        return Err(Error::invalid("memory", "memory is a multiple of 1MiB"));
    }
    Ok(())
}

/// The longest that a guest may be given to end by itself, in milliseconds: nothing that was asked for waits for ever.
const MAX_GRACE_MS: u64 = 3_600_000;

/// How long a stop may take.
pub(super) fn grace(stop: &v1::StopVm) -> Result<()> {
    if stop.grace_ms.is_some_and(|grace| grace > MAX_GRACE_MS) {
        return Err(Error::invalid("grace_ms", "a guest has at most an hour to end, which is 3600000 milliseconds"));
    }
    Ok(())
}

fn between(field: &'static str, value: ByteSize, least: ByteSize, most: ByteSize) -> Result<()> {
    if value < least {
        return Err(Error::invalid(field, format!("{field} is at least {least}")));
    }
    if value > most {
        return Err(no_capacity(field, format!("this host gives at most {most} of {field}")));
    }
    // Whole sectors: no storage rounds a size behind its owner's back.
    if !value.get().is_multiple_of(512) {
        return Err(Error::invalid(field, format!("{field} is a multiple of 512 bytes")));
    }
    Ok(())
}

fn no_capacity(field: &'static str, message: String) -> Error {
    Error::new(ErrorKind::Exhausted, message).with_reason("no_capacity").with_field(field)
}

/// The image of a tag, an id, or the beginning of an id, in this order; the newest of a tag.
pub(super) fn image<'a>(asked: Option<&str>, defaults: &Defaults, images: &'a [ImageInfo]) -> Result<&'a ImageInfo> {
    let asked = asked.or(defaults.image.as_deref());
    let found = match asked {
        Some(asked) => {
            let tagged = images.iter().filter(|image| image.name == asked);
            match tagged.max_by_key(|image| (image.created, image.id)) {
                Some(newest) => Some(newest),
                None => by_id(asked, images)?,
            }
        }
        None if images.iter().all(|image| Some(&image.name) == images.first().map(|first| &first.name)) => {
            images.iter().max_by_key(|image| (image.created, image.id))
        }
        None => {
            return Err(Error::invalid("image", format!("there are several images; choose one: {}", tags(images))));
        }
    };
    found.ok_or_else(|| match asked {
        Some(_) => Error::invalid("image", "there is no such image; see `minions image list`"),
        None => Error::invalid("image", "there is no image yet; make one with `minions image build busybox`"),
    })
}

/// Most tags that an error names.
const TAGS: usize = 10;

/// How each of them is asked for.
fn tags(images: &[ImageInfo]) -> String {
    let tags: BTreeSet<&str> = images.iter().map(|image| image.name.as_str()).collect();
    let more = if tags.len() > TAGS { ", …; see `minions image list`" } else { "" };
    let tags: Vec<String> = tags.iter().take(TAGS).map(|tag| format!("--image {tag}")).collect();
    format!("{}{more}", tags.join(", "))
}

fn by_id<'a>(asked: &str, images: &'a [ImageInfo]) -> Result<Option<&'a ImageInfo>> {
    let mut alike = images.iter().filter(|image| image.id.begins_with(asked));
    match (alike.next(), alike.next()) {
        (Some(_), Some(_)) => {
            let message = "the ids of several images begin so; write more of it, see `minions image list --json`";
            Err(Error::invalid("image", message))
        }
        (found, _) => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{BootFiles, ImageDefaults, ImageId, UnixMillis};

    fn info(name: &str, digest: [u8; 32], created: u64) -> ImageInfo {
        ImageInfo {
            id: ImageId::from_digest(digest),
            name: name.to_owned(),
            root_size: ByteSize::mib(1),
            boot: BootFiles { kernel: "/k".into(), initrd: "/i".into() },
            defaults: ImageDefaults::default(),
            created: UnixMillis(created),
            damage: None,
        }
    }

    #[test]
    fn where_there_are_several_images_the_refusal_says_how_each_is_asked_for() {
        let refusal = |count: u8| {
            let images: Vec<_> = (0..count).map(|number| info(&format!("i{number:02}"), [number; 32], 1)).collect();
            image(None, &Defaults::default(), &images).expect_err("several").to_string()
        };
        assert!(refusal(2).contains("--image i00, --image i01"), "{}", refusal(2));
        assert!(refusal(12).contains("--image i09, …; see `minions image list`"), "{}", refusal(12));
        assert!(!refusal(12).contains("i10") && !refusal(10).contains('…'));
    }

    #[test]
    fn an_image_is_named_by_its_tag_its_id_or_the_beginning_of_its_id() {
        let mut alike = [0xaa; 32];
        alike[31] = 0;
        let images = [info("old", [0xaa; 32], 1), info("new", alike, 2), info("new", [0xcc; 32], 3)];
        let images = [images.as_slice(), &[info("cccccccc", [0xdd; 32], 4)]].concat();
        let find = |asked: &str| image(Some(asked), &Defaults::default(), &images).map(|found| found.id.digest()[30]);
        assert_eq!(find("new").unwrap(), 0xcc, "the newest of a tag");
        assert_eq!(find(&images[0].id.to_string()).unwrap(), 0xaa);
        assert_eq!(find(&images[2].id.short()).unwrap(), 0xcc);
        assert_eq!(find("img_dddddddd").unwrap(), 0xdd);
        assert_eq!(find("cccccccc").unwrap(), 0xdd, "a tag comes before an id");
        let error = find("aaaaaaaaaaaa").expect_err("two begin so");
        assert!(error.to_string().contains("several images"), "{error}");
        for nobody in ["", "ccccccc", "ddddddddc", "img_"] {
            let error = find(nobody).expect_err(nobody);
            assert!(error.to_string().contains("no such image"), "{nobody}: {error}");
        }
    }
}
