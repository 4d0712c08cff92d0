//! Do the server's datagrams keep the promises that hold in every story?
//!
//! The ledger sees datagrams from outside, as an eavesdropper does. It checks that no SRTP or SRTCP
//! nonce is used for two different datagrams (threat T3), and that media goes only to addresses
//! that were proved.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use media::demux::{Class, classify};

/// The datagrams sent under each nonce.
#[derive(Debug, Default)]
pub struct Ledger {
    rtp: HashMap<(usize, u32), Encoding>,
    rtcp: HashMap<(usize, u32, u32), u64>,
    /// Number of datagrams that repeated an earlier one byte by byte.
    pub identical: u64,
    /// Number of SRTP datagrams.
    pub packets: u64,
    /// The largest datagram.
    pub largest_bytes: usize,
    /// Descriptions of nonces that were used for two different datagrams.
    pub reused: Vec<String>,
}

#[derive(Debug, Default)]
struct Encoding {
    highest: Option<u64>,
    hashes: HashMap<u64, u64>,
}

impl Ledger {
    /// Checks a datagram of the server to a peer.
    pub fn note(&mut self, peer: usize, bytes: &[u8]) {
        self.largest_bytes = self.largest_bytes.max(bytes.len());
        if classify(bytes) != Class::Rtp || bytes.len() < 16 {
            return;
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if media::rtp::is_rtcp(bytes) {
            // RFC 7714 §9.1: the index is at the very end. AES-CM, whose tag is there, is not used
            // here.
            let key = (peer, u32_at(4), u32_at(bytes.len() - 4) & 0x7fff_ffff);
            if self.rtcp.insert(key, hash).is_some_and(|before| before != hash) {
                self.reused.push(format!("SRTCP index {} of SSRC {:x} to peer {peer}", key.2, key.1));
            }
            return;
        }
        self.packets += 1;
        let (seq, ssrc) = (u16::from_be_bytes([bytes[2], bytes[3]]), u32_at(8));
        let encoding = self.rtp.entry((peer, ssrc)).or_default();
        let highest = encoding.highest.unwrap_or(u64::from(seq));
        let step = i64::from(seq.wrapping_sub(highest as u16) as i16);
        let index = highest.wrapping_add_signed(step);
        encoding.highest = Some(highest.max(index));
        match encoding.hashes.insert(index, hash) {
            None => {}
            Some(before) if before == hash => self.identical += 1,
            Some(_) => self.reused.push(format!("SRTP index {index} of SSRC {ssrc:x} to peer {peer}")),
        }
    }

    /// Returns the highest index of any encoding sent to a peer, as far as an eavesdropper can see
    /// it.
    pub fn highest_index(&self, peer: usize) -> u64 {
        self.rtp.iter().filter(|(key, _)| key.0 == peer).filter_map(|(_, e)| e.highest).max().unwrap_or_default()
    }
}
