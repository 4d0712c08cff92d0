//! How does a publisher's page learn which encodings the server wants?
//!
//! The engine decides, and names encodings by their `rid`. Our publish page reads the decision each
//! time it is told that its stream changed, and has its camera keep to it.

use std::time::Instant;

use media::StreamName;

use crate::browser::RIDS;
use crate::server::Server;

/// Returns the sizes that the server wants of a stream's publisher, each with the most bits a
/// second; `None` for a size that it does not want. For a camera with one size the list is empty.
pub(crate) fn wanted(now: Instant, server: &Server, stream: &StreamName) -> Vec<(u8, Option<u64>)> {
    let publisher = server.stream(now, stream).and_then(|stream| stream.publisher);
    let wanted = publisher.into_iter().flat_map(|publisher| publisher.wanted);
    let sized = wanted.filter_map(|wanted| {
        let size = RIDS.iter().position(|rid| wanted.rid.as_deref() == Some(*rid))?;
        let most_bps = wanted.is_active.then_some(wanted.max_bps.unwrap_or(u64::MAX));
        Some((size as u8, most_bps))
    });
    sized.collect()
}
