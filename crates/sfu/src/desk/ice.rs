//! Is this binding request the viewer's, and what does the desk answer?
//!
//! We are an ICE-lite agent (RFC 8445 §2.5): we check nothing ourselves but addresses that media is
//! to follow to, and answer each request that proves knowledge of our password. That needs two
//! names and two passwords, and no agent.
//!
//! What must always hold: after a restart the credentials of before stay good until the new ones were used once, because
//! the viewer goes on checking with the old ones until our answer reaches it. An answer is never longer than its request.

use str0m::ice::{IceCreds, StunMessage, TransId};

use crate::tap;

/// The ICE credentials of one session.
pub(super) struct Ice {
    current: Generation,
    /// Those before a restart, until the current ones are used.
    before: Option<Generation>,
}

/// Both sides' credentials, from one offer and answer.
struct Generation {
    ours: IceCreds,
    /// Unknown as long as our offer has no answer.
    theirs: Option<IceCreds>,
    /// A request with them came.
    is_used: bool,
}

/// A request that only the viewer can have made.
pub(super) struct Authentic {
    /// The ufrag of ours that is not good any more: the first request after a restart came.
    pub(super) retired: Option<String>,
}

/// RFC 8445 §5.1.2.1: a host candidate's type preference, 126, in the highest byte.
const CHECK_PRIORITY: u32 = 126 << 24;

/// Enough for what we write: an answer has at most 76 bytes, a request two ufrags (19 and at most 256 bytes) and 80 more.
pub(super) const MAX_WRITTEN_BYTES: usize = 400;

impl Ice {
    pub(super) fn new(ours: IceCreds, theirs: Option<IceCreds>) -> Ice {
        Ice { current: Generation { ours, theirs, is_used: false }, before: None }
    }

    /// The viewer's answer tells its credentials.
    pub(super) fn on_answer(&mut self, theirs: Option<IceCreds>) {
        self.current.theirs = theirs;
    }

    /// Begins a new generation. Returns the ufrag that is out of use from now on, if there is any.
    pub(super) fn restart(&mut self, ours: IceCreds, theirs: IceCreds) -> Option<String> {
        let next = Generation { ours, theirs: Some(theirs), is_used: false };
        let last = std::mem::replace(&mut self.current, next);
        // A restart on top of one that was never used leaves those of before good.
        if last.is_used || self.before.is_none() {
            self.before.replace(last).map(|older| older.ours.ufrag)
        } else {
            Some(last.ours.ufrag)
        }
    }

    /// Checks a binding request (RFC 8445 §7.3, RFC 8489 §9.1.3).
    pub(super) fn authenticate(&mut self, request: &StunMessage<'_>) -> Option<Authentic> {
        if !request.is_binding_request() {
            return None;
        }
        let (local, remote) = request.split_username()?;
        let generation = self.generation(local)?;
        if generation.theirs.as_ref().is_some_and(|theirs| theirs.ufrag != remote)
            || !request.verify(generation.ours.pass.as_bytes(), hmac)
        {
            return None;
        }
        let mut retired = None;
        if local == self.current.ours.ufrag {
            self.current.is_used = true;
            retired = self.before.take().map(|before| before.ours.ufrag);
        }
        Some(Authentic { retired })
    }

    /// Writes the answer to an authentic request: it says which address the request came from. Returns its length.
    pub(super) fn answer(&self, request: &StunMessage<'_>, source: std::net::SocketAddr, out: &mut [u8]) -> usize {
        let Some(generation) = request.split_username().and_then(|(local, _)| self.generation(local)) else { return 0 };
        let answer = StunMessage::binding_reply(request.trans_id(), source);
        answer.to_bytes(Some(generation.ours.pass.as_bytes()), out, hmac).unwrap_or(0)
    }

    /// Writes a check of ours. Returns its length; 0 if the viewer's credentials are not known.
    pub(super) fn check(&self, transaction: TransId, tie_breaker: u64, out: &mut [u8]) -> usize {
        let Some(theirs) = &self.current.theirs else { return 0 };
        let username = format!("{}:{}", theirs.ufrag, self.current.ours.ufrag);
        let request = StunMessage::binding_request(&username, transaction, false, tie_breaker, CHECK_PRIORITY, false);
        request.to_bytes(Some(theirs.pass.as_bytes()), out, hmac).unwrap_or(0)
    }

    /// Whether the viewer answered a check of ours: of this generation, or of the one before.
    pub(super) fn has_answered(&self, answer: &StunMessage<'_>) -> bool {
        let passwords = [Some(&self.current), self.before.as_ref()].into_iter().flatten();
        passwords.filter_map(|g| g.theirs.as_ref()).any(|theirs| answer.verify(theirs.pass.as_bytes(), hmac))
    }

    /// The ufrags of ours that are good.
    pub(super) fn ufrags(&self) -> impl Iterator<Item = &String> {
        [Some(&self.current), self.before.as_ref()].into_iter().flatten().map(|g| &g.ours.ufrag)
    }

    fn generation(&self, ufrag: &str) -> Option<&Generation> {
        [Some(&self.current), self.before.as_ref()].into_iter().flatten().find(|g| g.ours.ufrag == ufrag)
    }
}

/// Returns a transaction id that an attacker cannot guess: str0m's own come from a generator whose
/// output can be guessed, and the answer to this one is a proof.
pub(super) fn transaction(random: [u64; 2]) -> TransId {
    let mut header = [0; 20];
    // RFC 8489 §5: binding indication, no attributes, magic cookie.
    header[..8].copy_from_slice(&[0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
    header[8..16].copy_from_slice(&random[0].to_be_bytes());
    header[16..20].copy_from_slice(&random[1].to_be_bytes()[..4]);
    StunMessage::parse(&header).map_or_else(|_| TransId::new(), |message| message.trans_id())
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    tap::provider().sha1_hmac_provider.sha1_hmac(key, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(name: &str) -> IceCreds {
        IceCreds { ufrag: name.to_owned(), pass: format!("the password of {name}") }
    }

    fn request(local: &str, remote: &str, password: &str) -> Vec<u8> {
        let username = format!("{local}:{remote}");
        let message = StunMessage::binding_request(&username, TransId::new(), true, 7, 1, true);
        let mut bytes = [0; MAX_WRITTEN_BYTES];
        let len = message.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).unwrap();
        bytes[..len].to_vec()
    }

    fn is_authentic(ice: &mut Ice, local: &str, remote: &str) -> bool {
        let bytes = request(local, remote, &format!("the password of {local}"));
        ice.authenticate(&StunMessage::parse(&bytes).unwrap()).is_some()
    }

    #[test]
    fn only_requests_with_both_names_and_the_password_are_answered() {
        let mut ice = Ice::new(credentials("us"), Some(credentials("them")));
        assert!(is_authentic(&mut ice, "us", "them"));
        assert!(!is_authentic(&mut ice, "us", "others"));
        assert!(!is_authentic(&mut ice, "we", "them"));
        let wrong = request("us", "them", "a guess");
        assert!(ice.authenticate(&StunMessage::parse(&wrong).unwrap()).is_none());
    }

    #[test]
    fn an_answer_is_authentic_says_where_the_request_came_from_and_is_shorter() {
        let mut ice = Ice::new(credentials("us"), None);
        for source in ["192.0.2.7:5000", "[2001:db8::7]:5000"] {
            let source = source.parse().unwrap();
            let bytes = request("us", "them", "the password of us");
            let parsed = StunMessage::parse(&bytes).unwrap();
            assert!(ice.authenticate(&parsed).is_some());
            let mut out = [0; MAX_WRITTEN_BYTES];
            let len = ice.answer(&parsed, source, &mut out);
            assert!(len > 0 && len <= bytes.len(), "{len} for {}", bytes.len());
            let answer = StunMessage::parse(&out[..len]).unwrap();
            assert!(answer.is_successful_binding_response() && answer.verify(b"the password of us", hmac));
            assert_eq!((answer.mapped_address(), answer.trans_id()), (Some(source), parsed.trans_id()));
        }
    }

    #[test]
    fn the_credentials_of_before_are_good_until_the_new_ones_are_used() {
        let mut ice = Ice::new(credentials("a"), Some(credentials("x")));
        assert!(is_authentic(&mut ice, "a", "x"));
        assert_eq!(ice.restart(credentials("b"), credentials("y")), None);
        assert!(is_authentic(&mut ice, "a", "x") && !is_authentic(&mut ice, "b", "x"));
        // The answer to the second restart overtakes the first one's, which is never used.
        assert_eq!(ice.restart(credentials("c"), credentials("z")).as_deref(), Some("b"));
        assert!(is_authentic(&mut ice, "a", "x") && !is_authentic(&mut ice, "b", "y"));
        assert_eq!(ice.ufrags().count(), 2);
        assert!(is_authentic(&mut ice, "c", "z"));
        assert!(!is_authentic(&mut ice, "a", "x"), "the new ones were used");
        assert_eq!(ice.ufrags().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn a_check_of_ours_is_answered_by_the_viewer_alone() {
        let ice = Ice::new(credentials("us"), Some(credentials("them")));
        let transaction = transaction([1, 2]);
        let mut out = [0; MAX_WRITTEN_BYTES];
        let len = ice.check(transaction, 5, &mut out);
        let check = StunMessage::parse(&out[..len]).unwrap();
        assert_eq!((check.username(), check.trans_id()), (Some("them:us"), transaction));
        assert!(!check.use_candidate() && check.ice_controlled() == Some(5));
        let answer_with = |password: &str| {
            let mut bytes = [0; MAX_WRITTEN_BYTES];
            let answer = StunMessage::binding_reply(transaction, "192.0.2.1:1".parse().unwrap());
            let len = answer.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).unwrap();
            ice.has_answered(&StunMessage::parse(&bytes[..len]).unwrap())
        };
        assert!(answer_with("the password of them") && !answer_with("the password of us"));
        assert_eq!(Ice::new(credentials("us"), None).check(transaction, 5, &mut out), 0);
    }
}
