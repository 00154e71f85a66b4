//! What a process is fenced in by before it becomes the monitor.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The fences of one process. Text on the way to it, in one word of its command line: nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The folder of the control group that it enters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<PathBuf>,
    /// All that it sees of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// The user and group that it becomes: a number that is nobody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// How many files it may have open.
    pub open_files: u64,
}

/// A file system of its own, in memory, in which a few paths of the host are what they are there, and no other exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// An empty folder, to make it in.
    pub at: PathBuf,
    /// Files and folders that can be read, and run. Those that are not there are left out.
    pub read: Vec<PathBuf>,
    /// Files and folders that can be written as well.
    pub write: Vec<PathBuf>,
    /// Devices: nodes of its own, for its user alone.
    pub devices: Vec<PathBuf>,
}

impl Plan {
    /// As one word.
    #[must_use]
    pub fn word(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The words that start a program behind these fences: `jail` is a program of ours that calls [`enter`](super::enter)
    /// with what stands behind its first word.
    #[must_use]
    pub fn words(&self, program: &Path, args: Vec<OsString>) -> Vec<OsString> {
        let mut words = vec![OsString::from("jail"), self.word().into(), "--".into(), program.into()];
        words.extend(args);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_back_and_nothing_else_is_one() {
        let view = View {
            at: PathBuf::from("/r/view"),
            read: vec![PathBuf::from("/usr/lib")],
            write: vec![PathBuf::from("/r/vm")],
            devices: vec![PathBuf::from("/dev/kvm")],
        };
        let plan = Plan { group: Some("/g".into()), view: Some(view), user: Some(200_000), open_files: 9 };
        let golden = r#"{"group":"/g","view":{"at":"/r/view","read":["/usr/lib"],"write":["/r/vm"],"devices":["/dev/kvm"]},"user":200000,"open_files":9}"#;
        assert_eq!(plan.word(), golden);
        assert_eq!(serde_json::from_str::<Plan>(golden).unwrap(), plan);
        assert!(serde_json::from_str::<Plan>(r#"{"open_files":9,"usr":1}"#).is_err());
        let words = plan.words(Path::new("/bin/vmm"), vec!["-x".into()]);
        assert_eq!(words, [OsString::from("jail"), golden.into(), "--".into(), "/bin/vmm".into(), "-x".into()]);
    }
}
