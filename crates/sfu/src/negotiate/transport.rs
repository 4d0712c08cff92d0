//! The transport that a description names: ICE credentials, certificate fingerprint and DTLS role.
//!
//! With BUNDLE there is one: that of the tagged section, or of the session (RFC 9143 §7.1.3).

use std::str::FromStr;

use str0m::config::Fingerprint;
use str0m::ice::IceCreds;

use super::Unusable;
use super::description::{Description, malformed, of_line};
use super::secured::{HASHES, rank};
use super::text;

/// A peer's transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transport<'a> {
    ufrag: &'a str,
    password: &'a str,
    /// The strongest fingerprint that can be checked.
    fingerprint: Fingerprint,
    /// `actpass`, `active` or `passive`.
    setup: &'a str,
}

impl<'a> Transport<'a> {
    /// Reads the transport of a description.
    ///
    /// # Errors
    ///
    /// [`Unusable::Malformed`] names the missing or wrong line.
    pub fn of(description: &Description<'a>) -> Result<Transport<'a>, Unusable> {
        let credential = |name: &'static str, is_one: fn(&str) -> bool| {
            let Some((line, value)) = description.of_transport(name).first().copied() else {
                return malformed(format!("it has no a={name}; ICE needs it in the first section (RFC 8839 §5.4)"));
            };
            if is_one(value) {
                return Ok(value);
            }
            malformed(format!("line {} (a={name}): {}", line.number, text::ICE_CREDENTIALS))
        };
        let ufrag = credential("ice-ufrag", text::is_ufrag)?;
        let password = credential("ice-pwd", text::is_password)?;
        let fingerprint = fingerprint(description)?;
        let setup = match description.of_transport("setup").first() {
            None => "actpass",
            Some((_, known @ ("actpass" | "active" | "passive"))) => known,
            Some((line, _)) => {
                return malformed(format!("{}: a=setup is actpass, active or passive (RFC 8842)", of_line(*line)));
            }
        };
        Ok(Transport { ufrag, password, fingerprint, setup })
    }

    /// Returns the ICE credentials.
    pub fn credentials(&self) -> IceCreds {
        IceCreds { ufrag: self.ufrag.to_owned(), pass: self.password.to_owned() }
    }

    /// Returns the fingerprint of the certificate.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Returns `true` if the server sends the ClientHello (RFC 8842 §5: the peer is passive).
    pub fn we_begin(&self) -> bool {
        self.setup == "passive"
    }

    /// Writes its lines, at session level.
    pub fn for_str0m(&self, out: &mut Vec<String>) {
        out.push(format!("a=ice-ufrag:{}", self.ufrag));
        out.push(format!("a=ice-pwd:{}", self.password));
        let bytes: Vec<_> = self.fingerprint.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        out.push(format!("a=fingerprint:{} {}", self.fingerprint.hash_func.to_ascii_lowercase(), bytes.join(":")));
        out.push(format!("a=setup:{}", self.setup));
    }
}

/// Returns the fingerprint with the strongest hash (RFC 8122 §5).
fn fingerprint(description: &Description<'_>) -> Result<Fingerprint, Unusable> {
    let mut best: Option<(usize, Fingerprint)> = None;
    for (line, value) in description.of_transport("fingerprint") {
        let Ok(fingerprint) = Fingerprint::from_str(value) else { continue };
        let Some(rank) = rank(&fingerprint.hash_func) else { continue };
        let (name, bytes) = HASHES[rank];
        if fingerprint.bytes.len() != bytes {
            return malformed(format!(
                "line {} (a=fingerprint): {name} has {bytes} bytes, and {} are written",
                line.number,
                fingerprint.bytes.len()
            ));
        }
        if best.as_ref().is_none_or(|(known, _)| rank < *known) {
            best = Some((rank, fingerprint));
        }
    }
    match best {
        Some((_, fingerprint)) => Ok(fingerprint),
        None => malformed("it has no a=fingerprint with sha-256 or sha-1; DTLS needs it (RFC 8122 §5)".to_owned()),
    }
}
