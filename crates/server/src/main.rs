//! `nowcast`: live streams come in over WHIP and go out over WHEP, from one binary.
//!
//! This crate is everything that is not media: the command line ([`cli`]), options ([`config`]), who may do what
//! ([`auth`]), HTTP ([`http`]), and the start and end of it all ([`serve`]). [`engine`] is its one handle on the floors
//! below. All `async` lives here. Start reading at [`serve::run`], then [`http::App::respond`].

mod auth;
mod cli;
mod config;
mod engine;
mod http;
mod log;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nowcast: {error:#}");
            ExitCode::FAILURE
        }
    }
}
