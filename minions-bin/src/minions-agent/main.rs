//! The agent in a guest, and PID 1 of our initrd.

fn main() -> std::process::ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    minions_core::agent::main(words)
}
