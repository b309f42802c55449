//! Files of the leading bits of the hashes of n-grams.
//!
//! The sorted hashes are stored as the differences between neighbors, in a Rice code (Rice and Plaunt 1971): with a
//! parameter k, the quotient of a difference and 2^k as that number of 1 bits and a 0, then the k bits of the remainder.
//! For N random hashes of b bits, this takes about b − log2 N + 1.6 bits for each.

use std::path::Path;

use anyhow::{Context, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::model::named_tensors::write_views;

const CODE: &str = "code";
const PARAMETERS: &str = "parameters";
/// Number of bits by which hashes are longer than needed to number all n-grams: one of 2^16 n-grams that are not in the
/// model has the same bits as one that is.
const SPARE_BITS: u32 = 16;
/// Maximum number of hashes, as many as rows that a `u32` can number.
const MAX_COUNT: u64 = u32::MAX as u64;

/// Leading bits of different hashes, in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortHashes {
    /// Number of bits, from 1 to 64.
    pub bits: u32,
    /// The leading bits of each hash, as integers.
    pub hashes: Vec<u64>,
}

impl ShortHashes {
    /// Number of bits of the hashes of `count` n-grams.
    pub fn bits_for(count: usize) -> u32 {
        (count.max(2).next_power_of_two().ilog2() + SPARE_BITS).min(u64::BITS)
    }

    /// Writes the hashes to a safetensors file: the Rice code, and the number of bits, k and the number of hashes.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let range = u64::MAX >> (u64::BITS - self.bits);
        let mean = range / (self.hashes.len() as u64).max(1);
        let k = mean.max(1).ilog2();
        let code = self.encode(k);
        let parameters = [u64::from(self.bits), u64::from(k), self.hashes.len() as u64];
        let code = TensorView::new(Dtype::U8, vec![code.len()], &code)?;
        let parameters = TensorView::new(Dtype::U64, vec![3], bytemuck::cast_slice(&parameters))?;
        write_views(path, vec![(CODE, code), (PARAMETERS, parameters)])
    }

    /// Reads the hashes from a safetensors file with the content `bytes`. `path` names it in errors.
    ///
    /// # Errors
    /// Returns an error if it is not a file of different hashes.
    pub fn parse(bytes: &[u8], path: &Path) -> anyhow::Result<Self> {
        let parse = || -> anyhow::Result<Self> {
            let tensors = SafeTensors::deserialize(bytes)?;
            let (code, parameters) = (tensors.tensor(CODE)?, tensors.tensor(PARAMETERS)?);
            let is_right = code.dtype() == Dtype::U8
                && parameters.dtype() == Dtype::U64
                && parameters.shape() == [3];
            ensure!(is_right, "its arrays have other types or shapes");
            let (chunks, _) = parameters.data().as_chunks();
            let [bits, k, count] =
                [0, 1, 2].map(|at| chunks.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes)));
            ensure!((1..=64).contains(&bits) && k < 64 && count <= MAX_COUNT, "impossible sizes");
            Self::decode(bits as u32, k as u32, count, code.data())
        };
        parse().with_context(|| format!("cannot read \"{}\"", path.display()))
    }

    fn encode(&self, k: u32) -> Vec<u8> {
        let mut code = BitWriter::default();
        let mut smallest = 0;
        for hash in &self.hashes {
            let difference = hash - smallest;
            for _ in 0..difference >> k {
                code.push(true);
            }
            code.push(false);
            for bit in (0..k).rev() {
                code.push(difference >> bit & 1 == 1);
            }
            smallest = hash.saturating_add(1);
        }
        code.bytes
    }

    fn decode(bits: u32, k: u32, count: u64, code: &[u8]) -> anyhow::Result<Self> {
        // Each takes at least a bit.
        ensure!(count <= 8 * code.len() as u64, "there are fewer hashes than it says");
        let largest = u64::MAX >> (u64::BITS - bits);
        let mut reader = BitReader { bytes: code, at: 0 };
        let (mut hashes, mut smallest) = (Vec::with_capacity(count as usize), Some(0_u64));
        for _ in 0..count {
            let mut quotient = 0_u64;
            while reader.next()? {
                quotient += 1;
            }
            let mut remainder = 0;
            for _ in 0..k {
                remainder = remainder << 1 | u64::from(reader.next()?);
            }
            let high = quotient.checked_mul(1 << k);
            let difference = high.and_then(|high| high.checked_add(remainder));
            let hash = smallest.zip(difference).and_then(|(from, step)| from.checked_add(step));
            let hash = hash.filter(|hash| *hash <= largest);
            let hash = hash.with_context(|| format!("a hash has more than {bits} bits"))?;
            hashes.push(hash);
            smallest = hash.checked_add(1);
        }
        ensure!(reader.is_at_end(), "there are more hashes than it says");
        Ok(Self { bits, hashes })
    }
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    bits: usize,
}

impl BitWriter {
    fn push(&mut self, bit: bool) {
        if self.bits.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (self.bits % 8);
        }
        self.bits += 1;
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    /// Index of the next bit.
    at: usize,
}

impl BitReader<'_> {
    fn next(&mut self) -> anyhow::Result<bool> {
        let byte = self.bytes.get(self.at / 8).context("the code is truncated")?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// Returns true if only the zeros that fill up the last byte remain.
    fn is_at_end(&self) -> bool {
        self.at.div_ceil(8) == self.bytes.len()
            && (self.at.is_multiple_of(8)
                || self.bytes.last().is_some_and(|byte| byte >> (self.at % 8) == 0))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::random::mix;

    #[test]
    fn hashes_take_as_many_bits_as_documented() {
        let count = 100_000;
        let bits = ShortHashes::bits_for(count);
        assert_eq!(bits, 17 + 16);
        let mut hashes: Vec<u64> = (0..count as u64).map(|seed| mix(seed) >> (64 - bits)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        let hashes = ShortHashes { bits, hashes };
        hashes.write(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(ShortHashes::parse(&bytes, &path).unwrap(), hashes);
        let each = 8.0 * bytes.len() as f64 / hashes.hashes.len() as f64;
        assert!(each < 33.0 - 16.6 + 1.8, "{each} bits");
    }

    #[test]
    fn impossible_codes_are_rejected() {
        let error = |bits, k, count, code: &[u8]| {
            ShortHashes::decode(bits, k, count, code).unwrap_err().to_string()
        };
        assert!(error(8, 2, 9, &[0]).contains("fewer hashes"));
        assert!(error(8, 2, 1, &[0xFF; 2]).contains("truncated"));
        assert!(error(2, 3, 1, &[0b1110]).contains("more than 2 bits"));
        assert!(error(8, 2, 1, &[0, 0]).contains("more hashes"));
        assert!(error(8, 2, 1, &[0b1000]).contains("more hashes"));
        assert!(error(64, 63, 3, &[0b11; 40]).contains("more than 64 bits"));
    }

    proptest! {
        #[test]
        fn hashes_are_unchanged_by_encoding(
            hashes in prop::collection::btree_set(any::<u64>(), 0..40), bits in 1_u32..=64,
            k in 0_u32..20,
        ) {
            let hashes: std::collections::BTreeSet<u64> =
                hashes.into_iter().map(|hash| hash >> (64 - bits)).collect();
            // Quotients are written as that number of bits.
            prop_assume!(bits < k + 12);
            let hashes = ShortHashes { bits, hashes: hashes.into_iter().collect() };
            let code = hashes.encode(k);
            let count = hashes.hashes.len() as u64;
            prop_assert_eq!(ShortHashes::decode(bits, k, count, &code).unwrap(), hashes);
        }
    }
}
