//! How are sessions and their descriptions named?
//!
//! By random bits that are handed in: the operating system's in the server, seeded in tests. They
//! become names that outsiders must not guess.

use media::SessionId;
use sfu::desk::Random;

/// Draws names.
pub(super) struct Names(Random);

impl Names {
    pub(super) fn new(random: Random) -> Names {
        Names(random)
    }

    /// Returns a new session's id: 128 random bits.
    pub(super) fn session(&mut self) -> SessionId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(self.0)().to_be_bytes());
        bytes[8..].copy_from_slice(&(self.0)().to_be_bytes());
        SessionId::from_bytes(bytes)
    }

    /// Returns a new entity tag.
    pub(super) fn etag(&mut self) -> String {
        format!("{:016x}", (self.0)())
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}
