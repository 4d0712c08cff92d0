//! How are a connection's reads and writes noted and bounded?
//!
//! [`Watched`] stands between hyper and the socket. Frames of HTTP/2 are counted
//! ([`super::frames`]), no connection is read for longer than its turn, and [`Activity`] hears of
//! every read and write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::activity::{Activity, Wrote};
use super::frames::{Incoming, Walker};
use super::places::Slot;
use crate::http::counters::Counters;

/// A connection whose reads and writes are noted and bounded.
pub(super) struct Watched<IO> {
    pub(super) io: IO,
    pub(super) activity: Arc<Activity>,
    pub(super) incoming: Incoming,
    /// What went out, if it is HTTP/2.
    pub(super) outgoing: Walker,
    pub(super) budget: Frames,
    /// The connection's place, which it keeps for as long as there is a stream.
    pub(super) _place: Option<Arc<Slot>>,
}

/// Whether frames of HTTP/2 are counted.
pub(super) enum Frames {
    /// They are, and connections that end by it are counted here.
    Counted(Arc<Counters>),
    /// They are not: it is a proxy that we trust.
    Unlimited,
    /// There were too many: nothing more is read or written.
    UsedUp,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Watched<IO> {
    /// Notes what was read, and ends the connection if it is a flood.
    fn note_read(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let counted = self.incoming.read(bytes, now.into_std());
        self.activity.read(bytes.len(), self.incoming.is_http2(), now);
        if counted.is_err()
            && let Frames::Counted(counters) = &self.budget
        {
            counters.flood_cut();
            self.say_go_away(cx);
            self.budget = Frames::UsedUp;
            return Err(is_over());
        }
        Ok(())
    }

    /// Says why, if the peer takes it at once: it is closed in any case.
    fn say_go_away(&mut self, cx: &mut Context<'_>) {
        if !self.outgoing.is_between_frames() {
            return;
        }
        let frame = self.incoming.go_away();
        if Pin::new(&mut self.io).poll_write(cx, &frame).is_ready() {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
    }

    fn check_open(&self) -> io::Result<()> {
        if matches!(self.budget, Frames::UsedUp) { Err(is_over()) } else { Ok(()) }
    }

    /// Notes what was written of how much.
    fn note_write(&mut self, result: &Poll<io::Result<usize>>, whole: usize) {
        let outcome = match result {
            Poll::Pending => Wrote::Nothing,
            Poll::Ready(Ok(count)) if *count < whole => Wrote::Part(*count),
            Poll::Ready(_) => Wrote::All,
        };
        self.activity.wrote(outcome, Instant::now());
    }
}

fn is_over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "too many frames")
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_open()?;
        let room = buffer.remaining().min(self.activity.turn_left());
        if room == 0 && buffer.remaining() > 0 {
            // There may be more; the others' turns come first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        if Pin::new(&mut self.io).poll_read(cx, &mut part)?.is_pending() {
            return Poll::Pending;
        }
        let filled = part.filled();
        let count = filled.len();
        if count > 0 {
            self.note_read(cx, filled)?;
        }
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check_open()?;
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note_write(&result, bytes.len());
        if let (Poll::Ready(Ok(count)), true) = (&result, self.incoming.is_http2()) {
            self.outgoing.walk(bytes.get(..*count).unwrap_or_default(), |_| {});
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_open()?;
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.note_write(&result, parts.iter().map(|part| part.len()).sum());
        if let (Poll::Ready(Ok(count)), true) = (&result, self.incoming.is_http2()) {
            let mut left = *count;
            for part in parts {
                let written = part.get(..left.min(part.len())).unwrap_or_default();
                self.outgoing.walk(written, |_| {});
                left = left.saturating_sub(written.len());
            }
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open()?;
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.activity.wrote(if result.is_pending() { Wrote::Nothing } else { Wrote::All }, Instant::now());
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http::limits::TURN_BYTES;

    /// What a connection brings in is handled in parts: other tasks have their turns in between.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_read_for_no_longer_than_its_turn() {
        let (mut far, io) = tokio::io::duplex(1 << 20);
        far.write_all(&vec![b'x'; 3 * TURN_BYTES + 100]).await.unwrap();
        let now = Instant::now();
        let activity = Arc::new(Activity::new(now));
        let mut watched = Watched {
            io,
            activity: Arc::clone(&activity),
            incoming: Incoming::new(now.into_std()),
            outgoing: Walker::default(),
            budget: Frames::Unlimited,
            _place: None,
        };
        let mut turns = Vec::new();
        while turns.iter().sum::<usize>() < 3 * TURN_BYTES + 100 {
            activity.turn_begins();
            let mut read = 0;
            let mut buffer = [0; 1_000];
            let mut one = async || poll_fn(|cx| Poll::Ready(poll_once(&mut watched, cx, &mut buffer))).await;
            while let Some(count) = one().await {
                read += count;
            }
            turns.push(read);
        }
        assert_eq!(turns, [TURN_BYTES, TURN_BYTES, TURN_BYTES, 100]);
    }

    /// Reads once; `None` where there is nothing now.
    fn poll_once(io: &mut Watched<DuplexStream>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Option<usize> {
        let mut part = ReadBuf::new(buffer);
        match Pin::new(io).poll_read(cx, &mut part) {
            Poll::Ready(Ok(())) => Some(part.filled().len()),
            _ => None,
        }
    }
}
