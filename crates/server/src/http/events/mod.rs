//! How do clients hear that something changes?
//!
//! By server-sent events. [`hub`] knows the newest status of each stream that is read,
//! [`subscriptions`] belong to sessions, and [`news`] and [`demand`] decide what a viewer's and a
//! publisher's subscription is told.

pub(super) mod demand;
pub(super) mod hub;
pub(super) mod news;
pub(super) mod sse;
pub(super) mod subscriptions;
pub(super) mod teller;
