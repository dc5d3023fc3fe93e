//! `make bench`: diskmirror against rsync and others, on whole trees, in paired rounds. doc/testing.md lists what can
//! be set; doc/performance.md is what comes of it.

// A target without a test harness is compiled with `cfg(test)` all the same, and its unit tests are called by nobody:
// tests/bench_harness.rs calls them.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod harness;

use harness::settings::Settings;
use harness::verify;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let [_, word, source, copy, catalog] = &arguments[..]
        && word == verify::WORD
    {
        diskmirror::sys::signal::install();
        let verified = verify::verify(Path::new(source), Path::new(copy), Path::new(catalog));
        return ended(verified.map(|()| true));
    }
    // `cargo test --benches` starts this too, without the argument: measuring is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured: this is started by `make bench`");
        return ExitCode::SUCCESS;
    }
    diskmirror::sys::signal::install();
    let built = Path::new(env!("CARGO_BIN_EXE_diskmirror"));
    let settings = Settings::read(&|name| std::env::var(name).ok(), built);
    ended(settings.and_then(|settings| harness::run(&settings)))
}

fn ended(outcome: anyhow::Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
