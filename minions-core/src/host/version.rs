//! The versions that programs tell.

use std::path::Path;
use std::time::Duration;

use super::command::{CommandError, Tool};

/// What a program says when it is asked for its version.
pub async fn ask(program: &Path) -> Result<String, CommandError> {
    let output = Tool::new(program).arg("--version").limit(Duration::from_secs(20)).cap(64 << 10).run().await?;
    Ok(output.text(program)?.to_owned())
}

/// The first word of a text that begins with a number and a point; a `v` before it is left out.
#[must_use]
pub fn first_in(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word)).find(|word| {
        word.split_once('.').is_some_and(|(major, _)| !major.is_empty() && major.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether a version is one of these numbers or a later one.
#[must_use]
pub fn at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_and_compared() {
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
        assert_eq!(first_in(text), Some("7.2.22"));
        assert_eq!(first_in("vhost-device-vsock 0.3.0"), Some("0.3.0"));
        assert_eq!(first_in("cloud-hypervisor v53.0.0"), Some("53.0.0"));
        assert_eq!(first_in("no version"), None);
        assert!(at_least("7.2.22", (7, 2)) && at_least("10.0", (7, 2)) && !at_least("5.2.0", (7, 2)));
    }
}
