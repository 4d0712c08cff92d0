//! A virtual world in which the whole server runs, but no thread, no socket and no clock.
//!
//! A [`Story`] has a server (the real engine, desks and shards), browsers (stock `str0m`,
//! full ICE) and links that lose, delay, double and reorder. Time jumps from event to event, so that an hour takes
//! seconds; all lots are drawn from one seed. A test tells a story and asks what was seen:
//!
//! ```
//! use sim::{Filming, Story, secs};
//!
//! let mut story = Story::new();
//! story.publishes("demo", Filming::default());
//! story.runs(secs(2));
//! let bob = story.watches("demo");
//! story.runs(secs(2));
//! assert!(story.screen(bob).pictures.len() > 30);
//! story.holds();
//! ```
//!
//! A story about chance is [`told`] with many seeds: `SIM_SEEDS` sets their number, `SIM_SEED` one
//! seed. The figures of all seeds must keep to bounds.
//!
//! A story that fails prints the line that replays it: the same seed gives the same run, to the byte. The random numbers of
//! the libraries are seeded (`chance`), keys and signatures follow from the seed (`cryptography`), the world begins at one
//! moment of the wall clock (`clock`), and [`every_story_replays`] compares two runs of each story. `SIM_LOUD=1` tells
//! what happens, `SIM_TRACE=FILE` lists the datagrams.
//!
//! Where to start reading: [`Story`] moves time; `server` carries messages between the machines; `browser` is the
//! other side; `camera` and `screen` are what people see, `seen` says it in figures; `link` and `rival` are the network; `ledger` watches
//! every datagram.

mod asking;
mod browser;
mod camera;
mod chance;
mod clock;
mod core;
mod cryptography;
mod keys;
mod ledger;
mod link;
mod picture;
mod random;
mod rival;
mod run;
mod screen;
mod seen;
mod server;
mod story;
mod telling;

pub use browser::{Goodbye, Habits};
pub use camera::{Camera, Filming};
pub use ledger::Ledger;
pub use link::{Link, Path, Wire};
pub use picture::Stamp;
pub use random::Random;
pub use run::every_story_replays;
pub use screen::{Intake, Screen, Shown};
pub use seen::{Mark, Seen, jain};
pub use server::{Gone, Server, Setup};
pub use story::{Bottleneck, Download, Peer, Story, Stray, seed_of_environment, seeds};
pub use telling::{Bound, at_least, at_most, told};

use std::time::Duration;

/// This many seconds.
pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// This many milliseconds.
pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
