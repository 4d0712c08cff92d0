//! In which words do HTTP and data channels speak of streams and viewers?
//!
//! JSON, described for the API's document. The engine has plain values ([`control::engine`]); each is
//! translated here and nowhere else.

pub(crate) mod failure;
pub(crate) mod stream;
pub(crate) mod viewer;
pub(crate) mod warnings;
pub(crate) mod wish;

/// Rounds to one decimal: more would pretend to be measured.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
