//! The words of the domain. Plain values: nothing here does I/O.

pub mod device;
pub mod fences;
pub mod goal;
pub mod id;
pub mod image;
pub mod lease;
pub mod manifest;
pub mod name;
pub mod names;
pub mod net;
pub mod operation;
pub mod report;
pub mod size;
pub mod spec;
pub mod state;
pub mod time;

pub use device::{DiskAttachment, NicAttachment, NicBackend};
pub use fences::Fences;
pub use goal::{Generation, Goal, StopHow};
pub use id::{EventSeq, HostId, ImageId, OperationId, SnapshotId, VmId};
pub use image::{BootFiles, ImageBundle, ImageDefaults, ImageInfo, check_tag};
pub use lease::{AgentSecret, Lease};
pub use manifest::{FileDigest, ImageManifest};
pub use name::{NewVmName, VmName};
pub use net::{AddressPool, Cid, Egress, GuestNet, IfName, Ipv4Cidr, MacAddr, PortPolicy, RateLimit};
pub use operation::OperationVerb;
pub use report::{NodeChanges, NodeVm, Settled};
pub use size::{ByteSize, Vcpus};
pub use spec::{DiskRole, MIN_DATA_DISK, VmSize, VmSpec, VolumeId};
pub use state::{StateReason, VmState};
pub use time::{BootMark, Millis, StepReport, UnixMillis};
