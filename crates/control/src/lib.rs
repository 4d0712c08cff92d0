//! Decides for the whole server: which sessions publish and watch, which encodings publishers are
//! to send, and which commands each media thread gets.
//!
//! [`Engine`] is the whole: it takes requests, events of media threads and the time, and gives
//! commands, answers and facts for the log ([`engine`] is its tour). [`Control`] inside it admits
//! sessions, ends them and knows the sessions of each stream: a *stream* has a name, at most one
//! *publisher* and any number of *viewers*; each of them is a *session*, one WebRTC connection that
//! lives on the floor below.
//!
//! Both are plain values: they read no clock, no socket and no random number, so the same calls
//! always lead to the same effects in the same order.
//!
//! # How to drive `Control`
//!
//! ```
//! use std::net::IpAddr;
//! use std::time::Instant;
//! use control::{Control, Effect, Limits, Takeover};
//! use media::{SessionId, StreamName};
//!
//! let limits = Limits { streams: 100, sessions: 1000, viewers: 500, sessions_per_ip: 20 };
//! let mut control = Control::new(limits, Takeover::Refuse);
//! let now = Instant::now();
//! let name = StreamName::parse("demo").unwrap();
//! let alice = SessionId::from_bytes([1; 16]); // in earnest: 16 random bytes
//!
//! let admitted = control.publish(now, alice, name, IpAddr::from([192, 0, 2, 1])).unwrap();
//! while let Some(effect) = control.poll_effect() {
//!     if let Effect::PublisherIs { epoch, .. } = effect {
//!         assert_eq!(epoch, admitted.epoch); // and tell the shards
//!     }
//! }
//! // Sleep until this moment at the latest, then call `handle_timeout`.
//! assert_eq!(control.poll_timeout(), Some(now + control::CONNECT_DEADLINE));
//! ```
//!
//! Ask first, open the session below second: a session that was admitted and could not be opened is
//! reported by [`Control::closed`]. Drain [`Control::poll_effect`] after every call and carry the
//! effects out in their order.
//!
//! # Words
//!
//! - *epoch*: a number that grows with every publisher admitted. Shards take media of a stream from
//!   the newest epoch only; a replaced publisher is *fenced*, however late its packets come.
//! - *connected*: ICE and DTLS are up. Until then a session is *connecting*, and has
//!   [`CONNECT_DEADLINE`] to get through.
//! - *quiet*: a connected publisher that sends no media. It may be dead, or may have nothing to
//!   send.
//! - *owner*: a newcomer with the token subject or the address of the publisher that holds a
//!   stream.
//! - *waiting*, *live*, *paused*: see [`State`].
//!
//! # Outside of this crate
//!
//! Tokens (the right to call at all), rates of new sessions (refused at the HTTP door), JSON (the
//! server's dialects), media, and whether a connected peer still answers or sends: the floor below
//! notices silence and reports [`Control::flows`] and [`Control::closed`].
//!
//! # Where to start reading
//!
//! [`Engine`] and [`Control`] route; small values decide: [`Takeover`] about a second publisher,
//! [`Limits`] about room, `admission` about load, `stream` about a stream's appearance in the API,
//! `deadlines` about time.

mod admission;
pub mod bound;
mod control;
mod deadlines;
mod effect;
pub mod engine;
pub mod ladder;
mod limits;
mod session;
mod stream;
mod takeover;

pub use admission::Load;
pub use control::{Admitted, CONNECT_DEADLINE, Control};
pub use effect::{CloseReason, Effect};
pub use engine::Engine;
pub use limits::{Limits, Refused};
pub use session::{Caller, Role};
pub use stream::{PublisherView, State, StreamView};
pub use takeover::{CONNECTING_GRACE, OWN_GRACE, Takeover};
