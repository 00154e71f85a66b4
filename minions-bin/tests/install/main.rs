//! `scripts/install.sh` against a server of tarballs, which is not always honest.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![allow(clippy::disallowed_methods, reason = "a test of a program starts it")]

mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use server::{Answer, Server};

const VERSION: &str = "9.8.7";
const PROGRAMS: [&str; 3] = ["minions", "minions-agent", "minions-vsock-cli"];

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install.sh")
}

fn name() -> String {
    format!("minions-{VERSION}-x86_64-unknown-linux-musl")
}

fn run(program: &str, words: &[&str], dir: &Path) -> String {
    let output = Command::new(program).args(words).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A tarball of these programs, and what its checksum file says.
fn tarball(programs: &[&str], says: &str) -> (Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join(name());
    fs::create_dir(&inside).unwrap();
    for program in programs {
        fs::write(inside.join(program), format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(inside.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    run("tar", &["-czf", "tarball", &name()], dir.path());
    let sum = run("sha256sum", &["tarball"], dir.path()).replace("tarball", &format!("{}.tar.gz", name()));
    (fs::read(dir.path().join("tarball")).unwrap(), sum)
}

/// A server with a good release.
fn good() -> Server {
    let server = Server::start();
    let (bytes, sum) = tarball(&PROGRAMS, "echo minions 9.8.7");
    server.has(&format!("/{}.tar.gz", name()), Answer::Whole(bytes));
    server.has(&format!("/{}.tar.gz.sha256", name()), Answer::Whole(sum.into_bytes()));
    server.has("/LATEST", Answer::Whole(b"9.8.7\n".to_vec()));
    server
}

struct Place {
    prefix: tempfile::TempDir,
    /// Where temporary files go: nothing may be left there.
    temporary: tempfile::TempDir,
    path: String,
}

impl Place {
    /// With older programs in it.
    fn new() -> Self {
        let prefix = tempfile::tempdir().unwrap();
        fs::create_dir(prefix.path().join("bin")).unwrap();
        for program in PROGRAMS {
            fs::write(prefix.path().join("bin").join(program), "old").unwrap();
        }
        Self { prefix, temporary: tempfile::tempdir().unwrap(), path: "/usr/bin:/bin".to_owned() }
    }

    fn install(&self, url: &str, words: &[&str]) -> Output {
        let mut command = Command::new("/bin/sh");
        command.arg(script()).args(words).env_clear().env("PATH", &self.path).env("TMPDIR", self.temporary.path());
        command.env("PREFIX", self.prefix.path()).env("MINIONS_URL", url).output().unwrap()
    }

    /// What each program is, and whatever else lies there.
    fn holds(&self) -> Vec<(String, String)> {
        let bin = self.prefix.path().join("bin");
        let mut all: Vec<_> = fs::read_dir(bin)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
            .collect();
        all.sort();
        all
    }

    fn is_untouched(&self) -> bool {
        self.holds().iter().map(|(_, text)| text.as_str()).eq(["old"; 3]) && self.leaves_nothing()
    }

    fn leaves_nothing(&self) -> bool {
        fs::read_dir(self.temporary.path()).unwrap().count() == 0
    }

    /// Only these programs are found, of all that this machine has.
    fn with_only(&mut self, programs: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for program in programs {
            let found = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(program)).find(|path| path.exists());
            std::os::unix::fs::symlink(found.expect(program), dir.path().join(program)).unwrap();
        }
        self.path = dir.path().to_str().unwrap().to_owned();
        dir
    }
}

const NEEDED: [&str; 15] = [
    "cat",
    "chmod",
    "cp",
    "cut",
    "gzip",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sh",
    "tar",
    "uname",
    "tr",
];

fn has(program: &str) -> bool {
    ["/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
}

#[test]
fn a_version_or_the_newest_is_installed_with_curl_with_wget_and_from_files() {
    let server = good();
    let served = tempfile::tempdir().unwrap();
    for file in [format!("{}.tar.gz", name()), format!("{}.tar.gz.sha256", name())] {
        fs::write(served.path().join(&file), server.bytes(&format!("/{file}"))).unwrap();
    }
    let file = format!("file://{}", served.path().display());
    let mut tried = 0;
    for (url, fetcher, words) in [
        (server.url(), "curl", &[VERSION][..]),
        (server.url(), "curl", &[]),
        (server.url(), "wget", &["v9.8.7"]),
        (format!("{}/", server.url()), "wget", &[]),
        (file, "true", &[VERSION]),
    ] {
        if !has(fetcher) {
            println!("SKIP install with {fetcher}: it is not on this machine");
            continue;
        }
        let mut place = Place::new();
        let _path = place.with_only(&[&NEEDED[..], &[fetcher]].concat());
        let output = place.install(&url, words);
        assert!(output.status.success(), "{fetcher} {words:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("minions 9.8.7 is in"), "{output:?}");
        let want = "#!/bin/sh\necho minions 9.8.7\n";
        assert!(place.holds().iter().map(|(_, text)| text.as_str()).eq([want; 3]), "{:?}", place.holds());
        for program in PROGRAMS {
            let mode = fs::metadata(place.prefix.path().join("bin").join(program)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755);
        }
        assert!(place.leaves_nothing());
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn whatever_goes_wrong_what_was_installed_before_is_as_it_was() {
    let (bytes, sum) = tarball(&PROGRAMS, "echo minions 9.8.7");
    let (other, _) = tarball(&PROGRAMS, "echo evil");
    let (poor, poor_sum) = tarball(&PROGRAMS[..2], "echo minions 9.8.7");
    let (broken, broken_sum) = tarball(&PROGRAMS, "echo no loader >&2; exit 127");
    let file = format!("/{}.tar.gz", name());
    let text = |text: &str| Answer::Whole(text.as_bytes().to_vec());
    let cut = |bytes: &[u8]| Answer::Cut { bytes: bytes[..bytes.len() / 2].to_vec(), promised: bytes.len() };
    let fetchers: Vec<&str> = ["curl", "wget"].into_iter().filter(|program| has(program)).collect();
    for (what, tarball, sum, word) in [
        ("a wrong checksum", Answer::Whole(other), text(&sum), "is wrong"),
        ("a download that breaks off", cut(&bytes), text(&sum), "cannot fetch"),
        (
            "half a file that says that it is whole",
            Answer::Whole(bytes[..bytes.len() / 2].to_vec()),
            text(&sum),
            "is wrong",
        ),
        ("no tarball", Answer::Missing, text(&sum), "cannot fetch"),
        ("no checksum", Answer::Whole(bytes.clone()), Answer::Missing, "is the version right?"),
        ("an empty checksum", Answer::Whole(bytes.clone()), text(""), "no SHA-256"),
        ("a page instead of a checksum", Answer::Whole(bytes.clone()), text("<html>not found</html>"), "no SHA-256"),
        ("half a checksum", Answer::Whole(bytes.clone()), text(&sum[..40]), "no SHA-256"),
        ("a program is missing", Answer::Whole(poor), text(&poor_sum), "has no minions-vsock-cli"),
        ("a program that does not run", Answer::Whole(broken), text(&broken_sum), "does not run here: no loader"),
    ] {
        let server = Server::start();
        server.has(&file, tarball);
        server.has(&format!("{file}.sha256"), sum);
        for fetcher in &fetchers {
            let mut place = Place::new();
            let _path = place.with_only(&[&NEEDED[..], &[fetcher]].concat());
            let output = place.install(&server.url(), &[VERSION]);
            assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(word), "{what}, {fetcher}: {output:?}");
            assert!(place.is_untouched(), "{what}, {fetcher}: {:?}", place.holds());
        }
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_fetched() {
    let server = good();
    let place = Place::new();
    for (url, words, word) in [
        (server.url(), &["../../etc"][..], "no version"),
        (server.url(), &["9.8.7;reboot"], "no version"),
        (server.url(), &["9.8.7", "again"], "too many words"),
        (String::new(), &[VERSION], "MINIONS_URL"),
    ] {
        let output = place.install(&url, words);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(word), "{output:?}");
    }
    let output = place.install(&server.url(), &["--help"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("MINIONS_URL"), "{output:?}");
    assert_eq!(server.asked(), 0);
    let output = place.install("http://127.0.0.1:1", &[VERSION]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(place.is_untouched());
    // A folder in the place of a program: nothing is half installed.
    fs::remove_file(place.prefix.path().join("bin/minions")).unwrap();
    fs::create_dir(place.prefix.path().join("bin/minions")).unwrap();
    let output = place.install(&server.url(), &[VERSION]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is a folder"), "{output:?}");
    assert_eq!(fs::read_to_string(place.prefix.path().join("bin/minions-agent")).unwrap(), "old");
    assert_eq!(fs::read_dir(place.prefix.path().join("bin")).unwrap().count(), 3);
}
