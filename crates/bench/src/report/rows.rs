//! Which figures does a person want of a run, in which words, and which of them are bad?

use media::Codec;

use super::{Ended, LEAST_PASSED_ON, MOST_DELAY_MS, MOST_LOSS, Played, Run};
use crate::histogram::{Histogram, Percentiles};
use crate::memory::PerViewer;
use crate::settings::{Cut, Offers, Source};
use crate::tls::Trust;
use crate::units::{bits, count, digits, percent, span};

/// Figures that belong together.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

/// One figure.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) tone: Tone,
}

/// How it stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

/// Durations by percentile.
pub(super) struct Spread {
    pub(super) name: &'static str,
    /// `None`: there were none.
    pub(super) ms: Option<Percentiles>,
}

/// Memory per viewer in KiB above which a report marks the figure: twice the goal in
/// `docs/performance.md`.
const MUCH_KIB: f64 = 128.0;
/// A guess: of fewer viewers, growth is mostly what a server sets up once.
const FEW: usize = 50;
/// Why memory says nothing.
pub(super) const REUSED: &str = "the server used memory again that it had from before; start a new one for this figure";
/// Why memory is a lower bound.
pub(super) const HAD_WORKED: &str =
    "the server had worked before and may have used memory again; start a new one for this figure";

impl Row {
    fn new(name: &'static str, value: impl Into<String>) -> Row {
        Row { name, value: value.into(), tone: Tone::Plain }
    }

    fn bad_if(self, is_bad: bool) -> Row {
        Row { tone: if is_bad { Tone::Bad } else { self.tone }, ..self }
    }

    fn good_if(self, is_good: bool) -> Row {
        Row { tone: if is_good { Tone::Good } else { self.tone }, ..self }
    }
}

/// "5,000 viewers of 1 stream at 1.50 Mb/s, 30 fps"
pub(super) fn headline(run: &Run) -> String {
    let settings = &run.plan.settings;
    let streams = settings.streams;
    let of = format!("{} viewers of {} stream{}", count(run.viewers() as u64), count(streams as u64), plural(streams));
    match settings.source {
        Source::Publish => {
            let video = settings.video;
            format!("{of} at {}, {} fps", bits(video.bitrate_bps), plain(video.frame_rate))
        }
        Source::Attach => of,
    }
}

/// All sections of a run.
pub(super) fn sections(run: &Run) -> Vec<Section> {
    vec![audience(run), media(run), cost(run), played(run)]
}

/// Returns the rows of durations.
pub(super) fn spreads(run: &Run) -> Vec<Spread> {
    let Played { joined, seen, .. } = &run.played;
    let of = |histogram: &Histogram| Some(histogram).filter(|h| !h.is_empty()).map(Histogram::percentiles);
    vec![
        Spread { name: "delay, publisher to viewer", ms: of(&seen.delay) },
        Spread { name: "one way without a server", ms: Some(run.baseline) },
        Spread { name: "join: POST to answer", ms: of(&joined.answer) },
        Spread { name: "join: POST to first packet", ms: of(&joined.first_packet) },
        Spread { name: "join: POST to first key frame", ms: of(&joined.first_picture) },
    ]
}

/// Returns the warnings that a reader needs before using the figures, one sentence each.
pub(super) fn warnings(run: &Run) -> Vec<String> {
    let Played { joined, seen, server, ended } = &run.played;
    let mut warnings = Vec::new();
    match ended {
        Ended::AsPlanned => {}
        Ended::ByUser => warnings.push(format!(
            "The run was cut short on request: {} of {} were watched.",
            span(std::time::Duration::from_secs_f64(seen.seconds)),
            span(run.plan.duration)
        )),
        Ended::ByServer { why } => warnings.push(format!(
            "The run was cut short after {}: {why}.",
            span(std::time::Duration::from_secs_f64(seen.seconds))
        )),
    }
    if let Some(why) = seen.bottleneck() {
        warnings.push(format!("The generator, not the server, may have been the bottleneck: {why}."));
    }
    if let Some(failure) = &joined.failure {
        warnings.push(format!("{} viewers did not join. The first: {failure}", count(joined.failed as u64)));
    }
    if seen.delay.is_empty() {
        let why = match run.plan.settings.source {
            Source::Attach => "the stream is not ours, so that its packets say not when they were sent",
            Source::Publish if joined.joined == 0 => "nobody joined",
            Source::Publish => "no packet was verified",
        };
        warnings.push(format!("Delay is not known: {why}."));
    }
    if server.is_none() {
        warnings.push("The server's CPU and memory are not known: say --pid, on the server's own machine.".to_owned());
    }
    warnings
}

fn audience(run: &Run) -> Section {
    let Played { joined, seen, .. } = &run.played;
    let all = run.viewers();
    Section {
        title: "Audience",
        rows: vec![
            Row::new("joined", format!("{} of {}", count(joined.joined as u64), count(all as u64)))
                .bad_if(joined.joined < all)
                .good_if(joined.joined == all),
            Row::new("joins a second", digits(run.joins_per_second())),
            Row::new("sessions that ended early", count(seen.failed as u64)).bad_if(seen.failed > 0),
            Row::new("starved (0.5 s without a packet)", count(seen.starved as u64)).bad_if(seen.starved > 0),
            Row::new("longest silence of any viewer", span(seen.total.longest_silence)),
        ],
    }
}

fn media(run: &Run) -> Section {
    let seen = &run.played.seen;
    let (before, after) = (seen.loss_before_repair(), seen.loss_after_repair());
    let broken = seen.damaged + seen.rejected + seen.wrong_timestamps;
    let total = &seen.total;
    let mut rows = vec![
        Row::new("watched for", span(std::time::Duration::from_secs_f64(seen.seconds))),
        Row::new("packets", count(seen.total.packets)),
        Row::new("packets a second", count(run.packets_per_second() as u64)),
        Row::new("bitrate", bits(run.bits_per_second())),
        Row::new("loss before repair", percent(before)).bad_if(before > MOST_LOSS && run.plan.settings.loss == 0.0),
        Row::new("loss after repair", percent(after)).bad_if(after > MOST_LOSS).good_if(after == 0.0),
    ];
    if let Some(share) = run.passed_on() {
        rows.push(Row::new("passed on of what was published", percent(share)).bad_if(share < LEAST_PASSED_ON));
    }
    if total.gaps > total.late {
        let (repaired, share) = (count(total.repaired), percent(seen.repaired_in_time()));
        rows.push(Row::new("repaired", format!("{repaired}; {share} of what was missing within 200 ms")));
    }
    if total.dropped > 0 {
        rows.push(Row::new("thrown away on purpose", count(total.dropped)));
    }
    rows.push(Row::new(
        "asked of the server",
        format!("{} packets again, {} key frames", count(total.nacks), count(total.plis)),
    ));
    rows.push(Row::new("told to the server", format!("{} transport-wide feedbacks", count(total.feedbacks))));
    if let Some(delay) = run.delay_ms() {
        let row = Row::new("delay p99", format!("{} ms", digits(delay.p99)));
        rows.push(row.bad_if(delay.p99 > MOST_DELAY_MS));
    }
    rows.push(
        Row::new(
            "verified packets",
            match broken {
                0 if seen.verified_packets == 0 => "none".to_owned(),
                0 if run.plan.settings.source == Source::Attach => {
                    format!("{}, all authentic; what should be in them is not known", count(seen.verified_packets))
                }
                0 if seen.recut > 0 => {
                    format!(
                        "{}, all whole; {} of them cut anew by the server",
                        count(seen.verified_packets),
                        count(seen.recut)
                    )
                }
                0 => format!("{}, all whole", count(seen.verified_packets)),
                _ => format!(
                    "{}; {} damaged, {} rejected, {} with a wrong timestamp",
                    count(seen.verified_packets),
                    count(seen.damaged),
                    count(seen.rejected),
                    count(seen.wrong_timestamps)
                ),
            },
        )
        .bad_if(broken > 0),
    );
    Section { title: "Media", rows }
}

fn cost(run: &Run) -> Section {
    let Played { seen, server, .. } = &run.played;
    let mut rows = Vec::new();
    if let Some(server) = server {
        rows.push(Row::new("server CPU", super::text::cpu(&server.spent)));
        if let Some(us) = run.us_per_packet() {
            rows.push(Row::new("server CPU per packet", us_text(us, server.spent.user_share)));
        }
        if let Some(packets) = run.packets_per_second_per_core() {
            rows.push(Row::new("packets a second a core", count(packets as u64)));
        }
        let all = format!("({} MiB in all)", count(server.rss_kib / 1_024));
        let row = match server.memory {
            Some(PerViewer { kib, is_at_least }) => {
                let kib_text = digits(kib);
                let text = match is_at_least {
                    true => format!("at least {kib_text} KiB: {HAD_WORKED} {all}"),
                    false => format!("{kib_text} KiB {all}"),
                };
                let is_much = kib > MUCH_KIB && run.played.joined.joined >= FEW;
                Row::new("server memory per viewer", text).bad_if(is_much)
            }
            None if run.reused_memory() => Row::new("server memory per viewer", format!("not known: {REUSED} {all}")),
            None => Row::new("server memory", format!("{} MiB", count(server.rss_kib / 1_024))),
        };
        rows.push(row);
    }
    rows.push(Row::new("generator CPU", super::text::cpu(&seen.generator)));
    let bottleneck = seen.bottleneck().map_or_else(|| "not the generator".to_owned(), |why| why.to_string());
    rows.push(Row::new("bottleneck", bottleneck).bad_if(seen.bottleneck().is_some()));
    Section { title: "Cost", rows }
}

/// "1.06 µs (0.19 own code, 0.87 kernel)"
pub(crate) fn us_text(us: f64, user_share: Option<f64>) -> String {
    match user_share {
        Some(user) => format!("{us:.2} µs ({:.2} in its own code, {:.2} in the kernel)", us * user, us * (1.0 - user)),
        None => format!("{us:.2} µs"),
    }
}

fn played(run: &Run) -> Section {
    let plan = &run.plan;
    let settings = &plan.settings;
    let mut rows = vec![Row::new("watched at", settings.whep_url(0))];
    match settings.source {
        Source::Publish => {
            let video = settings.video;
            rows.insert(0, Row::new("published to", settings.whip_url(0)));
            rows.push(Row::new("streams", count(settings.streams as u64)));
            rows.push(Row::new("video", {
                let (rate, gop) = (plain(video.frame_rate), span(video.group));
                format!("{}, {}, {rate} fps, a key frame every {gop}", video.codec, bits(video.bitrate_bps))
            }));
            rows.push(Row::new("packets", format!("{} bytes, {}", count(video.packet_bytes as u64), cut(video.cut))));
            if let Some(bytes) = video.key_frame_bytes {
                rows.push(Row::new("key frames", format!("{} bytes", count(bytes as u64))));
            }
            if settings.audio {
                rows.push(Row::new("sound", format!("{}, 50 packets a second", Codec::Opus)));
            }
        }
        Source::Attach => rows.push(Row::new("stream", "one that was there")),
    }
    rows.push(Row::new(
        "joins",
        match plan.join.rate {
            rate if rate > 0.0 => format!("{} a second", plain(rate)),
            _ => "as fast as they go".to_owned(),
        },
    ));
    if [settings.whip_url(0), settings.whep_url(0)].iter().any(|url| url.starts_with("https:")) {
        match &settings.trust {
            Trust::System => {}
            Trust::File(file) => rows.push(Row::new("certificates", format!("those of {}", file.display()))),
            Trust::Anybody => rows.push(Row::new("certificates", "not checked")),
        }
    }
    if settings.offers == Offers::Server {
        rows.push(Row::new("offers", "made by the server"));
    }
    if settings.loss > 0.0 {
        rows.push(Row::new("made-up loss", percent(settings.loss)));
    }
    rows.push(Row::new("viewers that verify", percent(plan.join.verify)));
    Section { title: "What was played", rows }
}

/// In words.
pub(super) fn cut(cut: Cut) -> &'static str {
    match cut {
        Cut::Full => "all of them full",
        Cut::Equal => "equally long within a frame",
        Cut::Tail => "the last of a frame shorter",
    }
}

/// "30", "29.97"
fn plain(number: f64) -> String {
    format!("{number:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn bad_figures_stand_out() {
        let mut run = testing::run(100);
        let tone = |run: &Run, name: &str| {
            let rows = sections(run).into_iter().flat_map(|section| section.rows);
            rows.filter(|row| row.name == name).map(|row| row.tone).next().unwrap()
        };
        assert_eq!(tone(&run, "joined"), Tone::Bad);
        assert_eq!(tone(&run, "loss after repair"), Tone::Plain);
        run.played.seen.total.lost = 100_000;
        assert_eq!(tone(&run, "loss after repair"), Tone::Bad);
        assert_eq!(tone(&run, "bottleneck"), Tone::Plain);
        run.played.seen.kernel_drops = 1;
        assert_eq!(tone(&run, "bottleneck"), Tone::Bad);
        assert!(warnings(&run).iter().any(|warning| warning.contains("sockets full")));
    }

    #[test]
    fn the_headline_says_what_was_played() {
        assert_eq!(headline(&testing::run(5_000)), "5,000 viewers of 1 stream at 1.50 Mb/s, 30 fps");
    }
}
