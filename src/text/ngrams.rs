//! N-grams of a text: runs of neighbouring tokens, each known by a 64-bit hash of its words.
//!
//! The hash takes the place of the words wherever n-grams are counted or looked up, so that neither
//! allocates anything for a single n-gram. Among ten million n-grams, two have the same hash with a
//! probability of 3 in a million.

use std::cmp::Reverse;
use std::sync::Arc;

use anyhow::ensure;
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::TokenizedTexts;
use crate::config::{FieldValue, NgramSizes, NgramsConfig, inline_yaml};
use crate::distributed::Collective;
use crate::random::mix;
use crate::system::memory;

/// Number of n-grams for which a thread counts at a time, if memory permits more than that.
const COUNTED_AT_ONCE: usize = 2 << 20;
/// Maximum number of passes over the texts, unless memory is short.
const MAX_PASSES: usize = 16;
/// Bytes of an entry of the table of counts, half of which are empty.
const ENTRY_BYTES: u64 = 40;
/// Share of the available memory that all tables of counts may take.
const MEMORY_SHARE: u64 = 8;

/// Returns the hash of a word: FNV-1a (Fowler, Noll and Vo) of its UTF-8 bytes.
pub fn word_hash(word: &str) -> u64 {
    const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01B3;
    word.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// Calls `visit` with the position, the length and the hash of each n-gram of a text, which is given by
/// the hashes of its words. The hash of an n-gram mixes one word after the other into 0.
pub fn for_each_ngram(words: &[u64], sizes: &NgramSizes, mut visit: impl FnMut(usize, usize, u64)) {
    let longest = sizes.0.last().copied().unwrap_or(0);
    for start in 0..words.len() {
        let mut hash = 0;
        for (size, word) in (1..=longest).zip(&words[start..]) {
            hash = mix(hash ^ word);
            if sizes.0.contains(&size) {
                visit(start, size, hash);
            }
        }
    }
}

/// The n-grams that a model knows. Cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct NgramIndex {
    sizes: NgramSizes,
    rows: Arc<Rows>,
}

/// Rows of the n-grams.
#[derive(Debug, PartialEq)]
enum Rows {
    /// A row for each n-gram, by falling frequency.
    Counted { hashes: Vec<u64>, rows: FxHashMap<u64, u32> },
    /// A row for each n-gram, keyed by its hash without the `shift` lowest bits.
    Short { shift: u32, rows: FxHashMap<u64, u32> },
    /// The remainder of the hash divided by this number.
    Buckets(u64),
}

/// `min_count` of n-grams that occur again: the default, which also suits the smallest data.
const REPEATED: u64 = 2;

/// Number of texts with an n-gram.
#[derive(Clone, Copy, Default)]
struct TextCount {
    count: u32,
    /// Number of the last text with the n-gram, from 1.
    last_text: u32,
}

/// An n-gram with the number of texts that have it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct NgramCount {
    hash: u64,
    count: u64,
}

impl NgramCount {
    /// Value by which n-grams are sorted.
    fn rank(&self) -> (Reverse<u64>, u64) {
        (Reverse(self.count), self.hash)
    }
}

impl NgramIndex {
    /// Creates the configured index from the texts at these indices, on all threads. If it should
    /// contain the repeated n-grams, but there are none, it contains all. Returns `None` if no n-grams are
    /// configured.
    ///
    /// # Errors
    /// Returns an error if no n-gram is frequent enough, or if a process is lost that has some of the texts.
    pub fn build(
        tokenized: &TokenizedTexts,
        texts: &[u32],
        config: &NgramsConfig,
    ) -> anyhow::Result<Option<Self>> {
        if !config.are_counted() {
            return Ok(Self::buckets(config));
        }
        let mut hashes = count(tokenized, texts, config)?;
        if hashes.is_empty() && config.min_count == REPEATED {
            hashes = count(tokenized, texts, &NgramsConfig { min_count: 1, ..config.clone() })?;
        }
        ensure!(
            !hashes.is_empty(),
            "no n-gram of {} tokens occurs in {} or more training texts; lower model.ngrams.min_count, \
             or set model.ngrams: null",
            inline_yaml(&config.sizes.to_yaml()),
            config.min_count
        );
        Ok(Some(Self::counted(config, hashes)))
    }

    /// Creates the configured index if it needs no training texts.
    pub fn buckets(config: &NgramsConfig) -> Option<Self> {
        let buckets = config.buckets.filter(|_| config.is_on())?;
        Some(Self { sizes: config.sizes.clone(), rows: Arc::new(Rows::Buckets(buckets as u64)) })
    }

    /// Creates an index from the hashes of its n-grams in the order of their rows.
    pub fn counted(config: &NgramsConfig, hashes: Vec<u64>) -> Self {
        let rows = hashes.iter().copied().zip(0..).collect();
        Self { sizes: config.sizes.clone(), rows: Arc::new(Rows::Counted { hashes, rows }) }
    }

    /// Creates an index from the leading bits of the hashes of its n-grams. N-grams with the same bits share a row.
    pub fn short(config: &NgramsConfig, bits: u32, hashes: &[u64]) -> Self {
        let rows = hashes.iter().copied().zip(0..).collect();
        let shift = u64::BITS.saturating_sub(bits);
        Self { sizes: config.sizes.clone(), rows: Arc::new(Rows::Short { shift, rows }) }
    }

    /// Returns the index if its n-grams are counted, as configured, and of the configured lengths.
    pub fn counted_like(&self, config: &NgramsConfig) -> Option<&Self> {
        (config.are_counted() && self.hashes().is_some() && self.sizes == config.sizes)
            .then_some(self)
    }

    /// Returns this index with the n-grams of another one that it lacks, in their order, up to the configured
    /// number. All n-grams of this index keep their rows.
    pub fn extended(&self, other: &Self, config: &NgramsConfig) -> Self {
        let hashes = |index: &Self| index.hashes().unwrap_or_default().to_vec();
        let room = config.vocabulary.saturating_sub(self.len());
        let new = hashes(other).into_iter().filter(|hash| self.row(*hash).is_none()).take(room);
        Self::counted(config, hashes(self).into_iter().chain(new).collect())
    }

    /// Lengths of the n-grams.
    pub fn sizes(&self) -> &NgramSizes {
        &self.sizes
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match &*self.rows {
            Rows::Counted { hashes, .. } => hashes.len(),
            Rows::Short { rows, .. } => rows.len(),
            Rows::Buckets(buckets) => *buckets as usize,
        }
    }

    /// Returns true if the index has no n-grams.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hashes of the n-grams in the order of their rows. `None` with buckets or short hashes.
    pub fn hashes(&self) -> Option<&[u64]> {
        match &*self.rows {
            Rows::Counted { hashes, .. } => Some(hashes),
            Rows::Short { .. } | Rows::Buckets(_) => None,
        }
    }

    /// Returns the row of an n-gram.
    pub fn row(&self, hash: u64) -> Option<u32> {
        match &*self.rows {
            Rows::Counted { rows, .. } => rows.get(&hash).copied(),
            Rows::Short { shift, rows } => rows.get(&(hash >> shift)).copied(),
            Rows::Buckets(buckets) => Some((hash % buckets) as u32),
        }
    }

    /// Appends the rows of the n-grams of a text, each once and in ascending order, to `rows`.
    /// Returns their number.
    pub fn append_rows(&self, words: &[u64], rows: &mut Vec<u32>) -> usize {
        let start = rows.len();
        for_each_ngram(words, &self.sizes, |_, _, hash| rows.extend(self.row(hash)));
        rows[start..].sort_unstable();
        let mut kept = start;
        for at in start..rows.len() {
            if at == start || rows[at] != rows[kept - 1] {
                rows[kept] = rows[at];
                kept += 1;
            }
        }
        rows.truncate(kept);
        kept - start
    }
}

/// Returns the hashes of the frequent n-grams, sorted by falling number of texts, then by hash.
///
/// Each pass over the texts counts the n-grams whose hashes leave a certain remainder. The number of
/// passes limits the memory, and the result does not depend on it. If texts are divided among processes, each adds
/// up the counts of some of the n-grams of a pass.
fn count(
    tokenized: &TokenizedTexts,
    texts: &[u32],
    config: &NgramsConfig,
) -> anyhow::Result<Vec<u64>> {
    let words: Vec<u64> = tokenized.words().par_iter().map(|word| word_hash(word)).collect();
    let tokens: usize = texts.iter().map(|text| tokenized.text(*text as usize).len()).sum();
    let available = memory::available().map_or(u64::MAX, |available| available.bytes);
    let threads = rayon::current_num_threads();
    let passes = passes(tokens * config.sizes.0.len(), threads, available);
    let is_frequent = |counted: &NgramCount| counted.count >= config.min_count;
    let counts_of = |passes: usize, pass: usize| {
        let (mut counts, mut text_words) = (FxHashMap::<u64, TextCount>::default(), Vec::new());
        let mut text = 0;
        tokenized.for_each_text(texts.iter().map(|text| *text as usize), |tokens| {
            text += 1;
            text_words.clear();
            text_words.extend(tokens.iter().map(|token| words[*token as usize]));
            for_each_ngram(&text_words, &config.sizes, |_, _, hash| {
                // The table uses other bits of the hash.
                if (hash >> 32) as usize % passes == pass {
                    let counted = counts.entry(hash).or_default();
                    if counted.last_text != text {
                        *counted = TextCount { count: counted.count + 1, last_text: text };
                    }
                }
            });
        });
        let count =
            |(hash, counted): (u64, TextCount)| NgramCount { hash, count: counted.count.into() };
        counts.into_iter().map(count)
    };
    let mut frequent: Vec<NgramCount> = match tokenized.shards() {
        None => {
            let of_pass = |pass: usize| counts_of(passes, pass).filter(is_frequent);
            (0..passes).into_par_iter().with_max_len(1).flat_map_iter(of_pass).collect()
        }
        Some(shards) => {
            let collective = shards.collective();
            // The counts that are sent and received take memory, too.
            let passes =
                2 * collective.gather_number(passes as u64)?.into_iter().max().unwrap_or(1);
            let threads = collective.gather_number(rayon::current_num_threads() as u64)?;
            let at_once = threads.into_iter().min().unwrap_or(1) as usize;
            let all: Vec<usize> = (0..passes as usize).collect();
            let mut frequent = Vec::new();
            for some in all.chunks(at_once) {
                let own = some.par_iter().with_max_len(1);
                let own = own.flat_map_iter(|pass| counts_of(all.len(), *pass)).collect();
                frequent.extend(add_up(collective, own)?.filter(is_frequent));
            }
            frequent.sort_unstable_by_key(NgramCount::rank);
            frequent.truncate(config.vocabulary);
            collective.gather_arrays(&frequent)?.concat()
        }
    };
    frequent.par_sort_unstable_by_key(NgramCount::rank);
    frequent.truncate(config.vocabulary);
    Ok(frequent.into_iter().map(|counted| counted.hash).collect())
}

/// Adds up the counts of all processes, and returns those of the n-grams that this process owns.
fn add_up(
    collective: &dyn Collective,
    own: Vec<NgramCount>,
) -> anyhow::Result<impl Iterator<Item = NgramCount>> {
    let size = collective.worker().world_size;
    let received = collective.exchange(own, |counted| (counted.hash % size as u64) as usize)?;
    let mut sums: FxHashMap<u64, u64> = FxHashMap::default();
    for NgramCount { hash, count } in received {
        *sums.entry(hash).or_default() += count;
    }
    Ok(sums.into_iter().map(|(hash, count)| NgramCount { hash, count }))
}

/// Returns the number of passes in which to count at most `ngrams` different n-grams: each thread has a table of
/// the n-grams of a pass, and all tables take at most a share of the `available` bytes.
fn passes(ngrams: usize, threads: usize, available: u64) -> usize {
    let per_table = available / MEMORY_SHARE / ENTRY_BYTES / threads as u64;
    let needed = ngrams.div_ceil(usize::try_from(per_table).unwrap_or(usize::MAX).max(1));
    needed.max((ngrams / COUNTED_AT_ONCE).min(MAX_PASSES)).max(threads)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::config;

    fn ngrams(fields: &str) -> NgramsConfig {
        let yaml = format!("data: {{train: x}}\nmodel: {{ngrams: {{{fields}}}}}\n");
        config::parse(&yaml, "test", &[]).unwrap().config.model.ngrams
    }

    fn tokenized(texts: &[String]) -> TokenizedTexts {
        let config = config::parse("data: {train: x}\n", "test", &[]).unwrap().config;
        TokenizedTexts::from_texts(texts, &config.text)
    }

    fn hash(words: &str) -> u64 {
        words.split(' ').fold(0, |hash, word| mix(hash ^ word_hash(word)))
    }

    /// Python computes the same hash:
    ///
    /// ```python
    /// M = 2**64 - 1
    /// def word_hash(word):
    ///     h = 0xCBF29CE484222325
    ///     for byte in word.encode(): h = (h ^ byte) * 0x100000001B3 & M
    ///     return h
    /// def mix(z):
    ///     z = z + 0x9E3779B97F4A7C15 & M
    ///     z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M
    ///     z = (z ^ z >> 27) * 0x94D049BB133111EB & M
    ///     return z ^ z >> 31
    /// print(hex(mix(mix(word_hash("not")) ^ word_hash("bad"))))
    /// ```
    #[test]
    fn hashes_are_those_of_the_documented_algorithm() {
        assert_eq!(word_hash("not"), 0x215A_D619_258E_9F4A);
        assert_eq!(hash("not bad"), 0x7DCB_CFDD_E9E6_EEDB);
    }

    #[test]
    fn ngrams_of_the_configured_sizes_are_visited() {
        let words: Vec<u64> = ["a", "b", "c"].map(word_hash).to_vec();
        let mut visited = Vec::new();
        for_each_ngram(&words, &NgramSizes(vec![1, 3]), |start, size, hash| {
            visited.push((start, size, hash));
        });
        let expected =
            [(0, 1, hash("a")), (0, 3, hash("a b c")), (1, 1, hash("b")), (2, 1, hash("c"))];
        assert_eq!(visited, expected);
    }

    #[test]
    fn a_text_has_each_ngram_once() {
        let texts = tokenized(&["a b a b".into(), "b a".into()]);
        let config = ngrams("sizes: [1, 2], min_count: 1");
        let index = NgramIndex::build(&texts, &[0, 1], &config).unwrap().unwrap();
        assert_eq!(index.len(), 4, "a, b, a b, b a");
        let mut rows = vec![7];
        let words: Vec<u64> = ["a", "b", "a", "z", "b"].map(word_hash).to_vec();
        assert_eq!(index.append_rows(&words, &mut rows), 4);
        assert_eq!(rows, [7, 0, 1, 2, 3]);
        assert_eq!(index.append_rows(&[], &mut rows), 0);
    }

    #[test]
    fn buckets_need_no_texts() {
        let config = ngrams("sizes: [1], buckets: 10");
        let index = NgramIndex::build(&TokenizedTexts::default(), &[], &config).unwrap().unwrap();
        assert_eq!((index.len(), index.hashes()), (10, None));
        assert_eq!(index.row(hash("z")), Some((hash("z") % 10) as u32));
        let off = ngrams("sizes: [], buckets: 10");
        assert_eq!(NgramIndex::build(&TokenizedTexts::default(), &[], &off).unwrap(), None);
    }

    #[test]
    fn an_extended_index_keeps_its_rows() {
        let config = ngrams("sizes: [1], vocabulary: 3");
        let index = |hashes: &[u64]| NgramIndex::counted(&config, hashes.to_vec());
        let extended = index(&[7, 5]).extended(&index(&[1, 5, 2]), &config);
        assert_eq!(extended.hashes().unwrap(), [7, 5, 1]);
        assert!(extended.counted_like(&config).is_some());
        assert!(extended.counted_like(&ngrams("sizes: [1, 2]")).is_none());
        assert!(extended.counted_like(&ngrams("sizes: [1], buckets: 9")).is_none());
    }

    #[test]
    fn a_short_index_knows_the_leading_bits() {
        let config = ngrams("sizes: [1]");
        let index = NgramIndex::short(&config, 40, &[hash("a") >> 24, hash("b") >> 24]);
        let rows = [hash("b"), hash("b") ^ 1, hash("c")].map(|hash| index.row(hash));
        assert_eq!((index.len(), rows), (2, [Some(1), Some(1), None]));
    }

    #[test]
    fn texts_without_a_repeated_ngram_keep_all() {
        let texts = tokenized(&["a b".into()]);
        let build = |config: &str| NgramIndex::build(&texts, &[0], &ngrams(config));
        assert_eq!(build("sizes: [1]").unwrap().unwrap().len(), 2);
        for config in ["sizes: [3]", "sizes: [1], min_count: 3"] {
            let error = build(config).unwrap_err().to_string();
            assert!(error.contains("model.ngrams.min_count"), "{error}");
        }
    }

    proptest! {
        /// Each pass counts its share of the n-grams, whose hashes are uniform.
        #[test]
        fn tables_of_counts_take_a_share_of_the_memory(
            ngrams in 0_usize..1 << 40,
            threads in 1_usize..200,
            available in 1_u64 << 20..1 << 40,
        ) {
            let of_pass = ngrams.div_ceil(passes(ngrams, threads, available)) as u64;
            let all_tables = threads as u64 * ENTRY_BYTES * of_pass;
            prop_assert!(all_tables <= available / MEMORY_SHARE);
        }

        /// N-grams are ranked by the number of texts that have them, however many threads count.
        #[test]
        fn frequent_ngrams_have_rows_by_rank(
            texts in prop::collection::vec("[a-d]( [a-d]){0,9}", 1..30),
            min_count in 1_u32..4,
            size in 1_usize..40,
        ) {
            let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
            for text in &texts {
                let words: Vec<&str> = text.split(' ').collect();
                let of_size = |size: usize| words.windows(size).map(|words| hash(&words.join(" ")));
                let distinct: BTreeSet<u64> = [1, 2].into_iter().flat_map(of_size).collect();
                distinct.into_iter().for_each(|ngram| *counts.entry(ngram).or_default() += 1);
            }
            let mut expected: Vec<u64> = counts.keys().copied().collect();
            expected.retain(|ngram| counts[ngram] >= min_count);
            expected.sort_by_key(|ngram| std::cmp::Reverse(counts[ngram]));
            expected.truncate(size);
            let config =
                ngrams(&format!("sizes: [2, 1], min_count: {min_count}, vocabulary: {size}"));
            let (all, tokenized) =
                ((0..texts.len() as u32).collect::<Vec<_>>(), tokenized(&texts));
            prop_assert_eq!(&count(&tokenized, &all, &config).unwrap(), &expected);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            prop_assert_eq!(pool.install(|| count(&tokenized, &all, &config).unwrap()), expected);
        }
    }
}
