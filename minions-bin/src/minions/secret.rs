//! Files with secrets.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Most bytes of a file with secrets: some ten thousand tokens.
const MAX_SECRETS: u64 = 1 << 20;

/// The text of a file with secrets, which nobody but its owner may read.
pub fn private_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let unread = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    let file = std::fs::File::open(path).map_err(unread)?;
    // Of the file that is read, not of whatever has its name by then.
    if file.metadata().map_err(unread)?.mode() & 0o077 != 0 {
        return Err(format!("{shown} holds secrets and others may read it; run: chmod 600 {shown}"));
    }
    let mut text = String::new();
    file.take(MAX_SECRETS + 1).read_to_string(&mut text).map_err(unread)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_SECRETS) {
        return Err(format!("{shown} is larger than any file of secrets"));
    }
    Ok(text)
}
