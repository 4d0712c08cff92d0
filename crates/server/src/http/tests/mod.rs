//! What holds for all resources, and what tests of resources share.
//!
//! A [`House`] is a server without a network: requests go to its front, and a double ([`double`])
//! answers what its handlers ask the engine. Tests of one resource are beside it.

mod access;
mod addresses;
mod below;
mod description;
mod double;
mod house;
mod methods;

pub(super) use house::{House, token, token_of};

/// The id of the one session that a [`Double`] has.
pub(super) const ID: &str = "0123456789abcdef0123456789abcdef";
/// The id of a session that is not there.
pub(super) const OTHER_ID: &str = "ffffffffffffffffffffffffffffffff";
/// The secret of the key that the server knows.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Headers of an offer.
pub(super) const SDP: &[(&str, &str)] = &[("content-type", "application/sdp")];
/// Headers of an ICE fragment.
pub(super) const FRAGMENT: &[(&str, &str)] =
    &[("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "\"tag\"")];
/// The header of a page of another origin.
pub(super) const ORIGIN: (&str, &str) = ("origin", "https://a.example");
