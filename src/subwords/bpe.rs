//! Byte-pair encoding (Sennrich, Haddow and Birch 2016): frequent pairs of symbols are merged, until the
//! vocabulary is full.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::pieces::MARKER;

/// Minimum number of occurrences of a pair that is merged.
const MIN_COUNT: u64 = 2;
/// Symbol of characters that have none. It is never merged.
const UNKNOWN: u32 = u32::MAX;

/// Pair of symbols.
pub type Pair = (u32, u32);

/// Symbols and merges.
#[derive(Debug, PartialEq)]
pub struct Bpe {
    /// Text of each symbol.
    symbols: Vec<Box<str>>,
    /// Symbols of one character.
    characters: FxHashMap<char, u32>,
    /// Pairs in the order in which they are merged.
    merges: Vec<Pair>,
    /// Rank and result of each pair.
    ranks: FxHashMap<Pair, (u32, u32)>,
}

impl Bpe {
    /// Creates an encoding.
    ///
    /// # Errors
    /// Returns a message if a symbol occurs twice or is empty, a merge has no such symbols, or the result of
    /// a merge is no symbol.
    pub fn new(symbols: Vec<Box<str>>, merges: Vec<Pair>) -> Result<Self, String> {
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        let mut characters = FxHashMap::default();
        for (id, symbol) in symbols.iter().enumerate() {
            if symbol.is_empty() || ids.insert(symbol, id as u32).is_some() {
                return Err(format!("the token {symbol:?} is empty or occurs twice"));
            }
            let mut chars = symbol.chars();
            if let (Some(character), None) = (chars.next(), chars.next()) {
                characters.insert(character, id as u32);
            }
        }
        let mut ranks = FxHashMap::default();
        for (rank, pair) in merges.iter().enumerate() {
            let part = |id: u32| symbols.get(id as usize).ok_or("a merge has no such token");
            let merged = format!("{}{}", part(pair.0)?, part(pair.1)?);
            let Some(result) = ids.get(merged.as_str()) else {
                return Err(format!("the merge {merged:?} is no token"));
            };
            ranks.entry(*pair).or_insert((rank as u32, *result));
        }
        Ok(Self { symbols, characters, merges, ranks })
    }

    /// Text of each symbol.
    pub fn symbols(&self) -> &[Box<str>] {
        &self.symbols
    }

    /// Pairs in the order in which they are merged.
    pub fn merges(&self) -> &[Pair] {
        &self.merges
    }

    /// Calls `each` with every token of a piece. Characters without a symbol are tokens.
    pub fn split<'p>(&self, piece: &'p str, mut each: impl FnMut(&'p str)) {
        let mut parts: Vec<Part> = Vec::with_capacity(piece.len());
        for (start, character) in piece.char_indices() {
            let symbol = self.characters.get(&character).copied().unwrap_or(UNKNOWN);
            parts.push(Part { symbol, end: start + character.len_utf8(), merge: None });
        }
        for at in 1..parts.len() {
            parts[at - 1].merge = self.merge(&parts[at - 1], &parts[at]);
        }
        loop {
            let ranked = parts.iter().enumerate();
            let ranked = ranked.filter_map(|(at, part)| Some((part.merge?.0, at)));
            let Some((_, at)) = ranked.min() else { break };
            let next = parts.remove(at + 1);
            if let Some((_, result)) = parts[at].merge {
                parts[at].symbol = result;
            }
            parts[at].end = next.end;
            parts[at].merge = match parts.get(at + 1) {
                Some(next) => self.merge(&parts[at], next),
                None => None,
            };
            if at > 0 {
                parts[at - 1].merge = self.merge(&parts[at - 1], &parts[at]);
            }
        }
        let mut start = 0;
        for part in parts {
            each(&piece[start..part.end]);
            start = part.end;
        }
    }

    fn merge(&self, left: &Part, right: &Part) -> Option<(u32, u32)> {
        self.ranks.get(&(left.symbol, right.symbol)).copied()
    }

    /// Learns symbols from pieces with their counts, until there are `size` symbols or no pair occurs twice.
    /// The result depends neither on the order of the pieces nor on threads.
    pub fn train<'p>(pieces: impl IntoIterator<Item = (&'p str, u64)>, size: usize) -> Self {
        let pieces: Vec<(&str, u64)> = pieces.into_iter().collect();
        let mut trainer = Trainer::new(alphabet(&pieces, size));
        for (piece, count) in pieces {
            trainer.add(piece, count);
        }
        trainer.learn(size);
        let Trainer { symbols, merges, ids, .. } = trainer;
        let characters = ids.iter().filter_map(|(symbol, id)| {
            let mut chars = symbol.chars();
            chars.next().filter(|_| chars.next().is_none()).map(|character| (character, *id))
        });
        let ranks =
            merges.iter().enumerate().map(|(rank, (pair, result))| (*pair, (rank as u32, *result)));
        Self {
            characters: characters.collect(),
            ranks: ranks.collect(),
            merges: merges.iter().map(|(pair, _)| *pair).collect(),
            symbols,
        }
    }
}

/// Part of a piece: its symbol, its end in bytes, and the rank and result of its merge with the next part.
struct Part {
    symbol: u32,
    end: usize,
    merge: Option<(u32, u32)>,
}

/// Returns the characters that become symbols, in their order: the most frequent ones, which leave half of
/// `size` to merges, and the marker of words.
fn alphabet(pieces: &[(&str, u64)], size: usize) -> Vec<char> {
    let mut counts: FxHashMap<char, u64> = FxHashMap::default();
    for (piece, count) in pieces {
        for character in piece.chars() {
            *counts.entry(character).or_default() += count;
        }
    }
    counts.remove(&MARKER);
    let mut ranked: Vec<(char, u64)> = counts.into_iter().collect();
    ranked.sort_unstable_by_key(|(character, count)| (Reverse(*count), *character));
    ranked.truncate(size / 2);
    let mut characters: Vec<char> = ranked.into_iter().map(|(character, _)| character).collect();
    characters.push(MARKER);
    characters.sort_unstable();
    characters
}

/// Occurrences of a pair.
#[derive(Default)]
struct Occurrences {
    count: u64,
    /// Indices of the words that have or had it.
    words: Vec<u32>,
}

struct Trainer {
    symbols: Vec<Box<str>>,
    ids: FxHashMap<Box<str>, u32>,
    /// Pairs in the order in which they are merged, with the results.
    merges: Vec<(Pair, u32)>,
    merged: FxHashSet<Pair>,
    /// Symbols of each word, and its count.
    words: Vec<(Vec<u32>, u64)>,
    pairs: FxHashMap<Pair, Occurrences>,
}

impl Trainer {
    fn new(alphabet: Vec<char>) -> Self {
        let symbols: Vec<Box<str>> =
            alphabet.into_iter().map(|character| character.to_string().into()).collect();
        let ids = symbols.iter().cloned().zip(0..).collect();
        Self {
            symbols,
            ids,
            merges: Vec::new(),
            merged: FxHashSet::default(),
            words: Vec::new(),
            pairs: FxHashMap::default(),
        }
    }

    fn add(&mut self, piece: &str, count: u64) {
        let mut buffer = [0; 4];
        let symbol = |character: char| {
            let text: &str = character.encode_utf8(&mut buffer);
            self.ids.get(text).copied().unwrap_or(UNKNOWN)
        };
        let word: Vec<u32> = piece.chars().map(symbol).collect();
        let index = self.words.len() as u32;
        for pair in known_pairs(&word) {
            let Occurrences { count: sum, words } = self.pairs.entry(pair).or_default();
            *sum += count;
            if words.last() != Some(&index) {
                words.push(index);
            }
        }
        self.words.push((word, count));
    }

    fn learn(&mut self, size: usize) {
        // Counts in the queue may be too high, and are corrected when they come first.
        let mut queue: BinaryHeap<(u64, Reverse<Pair>)> =
            self.pairs.iter().map(|(pair, found)| (found.count, Reverse(*pair))).collect();
        while self.symbols.len() < size {
            let Some((count, Reverse(pair))) = queue.pop() else { break };
            if count < MIN_COUNT {
                break;
            }
            let actual = self.pairs.get(&pair).map_or(0, |found| found.count);
            if actual != count {
                if actual < count && actual > 0 {
                    queue.push((actual, Reverse(pair)));
                }
                continue;
            }
            for changed in self.merge(pair) {
                let count = self.pairs.get(&changed).map_or(0, |found| found.count);
                queue.push((count, Reverse(changed)));
            }
        }
    }

    /// Merges a pair in all words. Returns the pairs that occur more often now, in their order.
    fn merge(&mut self, pair: Pair) -> Vec<Pair> {
        let text = [pair.0, pair.1].map(|id| &*self.symbols[id as usize]).concat();
        let text: Box<str> = text.into();
        let result = match self.ids.get(&text) {
            Some(id) => *id,
            None => {
                let id = self.symbols.len() as u32;
                self.symbols.push(text.clone());
                self.ids.insert(text, id);
                id
            }
        };
        // A pair can come back, if there is another way to one of its symbols.
        if self.merged.insert(pair) {
            self.merges.push((pair, result));
        }
        let words = self.pairs.remove(&pair).map(|found| found.words).unwrap_or_default();
        let mut more: FxHashSet<Pair> = FxHashSet::default();
        for index in words {
            let (word, count) = &mut self.words[index as usize];
            if !known_pairs(word).any(|other| other == pair) {
                continue;
            }
            for other in known_pairs(word) {
                if let Some(found) = self.pairs.get_mut(&other) {
                    found.count -= *count;
                }
            }
            merge_in(word, pair, result);
            for other in known_pairs(word) {
                let found = self.pairs.entry(other).or_default();
                found.count += *count;
                if other.0 == result || other.1 == result {
                    if found.words.last() != Some(&index) {
                        found.words.push(index);
                    }
                    more.insert(other);
                }
            }
        }
        let mut more: Vec<Pair> = more.into_iter().collect();
        more.sort_unstable();
        more
    }
}

fn known_pairs(word: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    let pairs = word.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|pair| pair.0 != UNKNOWN && pair.1 != UNKNOWN)
}

/// Replaces each occurrence of `pair`, from the left, with `result`.
fn merge_in(word: &mut Vec<u32>, pair: Pair, result: u32) {
    let (mut read, mut written) = (0, 0);
    while read < word.len() {
        let is_pair = word[read] == pair.0 && word.get(read + 1) == Some(&pair.1);
        word[written] = if is_pair { result } else { word[read] };
        read += if is_pair { 2 } else { 1 };
        written += 1;
    }
    word.truncate(written);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(bpe: &Bpe, piece: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        bpe.split(piece, |token| tokens.push(token.to_owned()));
        tokens
    }

    /// The example of the paper, with the marker in front: e s, es t, l o, lo w …
    #[test]
    fn the_most_frequent_pairs_are_merged() {
        let words = [("▁low", 5), ("▁lower", 2), ("▁newest", 6), ("▁widest", 3)];
        let bpe = Bpe::train(words, 24);
        let merged: Vec<&str> = bpe.symbols()[11..16].iter().map(|symbol| &**symbol).collect();
        assert_eq!(merged, ["es", "est", "lo", "▁lo", "▁low"]);
        assert_eq!(split(&bpe, "▁lowest"), ["▁low", "est"]);
        assert_eq!(split(&bpe, "▁slow"), ["▁", "s", "lo", "w"]);
        assert_eq!(split(&bpe, "▁lo🦄w"), ["▁lo", "🦄", "w"]);
        assert!(split(&bpe, "").is_empty());
    }

    #[test]
    fn rare_characters_leave_room_for_merges() {
        let words: Vec<String> = ('a'..='z').map(|c| format!("▁{c}{c}")).collect();
        let words = words.iter().map(|word| (word.as_str(), 1)).chain([("▁the", 9)]);
        let bpe = Bpe::train(words, 10);
        assert_eq!(bpe.symbols().len(), 9);
        assert_eq!(split(&bpe, "▁the"), ["▁the"]);
        assert_eq!(split(&bpe, "▁zz"), ["▁", "z", "z"]);
    }

    #[test]
    fn impossible_merges_are_rejected() {
        let symbols = |symbols: &[&str]| symbols.iter().map(|symbol| (*symbol).into()).collect();
        assert!(Bpe::new(symbols(&["a", "b", "ab"]), vec![(0, 1)]).is_ok());
        for (texts, merges) in [
            (&["a", "a"][..], vec![]),
            (&["a", ""], vec![]),
            (&["a", "b"], vec![(0, 1)]),
            (&["a", "b", "ab"], vec![(0, 9)]),
        ] {
            assert!(Bpe::new(symbols(texts), merges).is_err());
        }
    }

    proptest! {
        /// Counting all pairs anew before each merge gives the same.
        #[test]
        fn counts_of_pairs_are_kept(
            words in prop::collection::vec(("[a-d]{1,8}", 1_u64..9), 1..12),
            size in 5_usize..40,
        ) {
            let given = words.iter().map(|(word, count)| (word.as_str(), *count));
            let bpe = Bpe::train(given.clone(), size);
            let backwards = Bpe::train(given.clone().rev(), size);
            prop_assert_eq!(&bpe, &backwards);
            let again = Bpe::new(bpe.symbols().to_vec(), bpe.merges().to_vec()).unwrap();
            prop_assert_eq!(&bpe, &again);
            let mut trainer = Trainer::new(alphabet(&given.clone().collect::<Vec<_>>(), size));
            for (word, count) in given.clone() {
                trainer.add(word, count);
            }
            while trainer.symbols.len() < size {
                let mut counts: FxHashMap<Pair, u64> = FxHashMap::default();
                for (word, count) in &trainer.words {
                    known_pairs(word).for_each(|pair| *counts.entry(pair).or_default() += count);
                }
                let best = counts.into_iter().map(|(pair, count)| (count, Reverse(pair))).max();
                let Some((count, Reverse(pair))) = best else { break };
                if count < MIN_COUNT {
                    break;
                }
                trainer.merge(pair);
            }
            let merges: Vec<Pair> = trainer.merges.iter().map(|(pair, _)| *pair).collect();
            prop_assert_eq!(bpe.merges(), merges);
            for (word, _) in given {
                prop_assert_eq!(split(&bpe, word).concat(), word);
            }
        }
    }
}
