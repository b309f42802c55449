//! Counts of words, also in texts that are divided among processes.

use std::borrow::Cow;

use anyhow::Context;
use rustc_hash::FxHashMap;

use super::{TokenizedTexts, word_hash};
use crate::distributed::Shards;

/// A word with its number of occurrences.
#[derive(Clone, Debug, PartialEq)]
pub struct CountedWord<'a> {
    /// The word.
    pub word: Cow<'a, str>,
    /// Number of occurrences in the counted texts.
    pub count: u64,
    /// Position of the first occurrence: index of the text (upper 32 bits) and of the token in it (lower 32 bits).
    pub first: u64,
}

/// Counts the words of the texts at these indices, in this order, and returns those whose number of occurrences is
/// `frequent`, in any order. If texts are divided among processes, all get the words of all of them.
///
/// # Errors
/// Returns an error if a process is lost.
pub fn count_words(
    tokenized: &TokenizedTexts,
    texts: impl Iterator<Item = usize>,
    frequent: impl Fn(u64) -> bool,
) -> anyhow::Result<Vec<CountedWord<'_>>> {
    let own = count_own(tokenized, texts);
    let words = match tokenized.shards() {
        Some(shards) => add_up(shards, own, &frequent)?,
        None => own,
    };
    // Words that occur only in other texts have a count of 0.
    Ok(words.into_iter().filter(|word| word.count > 0 && frequent(word.count)).collect())
}

/// Counts all words in the texts that this process has.
fn count_own(
    tokenized: &TokenizedTexts,
    texts: impl Iterator<Item = usize>,
) -> Vec<CountedWord<'_>> {
    let word = |word| CountedWord { word: Cow::Borrowed(word), count: 0, first: 0 };
    let mut counts: Vec<CountedWord> = tokenized.words().iter().map(|text| word(text)).collect();
    let mut text = 0_u64;
    tokenized.for_each_text(texts, |tokens| {
        for (position, token) in tokens.iter().enumerate() {
            let CountedWord { count, first, .. } = &mut counts[*token as usize];
            if *count == 0 {
                *first = text << u32::BITS | position as u64;
            }
            *count += 1;
        }
        text += 1;
    });
    counts
}

/// Adds up the counts of all processes, each of which adds up those of some words, and returns the frequent words.
fn add_up(
    shards: &Shards,
    own: Vec<CountedWord>,
    frequent: &impl Fn(u64) -> bool,
) -> anyhow::Result<Vec<CountedWord<'static>>> {
    let collective = shards.collective();
    let size = collective.worker().world_size;
    let mut sent = vec![Vec::new(); size];
    for word in own.iter().filter(|word| word.count > 0) {
        encode(word, &mut sent[(word_hash(&word.word) % size as u64) as usize]);
    }
    drop(own);
    let counts: Vec<u64> = sent.iter().map(|words| words.len() as u64).collect();
    let sent = sent.concat();
    let received = collective.send_each(&sent, &counts)?;
    drop(sent);
    let mut sums: FxHashMap<Cow<str>, (u64, u64)> = FxHashMap::default();
    for CountedWord { word, count, first } in decode(&received)? {
        let (sum, least) = sums.entry(word).or_insert((0, first));
        *sum += count;
        *least = first.min(*least);
    }
    drop(received);
    let mut kept = Vec::new();
    let sums = sums.into_iter().filter(|(_, (count, _))| frequent(*count));
    sums.for_each(|(word, (count, first))| encode(&CountedWord { word, count, first }, &mut kept));
    let all = collective.gather_arrays(&kept)?;
    Ok(all.iter().map(|words| decode(words)).collect::<anyhow::Result<Vec<_>>>()?.concat())
}

/// Appends a word: count, first position, number of bytes and bytes, padded to whole numbers.
fn encode(word: &CountedWord, words: &mut Vec<u32>) {
    let halves = |number: u64| [number as u32, (number >> u32::BITS) as u32];
    words.extend([halves(word.count), halves(word.first)].as_flattened());
    words.push(word.word.len() as u32);
    words.extend(word.word.as_bytes().chunks(4).map(|bytes| {
        let mut padded = [0; 4];
        padded[..bytes.len()].copy_from_slice(bytes);
        u32::from_le_bytes(padded)
    }));
}

/// Returns the words that [`encode`] has written.
fn decode(mut words: &[u32]) -> anyhow::Result<Vec<CountedWord<'static>>> {
    let number = |halves: &[u32]| u64::from(halves[0]) | u64::from(halves[1]) << u32::BITS;
    let mut decoded = Vec::new();
    while !words.is_empty() {
        let (head, rest) = words.split_at_checked(5).context("received half a word")?;
        let length = head[4] as usize;
        let text = rest.split_at_checked(length.div_ceil(4)).context("received half a word")?;
        words = text.1;
        let mut bytes: Vec<u8> = text.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(length);
        let word = Cow::Owned(String::from_utf8(bytes)?);
        let (count, first) = (number(&head[..2]), number(&head[2..4]));
        decoded.push(CountedWord { word, count, first });
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_were_written() {
        let word =
            |word: &'static str, count, first| CountedWord { word: word.into(), count, first };
        let words = [word("a", 1, 1 << 40), word("", u64::MAX, 0), word("größer", 7, 3)];
        let mut encoded = Vec::new();
        words.iter().for_each(|word| encode(word, &mut encoded));
        assert_eq!(decode(&encoded).unwrap(), words);
    }
}
