//! How do we learn a session's SRTP keys without str0m carrying its media?
//!
//! [`provider`] wraps the DTLS of [`crate::dtls`]. Every instance it makes copies the RFC 5764
//! exporter's output into a [`KeySlot`] at the moment DTLS hands it to str0m. Only public traits are used.
//!
//! `RtcConfig::build` makes its DTLS instance synchronously, so a slot armed right before on the same
//! thread belongs to that `Rtc` ([`arm`]). That is for sessions with data channels; the others' DTLS stands alone
//! (`desk::handshake`), and the `Rtc` that reads their offer has none ([`hollow`]).

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile,
};
use str0m_proto::crypto::{CryptoError, CryptoProvider, DtlsVersion};

use crate::dtls::{self, Cryptography, Notes};
use crate::sctp::Sctp;
use crate::srtp::{DtlsRole, Error, Open, Profile, Seal, split};

/// Where the keys of one session appear once its DTLS handshake is done, and what went wrong in it.
#[derive(Clone, Default)]
pub struct KeySlot {
    keys: Arc<Mutex<Option<Keys>>>,
    notes: Notes,
}

/// What the RFC 5764 exporter gave.
pub(crate) struct Keys {
    material: zeroize::Zeroizing<Vec<u8>>,
    profile: SrtpProfile,
    role: DtlsRole,
}

impl KeySlot {
    /// Takes the keys out, as contexts to send and to receive with; `None` while the handshake lasts.
    pub fn take(&self) -> Option<Result<(Seal, Open), Error>> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(keys.into_contexts())
    }

    /// What went wrong in the handshake.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }
}

impl Keys {
    /// `role` is ours in DTLS: which half of the material is ours depends on it (RFC 5764 §4.2).
    pub(crate) fn new(material: &[u8], profile: SrtpProfile, role: DtlsRole) -> Keys {
        Keys { material: zeroize::Zeroizing::new(material.to_vec()), profile, role }
    }

    /// Contexts to send and to receive with.
    pub(crate) fn into_contexts(self) -> Result<(Seal, Open), Error> {
        let profile = match self.profile {
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            SrtpProfile::AES128_CM_SHA1_80 => Profile::AesCm128HmacSha1_80,
            // dimpl negotiates no other; were it ever to, the session cannot be served.
            _ => return Err(Error::Crypto),
        };
        split(profile, &self.material, self.role)
    }
}

impl std::fmt::Debug for KeySlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySlot(..)")
    }
}

thread_local! {
    static NEXT: RefCell<Next> = const { RefCell::new(Next::Plain) };
}

/// What DTLS the next `Rtc` of a thread gets.
enum Next {
    /// Its own.
    Plain,
    /// Its own, and its keys are copied.
    Tapped(KeySlot, Cryptography),
    /// None: it only reads and writes descriptions.
    Hollow,
}

/// Makes the next `RtcConfig::build` on this thread put its keys into the slot returned.
pub fn arm() -> KeySlot {
    arm_with(Cryptography::of_this_machine())
}

/// [`arm`] with this cryptography.
pub(crate) fn arm_with(cryptography: Cryptography) -> KeySlot {
    let slot = KeySlot::default();
    NEXT.with(|next| *next.borrow_mut() = Next::Tapped(slot.clone(), cryptography));
    slot
}

/// Makes the next `RtcConfig::build` on this thread go without DTLS: its `Rtc` is only to negotiate.
pub fn hollow() {
    NEXT.with(|next| *next.borrow_mut() = Next::Hollow);
}

/// str0m's AWS-LC provider with our DTLS and the tap around it; one for the whole process, because the provider
/// is made of `&'static` parts.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = str0m_aws_lc_rs::default_provider();
            provider.dtls_provider = &Tap;
            Arc::new(provider)
        })
        .clone()
}

#[derive(Debug)]
struct Tap;

impl DtlsProvider for Tap {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        dtls::Provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let next = NEXT.with(|next| std::mem::replace(&mut *next.borrow_mut(), Next::Plain));
        match next {
            Next::Plain => dtls::Provider.new_dtls(certificate, now, version, mtu),
            Next::Tapped(slot, cryptography) => {
                let inner = cryptography.instance(certificate, now, version, mtu, slot.notes())?;
                Ok(Box::new(TappedInstance::new(inner, slot)))
            }
            Next::Hollow => Ok(Box::new(Hollow { now, is_active: false })),
        }
    }
}

#[derive(Debug)]
struct TappedInstance {
    inner: Box<dyn DtlsInstance>,
    slot: KeySlot,
    sctp: Sctp,
}

impl TappedInstance {
    fn new(inner: Box<dyn DtlsInstance>, slot: KeySlot) -> TappedInstance {
        TappedInstance { inner, slot, sctp: Sctp::default() }
    }
}

impl DtlsInstance for TappedInstance {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        // RFC 5764 §4.2: which half is ours depends on the DTLS role.
        let role = if self.inner.is_active() { DtlsRole::Client } else { DtlsRole::Server };
        let output = self.inner.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let keys = Keys::new(material, *profile, role);
            *self.slot.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        }
        if let DtlsOutput::ApplicationData(packet) = &output
            && !self.sctp.admits(packet)
        {
            // Too short for SCTP's header: the library drops it.
            return DtlsOutput::ApplicationData(&[]);
        }
        output
    }

    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.sctp.refill(now);
        self.inner.handle_timeout(now)
    }
    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.sctp.on_sent(data);
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

/// The DTLS of an `Rtc` that never connects.
#[derive(Debug)]
struct Hollow {
    now: Instant,
    is_active: bool,
}

impl DtlsInstance for Hollow {
    fn poll_output<'a>(&mut self, _: &'a mut [u8]) -> DtlsOutput<'a> {
        DtlsOutput::Timeout(self.now + NEVER)
    }
    fn set_active(&mut self, active: bool) {
        self.is_active = active;
    }
    fn handle_packet(&mut self, _: &[u8]) -> Result<(), DtlsImplError> {
        Ok(())
    }
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.now = now;
        Ok(())
    }
    fn send_application_data(&mut self, _: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(0)
    }
    fn is_active(&self) -> bool {
        self.is_active
    }
    fn protocol_version(&self) -> Option<ProtocolVersion> {
        None
    }
    fn close(&mut self) -> Result<(), DtlsImplError> {
        Ok(())
    }
}

/// Longer than any session.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);
