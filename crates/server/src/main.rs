//! The binary; everything is in the library, where tests and fuzzers reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match server::cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nowcast: {error:#}");
            ExitCode::FAILURE
        }
    }
}
