//! Which random numbers do the libraries of a story draw?
//!
//! `str0m`, `is` and `str0m-proto` take ids, SSRCs, ICE credentials and STUN transaction ids from the generator that
//! `fastrand` keeps for each thread. The key exchanges of [`crate::cryptography`] take their keys from the generator
//! here, of the same kind. A story runs on one thread and seeds both when it begins.
//!
//! `sctp-proto` draws verification tags, sequence numbers and cookies from a generator that cannot be seeded. They have
//! one length, are encrypted in DTLS application data, and decide nothing about time: [`crate::run`] leaves out those
//! bytes and compares times, addresses and sizes.

use std::cell::RefCell;

use crate::random::Random;

thread_local! {
    static KEYS: RefCell<Random> = RefCell::new(Random::new(0));
}

/// Seeds what the libraries draw on this thread.
pub(crate) fn seed(seed: u64) {
    let mut random = Random::new(seed);
    fastrand::seed(random.bits());
    KEYS.with(|keys| *keys.borrow_mut() = random.branch());
}

/// This many bytes for a private key.
pub(crate) fn key(count: usize) -> Vec<u8> {
    KEYS.with(|keys| keys.borrow_mut().bytes(count))
}
