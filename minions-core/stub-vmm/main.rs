//! A stand-in for QEMU and its VSOCK helper, and for Cloud Hypervisor, for tests and benches: the same words on the command
//! line, the same sockets, the same locks on disks, and a guest that is our agent in this very process. So the adapter under test is
//! the real one, and a "boot" takes as long as it is told to. Never shipped.
//!
//! What the guest does is told by its kernel's command line:
//!
//! | word | meaning |
//! | --- | --- |
//! | `stub.ready_ms=50` | how long it boots; 0 unless said |
//! | `stub.mute` | it never says that it is ready, and answers nobody |
//! | `stub.deaf` | it does not hear the power button |
//! | `stub.crash_ms=100` | its monitor dies so long after it was let run |
//! | `stub.reboot_ms=100` | it starts itself anew so long after it was let run (Cloud Hypervisor only) |
//!
//! It is Cloud Hypervisor where its name says so, or its words do.

mod cloud;
mod guest;
mod helper;
mod monitor;
mod serial;
mod talk;

use std::process::ExitCode;

/// The value behind an option.
fn after<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word == option)?;
    words.get(at + 1).map(String::as_str)
}

/// A part of a value such as `a=1,b=2`.
fn part<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

async fn run(words: &[String]) -> Result<(), String> {
    if words.iter().any(|word| word == "--version") {
        let name = std::env::args().next().unwrap_or_default();
        let cloud = name.ends_with("cloud-hypervisor");
        println!("{}", if cloud { "cloud-hypervisor v53.0.0" } else { "QEMU emulator version 7.2.0 (stub-vmm)" });
        return Ok(());
    }
    if words.iter().any(|word| word == "--api-socket") {
        return cloud::run(words).await;
    }
    match after(words, "--vm") {
        Some(vm) => helper::run(vm).await,
        None => monitor::run(words).await,
    }
}

fn main() -> ExitCode {
    // In the place of the program that carries out plans, before there is a second thread.
    if std::env::args().nth(1).as_deref() == Some("jail") {
        eprintln!("stub-vmm: {}", minions_core::host::jail::enter(std::env::args_os().skip(2)));
        return ExitCode::FAILURE;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("stub-vmm: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stub-vmm: {error}");
            ExitCode::FAILURE
        }
    }
}
