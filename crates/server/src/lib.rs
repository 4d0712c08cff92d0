//! `nowcast`: live streams come in over WHIP and go out over WHEP, from one binary.
//!
//! This crate is everything that is not media: the command line ([`cli`]), options ([`config`]),
//! tokens and rights ([`auth`]), HTTP ([`http`]), checks of the machine ([`doctor`]), and start and
//! end of the server ([`serve`]). [`engine`] is its one handle on the floors below. All `async`
//! lives here.
//!
//! Deliberately not here: code that reads SDP or packets.
//!
//! Start reading at [`serve::run`], then [`http::Front::respond`].

pub mod auth;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod http;
mod json;
mod log;
pub mod serve;
