//! How does one input become another?
//!
//! Small changes that parsers stumble over: lengths that lie, bytes at limits, parts repeated, left
//! out or taken from elsewhere. Everything follows from the seed.

/// Numbers that only depend on their seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number in `0..end`; 0 if that is empty.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    /// This many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits() as u8).collect()
    }
}

/// The longest generated input: longer than any datagram, and short enough to be fast. A guess.
const MAX_BYTES: usize = 70_000;

/// Values at which signs, lengths and shifts go wrong.
const EDGES: [u32; 12] = [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// Makes a new input of `seeds`, with `words` to insert.
pub fn mutated(random: &mut Random, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = match random.below(16) {
        0 => {
            let len = random.below(200);
            random.bytes(len)
        }
        _ => seeds.get(random.below(seeds.len())).cloned().unwrap_or_default(),
    };
    let changes = 1 + random.below(4) * random.below(4);
    for _ in 0..changes {
        change(random, &mut input, seeds, words);
    }
    input.truncate(MAX_BYTES);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str]) {
    let at = random.below(input.len());
    let len = 1 + random.below(random_reach(input.len()));
    let end = (at + len).min(input.len());
    match random.below(if words.is_empty() { 9 } else { 12 }) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.bits() as u8;
            }
        }
        2 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let edge = &edge[4 - [1, 2, 4][random.below(3)]..];
            if let Some(place) = input.get_mut(at..at + edge.len()) {
                place.copy_from_slice(edge);
            }
        }
        3 => {
            input.drain(at..end);
        }
        4 => {
            let part = input[at..end].to_vec();
            for _ in 0..1 + random.below(4) {
                if input.len() < MAX_BYTES {
                    input.splice(at..at, part.iter().copied());
                }
            }
        }
        5 => input.truncate(at),
        6 => {
            let bytes = random.bytes(len.min(64));
            input.splice(at..at, bytes);
        }
        7 => {
            let Some(other) = seeds.get(random.below(seeds.len())) else { return };
            let from = random.below(other.len());
            let to = (from + 1 + random.below(400)).min(other.len());
            let until = [at, end][random.below(2)];
            input.splice(at..until, other[from..to].iter().copied());
        }
        8 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add([1, 0xff][random.below(2)]);
            }
        }
        _ => {
            let word = words[random.below(words.len())].as_bytes();
            // As a line of its own, as often as not.
            let at = match random.below(2) {
                0 => input[at..].iter().position(|b| *b == b'\n').map_or(at, |more| at + more + 1),
                _ => at,
            };
            input.splice(at..at, word.iter().copied());
        }
    }
}

/// Mostly short parts, now and then half of the whole.
fn random_reach(len: usize) -> usize {
    if len > 64 { len / 8 } else { len }.max(1)
}
