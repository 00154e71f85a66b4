//! What people ask for.

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum OperationVerb {
    Create,
    Start,
    Stop,
    Restart,
    Destroy,
    Rename,
    Resize,
    Rebase,
    DeleteDisk,
    Expose,
    Share,
}

impl OperationVerb {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Destroy => "destroy",
            Self::Rename => "rename",
            Self::Resize => "resize",
            Self::Rebase => "rebase",
            Self::DeleteDisk => "delete_disk",
            Self::Expose => "expose",
            Self::Share => "share",
        }
    }
}
