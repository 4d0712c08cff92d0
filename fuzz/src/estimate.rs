//! Feeds a viewer's reports into the estimate of its bandwidth.

use sfu::bwe::{Estimator, Settings};
use sfu::rtcp::{Packet, packets};

const SETTINGS: Settings = Settings { min_bps: 64_000.0, max_bps: 5_000_000.0, start_bps: 300_000.0 };

/// A script: a byte says what happens, those behind it how. Whatever is reported, the estimate
/// keeps its bounds, and probes cost what they may.
pub fn feedback(data: &[u8]) {
    let mut estimator = Estimator::new(SETTINGS);
    let (mut now_us, mut seq) = (0u64, 65_500u16);
    let (mut sent, mut padding) = (0u64, 0u64);
    let mut rest = data;
    while let Some((&step, behind)) = rest.split_first() {
        rest = behind;
        match step % 8 {
            0..=2 => {
                for _ in 0..=step >> 3 {
                    estimator.on_packet_sent(now_us, seq, 1_200, None);
                    seq = seq.wrapping_add(1);
                    sent += 1_200;
                }
            }
            3 => now_us += 5_000 << (step >> 3).min(20),
            4 => {
                let Some((&[fraction, rtt, remb], behind)) = rest.split_first_chunk() else { return };
                rest = behind;
                estimator.on_receiver_report(now_us, fraction, Some(f32::from(rtt) * 4.0));
                if remb > 127 {
                    estimator.set_remb_limit((u64::from(remb) << (remb % 64)) as f32);
                }
            }
            5 => estimator.set_wanted((u32::from(step) << 16) as f32),
            // The rest of a report follows, its sequence numbers near those that were sent.
            _ => {
                let Some((head, behind)) = rest.split_first_chunk::<12>() else { return };
                rest = behind;
                let len = usize::from(head[0] % 64).min(rest.len() / 4) * 4;
                let (chunks, behind) = rest.split_at(len);
                rest = behind;
                let base = if step > 127 {
                    seq.wrapping_sub(u16::from(head[1]))
                } else {
                    u16::from_be_bytes([head[2], head[3]])
                };
                let words = (16 + len) as u16 / 4;
                let mut packet = vec![0x8f, 205, (words >> 8) as u8, words as u8, 0, 0, 0, 1, 0, 0, 0, 2];
                packet.extend(base.to_be_bytes());
                packet.extend_from_slice(&head[4..10]);
                packet.extend_from_slice(chunks);
                for read in packets(&packet) {
                    if let Ok(Packet::TransportFeedback(feedback)) = read {
                        estimator.on_feedback(now_us, &feedback);
                    }
                }
            }
        }
        estimator.handle_timeout(now_us);
        for _ in 0..64 {
            let Some(probe) = estimator.poll_probe(now_us) else { break };
            assert!(probe.bytes > 0 && probe.bps <= SETTINGS.max_bps * 2.0, "{probe:?}");
            for _ in 0..probe.bytes.div_ceil(1_200) {
                estimator.on_packet_sent(now_us, seq, 1_200, Some(probe.id));
                seq = seq.wrapping_add(1);
                padding += 1_200;
            }
        }
        let estimate = estimator.estimate();
        assert!((SETTINGS.min_bps..=SETTINGS.max_bps).contains(&estimate.bps), "{estimate:?}");
        assert!((0.0..=1.0).contains(&estimate.loss), "{estimate:?}");
        assert!(padding <= sent * 15 / 100 + 45_000, "{padding} bytes of padding beside {sent}");
    }
}

/// Sends and reports as a viewer would.
pub fn scripts() -> Vec<Vec<u8>> {
    let report = |count: u8| {
        let mut step = vec![0xfe, 2, count, 0, 0, 0, count, 0, 0, 1, 0, 0, 0];
        // A run of small deltas, and the deltas.
        step.extend([0x20, count]);
        step.extend(std::iter::repeat_n(4, 6));
        step
    };
    let steady: Vec<u8> = (0..40).flat_map(|_| [vec![5 << 3, 3 | 1 << 3], report(6)].concat()).collect();
    let silent: Vec<u8> = (0..40).flat_map(|_| [5 << 3, 3 | 5 << 3]).collect();
    let reports: Vec<u8> = (0..40u8).flat_map(|n| [5 << 3, 3 | 5 << 3, 4, n, 20, 90 + n]).collect();
    vec![steady, silent, reports]
}
