//! What arrives on the media port once its sender is known: RTCP, SRTP and SRTCP.
//!
//! Each function takes any bytes and panics if something that must hold does not.

use std::collections::BTreeSet;

use sfu::rtcp::{MAX_PACKETS, Packet, Writer, XrBlock, packets};
use sfu::srtp::{DtlsRole, Open, Profile, Seal, split};

/// Reads a compound packet to its end, and writes what can be written again.
pub fn rtcp_compound(data: &[u8]) {
    let mut count = 0;
    for packet in packets(data) {
        count += 1;
        let Ok(packet) = packet else { continue };
        match packet {
            Packet::SenderReport { report, blocks } => {
                assert!(blocks.count() <= 31);
                written_again(|writer| writer.sender_report(report));
            }
            Packet::ReceiverReport(report) => {
                let blocks: Vec<_> = report.blocks.collect();
                written_again(|writer| writer.receiver_report(report.ssrc, &blocks));
            }
            Packet::Nack(nack) => {
                let seqs: Vec<_> = nack.seqs().collect();
                assert!(seqs.len() <= data.len() / 4 * 17);
                let bytes = written_again(|writer| writer.nack(nack.sender, nack.media, &seqs));
                let Some(Ok(Packet::Nack(again))) = packets(&bytes).next() else { panic!("not a NACK") };
                let asked: BTreeSet<_> = seqs.into_iter().collect();
                assert_eq!(again.seqs().collect::<BTreeSet<_>>(), asked);
            }
            Packet::Pli(pli) => {
                written_again(|writer| writer.pli(pli.sender, pli.media));
            }
            Packet::Fir(fir) => assert!(fir.entries().count() <= data.len() / 8),
            Packet::Remb(remb) => {
                let ssrcs: Vec<_> = remb.ssrcs().collect();
                let bytes = written_again(|writer| writer.remb(remb.sender, remb.bitrate_bps, &ssrcs));
                let Some(Ok(Packet::Remb(again))) = packets(&bytes).next() else { panic!("not a REMB") };
                assert_eq!(again.bitrate_bps, remb.bitrate_bps);
            }
            Packet::TransportFeedback(feedback) => {
                let arrivals: Vec<_> = feedback.arrivals().collect();
                assert_eq!(arrivals.len(), usize::from(feedback.status_count));
                let bytes = written_again(|writer| {
                    writer.transport_feedback(
                        feedback.sender,
                        feedback.media,
                        feedback.feedback_count,
                        feedback.base_seq,
                        feedback.reference_time,
                        &arrivals,
                    )
                });
                let Some(Ok(Packet::TransportFeedback(again))) = packets(&bytes).next() else {
                    panic!("not transport feedback")
                };
                assert!(again.arrivals().eq(arrivals));
            }
            Packet::Bye(bye) => assert!(bye.ssrcs().count() <= 31),
            Packet::ExtendedReport(report) => {
                for block in report.blocks() {
                    if let XrBlock::Dlrr(blocks) = block {
                        assert!(blocks.count() <= data.len() / 12);
                    }
                }
            }
            Packet::Sdes | Packet::Other { .. } => {}
        }
    }
    assert!(count <= MAX_PACKETS + 1);
}

/// No bytes are authentic SRTP by chance; those that were sealed open, once.
pub fn srtp_open(data: &[u8]) {
    for profile in PROFILES {
        let (seal, mut open) = one_way(profile);
        assert!(open.rtp(&mut data.to_vec()).is_err());

        let mut packet = vec![0; 12 + data.len() + seal.rtp_overhead()];
        packet[..4].copy_from_slice(&[0x80, 96, 0, 7]);
        let len = seal.rtp(&mut packet, 12, &[], data, 0, 7);
        assert_eq!(len, packet.len());
        let mut again = packet.clone();
        assert_eq!(open.rtp(&mut packet), Ok((7, data)));
        assert!(open.rtp(&mut again).is_err());
    }
}

/// No bytes are authentic SRTCP by chance; those that were sealed open, once.
pub fn srtcp_open(data: &[u8]) {
    for profile in PROFILES {
        let (mut seal, mut open) = one_way(profile);
        assert!(open.rtcp(&mut data.to_vec()).is_err());

        let plain = [&[0x80, 201, 0, 1, 0, 0, 0, 9], data].concat();
        let mut packet = plain.clone();
        packet.resize(plain.len() + seal.rtcp_overhead(), 0);
        assert_eq!(seal.rtcp(&mut packet, plain.len()), packet.len());
        let mut again = packet.clone();
        assert_eq!(open.rtcp(&mut packet), Ok(&plain[..]));
        assert!(open.rtcp(&mut again).is_err());
    }
}

/// Writes one packet that must fit and returns its bytes.
fn written_again(write: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 18];
    let mut writer = Writer::new(&mut buffer);
    assert!(write(&mut writer), "what was read can be written");
    let len = writer.finish();
    buffer.truncate(len);
    assert!(packets(&buffer).all(|packet| packet.is_ok()));
    buffer
}

fn one_way(profile: Profile) -> (Seal, Open) {
    let exporter: Vec<u8> = (1..).take(profile.exporter_bytes()).collect();
    let ends = [DtlsRole::Client, DtlsRole::Server].map(|role| split(profile, &exporter, role));
    match ends {
        [Ok((seal, _)), Ok((_, open))] => (seal, open),
        _ => panic!("keys of the right length are taken"),
    }
}

const PROFILES: [Profile; 3] = [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];

#[cfg(test)]
mod tests {
    use super::*;

    /// Not a search, only a check that the targets run.
    #[test]
    fn targets_take_any_bytes() {
        let mut random = 3u64;
        for len in 0..600 {
            let mut bytes: Vec<u8> = (0..len)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random.to_le_bytes()[3]
                })
                .collect();
            // So that some are read as RTCP of a kind that we know.
            if let Some([flags, packet_type, high, low]) = bytes.first_chunk_mut() {
                *flags = *flags & 0x1f | 0x80;
                *packet_type = 200 + *packet_type % 8;
                [*high, *low] = u16::try_from(len / 4 - 1).unwrap_or_default().to_be_bytes();
            }
            rtcp_compound(&bytes);
            srtp_open(&bytes);
            srtcp_open(&bytes);
        }
    }
}
