//! Much data, both ways: the same on the other side, and nobody keeps it in memory.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::daemon::Site;

/// What a program that hands on data may take of memory, whatever the data: its code, its buffers, some slack.
const FLAT: u64 = 96 << 20;

fn mib() -> u64 {
    std::env::var("MINIONS_TRANSFER_MIB").map_or(1024, |text| text.parse().unwrap())
}

/// Bytes that compress badly and repeat nowhere, the same ones each time.
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    fn new(bytes: u64) -> Self {
        Self { state: 1, left: bytes }
    }
}

impl Read for Noise {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len()) / 8 * 8;
        for word in to[..most].chunks_exact_mut(8) {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&(self.state ^ (self.state >> 33)).to_le_bytes());
        }
        self.left -= u64::try_from(most).unwrap();
        Ok(most)
    }
}

/// Whether a reader gives the same bytes as the noise, to its end.
fn is_noise(mut from: impl Read, bytes: u64) -> bool {
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut noise = Noise::new(bytes);
    loop {
        let count = noise.read(&mut here).unwrap();
        if count == 0 {
            return from.read(&mut there).unwrap() == 0;
        }
        if from.read_exact(&mut there[..count]).is_err() || here[..count] != there[..count] {
            return false;
        }
    }
}

/// The most memory that a process ever had.
fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Looks at a process's memory from time to time until it has ended: the mark only rises, so that the last look is near
/// its end.
struct Watch {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn begin(pid: u32) -> Self {
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watch = Self { most: most.clone(), over: over.clone() };
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(high_water(pid).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        watch
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.most.load(Ordering::Relaxed)
    }
}

/// Waits for the end of a command, says what it took, and that it took no more memory than it may.
fn finish(what: &str, bytes: u64, mut child: Child, daemon: u32) {
    let (began, watch) = (Instant::now(), Watch::begin(child.id()));
    let ended = child.wait().unwrap();
    let (here, there) = (watch.end(), high_water(daemon).unwrap());
    assert!(ended.success(), "{what}: {ended}");
    println!(
        "{what}: {} MiB in {:.1} s; memory of the command line {:.1} MiB, of the daemon {:.1} MiB",
        bytes >> 20,
        began.elapsed().as_secs_f64(),
        mib_of(here),
        mib_of(there)
    );
    assert!(here > 0 && here < FLAT && there < FLAT, "{what}: {here} and {there} bytes of memory");
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib_of(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn copy(site: &Site, from: &str, to: &str) -> Child {
    site.command(&["cp", "--quiet", from, to]).spawn().unwrap()
}

const ROOM: [&str; 9] = ["create", "web", "--cpus", "1", "--memory", "256MiB", "--disk", "4GiB", "--no-data-disk"];

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn a_large_file_goes_both_ways_by_cp_unchanged_and_nobody_keeps_it_in_memory() {
    let Some((site, daemon)) = crate::service("a large file").await else { return };
    site.ok(&ROOM);
    let bytes = mib() << 20;
    let (from, back) = (site.path("large"), site.path("back"));
    io::copy(&mut BufReader::with_capacity(1 << 20, Noise::new(bytes)), &mut File::create(&from).unwrap()).unwrap();
    let child = copy(&site, from.to_str().unwrap(), "web:/root/large");
    finish("cp of a file in", bytes, child, daemon.pid());
    let size = site.ok(&["exec", "web", "--", "stat", "-c", "%s", "/root/large"]);
    assert_eq!(size.trim(), bytes.to_string());
    fs::remove_file(&from).unwrap();
    let child = copy(&site, "web:/root/large", back.to_str().unwrap());
    finish("cp of a file out", bytes, child, daemon.pid());
    assert!(is_noise(File::open(&back).unwrap(), bytes), "it came back as something else");
    daemon.end();
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn much_goes_through_stdin_and_stdout_unchanged_and_nobody_keeps_it_in_memory() {
    let Some((site, daemon)) = crate::service("stdin and stdout").await else { return };
    site.ok(&ROOM);
    let bytes = mib() << 20;
    let mut command = site.command(&["exec", "web", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let feed = std::thread::spawn(move || io::copy(&mut BufReader::with_capacity(1 << 20, Noise::new(bytes)), &mut to));
    let read = std::thread::spawn(move || is_noise(from, bytes));
    finish("stdin to stdout", bytes, child, daemon.pid());
    assert_eq!(feed.join().unwrap().unwrap(), bytes);
    assert!(read.join().unwrap(), "it came back as something else");
    daemon.end();
}

/// The content of a small file: its number, and up to 4 KiB behind it.
fn small(number: u64) -> Vec<u8> {
    let mut bytes = number.to_string().into_bytes();
    let (from, more) = (bytes.len(), 8 * (number % 512));
    bytes.resize(from + usize::try_from(more).unwrap(), 0);
    Noise { state: number, left: more }.read_exact(&mut bytes[from..]).unwrap();
    bytes
}

fn place(folder: &Path, number: u64) -> std::path::PathBuf {
    folder.join(format!("{}/{number}", number % 100))
}

#[tokio::test]
#[ignore = "slow: boots real guests"]
async fn a_folder_with_10_000_small_files_goes_both_ways_by_cp_unchanged() {
    const FILES: u64 = 10_000;
    let Some((site, daemon)) = crate::service("10,000 files").await else { return };
    site.ok(&ROOM);
    let (from, back) = (site.path("many"), site.path("back"));
    let mut bytes = 0;
    for number in 0..FILES {
        let path = place(&from, number);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = small(number);
        bytes += u64::try_from(content.len()).unwrap();
        BufWriter::new(File::create(path).unwrap()).write_all(&content).unwrap();
    }
    let child = copy(&site, from.to_str().unwrap(), "web:/root/many");
    finish("cp of 10,000 files in", bytes, child, daemon.pid());
    let count = site.ok(&["exec", "web", "--", "sh", "-c", "find /root/many -type f | wc -l"]);
    assert_eq!(count.trim(), FILES.to_string());
    fs::remove_dir_all(&from).unwrap();
    let child = copy(&site, "web:/root/many", back.to_str().unwrap());
    finish("cp of 10,000 files out", bytes, child, daemon.pid());
    for number in 0..FILES {
        assert!(fs::read(place(&back, number)).unwrap() == small(number), "file {number} came back as something else");
    }
    daemon.end();
}
