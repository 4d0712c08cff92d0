//! Forwards packets from publishers to viewers, without a socket, a clock or a thread.

pub mod rtcp;
pub mod srtp;
pub mod transmit;
