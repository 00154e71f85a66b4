//! What minions cost, as ratios to floors of the same run, slopes over size, and CPU time per operation.
//!
//! `cargo run -p minions-bench --release -- quick` takes a few minutes on two cores, `-- full` more. Nothing here is
//! asserted: a clock of a shared machine proves nothing, so that figures are printed beside goals and floors.
#![allow(clippy::disallowed_methods, reason = "measuring is reading clocks, and the parts measured are processes")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose result is a table")]

#[cfg(target_os = "linux")]
mod api_scale;
#[cfg(target_os = "linux")]
mod boot;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod create_host;
#[cfg(target_os = "linux")]
mod create_rate;
#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod file_transfer;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod front;
#[cfg(target_os = "linux")]
mod guest_exec;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod idle;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod pin;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod recovery;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod seed;
#[cfg(target_os = "linux")]
mod ssh;
#[cfg(target_os = "linux")]
mod store_write;
#[cfg(target_os = "linux")]
mod suite;

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever goes wrong ends a row, and says so in the table.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    suite::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("not run: what is measured here is there on Linux only");
}
