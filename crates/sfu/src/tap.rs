//! How do we learn a viewer's SRTP keys without str0m carrying its media?
//!
//! [`provider`] wraps the DTLS of [`crate::dtls`]. Every instance it makes copies the RFC 5764
//! exporter's output into a [`KeySlot`] at the moment DTLS hands it to str0m. Only public traits are used.
//!
//! `RtcConfig::build` makes its DTLS instance synchronously, so a slot armed right before on the same
//! thread belongs to that `Rtc` ([`arm`]).

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use str0m_proto::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile,
};
use str0m_proto::crypto::{CryptoError, CryptoProvider, DtlsVersion};

use crate::dtls;
use crate::srtp::{Error, Open, Profile, Role, Seal, split};

/// Where the keys of one session appear once its DTLS handshake is done.
#[derive(Clone, Default)]
pub struct KeySlot(Arc<Mutex<Option<Keys>>>);

struct Keys {
    material: zeroize::Zeroizing<Vec<u8>>,
    profile: SrtpProfile,
    role: Role,
}

impl KeySlot {
    /// Takes the keys out, as contexts to send and to receive with; `None` while the handshake lasts.
    pub fn take(&self) -> Option<Result<(Seal, Open), Error>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(keys.into_contexts())
    }
}

impl Keys {
    fn into_contexts(self) -> Result<(Seal, Open), Error> {
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
    static NEXT: RefCell<Option<KeySlot>> = const { RefCell::new(None) };
}

/// Makes the next `RtcConfig::build` on this thread put its keys into the slot returned.
pub fn arm() -> KeySlot {
    let slot = KeySlot::default();
    NEXT.with(|next| *next.borrow_mut() = Some(slot.clone()));
    slot
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
        let inner = dtls::Provider.new_dtls(certificate, now, version, mtu)?;
        let slot = NEXT.with(|next| next.borrow_mut().take());
        Ok(Box::new(TappedInstance { inner, slot }))
    }
}

#[derive(Debug)]
struct TappedInstance {
    inner: Box<dyn DtlsInstance>,
    slot: Option<KeySlot>,
}

impl DtlsInstance for TappedInstance {
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        // RFC 5764 §4.2: which half is ours depends on the DTLS role.
        let role = if self.inner.is_active() { Role::Client } else { Role::Server };
        let output = self.inner.poll_output(buf);
        if let (DtlsOutput::KeyingMaterial(material, profile), Some(slot)) = (&output, &self.slot) {
            let keys = Keys { material: zeroize::Zeroizing::new(material.to_vec()), profile: *profile, role };
            *slot.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
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
        self.inner.handle_timeout(now)
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
