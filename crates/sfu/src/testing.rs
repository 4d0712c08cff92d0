//! Packets for tests, said in one line.

use std::sync::Arc;
use std::time::Instant;

use media::codec::Resolution;
use media::codec::parameter_sets::Units;
use media::packet::Extensions;
use media::{Codec, Epoch, Packet};

/// A video packet with publisher sequence number `seq`.
pub fn packet(seq: u64) -> PacketBuilder {
    PacketBuilder(Packet {
        codec: Codec::Vp8,
        epoch: Epoch::of(1),
        encoding: 0,
        seq,
        timestamp: (seq as u32).wrapping_mul(3_000),
        marker: true,
        key_frame_from: None,
        resolution: None,
        starts_frame: true,
        layers: media::codec::FrameLayers::default(),
        arrived_at: Instant::now(),
        captured_at: None,
        has_wrong_clock: false,
        descriptor: None,
        sets: None,
        extensions: Extensions::default(),
        payload: vec![seq as u8; 100].into(),
        red_primary_at: 0,
    })
}

/// See [`packet`].
pub struct PacketBuilder(Packet);

impl PacketBuilder {
    /// Starts a key frame.
    pub fn key(mut self) -> Self {
        self.0.key_frame_from = Some(self.0.seq);
        self
    }
    /// From this publisher.
    pub fn epoch(mut self, publisher: u32) -> Self {
        self.0.epoch = Epoch { publisher, ..self.0.epoch };
        self
    }
    /// Of this run of its publisher.
    pub fn run(mut self, run: u32) -> Self {
        self.0.epoch = Epoch { run, ..self.0.epoch };
        self
    }
    /// Of this encoding of a simulcast.
    pub fn encoding(mut self, encoding: u8) -> Self {
        self.0.encoding = encoding;
        self
    }
    /// A key frame that tells its size.
    pub fn sized(mut self, width: u16, height: u16) -> Self {
        self.0.resolution = Some(Resolution { width, height });
        self.key()
    }
    /// With this RTP timestamp.
    pub fn at(mut self, timestamp: u32) -> Self {
        self.0.timestamp = timestamp;
        self
    }
    /// Proves that the picture from `seq` on is a key frame.
    pub fn proves(mut self, seq: u64) -> Self {
        self.0.key_frame_from = Some(seq);
        self
    }
    /// Not the first packet of its frame.
    pub fn continues(mut self) -> Self {
        self.0.starts_frame = false;
        self
    }
    /// Of this codec, with this payload.
    pub fn coded(mut self, codec: Codec, payload: &[u8]) -> Self {
        self.0.codec = codec;
        self.0.payload = payload.into();
        self
    }
    /// These parameter sets were known by then.
    pub fn with_sets(mut self, sets: &Arc<Units>) -> Self {
        self.0.sets = Some(Arc::clone(sets));
        self
    }
    /// Received then.
    pub fn came(mut self, at: Instant) -> Self {
        self.0.arrived_at = at;
        self
    }
    /// The packet.
    pub fn build(self) -> Packet {
        self.0
    }
}
