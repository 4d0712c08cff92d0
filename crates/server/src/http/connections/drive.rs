//! When does a connection have to go?
//!
//! [`drive`] runs hyper over one connection, and ends it when [`Activity`] says that a deadline has
//! passed or when the server stops.
//!
//! A handler may take the connection over (RFC 9110 §7.8), as WebSockets do: it awaits
//! [`hyper::upgrade::on`] and answers 101. The stream that it gets keeps the connection's place
//! ([`super::places`]) until it is dropped. The handler itself keeps the deadlines and budgets of
//! the stream's content.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::activity::{Activity, Busy, Verdict};
use super::frames::{Incoming, Walker};
use super::watched::{Frames, Watched};
use crate::http::front::Front;
use crate::http::limits::{
    H2_LOCAL_RESETS, H2_PENDING_RESETS, H2_PING_INTERVAL, H2_STREAMS, HEADER_BYTES, HEADER_FIELDS, HEADER_TIMEOUT,
    IDLE_TIMEOUT,
};
use crate::http::remote::Remote;

/// Drives one connection until it ends or has to.
pub(super) async fn drive<IO>(io: IO, remote: Remote, front: Arc<Front>, mut stopping: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let now = Instant::now();
    let activity = Arc::new(Activity::new(now));
    // A trusted proxy puts all its clients into few connections.
    let is_proxy = front.trusts(&remote);
    let counters = Arc::clone(front.counters());
    let place = remote.slot.clone();
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let busy = activity.request_began();
        let (front, remote) = (Arc::clone(&front), remote.clone());
        async move {
            let reply = front.respond(request, &remote).await;
            Ok::<_, Infallible>(reply.map(|body| Tracked { body, _busy: busy }))
        }
    });
    let builder = builder();
    let watched = Watched {
        io,
        activity: Arc::clone(&activity),
        incoming: Incoming::new(now.into_std()),
        outgoing: Walker::default(),
        budget: if is_proxy { Frames::Unlimited } else { Frames::Counted(Arc::clone(&counters)) },
        _place: place,
    };
    let io = TokioIo::new(watched);
    let connection = builder.serve_connection_with_upgrades(io, service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    loop {
        let turn = poll_fn(|context| {
            activity.turn_begins();
            connection.as_mut().poll(context)
        });
        tokio::select! {
            // It has ended, or a handler took it over.
            _ = turn => return activity.taken_over(),
            _ = stopping.wait_for(|stopping| *stopping), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = activity.hurried.notified() => {}
            () = sleep_until(activity.check_at(Instant::now())) => match activity.verdict(Instant::now()) {
                Verdict::Stay => {}
                Verdict::Leave if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Leave | Verdict::Cut => return,
                Verdict::CutSlowReader => return counters.slow_reader_cut(),
            },
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // A second line: the clock starts with idleness here. The first line is `Activity`.
        .header_read_timeout(IDLE_TIMEOUT + HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_FIELDS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_LOCAL_RESETS)
        .max_header_list_size(HEADER_BYTES as u32)
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_INTERVAL);
    builder
}

/// An answer's body that keeps its connection busy.
struct Tracked {
    body: Body,
    _busy: Busy,
}

impl hyper::body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
