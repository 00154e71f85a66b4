//! Configuration files: every text is a configuration or a list of problems that each have a place.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use minions_core::config::checked::check_text;

fuzz_target!(|text: &str| {
    let lines = text.matches('\n').count() + 1;
    let Err(problems) = check_text(Path::new("/etc/minions.toml"), text, &|_| Ok(())) else { return };
    assert!(!problems.0.is_empty(), "a refusal says why");
    for problem in &problems.0 {
        assert!((1..=lines).contains(&problem.line), "{problem:?} of {lines} lines");
        assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{problem:?}");
    }
});
