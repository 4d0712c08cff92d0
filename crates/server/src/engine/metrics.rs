//! What do operators see? Prometheus' text format, with no label that a peer could make up (threat T30).

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use control::{Engine, State};
use sfu::dtls;
use sfu::shard::{ESTIMATES_BPS, LoadStatus, ShardCounters};
use sfu::stream::choice::Reason;
use shards::Plane;

/// Returns the counters and gauges of the engine and of the media plane. `dropped` counts the events
/// of media threads that the control task was too late for.
pub(super) fn text(engine: &Engine, plane: &Plane, dropped: &AtomicU64) -> String {
    Metrics { engine, plane, dropped }.text()
}

struct Metrics<'a> {
    engine: &'a Engine,
    plane: &'a Plane,
    dropped: &'a AtomicU64,
}

impl Metrics<'_> {
    fn text(&self) -> String {
        let mut text = Text(String::new());
        let control = self.engine.control();
        let (publishers, viewers) = control.session_count();
        let live = control.streams().filter(|stream| stream.state == State::Live).count() as u64;
        text.gauge("nowcast_streams_live", "Streams of which media comes.", live);
        text.gauge("nowcast_publishers", "Publishers' sessions, connecting ones included.", publishers as u64);
        text.gauge("nowcast_viewers", "Viewers' sessions, connecting ones included.", viewers as u64);

        let shards: Vec<_> = self.engine.snapshots().collect();
        let sum = |of: fn(&ShardCounters) -> u64| shards.iter().map(|s| of(&s.counters)).sum::<u64>();
        for (name, help, value) in [
            ("datagrams_received", "Datagrams received on the media port.", sum(|c| c.datagrams_in)),
            ("feedback_received", "RTCP datagrams from viewers.", sum(|c| c.feedback)),
            ("key_frames_requested", "Key frame requests sent to publishers.", sum(|c| c.key_frames_asked)),
            ("viewers_started", "Viewers whose media has started.", sum(|c| c.viewers_added)),
            ("unknown_source", "Datagrams from addresses that no session knows.", sum(|c| c.unknown_source)),
            ("unexpected", "Datagrams that their sender's session has no use for.", sum(|c| c.unexpected)),
            ("refused", "Datagrams that did not authenticate.", sum(|c| c.refused)),
            ("srtcp_rejected", "SRTCP that did not authenticate or was replayed.", sum(|c| c.srtcp_rejected)),
            (
                "srtp_rejected",
                "SRTP of publishers that did not authenticate or was malformed.",
                sum(|c| c.srtp_rejected),
            ),
            ("fenced_packets", "Packets of publishers that were replaced.", sum(|c| c.fenced)),
            (
                "stray_packets",
                "Publishers' packets that belong to no track, or to an SSRC that was replaced.",
                sum(|c| c.strays),
            ),
            (
                "starts_refused",
                "Starts of viewers from a key frame that were put off: too many within a second.",
                sum(|c| c.starts_refused),
            ),
            (
                "session_panics",
                "Panics that were survived, most of them by ending one session.",
                sum(|c| c.panics) + self.plane.gauge(|g| &g.desk_panics),
            ),
            ("passed_on", "Datagrams passed from one shard to another.", sum(|c| c.passed_on)),
            ("desk_queue_drops", "STUN and DTLS datagrams dropped before a desk.", sum(|c| c.dropped_for_desk)),
            ("shard_queue_drops", "Datagrams dropped between shards.", sum(|c| c.dropped_for_shard)),
            ("route_table_full", "Addresses that were not taken because the table is full.", sum(|c| c.routes_full)),
            ("messages_sent", "Runs of datagrams to one address given to the kernel at once.", sum(|c| c.messages_out)),
            ("datagrams_sent", "Datagrams given to the kernel.", self.plane.gauge(|g| &g.datagrams_sent)),
            ("bytes_sent", "Bytes given to the kernel.", self.plane.gauge(|g| &g.bytes_sent)),
            ("send_buffer_drops", "Datagrams lost to a full send buffer.", self.plane.gauge(|g| &g.send_buffer_drops)),
            ("send_errors", "Datagrams that the kernel refused.", self.plane.gauge(|g| &g.send_errors)),
            (
                "kernel_drops",
                "Datagrams that the kernel dropped on receipt, junk included.",
                self.plane.gauge(|g| &g.kernel_drops),
            ),
            (
                "mailbox_drops",
                "Datagrams, relayed packets and questions between media threads that found a queue full.",
                self.plane.dropped(),
            ),
            (
                "answers_dropped",
                "Reports, snapshots and words of viewers that the control task was too late for.",
                self.dropped.load(Ordering::Relaxed),
            ),
            (
                "load_steps",
                "Times a shard lowered or raised the bit rate bound of viewers' video.",
                sum(|c| c.load_steps),
            ),
        ] {
            text.counter(&format!("nowcast_media_{name}_total"), help, value);
        }
        let help = "Commands that wait for the media thread that is furthest behind.";
        text.gauge("nowcast_media_commands_waiting", help, self.plane.waiting() as u64);
        let sent = shards
            .iter()
            .flat_map(|s| &s.streams)
            .fold((0, 0), |(resent, nacks), stream| (resent + stream.sent.resent, nacks + stream.sent.nacks));
        text.gauge("nowcast_media_retransmitted", "Packets sent again, in the streams that exist now.", sent.0);
        text.gauge("nowcast_media_nacks", "Packets reported missing, in the streams that exist now.", sent.1);
        self.load(&mut text);
        let dtls_failures = self.engine.dtls_failures();
        let failures =
            dtls::Reason::ALL.map(|reason| (format!("reason=\"{}\"", reason.name()), dtls_failures[reason as usize]));
        let name = "nowcast_dtls_failures_total";
        text.labelled(name, "counter", "Sessions that ended because their DTLS handshake failed.", &failures);
        self.networks(&mut text);
        let help = "Requests refused because 64 others of their session waited for a media thread.";
        let turned_away = self.engine.requests_turned_away();
        text.counter("nowcast_requests_turned_away_total", help, turned_away);
        text.0
    }

    /// How busy the media threads are, and what follows.
    fn load(&self, text: &mut Text) {
        let mut shards: Vec<_> = self.engine.snapshots().collect();
        shards.sort_by_key(|shard| shard.shard);
        let by_shard = |of: fn(&LoadStatus) -> u64| {
            shards.iter().map(|s| (format!("shard=\"{}\"", s.shard), of(&s.load))).collect::<Vec<_>>()
        };
        let help = "Percent of its time in which a media thread is not asleep.";
        text.labelled("nowcast_media_busy_percent", "gauge", help, &by_shard(|load| (load.busy * 100.0) as u64));
        let help = "Milliseconds from new packets of a stream until all its viewers were served.";
        text.labelled("nowcast_media_wait_ms", "gauge", help, &by_shard(|load| load.wait.as_millis() as u64));
        let help = "Bit rate above which video is left out because of the load; 0: none is.";
        text.labelled("nowcast_media_shed_above_bps", "gauge", help, &by_shard(|load| load.max_bps.unwrap_or(0)));
        let skips = shards.iter().flat_map(|s| &s.streams).map(|stream| stream.sent.skips).sum();
        let help = "Times viewers were taken to the live edge, in the streams that exist now.";
        text.gauge("nowcast_media_skips", help, skips);
        let help = "Sessions refused because the media threads were busy.";
        text.counter("nowcast_sessions_refused_by_load_total", help, self.engine.control().refused_by_load());
        let help = "Whether viewers are refused because the media threads are busy.";
        text.gauge("nowcast_overloaded", help, u64::from(self.engine.control().is_overloaded()));
    }

    /// The networks of viewers.
    fn networks(&self, text: &mut Text) {
        let all = || self.engine.snapshots().map(|shard| &shard.networks);
        let by_reason = Reason::ALL.map(|reason| {
            let viewers = all().map(|networks| u64::from(networks.by_reason[reason as usize])).sum();
            (format!("reason=\"{}\"", reason.name()), viewers)
        });
        let name = "nowcast_viewers_by_reason";
        text.labelled(name, "gauge", "Viewers by why they are shown the layer that they are shown.", &by_reason);
        let name = "nowcast_viewer_estimate_bps";
        let bounds = ESTIMATES_BPS.iter().map(u32::to_string).chain(["+Inf".to_owned()]);
        let counts: Vec<_> = bounds
            .enumerate()
            .map(|(n, most)| {
                (format!("le=\"{most}\""), all().map(|networks| u64::from(networks.estimates[n])).sum::<u64>())
            })
            .collect();
        let sum = all().map(|networks| networks.estimates_sum).sum::<f64>() as u64;
        text.histogram(name, "What viewers' networks carry, bits per second, of those present.", &counts, sum);
        let queued = all().map(|networks| u64::from(networks.queued)).sum();
        text.gauge("nowcast_viewers_queued", "Viewers in whose network a queue of more than 100 ms stands.", queued);
        let lossy = all().map(|networks| u64::from(networks.lossy)).sum();
        text.gauge("nowcast_viewers_lossy", "Viewers whose network loses more than 2 % of the packets.", lossy);
        let switches = all().map(|networks| networks.switches).sum();
        text.gauge("nowcast_viewer_switches", "Changes of encoding, of the viewers present.", switches);
    }
}

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.put(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.put(name, "counter", help, value);
    }

    fn labelled(&mut self, name: &str, kind: &str, help: &str, values: &[(String, u64)]) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (label, value) in values {
            let _ = writeln!(self.0, "{name}{{{label}}} {value}");
        }
    }

    /// `counts`: cumulative, by `le`, the last one of all.
    fn histogram(&mut self, name: &str, help: &str, counts: &[(String, u64)], sum: u64) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (label, value) in counts {
            let _ = writeln!(self.0, "{name}_bucket{{{label}}} {value}");
        }
        let count = counts.last().map_or(0, |(_, count)| *count);
        let _ = write!(self.0, "{name}_sum {sum}\n{name}_count {count}\n");
    }

    fn put(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}
