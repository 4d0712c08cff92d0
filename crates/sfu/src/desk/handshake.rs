//! How do a viewer and we agree on keys?
//!
//! By DTLS alone, without the rest of a `str0m::Rtc`. It stays after the keys are there, for three reasons: the last flight
//! of the handshake may be lost and is asked for again, the viewer's close_notify is encrypted, and so is ours.
//!
//! What must always hold: keys are given out only once the certificate is the one that the description announced.

use std::time::Instant;

use str0m::DATAGRAM_MTU_TARGET;
use str0m_proto::crypto::DtlsVersion;
use str0m_proto::crypto::dtls::{DtlsInstance, DtlsOutput};

use crate::dtls::{Failure, Notes, Patience, Reason};
use crate::negotiate::{Identity, Secured};
use crate::srtp::{self, DtlsRole, Open, Seal};
use crate::tap::Keys;

/// The DTLS of one session.
pub(super) struct Handshake {
    /// Made when it is needed: many clients ask for a session and never come.
    instance: Option<Box<dyn DtlsInstance>>,
    secured: Secured,
    is_verified: bool,
    is_connected: bool,
    keys: Option<Keys>,
    notes: Notes,
    failures: Patience,
}

/// What a handshake said when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing new; it wants to be woken then.
    Wake(Instant),
    /// The viewer said goodbye.
    Goodbye,
    /// It cannot go on.
    Failed(Option<Failure>),
}

/// Bytes that mean nothing to DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The largest record that is written or read, and the largest certificate: str0m's own limit for publishers. A
/// certificate of RSA 4096 has about 1,300 bytes.
const MAX_RECORD_BYTES: usize = 2_000;

/// Outputs taken in one turn; a handshake has about ten.
const MAX_OUTPUTS: usize = 200;

impl Handshake {
    pub(super) fn new(secured: Secured) -> Handshake {
        let notes = Notes::default();
        let failures = Patience::new(notes.clone());
        Handshake { instance: None, secured, is_verified: false, is_connected: false, keys: None, notes, failures }
    }

    /// The viewer's address is known: begins, if that is our part.
    pub(super) fn begin(&mut self, now: Instant, identity: &Identity) {
        if self.secured.we_begin && self.instance.is_none() {
            let _ = self.receive(now, identity, &[]);
        }
    }

    /// Takes a datagram.
    pub(super) fn receive(&mut self, now: Instant, identity: &Identity, datagram: &[u8]) -> Result<(), Malformed> {
        if self.instance.is_none() {
            self.instance = Some(made(now, identity, self.secured.we_begin, self.notes.clone())?);
        }
        let Some(instance) = &mut self.instance else { return Err(Malformed) };
        // It remembers when it last answered a repeated flight, and takes the time from here only.
        instance.handle_timeout(now).map_err(|_| Malformed)?;
        let taken = instance.handle_packet(datagram).map_err(|_| Malformed);
        if !self.is_connected && !datagram.is_empty() {
            self.failures.look(now);
        }
        taken
    }

    /// Time passed.
    ///
    /// # Errors
    ///
    /// It cannot go on.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Option<Failure>> {
        let Some(instance) = self.instance.as_mut() else { return Ok(()) };
        let result = instance.handle_timeout(now);
        match self.failures.over(now) {
            Some(failure) => Err(Some(failure)),
            None => result.map_err(|_| Some(self.failures.of_this_peer(Failure::new(Reason::Timeout)))),
        }
    }

    /// The alert that tells the viewer of a failure, once, if there is one.
    pub(super) fn alert(&self, failure: Failure) -> Option<crate::dtls::Alert> {
        self.failures.alert(failure)
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        if let Some(instance) = &mut self.instance {
            let _ = instance.close();
        }
    }

    /// Gives the datagrams that it has to send to `send`, and returns the next event. `None`: it
    /// waits for datagrams of its peer.
    pub(super) fn poll(&mut self, now: Instant, mut send: impl FnMut(&[u8])) -> Option<Said> {
        let instance = self.instance.as_mut()?;
        let mut buffer = [0; MAX_RECORD_BYTES];
        for _ in 0..MAX_OUTPUTS {
            let role = if instance.is_active() { DtlsRole::Client } else { DtlsRole::Server };
            match instance.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => send(packet),
                DtlsOutput::Timeout(at) => {
                    if self.is_connected && self.keys.is_none() {
                        // Of what was noted, only that there are no keys counts now.
                        self.failures.look(now);
                    }
                    if let Some(failure) = self.failures.over(now) {
                        return Some(Said::Failed(Some(failure)));
                    }
                    return Some(Said::Wake(self.failures.poll_timeout().map_or(at, |over| over.min(at))));
                }
                DtlsOutput::Connected => {
                    self.is_connected = true;
                    self.failures.forget();
                }
                DtlsOutput::PeerCert(certificate) => {
                    self.is_verified = self.secured.is_of(certificate);
                    if !self.is_verified {
                        let failure = self.failures.of_this_peer(Failure::new(Reason::Fingerprint));
                        return Some(Said::Failed(Some(failure)));
                    }
                }
                DtlsOutput::KeyingMaterial(material, profile) => self.keys = Some(Keys::new(&material, profile, role)),
                // No data channel was negotiated.
                DtlsOutput::ApplicationData(_) => {}
                DtlsOutput::CloseNotify => return Some(Said::Goodbye),
                _ => {
                    self.failures.look(now);
                    return Some(Said::Failed(self.failures.over(now)));
                }
            }
        }
        Some(Said::Failed(None))
    }

    /// Takes the keys out once the handshake is done, and only once.
    pub(super) fn take_keys(&mut self) -> Option<Result<(Seal, Open), srtp::Error>> {
        if !self.is_verified || !self.is_connected {
            return None;
        }
        self.keys.take().map(Keys::into_contexts)
    }
}

fn made(now: Instant, identity: &Identity, we_begin: bool, notes: Notes) -> Result<Box<dyn DtlsInstance>, Malformed> {
    let mtu = Some(DATAGRAM_MTU_TARGET);
    let made = identity.cryptography().instance(identity.certificate(), now, DtlsVersion::Dtls12, mtu, notes);
    let mut instance = made.map_err(|_| Malformed)?;
    instance.set_active(we_begin);
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tap;

    struct Pair {
        now: Instant,
        us: Identity,
        them: Identity,
        ours: Handshake,
        theirs: Handshake,
    }

    impl Pair {
        /// `announced`: whose certificate we were told to expect.
        fn new(we_begin: bool, announced: impl Fn(&Pair) -> Identity) -> Pair {
            let (us, them) = (Identity::new(Vec::new()), Identity::new(Vec::new()));
            let theirs = Handshake::new(secured(&us, !we_begin));
            let ours = Handshake::new(secured(&them, we_begin));
            let mut pair = Pair { now: Instant::now(), us, them, ours, theirs };
            pair.ours = Handshake::new(secured(&announced(&pair), we_begin));
            pair
        }

        /// One flight each way. `loses`: ours do not arrive.
        fn turn(&mut self, loses: bool) -> [Option<Said>; 2] {
            let (mut out, mut back) = (Vec::new(), Vec::new());
            let ours = self.ours.poll(self.now, |packet| out.push(packet.to_vec()));
            for packet in out.iter().filter(|_| !loses) {
                let _ = self.theirs.receive(self.now, &self.them, packet);
            }
            let theirs = self.theirs.poll(self.now, |packet| back.push(packet.to_vec()));
            for packet in &back {
                let _ = self.ours.receive(self.now, &self.us, packet);
            }
            [ours, theirs]
        }

        fn shake(&mut self) -> bool {
            self.ours.begin(self.now, &self.us);
            self.theirs.begin(self.now, &self.them);
            (0..10).any(|_| {
                self.turn(false);
                self.ours.is_connected && self.theirs.is_connected
            })
        }
    }

    fn secured(identity: &Identity, we_begin: bool) -> Secured {
        let digest = tap::provider().sha256_provider.sha256(&identity.certificate().certificate);
        let hex = digest.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":");
        let setup = if we_begin { "passive" } else { "active" };
        let ice = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n";
        Secured::of(&format!("v=0\r\n{ice}a=fingerprint:sha-256 {hex}\r\na=setup:{setup}\r\n")).unwrap()
    }

    #[test]
    fn both_roles_end_with_keys_that_are_given_out_once() {
        for we_begin in [true, false] {
            let mut pair = Pair::new(we_begin, |pair| pair.them.clone());
            assert!(pair.ours.take_keys().is_none());
            assert!(pair.shake());
            assert!(matches!(pair.ours.take_keys(), Some(Ok(_))) && pair.ours.take_keys().is_none());
            assert!(matches!(pair.theirs.take_keys(), Some(Ok(_))));
        }
    }

    #[test]
    fn another_certificate_than_announced_fails_and_gives_no_keys() {
        let mut pair = Pair::new(false, |_| Identity::new(Vec::new()));
        pair.theirs.begin(pair.now, &pair.them);
        let failure = (0..10).find_map(|_| match pair.turn(false)[0] {
            Some(Said::Failed(failure)) => failure,
            _ => None,
        });
        let failure = failure.expect("the certificate is another one");
        assert_eq!(failure.reason, Reason::Fingerprint);
        assert!(pair.ours.take_keys().is_none());

        let alert = pair.ours.alert(failure).expect("the peer is told");
        assert!(pair.theirs.receive(pair.now, &pair.them, &alert).is_err());
        pair.theirs.failures.look(pair.now);
        let heard = pair.theirs.failures.over(pair.now + crate::dtls::GRACE).and_then(|heard| heard.alert);
        assert_eq!(heard, Some(42), "bad_certificate");
        assert_eq!(pair.ours.alert(failure), None, "once");
    }

    #[test]
    fn a_goodbye_is_heard_on_both_sides() {
        let mut pair = Pair::new(false, |pair| pair.them.clone());
        assert!(pair.shake());
        pair.turn(false);
        pair.theirs.close();
        let said: Vec<_> = (0..2).map(|_| pair.turn(false)[0]).collect();
        assert!(said.contains(&Some(Said::Goodbye)), "{said:?}");
    }

    #[test]
    fn a_lost_last_flight_is_sent_again_after_the_keys_were_taken() {
        let mut pair = Pair::new(false, |pair| pair.them.clone());
        pair.theirs.begin(pair.now, &pair.them);
        // Until we are done, then lose what we say.
        while !pair.ours.is_connected {
            let (mut out, mut back) = (Vec::new(), Vec::new());
            pair.ours.poll(pair.now, |packet| out.push(packet.to_vec()));
            if pair.ours.is_connected {
                break;
            }
            for packet in &out {
                pair.theirs.receive(pair.now, &pair.them, packet).unwrap();
            }
            pair.theirs.poll(pair.now, |packet| back.push(packet.to_vec()));
            for packet in &back {
                pair.ours.receive(pair.now, &pair.us, packet).unwrap();
            }
        }
        assert!(pair.ours.take_keys().is_some() && !pair.theirs.is_connected);
        for _ in 0..20 {
            pair.now += std::time::Duration::from_millis(500);
            assert!(pair.theirs.handle_timeout(pair.now).is_ok());
            pair.turn(false);
        }
        assert!(pair.theirs.is_connected, "the flight came again");
    }

    #[test]
    fn junk_is_refused_and_changes_nothing() {
        let mut pair = Pair::new(false, |pair| pair.them.clone());
        for junk in [&[22u8, 0xfe, 0xfd, 0, 0][..], &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40]] {
            let _ = pair.ours.receive(pair.now, &pair.us, junk);
        }
        assert!(pair.shake());
    }
}
