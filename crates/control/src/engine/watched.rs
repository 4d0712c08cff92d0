//! Which facts does the engine keep about a stream's media?
//!
//! [`Control`](crate::Control) knows the sessions of a stream; shards report the facts about its
//! packets, which are kept here.

use std::time::Instant;

use sfu::format::Published;
use sfu::publisher::Health;
use sfu::publisher::warnings::Warnings;
use sfu::shard::StreamSnapshot;

use super::demand::Demand;
use super::rates::Rates;

/// The media of one stream.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// The epoch of the newest publisher that is known.
    epoch: u32,
    published: Published,
    /// The last snapshot of the publisher's shard.
    home: Option<StreamSnapshot>,
    /// Warnings about the publisher's session that were told.
    told: Warnings,
    pub(super) rates: Rates,
    pub(super) demand: Demand,
}

impl Watched {
    /// Takes a newly admitted publisher.
    pub(super) fn publisher_is(&mut self, epoch: u32) {
        self.epoch = epoch;
        self.told = Warnings::default();
        // The warnings about the publisher before do not hold any more.
        if let Some(home) = &mut self.home {
            home.warnings = Warnings::default();
        }
        self.set_published(Published::default());
    }

    /// Takes the end of the publisher of `epoch`; if a newer one was admitted, nothing changes.
    pub(super) fn publisher_gone(&mut self, epoch: u32) {
        if self.epoch == epoch {
            self.set_published(Published::default());
        }
    }

    /// Takes the formats that the publisher of `epoch` sends; those of an older one than the newest
    /// are ignored.
    pub(super) fn publishes(&mut self, epoch: u32, published: Published) {
        if epoch >= self.epoch {
            self.epoch = epoch;
            self.set_published(published);
        }
    }

    fn set_published(&mut self, published: Published) {
        if published != self.published {
            self.demand.publisher_changed();
        }
        self.published = published;
    }

    /// Takes a shard's snapshot of the stream.
    pub(super) fn measured(&mut self, now: Instant, shard: u8, stream: &StreamSnapshot) {
        self.rates.measured(now, shard, stream);
        self.demand.measured(shard, stream);
        if stream.is_home {
            self.home = Some(*stream);
        }
    }

    /// Returns the warnings that were not told yet, and marks them as told.
    pub(super) fn take_untold(&mut self) -> Warnings {
        let news = self.warnings().without(self.told);
        self.told = self.told | news;
        news
    }

    /// Returns the formats that are published.
    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    /// Returns the last snapshot of the publisher's shard.
    pub(super) fn home(&self) -> Option<&StreamSnapshot> {
        self.home.as_ref()
    }

    /// Returns the health of the network path from the publisher.
    pub(super) fn health(&self) -> Health {
        self.home.map(|home| home.health).unwrap_or_default()
    }

    /// Returns the faults of the published media.
    pub(super) fn warnings(&self) -> Warnings {
        self.home.map(|home| home.warnings).unwrap_or_default()
    }
}
