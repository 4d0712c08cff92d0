//! What may the bearer of this request do?

use media::StreamName;

use super::{Anonymous, Claims};

/// The rights of a request: those of anonymous clients, and those that its token adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    anonymous: Anonymous,
    claims: Option<Claims>,
}

impl Grants {
    /// Returns the rights without a token.
    pub fn anonymous(anonymous: Anonymous) -> Self {
        Self { anonymous, claims: None }
    }

    /// Returns the rights of a verified token.
    pub fn of(claims: Claims, anonymous: Anonymous) -> Self {
        Self { anonymous, claims: Some(claims) }
    }

    /// Returns whether the request had a token. A refusal is 401 without a token and 403 with one.
    pub fn has_token(&self) -> bool {
        self.claims.is_some()
    }

    /// Returns the identity (`sub`) of the token.
    pub fn identity(&self) -> Option<&str> {
        self.claims.as_ref()?.sub.as_deref()
    }

    /// Returns the room that the token names; lets `POST /whip` do without a stream name.
    pub fn room(&self) -> Option<&str> {
        self.claims.as_ref()?.video.room.as_deref()
    }

    /// Returns whether the request may publish this stream.
    pub fn may_publish(&self, stream: &StreamName) -> bool {
        self.anonymous.publish || self.joins(stream, |claims| claims.video.can_publish)
    }

    /// Returns whether the request may watch this stream and read its status.
    pub fn may_watch(&self, stream: &StreamName) -> bool {
        self.anonymous.watch || self.may_administer(stream) || self.joins(stream, |claims| claims.video.can_subscribe)
    }

    /// Returns whether the request may list all streams.
    pub fn may_list(&self) -> bool {
        self.anonymous.watch
            || self.may_administer_all()
            || self.claims.as_ref().is_some_and(|claims| claims.video.room_list)
    }

    /// Returns whether the request may end this stream and its sessions.
    pub fn may_administer(&self, stream: &StreamName) -> bool {
        self.claims.as_ref().is_some_and(|claims| {
            claims.video.room_admin && claims.video.room.as_deref().is_none_or(|room| room == stream.as_str())
        })
    }

    /// Returns whether the request may administer the whole server: `roomAdmin` without a room.
    pub fn may_administer_all(&self) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.video.room_admin && claims.video.room.is_none())
    }

    /// `roomJoin` of exactly this room (no folding of case or Unicode), unless `can` says no.
    fn joins(&self, stream: &StreamName, can: impl Fn(&Claims) -> Option<bool>) -> bool {
        self.claims.as_ref().is_some_and(|claims| {
            claims.video.room_join
                && claims.video.room.as_deref() == Some(stream.as_str())
                && can(claims).unwrap_or(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::VideoGrant;

    /// Every combination of what a token can say, against the rules written the other way round.
    #[test]
    fn the_whole_matrix_follows_the_rules() {
        let demo = StreamName::parse("demo").unwrap();
        let mut combinations = 0;
        for room in [None, Some("demo"), Some("Demo"), Some("demo/a"), Some("other"), Some("")] {
            for bits in 0..32_u32 {
                for can_publish in [None, Some(true), Some(false)] {
                    for can_subscribe in [None, Some(true), Some(false)] {
                        let bit = |index: u32| bits & (1 << index) != 0;
                        let (join, admin, list) = (bit(0), bit(1), bit(2));
                        let anonymous = Anonymous { watch: bit(3), publish: bit(4) };
                        let video = VideoGrant {
                            room: room.map(str::to_owned),
                            room_join: join,
                            room_admin: admin,
                            room_list: list,
                            room_create: true,
                            can_publish,
                            can_subscribe,
                        };
                        let grants = Grants::of(Claims { video, ..Claims::default() }, anonymous);

                        let here = room == Some("demo");
                        let administers = admin && (here || room.is_none());
                        let publishes = anonymous.publish || (join && here && can_publish != Some(false));
                        let watches = anonymous.watch || administers || (join && here && can_subscribe != Some(false));
                        let lists = anonymous.watch || list || (admin && room.is_none());
                        let row = format!("{grants:?}");
                        assert_eq!(grants.may_publish(&demo), publishes, "publish: {row}");
                        assert_eq!(grants.may_watch(&demo), watches, "watch: {row}");
                        assert_eq!(grants.may_list(), lists, "list: {row}");
                        assert_eq!(grants.may_administer(&demo), administers, "administer: {row}");
                        assert_eq!(grants.may_administer_all(), admin && room.is_none(), "all: {row}");
                        combinations += 1;
                    }
                }
            }
        }
        assert_eq!(combinations, 6 * 32 * 9);
    }

    #[test]
    fn a_request_without_a_token_has_anonymous_rights_only() {
        let demo = StreamName::parse("demo").unwrap();
        for (watch, publish) in [(false, false), (true, false), (false, true), (true, true)] {
            let grants = Grants::anonymous(Anonymous { watch, publish });
            assert_eq!(grants.may_watch(&demo), watch);
            assert_eq!(grants.may_list(), watch);
            assert_eq!(grants.may_publish(&demo), publish);
            assert!(!grants.may_administer(&demo) && !grants.may_administer_all() && !grants.has_token());
        }
    }
}
