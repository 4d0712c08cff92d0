//! Where is the newest sound in a RED payload?
//!
//! RFC 2198 puts copies of earlier packets before the newest ("primary") block. Viewers that did
//! not negotiate RED get the primary block alone.

/// One block of a RED payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// RTP payload type of the coded sound in this block.
    pub payload_type: u8,
    /// How many ticks older than the packet's timestamp this block is; 0 for the primary one.
    pub timestamp_offset: u16,
    /// Whether this is the primary block, the last one.
    pub is_primary: bool,
    /// The coded sound. A redundant block may be empty, the primary one is not.
    pub payload: &'a [u8],
}

/// The blocks of a RED payload, oldest first and the primary one last.
///
/// All lengths were checked by [`Blocks::parse`].
#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    headers: &'a [u8],
    payloads: &'a [u8],
}

impl<'a> Blocks<'a> {
    /// Splits a payload into blocks; `None` if a length in it is wrong.
    pub fn parse(payload: &'a [u8]) -> Option<Blocks<'a>> {
        let mut rest = payload;
        let mut redundant_bytes = 0usize;
        while let Some((header, after)) = split_redundant_header(rest) {
            redundant_bytes = redundant_bytes.saturating_add(block_bytes(header));
            rest = after;
        }
        // RFC 2198 §3: the header of the primary block is one byte, with F clear.
        let (last, payloads) = rest.split_first()?;
        if last & 0x80 != 0 || payloads.len() <= redundant_bytes {
            return None;
        }
        let headers = payload.get(..payload.len().checked_sub(payloads.len())?)?;
        Some(Blocks { headers, payloads })
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        if let Some((header, after)) = split_redundant_header(self.headers) {
            let (payload, rest) = self.payloads.split_at_checked(block_bytes(header))?;
            self.headers = after;
            self.payloads = rest;
            let [payload_type, offset_high, offset_low, _] = header;
            return Some(Block {
                payload_type: payload_type & 0x7f,
                // RFC 2198 §3: 14 bits of offset, then 10 bits of length.
                timestamp_offset: u16::from_be_bytes([offset_high, offset_low]) >> 2,
                is_primary: false,
                payload,
            });
        }
        let (payload_type, _) = self.headers.split_first()?;
        self.headers = &[];
        Some(Block {
            payload_type: payload_type & 0x7f,
            timestamp_offset: 0,
            is_primary: true,
            payload: std::mem::take(&mut self.payloads),
        })
    }
}

/// Returns where the primary block starts; `None` if the payload is malformed or has no sound in
/// it.
pub fn primary_at(payload: &[u8]) -> Option<u16> {
    let primary = Blocks::parse(payload)?.last()?;
    u16::try_from(payload.len().checked_sub(primary.payload.len())?).ok()
}

/// Splits off the header of a redundant block, if there is one more.
fn split_redundant_header(bytes: &[u8]) -> Option<([u8; 4], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<4>()?;
    // RFC 2198 §3: F says that another header follows this one.
    (header[0] & 0x80 != 0).then_some((*header, rest))
}

/// Returns the length a redundant block's header declares, at most 1023.
fn block_bytes(header: [u8; 4]) -> usize {
    let [.., high, low] = header;
    usize::from(u16::from_be_bytes([high, low]) & 0x03ff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_primary_block_is_found_behind_headers_and_copies() {
        let rows: [(&[u8], Option<u16>); 11] = [
            (&[111, 1, 2, 3], Some(1)),
            (&[0xef, 0x0f, 0x00, 2, 111, 8, 8, 9], Some(7)),
            (&[0xef, 0x1e, 0x00, 1, 0xef, 0x0f, 0x00, 2, 111, 7, 8, 8, 9], Some(12)),
            // An empty copy.
            (&[0xef, 0x0f, 0x00, 0, 111, 9], Some(5)),
            // No sound at all.
            (&[], None),
            (&[111], None),
            (&[0xef, 0x0f, 0x00, 2, 111, 8, 8], None),
            // Cut off in a header, before the primary header, in a copy.
            (&[0xef, 0x0f, 0x00], None),
            (&[0xef, 0x0f, 0x00, 0], None),
            (&[0xef, 0x0f, 0x03, 0xff, 111, 8, 8], None),
            (&[0xff; 16], None),
        ];
        for (payload, expected) in rows {
            assert_eq!(primary_at(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn blocks_come_oldest_first() {
        let payload = [0xef, 0x1e, 0x00, 1, 0xe0, 0x0f, 0x00, 2, 111, 7, 8, 8, 9];
        let blocks: Vec<_> = Blocks::parse(&payload).unwrap().collect();
        let block = |payload_type, timestamp_offset, is_primary, payload| Block {
            payload_type,
            timestamp_offset,
            is_primary,
            payload,
        };
        assert_eq!(
            blocks,
            [block(111, 1920, false, &[7][..]), block(96, 960, false, &[8, 8]), block(111, 0, true, &[9])]
        );
    }

    proptest! {
        #[test]
        fn what_was_packed_is_found(
            copies in proptest::collection::vec((0u8..128, 0u16..16_384, proptest::collection::vec(any::<u8>(), 0..200)), 0..5),
            primary in proptest::collection::vec(any::<u8>(), 1..200),
        ) {
            let mut payload = Vec::new();
            for (payload_type, offset, data) in &copies {
                let bits = (u32::from(*offset) << 10) | data.len() as u32;
                payload.push(0x80 | payload_type);
                payload.extend(&bits.to_be_bytes()[1..]);
            }
            payload.push(111);
            for (.., data) in &copies { payload.extend(data); }
            payload.extend(&primary);

            let at = usize::from(primary_at(&payload).unwrap());
            prop_assert_eq!(&payload[at..], &primary);
            let blocks: Vec<_> = Blocks::parse(&payload).unwrap().collect();
            prop_assert_eq!(blocks.len(), copies.len() + 1);
            for (block, (payload_type, offset, data)) in blocks.iter().zip(&copies) {
                prop_assert_eq!((block.payload_type, block.timestamp_offset, block.payload), (*payload_type, *offset, data.as_slice()));
            }
        }

        #[test]
        fn no_payload_makes_it_panic_or_reach_outside(mut payload: Vec<u8>, f in any::<bool>()) {
            if let (true, Some(first)) = (f, payload.first_mut()) { *first |= 0x80; }
            if let Some(at) = primary_at(&payload) {
                prop_assert!(usize::from(at) < payload.len());
            }
        }
    }
}
