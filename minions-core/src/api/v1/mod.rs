//! Version 1 of the API. Requests refuse unknown fields; responses may grow.

mod account;
mod event;
mod host;
mod image;
mod operation;
mod problem;
mod vm;

pub use account::{
    AddKey, AddToken, AddUser, AuditEntry, AuditPage, DeleteKey, Key, KeyList, ListUsers, NewToken, TokenInfo,
    TokenList, UpdateUser, User, UserPage, WhoAmI,
};
pub use event::{Event, EventBody, EventPage};
pub use host::{HostStatus, VersionInfo};
pub use image::{Image, ImageList, ImportImage};
pub use operation::{Operation, OperationOutcome};
pub use problem::{Problem, status_of};
pub use vm::{
    Access, CreateVm, DeleteDisk, DestroyVm, Disk, DiskPage, ExposeVm, ListDisks, ListVms, RebaseVm, RenameVm,
    ResizeVm, RestartVm, RunningSize, ShareVm, StartVm, StopVm, Vm, VmPage,
};
