//! What does a desk keep of one session?
//!
//! Little: two passwords, some addresses, and DTLS. A `str0m::Rtc` is here only while our offer waits for its answer, or
//! for a viewer with a data channel. Nothing here knows other sessions; [`super::Desk`] routes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media::StreamId;
use str0m::change::SdpPendingOffer;
use str0m::channel::{ChannelData, ChannelId};
use str0m::ice::{IceCreds, StunMessage, TransId};
use str0m::net::{Protocol, Receive};
use str0m::{Event as RtcEvent, IceConnectionState, Input, Output, Rtc};

use super::addresses::{Addresses, Path};
use super::handshake::{Handshake, Said};
use super::ice::{self, Ice};
use super::new_sources::NewSources;
use crate::dtls::Patience;
use crate::format::Published;
use crate::negotiate::{self, Identity, PublisherOffer, Role, Stage, Unusable, ViewerOffer, text};
use crate::publisher::Ended;
use crate::receive::Negotiated;
use crate::srtp::{self, Open, Seal};
use crate::tap::KeySlot;
use crate::transmit::{Batch, local_source};
use crate::viewer::subscription::NegotiatedTrack;

/// One session.
pub(super) struct Session {
    pub(super) stream: StreamId,
    pub(super) role: Role,
    pub(super) ice: Ice,
    pub(super) addresses: Addresses,
    pub(super) new_sources: NewSources,
    /// The shard that serves it, and the address that media goes to.
    pub(super) serving: Option<Serving>,
    pub(super) check: Option<AddressCheck>,
    pub(super) is_closing: bool,
    /// When it last proved that it wants to be sent to.
    pub(super) consent_at: Instant,
    /// The one timer of it that counts; others have been overtaken.
    pub(super) wakes_at: Option<Instant>,
    /// What a shard is to serve, until it has it.
    media: Option<Media>,
    /// Our half of ICE, for restarts.
    fragment: Box<str>,
    /// Where DTLS came from last.
    dtls_from: Option<SocketAddr>,
    transport: Transport,
}

/// What a shard is to serve.
#[derive(Debug)]
pub(super) enum Media {
    /// Tracks that a viewer receives; none as long as our offer has no answer.
    Viewer(Vec<NegotiatedTrack>),
    /// Media that a publisher sends.
    Publisher(Box<Publishing>),
}

/// What a publisher agreed on.
#[derive(Debug)]
pub(super) struct Publishing {
    /// Its fencing number.
    pub(super) epoch: u32,
    /// Its offer, which may tell parameter sets.
    pub(super) offer: String,
    pub(super) negotiated: Negotiated,
}

/// A session whose offer was answered, or that was made an offer.
pub(super) struct Opened {
    pub(super) role: Role,
    /// The peer's offer, if it made one.
    pub(super) offer: Option<String>,
    pub(super) sdp: String,
    pub(super) stage: Stage,
    pub(super) media: Media,
}

impl Opened {
    /// A viewer's session.
    pub(super) fn of_viewer(offer: Option<String>, opened: ViewerOffer) -> Opened {
        let ViewerOffer { sdp, tracks, stage } = opened;
        Opened { role: Role::Viewer, offer, sdp, stage, media: Media::Viewer(tracks) }
    }

    /// A publisher's session.
    pub(super) fn of_publisher(epoch: u32, offer: String, opened: PublisherOffer) -> Opened {
        let PublisherOffer { sdp, negotiated, stage } = opened;
        let publishing = Publishing { epoch, offer: offer.clone(), negotiated };
        Opened { role: Role::Publisher, offer: Some(offer), sdp, stage, media: Media::Publisher(Box::new(publishing)) }
    }
}

pub(super) struct Serving {
    pub(super) shard: u8,
    pub(super) address: SocketAddr,
}

/// Our own binding request to an address that the viewer wants to be sent to (threat T4).
pub(super) struct AddressCheck {
    pub(super) transaction: TransId,
    pub(super) path: Path,
    pub(super) sent_at: Instant,
}

/// The implementation of a session's ICE and DTLS.
enum Transport {
    /// Ours.
    Light(Handshake),
    /// Not chosen yet: our offer waits for its answer.
    Offered {
        rtc: Box<Rtc>,
        pending: Option<Box<SdpPendingOffer>>,
        /// DTLS that came before the answer did, which goes another way; at most [`MAX_EARLY`].
        early: Vec<Early>,
    },
    /// str0m's, because there is a data channel.
    Whole(Box<Whole>),
}

/// A datagram that came too early to be read.
pub(super) struct Early {
    path: Path,
    bytes: Box<[u8]>,
}

/// A viewer's first flight is a ClientHello, in one datagram or two; twice that.
const MAX_EARLY: usize = 4;

struct Whole {
    rtc: Box<Rtc>,
    keys: KeySlot,
    failures: Patience,
    /// For ICE restarts.
    offer: String,
    channel: Option<ChannelId>,
    /// What came on the channel, until it is told.
    heard: Vec<String>,
    hears: Hearing,
}

/// Limits the messages of a viewer, so that it cannot keep the desk busy.
struct Hearing {
    since: Instant,
    messages: u8,
}

/// Label of the data channel on which a viewer sends its wishes.
pub const WISHES: &str = "layers";

/// Longest message on the data channel, the same as by HTTP.
const MAX_HEARD_BYTES: usize = 1024;

/// Messages on the data channel that are read each second. A person changes their mind less often.
/// Messages beyond this number are dropped.
const HEARD_A_SECOND: u8 = 10;

/// What came of driving a session.
pub(super) struct Driven {
    /// When it wants to be woken.
    pub(super) wakes_at: Option<Instant>,
    /// It is over.
    pub(super) ended: Option<Ended>,
    /// What the viewer said on its channel, in order.
    pub(super) heard: Vec<String>,
}

impl Driven {
    fn quiet(wakes_at: Option<Instant>, ended: Option<Ended>) -> Driven {
        Driven { wakes_at, ended, heard: Vec::new() }
    }
}

/// What a shard needs, once.
pub(super) struct Ready {
    pub(super) path: Path,
    pub(super) keys: Result<(Seal, Open), srtp::Error>,
    pub(super) media: Media,
}

/// What a session makes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was for us.
    Well,
    /// It was from the right one, and means nothing.
    Malformed,
    /// It is not the viewer's.
    Refused,
}

/// A viewer whose checks stop coming is not sent to any longer (threat T5; RFC 7675 §5.1 allows 30 s).
pub(super) const CONSENT: Duration = Duration::from_secs(15);

/// A session that asks to be woken at once, again and again, cannot keep its thread.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Rounds that one session may take at a time.
const MAX_OUTPUTS: usize = 2_000;

impl Session {
    pub(super) fn new(now: Instant, stream: StreamId, ours: IceCreds, opened: Opened) -> Session {
        let Opened { role, offer, sdp, stage, media } = opened;
        let theirs = offer.as_deref().and_then(negotiate::remote_credentials);
        let transport = match stage {
            Stage::Agreed(secured) => Transport::Light(Handshake::new(secured)),
            Stage::Offered { rtc, pending } => Transport::Offered { rtc, pending: Some(pending), early: Vec::new() },
            Stage::Whole { rtc, keys } => {
                Transport::Whole(Box::new(Whole::new(now, rtc, keys, offer.unwrap_or_default())))
            }
        };
        Session {
            stream,
            role,
            ice: Ice::new(ours, theirs),
            addresses: Addresses::default(),
            new_sources: NewSources::default(),
            serving: None,
            check: None,
            is_closing: false,
            consent_at: now,
            wakes_at: None,
            media: Some(media),
            fragment: text::ice_fragment(&sdp).into(),
            dtls_from: None,
            transport,
        }
    }

    /// The answer to our offer. `None`: no offer waits for one.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        identity: &Identity,
        answer: &str,
        published: &Published,
    ) -> Option<Result<(), Unusable>> {
        let Transport::Offered { rtc, pending, early } = &mut self.transport else { return None };
        let (tracks, secured) = match negotiate::accept_answer(rtc, *pending.take()?, answer, published) {
            Ok(agreed) => agreed,
            Err(unusable) => return Some(Err(unusable)),
        };
        let early = std::mem::take(early);
        self.ice.on_answer(negotiate::remote_credentials(answer));
        self.media = Some(Media::Viewer(tracks));
        let mut handshake = Handshake::new(secured);
        if self.dtls_from.is_some() {
            handshake.begin(now, identity);
        }
        self.transport = Transport::Light(handshake);
        for Early { path, bytes } in early {
            self.dtls(now, identity, Datagram { path, bytes: &bytes });
        }
        Some(Ok(()))
    }

    /// Restarts ICE with new credentials of both sides. Returns our fragment, and a ufrag that is not good any more.
    pub(super) fn restart(&mut self, ours: IceCreds, theirs: IceCreds) -> Result<(String, Option<String>), Unusable> {
        if !text::is_ufrag(&theirs.ufrag) || !text::is_password(&theirs.pass) {
            return Err(Unusable::Malformed(text::ICE_CREDENTIALS.to_owned()));
        }
        let fragment = match &mut self.transport {
            Transport::Whole(whole) => {
                let (role, offer) = (self.role, &whole.offer);
                negotiate::restart_ice(&mut whole.rtc, role, offer, &theirs.ufrag, &theirs.pass, ours.clone())?
            }
            Transport::Light(_) => text::with_our_credentials(&self.fragment, &ours.ufrag, &ours.pass),
            Transport::Offered { .. } => {
                return Err(Unusable::Malformed("the offer of this server has to be answered first".to_owned()));
            }
        };
        Ok((fragment, self.ice.restart(ours, theirs)))
    }

    /// An authentic binding request. Answers it.
    pub(super) fn checked(
        &mut self,
        now: Instant,
        identity: &Identity,
        request: &StunMessage<'_>,
        datagram: Datagram<'_>,
        batch: &mut Batch,
    ) -> Taken {
        match &mut self.transport {
            Transport::Whole(whole) => return whole.receive(now, identity, datagram),
            Transport::Light(handshake) if request.use_candidate() => {
                self.dtls_from.get_or_insert(datagram.path.address);
                handshake.begin(now, identity);
            }
            // It begins when the answer is there, and before the next check, which may come after half a second.
            Transport::Offered { .. } if request.use_candidate() => {
                self.dtls_from.get_or_insert(datagram.path.address);
            }
            Transport::Light(_) | Transport::Offered { .. } => {}
        }
        let mut answer = [0; ice::MAX_WRITTEN_BYTES];
        let len = self.ice.answer(request, datagram.path.address, &mut answer);
        if let Some(answer) = answer.get(..len).filter(|answer| !answer.is_empty()) {
            batch.push(datagram.path.address, local_source(datagram.path.destination), answer);
        }
        Taken::Well
    }

    /// A DTLS datagram from one of its addresses.
    pub(super) fn dtls(&mut self, now: Instant, identity: &Identity, datagram: Datagram<'_>) -> Taken {
        match &mut self.transport {
            Transport::Whole(whole) => whole.receive(now, identity, datagram),
            Transport::Light(handshake) => match handshake.receive(now, identity, datagram.bytes) {
                Ok(()) => {
                    self.dtls_from = Some(datagram.path.address);
                    Taken::Well
                }
                Err(_) => Taken::Malformed,
            },
            // A viewer begins with DTLS when it has made its answer, and not when we have it.
            Transport::Offered { early, .. } if early.len() < MAX_EARLY => {
                early.push(Early { path: datagram.path, bytes: datagram.bytes.into() });
                Taken::Well
            }
            Transport::Offered { .. } => Taken::Refused,
        }
    }

    /// When a viewer that does not check any more is given up; a publisher's media shows that it is there ([`SILENCE`]).
    ///
    /// [`SILENCE`]: crate::publisher::SILENCE
    pub(super) fn silent_at(&self) -> Option<Instant> {
        let is_served = self.serving.is_some() && self.role != Role::Publisher;
        is_served.then(|| self.consent_at + CONSENT)
    }

    /// Time passed. Returns why it cannot go on, if it cannot.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Ended> {
        match &mut self.transport {
            Transport::Light(handshake) => handshake.handle_timeout(now).err().map(Ended::of_handshake),
            Transport::Whole(whole) => {
                // An error shows again when it is driven.
                let _ = whole.rtc.handle_input(Input::Timeout(now));
                None
            }
            Transport::Offered { .. } => None,
        }
    }

    /// Tells the peer by an alert that its handshake failed, where that is why the session ends.
    pub(super) fn alert(&self, why: Ended, batch: &mut Batch) {
        let Ended::Handshake(failure) = why else { return };
        let alert = match &self.transport {
            Transport::Light(handshake) => handshake.alert(failure),
            Transport::Whole(whole) => whole.failures.alert(failure),
            Transport::Offered { .. } => None,
        };
        let path = self.dtls_from.and_then(|to| self.addresses.path(to));
        if let (Some(alert), Some(path)) = (alert, path) {
            batch.push(path.address, local_source(path.destination), &alert);
        }
    }

    /// Says goodbye, with the next drive.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        match &mut self.transport {
            Transport::Light(handshake) => handshake.close(),
            Transport::Whole(whole) => drop(whole.rtc.close()),
            Transport::Offered { .. } => {}
        }
    }

    /// Something for the viewer, on the channel that it opened; with the next drive.
    pub(super) fn say(&mut self, text: &str) {
        let Transport::Whole(whole) = &mut self.transport else { return };
        if let Some(mut channel) = whole.channel.and_then(|id| whole.rtc.channel(id)) {
            // A viewer that does not read is not told.
            let _ = channel.write(false, text.as_bytes());
        }
    }

    /// Sends the datagrams that are due.
    pub(super) fn drive(&mut self, now: Instant, batch: &mut Batch) -> Driven {
        match &mut self.transport {
            Transport::Whole(whole) => whole.drive(now, &mut self.dtls_from, batch),
            Transport::Light(handshake) => {
                let serving = self.serving.as_ref().map(|s| s.address).filter(|_| self.is_closing);
                let path = serving.or(self.dtls_from).and_then(|to| self.addresses.path(to));
                let said = handshake.poll(now, |packet| {
                    if let Some(path) = path {
                        batch.push(path.address, local_source(path.destination), packet);
                    }
                });
                match said {
                    None => Driven::quiet(None, None),
                    Some(Said::Wake(at)) => Driven::quiet(Some(at.max(now + SHORTEST_WAIT)), None),
                    Some(Said::Goodbye) => Driven::quiet(None, Some(Ended::PeerLeft)),
                    Some(Said::Failed(why)) => Driven::quiet(None, Some(Ended::of_handshake(why))),
                }
            }
            Transport::Offered { .. } => Driven::quiet(None, None),
        }
    }

    /// What a shard needs to serve it, once, when ICE and DTLS are up.
    pub(super) fn take_ready(&mut self) -> Option<Ready> {
        if self.serving.is_some() {
            return None;
        }
        // DTLS finished from there: that is the address's proof (T4).
        let path = self.dtls_from.and_then(|from| self.addresses.path(from)).or(self.addresses.newest())?;
        let keys = match &mut self.transport {
            Transport::Light(handshake) => handshake.take_keys()?,
            Transport::Whole(whole) if whole.rtc.is_connected() => whole.keys.take()?,
            Transport::Whole(_) | Transport::Offered { .. } => return None,
        };
        Some(Ready { path, keys, media: self.media.take()? })
    }
}

/// A datagram, and how it came.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) path: Path,
    pub(super) bytes: &'a [u8],
}

impl Whole {
    fn new(now: Instant, rtc: Box<Rtc>, keys: KeySlot, offer: String) -> Whole {
        let hears = Hearing { since: now, messages: 0 };
        let failures = Patience::new(keys.notes());
        Whole { rtc, keys, failures, offer, channel: None, heard: Vec::new(), hears }
    }

    /// Something came on a channel.
    fn hear(&mut self, now: Instant, data: ChannelData) {
        if self.channel != Some(data.id) || data.binary || data.data.len() > MAX_HEARD_BYTES || !self.hears.may(now) {
            return;
        }
        self.heard.extend(String::from_utf8(data.data));
    }

    fn receive(&mut self, now: Instant, identity: &Identity, datagram: Datagram<'_>) -> Taken {
        let destination = identity.candidate_for(datagram.path.destination);
        let Ok(receive) = Receive::new(Protocol::Udp, datagram.path.address, destination, datagram.bytes) else {
            return Taken::Malformed;
        };
        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return Taken::Refused;
        }
        let taken = if self.rtc.handle_input(input).is_ok() { Taken::Well } else { Taken::Malformed };
        if !self.rtc.is_connected() && matches!(media::demux::classify(datagram.bytes), media::demux::Class::Dtls) {
            self.failures.look(now);
        }
        taken
    }

    fn drive(&mut self, now: Instant, dtls_to: &mut Option<SocketAddr>, batch: &mut Batch) -> Driven {
        let mut ended = None;
        for _ in 0..MAX_OUTPUTS {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    let heard = std::mem::take(&mut self.heard);
                    let ended = ended.or_else(|| self.failures.over(now).map(Ended::Handshake));
                    let at = self.failures.poll_timeout().map_or(at, |over| over.min(at));
                    return Driven { wakes_at: Some(at.max(now + SHORTEST_WAIT)), ended, heard };
                }
                Ok(Output::Transmit(transmit)) => {
                    // The rule: SRTP and SRTCP are the shard's alone.
                    if matches!(transmit.contents.first(), Some(128..=191)) {
                        continue;
                    }
                    if !matches!(transmit.contents.first(), Some(0..=3)) {
                        *dtls_to = Some(transmit.destination);
                    }
                    batch.push(transmit.destination, Some(transmit.source.ip()), &transmit.contents);
                }
                Ok(Output::Event(RtcEvent::Connected)) => {
                    self.failures.forget_but_srtp(now);
                }
                Ok(Output::Event(RtcEvent::Closed)) => ended = Some(Ended::PeerLeft),
                Ok(Output::Event(RtcEvent::IceConnectionStateChange(IceConnectionState::Disconnected))) => {
                    ended = Some(Ended::IceLost);
                }
                Ok(Output::Event(RtcEvent::ChannelOpen(id, label))) if label == WISHES => self.channel = Some(id),
                Ok(Output::Event(RtcEvent::ChannelClose(id))) if self.channel == Some(id) => self.channel = None,
                Ok(Output::Event(RtcEvent::ChannelData(data))) => self.hear(now, data),
                Ok(Output::Event(_)) => {}
                Err(error) => return Driven::quiet(None, Some(Ended::of_error(now, &error, &mut self.failures))),
            }
        }
        Driven::quiet(Some(now + SHORTEST_WAIT), ended)
    }
}

impl Hearing {
    fn may(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Hearing { since: now, messages: 0 };
        }
        self.messages = self.messages.saturating_add(1);
        self.messages <= HEARD_A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use str0m::change::SdpOffer;

    use super::*;
    use crate::negotiate::Secured;

    /// An active viewer's ClientHello may be here before its answer is.
    #[test]
    fn dtls_that_overtakes_the_answer_is_read_when_that_comes() {
        let now = Instant::now();
        let (here, there) = (Identity::new(vec![([192, 0, 2, 1], 7_882).into()]), Identity::new(Vec::new()));
        let credentials = || IceCreds { ufrag: "v00once".to_owned(), pass: "0123456789012345678901".to_owned() };
        let opened = negotiate::offer_to_viewer(&here, now, credentials(), &Published::default()).unwrap();
        let mut viewer = str0m::Rtc::builder().set_crypto_provider(crate::tap::provider()).build(now);
        let answer = viewer.sdp_api().accept_offer(SdpOffer::from_sdp_string(&opened.sdp).unwrap()).unwrap();
        let answer = answer.to_sdp_string().replace("a=setup:passive", "a=setup:active");
        let mut hello = Handshake::new(Secured::of(&opened.sdp.replace("a=setup:actpass", "a=setup:passive")).unwrap());
        hello.begin(now, &there);
        let mut flight = Vec::new();
        hello.poll(now, |packet| flight = packet.to_vec());
        assert!(!flight.is_empty());

        let mut session = Session::new(now, StreamId(1), credentials(), Opened::of_viewer(None, opened));
        let path =
            Path { address: ([192, 0, 2, 9], 5_000).into(), destination: ([192, 0, 2, 1], 7_882).into(), shard: 0 };
        session.addresses.on_request(now, path, true, None);
        let datagram = Datagram { path, bytes: &flight };
        let taken: Vec<_> = (0..5).map(|_| session.dtls(now, &here, datagram)).collect();
        assert_eq!(taken, [Taken::Well, Taken::Well, Taken::Well, Taken::Well, Taken::Refused]);

        let mut batch = Batch::new();
        session.drive(now, &mut batch);
        assert!(batch.is_empty(), "there is nothing to say yet");
        session.answer(now, &here, &answer, &Published::default()).unwrap().unwrap();
        session.drive(now, &mut batch);
        assert!(batch.datagrams().all(|(message, _)| message.destination == path.address) && !batch.is_empty());
    }

    #[test]
    fn who_talks_too_much_is_not_heard_until_the_next_second() {
        let began = Instant::now();
        let mut hearing = Hearing { since: began, messages: 0 };
        let heard = (0..300).filter(|n| hearing.may(began + Duration::from_millis(n * 3))).count();
        assert_eq!(heard, usize::from(HEARD_A_SECOND));
        assert!(hearing.may(began + Duration::from_secs(1)));
    }
}
