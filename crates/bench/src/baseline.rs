//! How long does a frame take through loopback when there is no server in between?
//!
//! The generator sends frames of [`PACKETS`] datagrams to itself, and wakes up for each as it does
//! for a viewer's.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use sfu::transmit::Batch;
use shards::udp::{Options, Poller, ReceiveBatch, SendState, Socket};

use crate::histogram::{Histogram, Percentiles};

const FRAMES: usize = 500;
const PACKETS: usize = 6;
const PACKET_BYTES: usize = 1_100;

/// Returns how long the packets took: one way, of which a server in between adds another.
pub(crate) fn measure() -> anyhow::Result<Percentiles> {
    let options = Options { receive_offload: true, ..Options::default() };
    let bind = || Socket::bind(([127, 0, 0, 1], 0).into(), &options);
    let (from, to) = (bind()?, bind()?);
    let mut poller = Poller::new(&[to.as_raw_fd()]);
    let mut received = ReceiveBatch::for_socket(&to);
    let (mut batch, mut sending) = (Batch::new(), SendState::new());
    let mut histogram = Histogram::default();
    for _ in 0..FRAMES {
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..PACKETS {
            batch.push(to.local_address(), None, &[0xaa; PACKET_BYTES]);
        }
        let sent_at = Instant::now();
        from.send(&batch, &mut sending);
        batch.clear();
        let mut left = PACKETS;
        while left > 0 && sent_at.elapsed() < Duration::from_secs(1) {
            poller.wait(Some(Duration::from_millis(100)))?;
            to.receive(&mut received)?;
            let took = sent_at.elapsed();
            for _ in 0..received.len() {
                histogram.add(took);
                left = left.saturating_sub(1);
            }
        }
    }
    Ok(histogram.percentiles())
}
