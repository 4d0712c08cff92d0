//! What does one viewer get, and what does it tell us back?
//!
//! Lives on a media shard. Negotiation, ICE and DTLS are elsewhere ([`crate::desk`]); here are the keys, the
//! two tracks and the reports. A viewer has no queue: its tracks hold positions in the shared logs.

pub mod adapt;
mod descriptors;
pub mod header;
pub mod history;
pub mod lossy;
pub mod pace;
pub mod rewrite;
#[cfg(test)]
mod starting;
pub mod subscription;
pub mod transport;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use media::{MediaKind, NtpTime, SessionId, StreamId, WallClock};

use crate::bwe::Share;
use crate::prefetch::Prefetch;
use crate::rtcp::{self, Packet};
use crate::srtp::{Open, Reject, Seal};
use crate::stream::Tracks;
use crate::stream::audience::Audience;
use crate::stream::choice::Preferences;
use crate::transmit::Batch;
use adapt::Adapt;
use lossy::Lossy;
use subscription::{Link, NegotiatedTrack, Subscription};
use transport::Transport;

/// All that a shard needs to know to serve a viewer; made by a desk once DTLS is up.
#[derive(Debug)]
pub struct ViewerSetup {
    /// Names the session.
    pub session: SessionId,
    /// What it watches.
    pub stream: StreamId,
    /// Which desk holds its `Rtc`.
    pub desk: u8,
    /// Its proven address.
    pub address: SocketAddr,
    /// Our address towards it.
    pub source: Option<IpAddr>,
    /// Keys towards it.
    pub seal: Seal,
    /// Keys from it.
    pub open: Open,
    /// What was negotiated.
    pub tracks: Vec<NegotiatedTrack>,
    /// 128 random bits, for first sequence numbers and timestamps.
    pub seed: u128,
}

/// One viewer on a shard.
#[derive(Debug)]
pub struct Viewer {
    /// Names the session.
    pub session: SessionId,
    /// What it watches.
    pub stream: StreamId,
    /// Which desk holds its `Rtc`.
    pub desk: u8,
    address: SocketAddr,
    source: Option<IpAddr>,
    seal: Seal,
    open: Open,
    audio: Option<Subscription>,
    video: Option<Subscription>,
    budget: Budget,
    transport: Transport,
    adapt: Adapt,
    lossy: Lossy,
    next_report_at: Instant,
    /// Datagrams from it that were refused, for the shard's counters.
    pub rejected: u64,
}

/// What a viewer's feedback asks of others.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// The publisher must be asked for a key frame of this encoding.
    pub wants_key_frame: Option<u8>,
    /// The viewer must be given a turn to send.
    pub wants_turn: bool,
}

/// RFC 3550 §6.2 would allow one in about 5 s; libwebrtc sends video reports every second, and lips match from
/// the first one on.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The first report goes out with the first pictures, so that they are in sync at once.
const FIRST_REPORT_AFTER: Duration = Duration::from_millis(100);

impl Viewer {
    /// A viewer that starts now.
    pub fn new(now: Instant, setup: ViewerSetup) -> Viewer {
        let mut audio = None;
        let mut video = None;
        let is_numbered = setup.tracks.iter().any(|track| track.extensions.transport_seq.is_some());
        for (n, negotiated) in setup.tracks.into_iter().enumerate() {
            let seed = (setup.seed >> (64 * (n % 2))) as u64;
            let slot = match negotiated.kind {
                MediaKind::Audio => &mut audio,
                MediaKind::Video => &mut video,
            };
            slot.get_or_insert_with(|| Subscription::new(negotiated, now, seed));
        }
        Viewer {
            session: setup.session,
            stream: setup.stream,
            desk: setup.desk,
            address: setup.address,
            source: setup.source,
            seal: setup.seal,
            open: setup.open,
            audio,
            video,
            budget: Budget::new(now),
            transport: Transport::new(now, is_numbered),
            adapt: Adapt::default(),
            lossy: Lossy::default(),
            next_report_at: now + FIRST_REPORT_AFTER,
            rejected: 0,
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// It has proved that it is somewhere else now.
    pub fn set_address(&mut self, address: SocketAddr, source: Option<IpAddr>) {
        self.address = address;
        self.source = source;
    }

    /// What it reports of everything that it is sent.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Counts it among those who watch.
    pub fn count(&self, tracks: &Tracks, audience: &mut Audience) {
        let Some(video) = &self.video else { return };
        let ceiling = self.transport.estimator.estimate().ceiling_bps;
        audience.add_viewer(ceiling.map(|bps| Adapt::for_video(bps * USABLE, tracks)), &video.preferences());
    }

    /// Those who share its bottleneck have agreed.
    pub fn set_share(&mut self, share: Share) {
        self.transport.estimator.set_share(self.transport.now_us(), share);
    }

    /// What it wishes of the video from now on.
    pub fn set_preferences(&mut self, preferences: Preferences) {
        if let Some(video) = &mut self.video {
            video.set_preferences(preferences);
        }
    }

    /// Its tracks.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.audio.iter().chain(&self.video)
    }

    /// It will have a turn soon. What is asked for at one distance is where to look at the next.
    pub fn prefetch(&self, distance: usize, prefetch: Prefetch) {
        match distance {
            3 => {
                prefetch.ask(&self.video);
                prefetch.ask(&self.transport);
                prefetch.ask(&self.budget);
                prefetch.ask(&self.adapt);
                prefetch.ask(&self.address);
                prefetch.ask(&self.seal);
                if self.audio.is_some() {
                    prefetch.ask(&self.audio);
                }
            }
            2 => {
                self.seal.prefetch(prefetch);
                self.transport.prefetch(prefetch);
                self.subscriptions().for_each(|subscription| subscription.prefetch(prefetch));
            }
            1 => self.transport.estimator.prefetch(self.transport.next(), prefetch),
            _ => {}
        }
    }

    /// It has sent feedback that will be read soon; steps 0, 1 and 2, each once the memory of the one before is there.
    pub fn prefetch_feedback(&self, step: usize, prefetch: Prefetch) {
        match step {
            0 => {
                prefetch.ask(&self.open);
                prefetch.ask(&self.transport);
                prefetch.ask(&self.adapt);
                prefetch.ask(&self.budget);
                prefetch.ask(&self.video);
            }
            1 => {
                self.open.prefetch(prefetch);
                self.transport.prefetch(prefetch);
            }
            _ => self.transport.estimator.prefetch_before(self.transport.next(), prefetch),
        }
    }

    /// Starts that were put off, of all its tracks.
    pub fn starts_refused(&self) -> u64 {
        self.subscriptions().map(|subscription| subscription.counters.starts_refused).sum()
    }

    /// Whether it is being shown the past, or nothing yet.
    pub fn is_starting(&self) -> bool {
        self.transport.next() == 0 || self.subscriptions().any(Subscription::is_starting)
    }

    /// Since when something waits to be sent; where that is not known, since its last turn.
    pub fn waits_since(&self, tracks: &Tracks) -> Instant {
        let video = || self.video.as_ref()?.waits_since(&tracks.video);
        let audio = || self.audio.as_ref()?.waits_since(&tracks.audio);
        video().or_else(audio).unwrap_or(self.budget.refilled_at)
    }

    /// Sends what there is to send. Returns when to come again, and whether a key frame is missing.
    pub fn send(&mut self, now: Instant, tracks: &Tracks, batch: &mut Batch) -> subscription::SendOutcome {
        self.budget.refill(now);
        self.transport.turn(now);
        if self.transport.next() == 0 {
            // Before the first packet: a start that most networks carry.
            self.adapt(tracks);
        }
        let Viewer { audio, video, transport, adapt, .. } = self;
        let mut link = Link {
            seal: &self.seal,
            destination: self.address,
            source: self.source,
            batch,
            budget: &mut self.budget.bytes,
            transport,
        };
        if let Some(audio) = audio {
            audio.send(now, &tracks.audio, &mut link);
        }
        crate::guard::fault!(Send, Some(self.session));
        let Some(video) = video else { return subscription::SendOutcome::default() };
        let mut next = video.send(now, &tracks.video, &mut link);
        let (due, at) = adapt.poll(now, link.transport);
        if let Some(due) = due.filter(|due| due.bytes > 0) {
            let bytes = video.pad(&tracks.video, due.bytes, due.id, &mut link);
            adapt.on_train_sent(bytes);
        }
        next.at = next.at.into_iter().chain(at).min();
        next
    }

    /// What is known of the way has changed: so may what the viewer is shown.
    fn adapt(&mut self, tracks: &Tracks) {
        let Some(video) = &mut self.video else { return };
        Adapt::want(&mut self.transport, tracks, &video.preferences());
        let estimate = self.transport.estimator.estimate();
        video.set_available_bitrate(self.adapt.available_bitrate(&self.transport, &estimate, tracks));
        // What is sent to all of them at once must not fill what they share.
        let paced = if estimate.is_shared { SHARED_PACE } else { 1.0 };
        video.set_pace(estimate.ceiling_bps.map(|bps| bps * paced));
        self.budget.set_rate(estimate.ceiling_bps);
    }

    /// Takes a datagram of SRTCP. Answers NACKs into `batch`.
    ///
    /// # Errors
    ///
    /// What does not authenticate or was seen before changes nothing (threat T2).
    pub fn handle_srtcp(
        &mut self,
        now: Instant,
        clock: &WallClock,
        datagram: &mut [u8],
        tracks: &Tracks,
        batch: &mut Batch,
    ) -> Result<Feedback, Reject> {
        let compound = self.open.rtcp(datagram)?;
        self.transport.turn(now);
        let mut has_news = false;
        let mut feedback = Feedback::default();
        for packet in rtcp::packets(compound) {
            match packet {
                Ok(Packet::ReceiverReport(report)) => {
                    for block in report.blocks {
                        Self::record_report(&mut self.audio, &mut self.video, clock.at(now), &block);
                        self.on_loss_report(&block);
                        has_news = true;
                    }
                }
                Ok(Packet::SenderReport { blocks, .. }) => {
                    for block in blocks {
                        Self::record_report(&mut self.audio, &mut self.video, clock.at(now), &block);
                    }
                }
                Ok(Packet::Nack(nack)) => {
                    let mut link = Link {
                        seal: &self.seal,
                        destination: self.address,
                        source: self.source,
                        batch,
                        budget: &mut self.budget.bytes,
                        transport: &mut self.transport,
                    };
                    for (subscription, track) in [(&mut self.audio, &tracks.audio), (&mut self.video, &tracks.video)] {
                        let Some(subscription) = subscription.as_mut().filter(|t| t.negotiated().ssrc == nack.media)
                        else {
                            continue;
                        };
                        for seq in nack.seqs().take(MAX_NACKS) {
                            subscription.resend(track, seq, &mut link);
                        }
                    }
                }
                Ok(Packet::Pli(_) | Packet::Fir(_)) => {
                    if let Some(video) = &mut self.video {
                        let ask = video.on_key_frame_request(now, &tracks.video);
                        feedback.wants_key_frame = ask.or(feedback.wants_key_frame);
                        feedback.wants_turn |= ask.is_none();
                    }
                }
                Ok(Packet::TransportFeedback(report)) => {
                    self.transport.on_feedback(&report);
                    has_news = true;
                }
                Ok(Packet::Remb(remb)) => {
                    self.transport.estimator.set_remb_limit(remb.bitrate_bps as f32);
                    self.adapt.set_bounded();
                    has_news = true;
                }
                Ok(_) | Err(_) => {}
            }
        }
        if has_news {
            self.adapt(tracks);
        }
        Ok(feedback)
    }

    /// Where only receiver reports tell of the way, much loss of the video bounds what it carries.
    fn on_loss_report(&mut self, block: &rtcp::ReportBlock) {
        let Some(video) = self.video.as_ref().filter(|video| video.negotiated().ssrc == block.ssrc) else { return };
        let rtt_ms = video.counters.rtt.map(|rtt| rtt.as_secs_f32() * 1e3);
        self.transport.estimator.on_receiver_report(self.transport.now_us(), block.fraction_lost, rtt_ms);
        if block.fraction_lost > MUCH_LOST {
            self.adapt.set_bounded();
        }
    }

    fn record_report(
        audio: &mut Option<Subscription>,
        video: &mut Option<Subscription>,
        now: NtpTime,
        block: &rtcp::ReportBlock,
    ) {
        for subscription in audio.iter_mut().chain(video).filter(|t| t.negotiated().ssrc == block.ssrc) {
            subscription.counters.fraction_lost = block.fraction_lost;
            if let Some(rtt) = round_trip(now, block) {
                subscription.counters.rtt = Some(rtt);
            }
        }
    }

    /// When the next sender report is due.
    pub fn next_report_at(&self) -> Instant {
        self.next_report_at
    }

    /// Sends a sender report for every track that flows, if it is due.
    pub fn report(&mut self, now: Instant, clock: &WallClock, batch: &mut Batch) {
        if now < self.next_report_at {
            return;
        }
        self.transport.turn(now);
        self.transport.estimator.handle_timeout(self.transport.now_us());
        self.lossy.look(&self.transport.estimator.estimate());
        if let Some(video) = &mut self.video {
            video.set_repair(&self.lossy);
        }
        let is_starting = self.subscriptions().any(Subscription::is_starting);
        self.next_report_at = now + if is_starting { FIRST_REPORT_AFTER } else { REPORT_INTERVAL };
        let subscriptions = self.audio.iter().chain(&self.video).filter(|subscription| !subscription.is_starting());
        let reports = subscriptions.filter_map(|subscription| sender_report(now, clock, subscription));
        let seal = &mut self.seal;
        let mut first = None;
        batch.push_with(self.address, self.source, |out| {
            let mut writer = rtcp::Writer::new(out);
            for report in reports {
                first.get_or_insert(report.ssrc);
                writer.sender_report(report);
            }
            let Some(ssrc) = first else { return 0 };
            writer.sdes_cname(ssrc, CNAME);
            let len = writer.finish();
            seal.rtcp(out, len)
        });
    }

    /// Says goodbye (RFC 3550 §6.6).
    pub fn bye(&mut self, batch: &mut Batch) {
        let mut ssrcs = [0; 2];
        let mut count = 0;
        for (slot, subscription) in ssrcs.iter_mut().zip(self.audio.iter().chain(&self.video)) {
            *slot = subscription.negotiated().ssrc;
            count += 1;
        }
        let seal = &mut self.seal;
        batch.push_with(self.address, self.source, |out| {
            let mut writer = rtcp::Writer::new(out);
            // RFC 3550 §6.1: every compound begins with a report.
            writer.receiver_report(ssrcs[0], &[]);
            writer.bye(&ssrcs[..count]);
            let len = writer.finish();
            seal.rtcp(out, len)
        });
    }
}

/// All our tracks share it: that is what tells a receiver to play them in sync (RFC 3550 §6.5.1).
pub const CNAME: &str = "nowcast";

/// gcc-02 §6: a tenth, in 1/256.
const MUCH_LOST: u8 = 26;

/// Of what a network carries at most, what can be used of it without a queue that grows.
const USABLE: f32 = 0.98;

/// Those who share a bottleneck get the same key frame at the same moment: [`pace`] sends it half as fast again as their network is; then
/// it is an eighth.
const SHARED_PACE: f32 = 0.75;

/// The most sequence numbers of one NACK that are looked up; a browser asks for at most a few hundred.
const MAX_NACKS: usize = 512;

/// So many viewers ahead of its turn one is asked for: [`Viewer::prefetch`].
pub const PREFETCH_FROM: usize = 3;

/// The report that maps a track's RTP time to the server's wall clock, so that lips match: both tracks are
/// mapped through the capture times that the publisher told, or, before it has, through arrival.
fn sender_report(now: Instant, clock: &WallClock, subscription: &Subscription) -> Option<rtcp::SenderReport> {
    let newest = subscription.newest()?;
    let ntp = clock.at(now);
    let captured = newest.captured_at.unwrap_or_else(|| clock.at(newest.arrived_at));
    let clock_rate = match subscription.negotiated().kind {
        MediaKind::Audio => 48_000.0,
        MediaKind::Video => 90_000.0,
    };
    let ticks = ntp.difference_ms(captured) * clock_rate / 1_000.0;
    Some(rtcp::SenderReport {
        ssrc: subscription.negotiated().ssrc,
        ntp,
        rtp: newest.timestamp.wrapping_add(ticks.round() as i64 as u32),
        packets: subscription.counters.packets as u32,
        octets: subscription.counters.bytes as u32,
    })
}

// RFC 3550 §6.4.1: round trip = arrival − last SR − delay since last SR, all in 1/65536 s.
fn round_trip(now: NtpTime, block: &rtcp::ReportBlock) -> Option<Duration> {
    if block.last_sender_report == 0 {
        return None;
    }
    let units =
        now.middle_32().wrapping_sub(block.last_sender_report).wrapping_sub(block.delay_since_last_sender_report);
    // Clocks that disagree by a rounding make it negative, that is, huge.
    (units < 60 << 16).then(|| Duration::from_micros(u64::from(units) * 1_000_000 / 65_536))
}

/// How many bytes of the past a viewer may be sent: enough for a key frame at once, then a rate that most
/// home connections carry; where it is known what this one carries, not much more than that.
#[derive(Debug)]
struct Budget {
    bytes: i64,
    burst: i64,
    bytes_per_ms: i64,
    refilled_at: Instant,
}

/// With what is refilled in 10 ms, and the first packets that are live, it fits a default socket buffer
/// of Linux (212,992 bytes of memory at 2,304 for each datagram of 1,200): see [`pace`].
const START_BURST_BYTES: i64 = 16 * 1024;
const START_BYTES_PER_MS: i64 = 4_500; // 36 Mb/s
/// As for live packets ([`pace`]): two and a half times what is carried, and 40 ms of it at once, at least a small key frame.
const BOUNDED_FACTOR: f32 = 2.5;
const BOUNDED_BURST_MS: i64 = 40;
const LEAST_BURST_BYTES: i64 = 8 * 1024;

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget {
            bytes: START_BURST_BYTES,
            burst: START_BURST_BYTES,
            bytes_per_ms: START_BYTES_PER_MS,
            refilled_at: now,
        }
    }

    fn set_rate(&mut self, bps: Option<f32>) {
        let bounded = bps.map(|bps| (bps * BOUNDED_FACTOR / 8e3) as i64);
        self.bytes_per_ms = bounded.map_or(START_BYTES_PER_MS, |rate| rate.clamp(1, START_BYTES_PER_MS));
        let burst = bounded.map(|rate| (rate * BOUNDED_BURST_MS).clamp(LEAST_BURST_BYTES, START_BURST_BYTES));
        self.burst = burst.unwrap_or(START_BURST_BYTES);
        self.bytes = self.bytes.min(self.burst);
    }

    fn refill(&mut self, now: Instant) {
        let ms = now.saturating_duration_since(self.refilled_at).as_millis().min(1_000) as i64;
        if ms > 0 {
            self.refilled_at = now;
            self.bytes = (self.bytes + ms * self.bytes_per_ms).min(self.burst);
        }
    }
}
