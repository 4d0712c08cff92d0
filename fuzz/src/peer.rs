//! The other side: a stock `str0m::Rtc` whose DTLS we can reach into.
//!
//! So hostile bytes get to where only an authenticated peer's can: under SRTCP, and under DTLS into
//! SCTP.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use sfu::srtp::{self, DtlsRole, Profile, Seal};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile,
};
use str0m_proto::crypto::{CryptoError, CryptoProvider, DtlsVersion};

/// What a peer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It sends.
    Publish,
    /// It receives.
    Watch,
    /// It receives, and has a data channel.
    WatchAndTalk,
}

/// A peer.
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// ICE and DTLS are up on its side.
    pub is_connected: bool,
    /// It was told that the session is over, or believes so.
    pub is_over: bool,
    /// RTP packets that it received.
    pub received: u64,
    rtc: Rtc,
    reach: Reach,
    seal: Option<Seal>,
    pending: Option<SdpPendingOffer>,
    wakes_at: Instant,
}

impl Peer {
    /// Creates a peer at an address, full ICE.
    pub fn new(now: Instant, address: SocketAddr) -> Peer {
        let reach = Reach::default();
        NEXT.with(|next| *next.borrow_mut() = Some(reach.clone()));
        let config = RtcConfig::new().set_crypto_provider(provider()).set_dtls_cert(certificate()).set_rtp_mode(true);
        let mut rtc = config.enable_h264(true).build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a good address"));
        Peer {
            address,
            is_connected: false,
            is_over: false,
            received: 0,
            rtc,
            reach,
            seal: None,
            pending: None,
            wakes_at: now,
        }
    }

    /// Offers audio, video and, unless it only watches, a data channel.
    pub fn offer(&mut self, purpose: Purpose) -> String {
        let direction = if purpose == Purpose::Publish { Direction::SendOnly } else { Direction::RecvOnly };
        let mut changes = self.rtc.sdp_api();
        changes.add_media(MediaKind::Audio, direction, None, None, None);
        changes.add_media(MediaKind::Video, direction, None, None, None);
        if purpose != Purpose::Watch {
            changes.add_channel(sfu::desk::WISHES.to_owned());
        }
        let (offer, pending) = changes.apply().expect("there is something to offer");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Answers the server's offer, or says why it cannot.
    pub fn answer(&mut self, offer: &str) -> Result<String, String> {
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| error.to_string())?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(|error| error.to_string())?;
        Ok(answer.to_sdp_string())
    }

    /// Takes the server's answer.
    pub fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("the server answers in SDP");
        let pending = self.pending.take().expect("an offer was made");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("an answer that str0m takes");
    }

    /// Takes a datagram.
    pub fn receive(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, bytes) else { return };
        let input = Input::Receive(now, receive);
        if self.rtc.is_alive() && self.rtc.accepts(&input) {
            let _ = self.rtc.handle_input(input);
        }
    }

    /// Handles timeouts that are due. Returns the datagrams to send.
    pub fn drive(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        if self.wakes_at <= now && self.rtc.is_alive() {
            let _ = self.rtc.handle_input(Input::Timeout(now));
        }
        while self.rtc.is_alive() {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wakes_at = at;
                    return sent;
                }
                Ok(Output::Transmit(transmit)) => sent.push(transmit.contents.to_vec()),
                Ok(Output::Event(Event::Connected)) => self.is_connected = true,
                Ok(Output::Event(Event::RtpPacket(_))) => self.received += 1,
                Ok(Output::Event(Event::Closed)) | Err(_) => self.is_over = true,
                Ok(Output::Event(_)) => {}
            }
            if self.is_over {
                return sent;
            }
        }
        self.is_over = true;
        sent
    }

    /// Encrypts RTCP as this peer would; `None` before DTLS is up or if it is no RTCP.
    pub fn sealed_rtcp(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let seal = self.seal()?;
        let mut packet = plain.to_vec();
        packet.resize(plain.len() + seal.rtcp_overhead(), 0);
        let len = seal.rtcp(&mut packet, plain.len());
        packet.truncate(len);
        (len > 0).then_some(packet)
    }

    /// Encrypts RTP as this peer would.
    pub fn sealed_rtp(&mut self, header: &[u8], payload: &[u8], ssrc: u32, index: u64) -> Option<Vec<u8>> {
        let seal = self.seal()?;
        let mut packet = header.to_vec();
        packet.resize(header.len() + payload.len() + seal.rtp_overhead(), 0);
        let len = seal.rtp(&mut packet, header.len(), &[], payload, ssrc, index);
        packet.truncate(len);
        (len > 0).then_some(packet)
    }

    /// Sends bytes under DTLS where SCTP is expected; they leave with the next [`Peer::drive`].
    pub fn send_as_sctp(&mut self, bytes: &[u8]) {
        self.reach.lock().inject.push(bytes.to_vec());
        self.wakes_at = Instant::now() - std::time::Duration::from_secs(60);
    }

    fn seal(&mut self) -> Option<&mut Seal> {
        if self.seal.is_none() {
            let (material, profile, role) = self.reach.lock().keys.take()?;
            let profile = match profile {
                SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                _ => Profile::AesCm128HmacSha1_80,
            };
            self.seal = srtp::split(profile, &material, role).ok().map(|(seal, _)| seal);
        }
        self.seal.as_mut()
    }
}

/// Keys out of DTLS, bytes into it.
#[derive(Debug, Clone, Default)]
struct Reach(Arc<Mutex<Reached>>);

#[derive(Debug, Default)]
struct Reached {
    keys: Option<(Vec<u8>, SrtpProfile, DtlsRole)>,
    inject: Vec<Vec<u8>>,
}

impl Reach {
    fn lock(&self) -> std::sync::MutexGuard<'_, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    static NEXT: RefCell<Option<Reach>> = const { RefCell::new(None) };
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut provider = str0m_aws_lc_rs::default_provider();
        provider.dtls_provider = Box::leak(Box::new(Reaching { inner: provider.dtls_provider }));
        Arc::new(provider)
    };
    PROVIDER.get_or_init(make).clone()
}

fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    let make = || provider().dtls_provider.generate_certificate().expect("AWS-LC makes certificates");
    CERTIFICATE.get_or_init(make).clone()
}

#[derive(Debug)]
struct Reaching {
    inner: &'static dyn DtlsProvider,
}

impl DtlsProvider for Reaching {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.inner.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = self.inner.new_dtls(certificate, now, version, mtu)?;
        let reach = NEXT.with(|next| next.borrow_mut().take()).unwrap_or_default();
        Ok(Box::new(ReachedInstance { inner, reach }))
    }
}

#[derive(Debug)]
struct ReachedInstance {
    inner: Box<dyn DtlsInstance>,
    reach: Reach,
}

impl DtlsInstance for ReachedInstance {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        // RFC 5764 §4.2: which half is ours depends on the DTLS role.
        let role = if self.inner.is_active() { DtlsRole::Client } else { DtlsRole::Server };
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            self.reach.lock().keys = Some((material.to_vec(), *profile, role));
        }
        output
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        let inject = std::mem::take(&mut self.reach.lock().inject);
        for bytes in inject {
            let _ = self.inner.send_application_data(&bytes);
        }
        self.inner.handle_timeout(now)
    }
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }
    fn is_active(&self) -> bool {
        self.inner.is_active()
    }
    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }
    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }
    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}
