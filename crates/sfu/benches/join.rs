//! What does a viewer's offer cost the desk that answers it?
//!
//! `cargo bench -p sfu --bench join`. Offers differ as those of different browsers of one kind do: in names, passwords
//! and certificates.

use std::net::SocketAddr;
use std::time::Instant;

use criterion::{BatchSize, Criterion};
use media::{SessionId, StreamId};
use sfu::desk::{Command, Desk};
use sfu::format::Published;
use sfu::negotiate::Identity;
use sfu::transmit::Batch;
use str0m::media::{Direction, MediaKind};
use str0m::{Candidate, Rtc};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let now = Instant::now();
    let candidate = SocketAddr::from(([192, 0, 2, 1], 7_882));
    let mut random = 1u64;
    let mut bits = move || {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        random
    };
    let mut desk = Desk::new(0, Identity::new(vec![candidate]), Box::new(bits));
    let offers: Vec<_> = (0..64).map(|_| offer(now)).collect();
    let mut next = 0u64;
    criterion.bench_function("join/open", |b| {
        b.iter_batched(
            || {
                next += 1;
                let session = SessionId::from_bytes(u128::from(bits() | next << 1).to_be_bytes());
                let offer = Some(offers[next as usize % offers.len()].clone());
                (session, Command::Open { session, stream: StreamId(1), offer, published: Published::default() })
            },
            |(session, command)| {
                let mut batch = Batch::new();
                desk.handle_command(now, command, &mut batch);
                desk.handle_command(now, Command::Close { session }, &mut batch);
                while desk.poll_event().is_some() {}
            },
            BatchSize::SmallInput,
        );
    });
    criterion.final_summary();
}

/// An offer of audio and video, with all that str0m knows: about what Chromium offers.
fn offer(now: Instant) -> String {
    let mut rtc = Rtc::builder().build(now);
    let address = SocketAddr::from(([192, 0, 2, 7], 5_000));
    rtc.add_local_candidate(Candidate::host(address, "udp").expect("a good address"));
    let mut changes = rtc.sdp_api();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        changes.add_media(kind, Direction::RecvOnly, None, None, None);
    }
    changes.apply().expect("something to offer").0.to_sdp_string()
}
