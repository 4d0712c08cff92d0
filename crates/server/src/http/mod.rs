//! What does the world see?
//!
//! A request comes in on a connection ([`connections`]) and goes to [`Front`], which finds its
//! resource in the [`table`] and lets the router's handler answer. Handlers are in [`resources`],
//! one file a resource, and share [`app::App`]. Clients that listen are told by [`events`].
//!
//! Not here: anything that knows what an SDP says.

mod answer;
mod app;
mod body;
pub mod connections;
mod counters;
mod events;
mod exchange;
mod front;
pub mod limits;
mod ownership;
mod panics;
pub mod prefix;
mod problem;
mod rate;
mod remote;
mod resources;
pub mod sdpfrag;
mod table;
#[cfg(test)]
mod tests;

pub use front::Front;
pub use table::address::NoRoute;

use media::StreamName;

/// Returns the template of the resource that a path and a query name, and the stream that it is of.
///
/// # Errors
///
/// There is no such resource, or the stream's name breaks a rule.
pub fn resource_of(path: &str, query: Option<&str>) -> Result<(String, Option<StreamName>), NoRoute> {
    resources::name(path, query)
}
