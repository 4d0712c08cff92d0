//! Which fatal alert tells a peer why its handshake failed?
//!
//! dimpl writes none when it fails, so a peer would wait for its own timeout. The alert is sent in
//! the clear, as RFC 5246 §7.2.2 requires while the handshake has agreed on no keys. It has 15
//! bytes, and is sent once per session, to an address that passed ICE.

use super::reason::Reason;

/// A DTLS record with a fatal alert: 13 bytes of header, level and description.
pub(crate) type Alert = [u8; 15];

/// The records sent in the clear so far, from which an alert gets its record number.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The record number after the last one of epoch 0 (RFC 6347 §4.1: 48 bits).
    next: u64,
    /// Nothing more may be sent in the clear: keys are in use, or an alert was sent.
    is_over: bool,
}

/// RFC 6347 §4.1: type, version, epoch, record number and length.
const HEADER_BYTES: usize = 13;
/// The content type of alerts (RFC 5246 §6.2.1).
const ALERT: u8 = 21;

impl Sent {
    /// Records a datagram that is sent.
    pub(super) fn note(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        while let Some((header, after)) = rest.split_at_checked(HEADER_BYTES) {
            let &[kind, _, _, e0, e1, n0, n1, n2, n3, n4, n5, l0, l1] = header else { return };
            let number = u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]);
            self.is_over |= kind == ALERT || [e0, e1] != [0, 0];
            self.next = self.next.max(number + 1);
            rest = after.get(usize::from(u16::from_be_bytes([l0, l1]))..).unwrap_or_default();
        }
    }

    /// Returns the alert for a failure, once; `None` if RFC 5246 has none, or if it could not be
    /// sent in the clear.
    pub(super) fn alert(&mut self, reason: Reason) -> Option<Alert> {
        let description = description(reason).filter(|_| !self.is_over)?;
        self.is_over = true;
        let [_, _, n0, n1, n2, n3, n4, n5] = self.next.to_be_bytes();
        Some([ALERT, 0xfe, 0xfd, 0, 0, n0, n1, n2, n3, n4, n5, 0, 2, FATAL, description])
    }
}

/// RFC 5246 §7.2: the level of an alert after which the connection is over.
const FATAL: u8 = 2;

/// Returns the alert description of a failure (RFC 5246 §7.2.2).
fn description(reason: Reason) -> Option<u8> {
    match reason {
        // handshake_failure
        Reason::Cipher => Some(40),
        // bad_certificate; RFC 8122 §6.2 demands it for a certificate of another fingerprint.
        Reason::Certificate | Reason::Fingerprint => Some(42),
        // decrypt_error: "unable to correctly verify a signature … or validate a Finished message".
        Reason::Signature | Reason::Finished => Some(51),
        // protocol_version
        Reason::Version => Some(70),
        // In this order: the peer ended the handshake; the handshake was complete; the peer is
        // gone; the session has not ended.
        Reason::Alert | Reason::Srtp | Reason::Timeout | Reason::Malformed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, number: u8, length: u8) -> Vec<u8> {
        let header = [kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, number, 0, length];
        [&header[..], &vec![7; length.into()]].concat()
    }

    #[test]
    fn an_alert_has_the_next_record_number_and_is_sent_once() {
        let mut sent = Sent::default();
        sent.note(&[record(22, 0, 3, 40), record(22, 0, 4, 0)].concat());
        sent.note(&record(22, 0, 2, 1));
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 2, 42];
        assert_eq!(sent.alert(Reason::Timeout), None);
        assert_eq!(sent.alert(Reason::Fingerprint), Some(alert));
        assert_eq!(sent.alert(Reason::Fingerprint), None);
    }

    #[test]
    fn no_alert_goes_out_in_the_clear_after_keys_or_another_alert() {
        for flight in [record(22, 1, 0, 40), record(21, 0, 1, 2)] {
            let mut sent = Sent::default();
            sent.note(&[record(22, 0, 0, 3), flight].concat());
            assert_eq!(sent.alert(Reason::Finished), None);
        }
        let mut sent = Sent::default();
        sent.note(&[0xff; 40]);
        sent.note(&[]);
        assert_eq!(sent.alert(Reason::Finished), None, "what is no record allows none");
    }
}
