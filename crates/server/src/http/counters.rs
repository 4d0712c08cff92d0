//! How much does HTTP do?
//!
//! Plain counters by route template and class of status; no label that a client chooses (threat
//! T30).

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// HTTP's counters.
#[derive(Default)]
pub struct Counters {
    /// By template, as the table has them.
    answers: Vec<(String, [AtomicU64; CLASSES.len()])>,
    wrong_tokens: AtomicU64,
    rate_limited: AtomicU64,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    tls_failures: AtomicU64,
    floods: AtomicU64,
    slow_readers: AtomicU64,
    open_connections: AtomicU64,
}

impl Counters {
    /// Creates counters of answers for each of these templates.
    pub fn new(templates: Vec<String>) -> Self {
        let answers = templates.into_iter().map(|template| (template, Default::default())).collect();
        Self { answers, ..Self::default() }
    }

    /// An answer was given.
    pub fn answered(&self, template: &str, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        let classes = self.answers.iter().find(|(known, _)| known == template);
        if let Some(counter) = classes.and_then(|(_, classes)| classes.get(class)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A token was not believed.
    pub fn wrong_token(&self) {
        self.wrong_tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was refused because its address asks too often.
    pub fn rate_limited(&self) {
        self.rate_limited.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was taken.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.open_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has ended.
    pub fn disconnected(&self) {
        self.open_connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was refused for a limit.
    pub fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was ended because it sent more frames of HTTP/2 than its budget.
    pub fn flood_cut(&self) {
        self.floods.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was ended because its peer did not read the bytes sent to it.
    pub fn slow_reader_cut(&self) {
        self.slow_readers.fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake failed.
    pub fn tls_failed(&self) {
        self.tls_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns everything in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        head(&mut text, "nowcast_http_answers_total", "counter", "HTTP answers by route and class of status.");
        for (route, classes) in &self.answers {
            for (class, counter) in CLASSES.iter().zip(classes) {
                let count = counter.load(Ordering::Relaxed);
                if count > 0 {
                    let _ =
                        writeln!(text, "nowcast_http_answers_total{{route=\"{route}\",status=\"{class}\"}} {count}");
                }
            }
        }
        let plain = [
            ("nowcast_http_wrong_tokens_total", "counter", "Tokens that were not believed.", &self.wrong_tokens),
            (
                "nowcast_http_rate_limited_total",
                "counter",
                "Requests of addresses that ask too often.",
                &self.rate_limited,
            ),
            ("nowcast_http_connections_total", "counter", "Connections taken.", &self.connections),
            (
                "nowcast_http_connections_refused_total",
                "counter",
                "Connections refused for a limit.",
                &self.connections_refused,
            ),
            (
                "nowcast_http_floods_total",
                "counter",
                "Connections ended for more HTTP/2 frames than their budget.",
                &self.floods,
            ),
            (
                "nowcast_http_slow_readers_total",
                "counter",
                "Connections ended because their answers were not read.",
                &self.slow_readers,
            ),
            ("nowcast_http_tls_failures_total", "counter", "TLS handshakes that failed.", &self.tls_failures),
            ("nowcast_http_open_connections", "gauge", "Connections that are open.", &self.open_connections),
        ];
        for (name, kind, help, counter) in plain {
            head(&mut text, name, kind, help);
            let _ = writeln!(text, "{name} {}", counter.load(Ordering::Relaxed));
        }
        text
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_and_class() {
        let counters = Counters::new(vec!["/whip/{stream}".into(), "other".into()]);
        counters.answered("/whip/{stream}", StatusCode::CREATED);
        counters.answered("/whip/{stream}", StatusCode::NOT_FOUND);
        counters.answered("/unknown", StatusCode::OK);
        let text = counters.text();
        assert!(text.contains("nowcast_http_answers_total{route=\"/whip/{stream}\",status=\"2xx\"} 1\n"), "{text}");
        assert!(text.contains("nowcast_http_answers_total{route=\"/whip/{stream}\",status=\"4xx\"} 1\n"));
        assert!(text.contains("nowcast_http_open_connections 0\n"));
    }
}
