//! `nowcast`: live streams come in over WHIP and go out over WHEP, from one binary.
//!
//! This crate is everything that is not media: the command line ([`cli`]), options ([`config`]), who may do what
//! ([`auth`]), HTTP ([`http`]), whether the machine is fit ([`doctor`]), and the start and end of it all ([`serve`]). [`engine`] is its one handle on the
//! floors below. All `async` lives here.
//!
//! Deliberately not here: anything that knows what an SDP or a packet says.
//!
//! Start reading at [`serve::run`], then [`http::App::respond`].

pub mod auth;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod http;
mod json;
mod log;
pub mod serve;
