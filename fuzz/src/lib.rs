//! What the fuzz targets share. Each target says at its head how it reads its input; `seeds.py` writes inputs of the
//! same form.

pub mod codec;
pub mod heap;
pub mod wire;

/// The fuzzer's bytes, taken from the front: what is not there counts as zero.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// The next two bytes, as a number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let number = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        number.checked_rem(limit).unwrap_or(0)
    }
}

/// Pseudo-random numbers (SplitMix64) out of a byte of the input.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) >> 16) as usize % limit
    }
}
