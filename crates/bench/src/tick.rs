//! How much does the send tick cost by itself, without socket, kernel and receiver?
//!
//! A shard with simulated viewers gets frame after frame, and its datagrams are discarded. Time is
//! virtual except for the stopwatch. Run natively it prints nanoseconds; under `valgrind
//! --tool=callgrind` (`scripts/instructions`) the same run counts instructions, which a busy
//! machine does not change. All that counts happens inside [`counted`]: callgrind looks at nothing
//! else (`--toggle-collect`).
//!
//! Valgrind knows AES-NI, PCLMULQDQ and AVX2 but neither VAES nor AVX-512, so that aws-lc takes
//! another path through AES-GCM there than natively on a newer machine. Instructions of sealing
//! therefore say nothing about the library's speed; those of everything else are ours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use sfu::srtp::Profile;
use sfu::transmit::Batch;

use crate::audience::{Audience, FRAME_INTERVAL, in_network, place};

/// Options of the measurement.
#[derive(Args)]
pub(crate) struct Tick {
    /// How many watch
    #[arg(long, default_value_t = 1_000)]
    viewers: u32,
    /// Frames that count; as many come before them that do not
    #[arg(long, default_value_t = 300)]
    frames: u32,
    /// Let viewers answer: receiver reports, transport-wide feedback, NACKs
    #[arg(long)]
    feedback: bool,
    /// Share of packets that viewers lose and ask for again, such as 0.02; implies --feedback
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
}

/// What was spent on what.
#[derive(Default)]
pub(crate) struct Costs {
    packets: u64,
    messages: u64,
    bytes: u64,
    datagrams_in: u64,
    sending: Duration,
    hearing: Duration,
}

/// The first of the addresses that are set aside for benchmarks (RFC 2544).
const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7_882);
/// The least number of frames before the measured ones: the first second is a viewer's start.
const WARM_UP_FRAMES: u32 = 45;

impl Tick {
    /// Measures and prints.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        self.measure()?.print(self);
        Ok(())
    }

    /// Returns options for viewers that send no feedback.
    pub(crate) fn quiet(viewers: u32, frames: u32) -> Tick {
        Tick { viewers, frames, feedback: false, loss: 0.0 }
    }

    /// Plays, and says what that cost.
    pub(crate) fn measure(&self) -> anyhow::Result<Costs> {
        anyhow::ensure!((1..=65_536).contains(&self.viewers), "--viewers must be 1 to 65536");
        anyhow::ensure!((0.0..1.0).contains(&self.loss), "--loss must be at least 0 and below 1");
        let start = Instant::now();
        let mut audience =
            Audience::new(start, self.viewers, Profile::AeadAes128Gcm, |number| in_network(NETWORK, number))?;
        let mut batch = Batch::new();
        let warm_up = self.frames.max(WARM_UP_FRAMES);
        let mut costs = Costs::default();
        for frame in 0..warm_up + self.frames {
            if frame == warm_up {
                costs = Costs::default();
            }
            self.play(&mut audience, start + FRAME_INTERVAL * frame, &mut batch, &mut costs, frame >= warm_up);
        }
        Ok(costs)
    }

    /// One frame, all that it makes the shard send, and all that viewers answer.
    fn play(&self, audience: &mut Audience, now: Instant, batch: &mut Batch, costs: &mut Costs, counts: bool) {
        let frame = audience.next_frame(now);
        watch(counts, &mut costs.sending, || {
            audience.shard.handle_command(now, frame);
            audience.shard.handle_timeout(now);
        });
        self.transmit(audience, now, batch, costs, counts);
        // Deferred work of the shard: reports, and the rest of a large picture.
        while let Some(at) = audience.shard.poll_timeout().filter(|at| *at < now + FRAME_INTERVAL) {
            let at = at.max(now);
            watch(counts, &mut costs.sending, || audience.shard.handle_timeout(at));
            self.transmit(audience, at, batch, costs, counts);
        }
        if self.feedback || self.loss > 0.0 {
            let mut said = audience.hear();
            costs.datagrams_in += said.len() as u64;
            watch(counts, &mut costs.hearing, || {
                for datagram in &mut said {
                    audience.shard.handle_datagram(now, datagram.source, HERE, &mut datagram.bytes);
                }
            });
        }
    }

    fn transmit(&self, audience: &mut Audience, now: Instant, batch: &mut Batch, costs: &mut Costs, counts: bool) {
        loop {
            watch(counts, &mut costs.sending, || audience.shard.poll_transmit(now, batch));
            if batch.is_empty() {
                break;
            }
            costs.messages += batch.messages().len() as u64;
            costs.packets += batch.messages().iter().map(|m| m.segments as u64).sum::<u64>();
            costs.bytes += batch.len_bytes() as u64;
            audience.deliver(batch, self.loss, |address| place(NETWORK, address));
            batch.clear();
        }
        // Events are discarded, so that they do not accumulate.
        watch(counts, &mut costs.sending, || while audience.shard.poll_event().is_some() {});
    }
}

/// Times a step, and lets callgrind see it if it counts.
fn watch(counts: bool, spent: &mut Duration, step: impl FnOnce()) {
    let begun_at = Instant::now();
    if counts {
        counted(step);
    } else {
        step();
    }
    *spent += begun_at.elapsed();
}

/// What callgrind looks at; see the module's comment.
#[inline(never)]
fn counted(step: impl FnOnce()) {
    step();
}

impl Costs {
    /// Nanoseconds of sending that each packet took.
    pub(crate) fn sending_ns(&self) -> f64 {
        self.sending.as_nanos() as f64 / self.packets.max(1) as f64
    }

    fn print(&self, asked: &Tick) {
        let Tick { viewers, frames, loss, .. } = asked;
        let packets = self.packets.max(1) as f64;
        println!("{viewers} viewers, {frames} frames of 5 or 6 packets, loss {:.1} %", loss * 100.0);
        println!("packets        {}", self.packets);
        println!("a message      {:.2} packets", packets / self.messages.max(1) as f64);
        println!("a packet       {:.0} bytes", self.bytes as f64 / packets);
        println!("sending        {:.1} ns a packet", self.sending_ns());
        if self.datagrams_in > 0 {
            let hearing = self.hearing.as_nanos() as f64;
            println!("datagrams in   {}", self.datagrams_in);
            println!(
                "hearing        {:.1} ns a packet, {:.0} ns a datagram",
                hearing / packets,
                hearing / self.datagrams_in as f64
            );
        }
    }
}
