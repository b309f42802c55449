//! Maps words to ids in the same way as `keras.datasets.imdb`.

use std::borrow::Cow;
use std::cmp::Reverse;

use anyhow::ensure;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::TokenizedTexts;
use super::word_counts::{CountedWord, count_words};
use crate::config::TextConfig;

/// Id of padding.
pub const PAD: u32 = 0;
/// Id that precedes every text if `text.start_token` is set.
pub const START: u32 = 1;
/// Id of every word outside the vocabulary.
pub const OOV: u32 = 2;
/// Id of the most frequent word. As in Keras, id 3 is unused.
pub const FIRST_WORD: u32 = 4;

const SPECIAL: [&str; FIRST_WORD as usize] = ["<pad>", "<start>", "<oov>", "<unused>"];

/// Words with ids: the special ids, then words by descending count in the training examples. Words
/// with equal counts are in order of first occurrence.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// Word of each id.
    words: Vec<Box<str>>,
    /// Id of each word. Special words are not included, because no text may produce them.
    ids: FxHashMap<Box<str>, u32>,
}

impl Vocabulary {
    /// Counts the words of the texts at these indices, and keeps the frequent ones: those with at
    /// least `text.min_count` occurrences, up to `text.vocabulary_size` ids.
    ///
    /// # Errors
    /// Returns an error if no word is frequent enough, or if a process is lost that has some of the texts.
    pub fn count(
        tokenized: &TokenizedTexts,
        texts: impl Iterator<Item = usize>,
        config: &TextConfig,
    ) -> anyhow::Result<Self> {
        let frequent = |count: u64| count >= config.min_count.max(1);
        Self::rank(count_words(tokenized, texts, frequent)?, config)
    }

    /// Counts the words of the texts at these indices of several sources together. See [`Vocabulary::count`].
    ///
    /// # Errors
    /// Returns an error if no word is frequent enough.
    pub fn count_together(
        sources: &[(&TokenizedTexts, &[u32])],
        config: &TextConfig,
    ) -> anyhow::Result<Self> {
        let mut sums: FxHashMap<Cow<str>, (u64, (usize, u64))> = FxHashMap::default();
        for (index, (tokenized, texts)) in sources.iter().enumerate() {
            let texts = texts.iter().map(|text| *text as usize);
            for CountedWord { word, count, first } in count_words(tokenized, texts, |_| true)? {
                sums.entry(word).or_insert((0, (index, first))).0 += count;
            }
        }
        sums.retain(|_, (count, _)| *count >= config.min_count.max(1));
        // Only the order of the first occurrences matters.
        let mut words: Vec<_> = sums.into_iter().collect();
        words.par_sort_unstable_by_key(|(_, (_, first))| *first);
        let counted =
            (0..).zip(words).map(|(first, (word, (count, _)))| CountedWord { word, count, first });
        Self::rank(counted.collect(), config)
    }

    /// Keeps the most frequent of these words, up to `text.vocabulary_size` ids.
    fn rank(mut ranked: Vec<CountedWord>, config: &TextConfig) -> anyhow::Result<Self> {
        ranked.par_sort_unstable_by_key(|word| (Reverse(word.count), word.first));
        ranked.truncate(config.vocabulary_size.saturating_sub(SPECIAL.len()));
        ensure!(
            !ranked.is_empty(),
            "no word in the training texts has {} or more occurrences; lower text.min_count",
            config.min_count
        );
        Ok(Self::new(ranked.into_iter().map(|counted| counted.word.into_owned().into())))
    }

    /// Counts the words of texts in memory. See [`Vocabulary::count`].
    ///
    /// # Errors
    /// Returns an error if no word is frequent enough.
    pub fn build(texts: &[String], config: &TextConfig) -> anyhow::Result<Self> {
        Self::count(&TokenizedTexts::from_texts(texts, config), 0..texts.len(), config)
    }

    fn new(words: impl Iterator<Item = Box<str>>) -> Self {
        let words: Vec<Box<str>> = SPECIAL.iter().map(|word| (*word).into()).chain(words).collect();
        let regular = words.iter().enumerate().skip(SPECIAL.len());
        let ids = regular.map(|(id, word)| (word.clone(), id as u32)).collect();
        Self { words, ids }
    }

    /// Creates a vocabulary from words by descending frequency, without the special words, and
    /// truncates it to `size` ids.
    ///
    /// # Errors
    /// Returns a message if there is no word or one occurs twice.
    pub fn from_ranked_words(words: Vec<String>, size: usize) -> Result<Self, String> {
        let special = SPECIAL.iter().map(|word| (*word).to_owned());
        let vocabulary = Self::from_words(special.chain(words).take(size).collect())?;
        if vocabulary.is_empty() {
            return Err("the vocabulary has no words".into());
        }
        Ok(vocabulary)
    }

    /// Creates a vocabulary from the word of each id, including the special words.
    ///
    /// # Errors
    /// Returns a message if the list does not begin with the special words or a word occurs twice.
    pub fn from_words(words: Vec<String>) -> Result<Self, String> {
        if words.len() < SPECIAL.len() || words.iter().zip(SPECIAL).any(|(a, b)| a != b) {
            return Err(format!("expected a list that begins with {}", SPECIAL.join(" ")));
        }
        let vocabulary =
            Self::new(words.into_iter().skip(SPECIAL.len()).map(String::into_boxed_str));
        // The id of a duplicate is that of its last occurrence.
        let mut regular = vocabulary.words.iter().enumerate().skip(SPECIAL.len());
        match regular.find(|(id, word)| vocabulary.id(word) as usize != *id) {
            Some((_, word)) => Err(format!("the word {word:?} occurs twice")),
            None => Ok(vocabulary),
        }
    }

    /// Returns this vocabulary with the words of another one that it lacks, in their order, up to `size` ids.
    /// All words of this vocabulary keep their ids.
    pub fn extended(&self, other: &Self, size: usize) -> Self {
        let regular = |vocabulary: &Self| vocabulary.words[SPECIAL.len()..].to_vec();
        let room = size.saturating_sub(self.len());
        let new = regular(other).into_iter().filter(|word| !self.ids.contains_key(word)).take(room);
        Self::new(regular(self).into_iter().chain(new))
    }

    /// Number of ids V, including the special ones: the number of rows of the embedding.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Returns true if there are only special words.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the id of `word`, or [`OOV`] if the vocabulary does not contain it.
    pub fn id(&self, word: &str) -> u32 {
        self.ids.get(word).copied().unwrap_or(OOV)
    }

    /// Words by descending frequency, without the special words.
    pub fn regular_words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(SPECIAL.len()).map(|word| &**word)
    }

    /// Word of each id.
    pub fn words(&self) -> &[Box<str>] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config;

    fn text_config(fields: &str) -> TextConfig {
        let yaml = format!("data: {{train: x.csv}}\ntext: {{{fields}}}\n");
        config::parse(&yaml, "test", &[]).unwrap().config.text
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn words_are_ranked_by_count_then_by_first_occurrence() {
        let texts = texts(&["b a", "a c d", "d c a"]);
        let vocabulary = Vocabulary::build(&texts, &text_config("min_count: 1")).unwrap();
        let words: Vec<&str> = vocabulary.words().iter().map(|word| &**word).collect();
        assert_eq!(words, ["<pad>", "<start>", "<oov>", "<unused>", "a", "c", "d", "b"]);
        assert_eq!((vocabulary.id("a"), vocabulary.id("<pad>"), vocabulary.id("z")), (4, OOV, OOV));
    }

    #[test]
    fn the_vocabulary_is_limited_by_count_and_size() {
        let texts = texts(&["a a a b b c"]);
        let build = |fields: &str| Vocabulary::build(&texts, &text_config(fields));
        assert_eq!(build("min_count: 2").unwrap().len(), 6);
        assert_eq!(build("min_count: 1, vocabulary_size: 5").unwrap().len(), 5);
        assert!(build("min_count: 4").unwrap_err().to_string().contains("text.min_count"));
    }

    #[test]
    fn sources_are_counted_as_if_they_were_one() {
        let config = text_config("min_count: 2");
        let (first, second) = (texts(&["b a x", "z c"]), texts(&["a c d", "d c y"]));
        let tokenized = [&first, &second].map(|texts| TokenizedTexts::from_texts(texts, &config));
        let sources: Vec<(&TokenizedTexts, &[u32])> =
            tokenized.iter().map(|texts| (texts, &[0, 1][..])).collect();
        let together = Vocabulary::count_together(&sources, &config).unwrap();
        let all = [first, second].concat();
        assert_eq!(together, Vocabulary::build(&all, &config).unwrap());
        assert_eq!(together.regular_words().collect::<Vec<_>>(), ["c", "a", "d"]);
    }

    #[test]
    fn an_extended_vocabulary_keeps_its_ids() {
        let config = text_config("min_count: 1");
        let build = |text: &str| Vocabulary::build(&texts(&[text]), &config).unwrap();
        let (old, new) = (build("a a b"), build("c c c b d"));
        let words = |size| -> Vec<String> {
            old.extended(&new, size).regular_words().map(str::to_owned).collect()
        };
        assert_eq!(words(9), ["a", "b", "c", "d"]);
        assert_eq!(words(7), ["a", "b", "c"]);
        assert_eq!(words(5), ["a", "b"], "known words are never dropped");
    }

    proptest! {
        /// More frequent words have lower ids.
        #[test]
        fn frequent_words_have_ids_by_rank(
            texts in prop::collection::vec("[a-f]{1,2}( [a-f]{1,2}){0,9}", 1..30),
            min_count in 1_usize..4,
            size in 5_usize..30,
        ) {
            let mut counts: HashMap<&str, usize> = HashMap::new();
            let mut seen = Vec::new();
            for word in texts.iter().flat_map(|text| text.split(' ')) {
                let count = counts.entry(word).or_default();
                if *count == 0 {
                    seen.push(word);
                }
                *count += 1;
            }
            // The sort is stable, so ties stay in order of first occurrence.
            seen.sort_by_key(|word| std::cmp::Reverse(counts[word]));
            seen.retain(|word| counts[word] >= min_count);
            seen.truncate(size - SPECIAL.len());
            let config = text_config(&format!("min_count: {min_count}, vocabulary_size: {size}"));
            match Vocabulary::build(&texts, &config) {
                Err(_) => prop_assert!(seen.is_empty()),
                Ok(vocabulary) => {
                    prop_assert_eq!(vocabulary.regular_words().collect::<Vec<_>>(), seen);
                    for (id, word) in vocabulary.words().iter().enumerate().skip(SPECIAL.len()) {
                        prop_assert_eq!(vocabulary.id(word) as usize, id);
                    }
                    let words = vocabulary.words().iter().map(|word| word.to_string()).collect();
                    prop_assert_eq!(Vocabulary::from_words(words).unwrap(), vocabulary);
                }
            }
        }
    }

    #[test]
    fn counts_do_not_depend_on_the_number_of_threads() {
        let many: Vec<String> =
            (0..2_000).map(|i| format!("w{} w{} w{}", i % 7, i % 301, i)).collect();
        let config = text_config("min_count: 1");
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one.install(|| Vocabulary::build(&many, &config)).unwrap();
        assert_eq!(Vocabulary::build(&many, &config).unwrap(), alone);
    }

    #[test]
    fn invalid_word_lists_are_rejected() {
        let list = |words: &[&str]| Vocabulary::from_words(texts(words));
        assert!(list(&["<pad>", "<start>", "<oov>", "<unused>", "a"]).is_ok());
        assert!(list(&["<pad>", "<start>", "<oov>", "<unused>", "a", "a"]).is_err());
        assert!(list(&["a", "<start>", "<oov>", "<unused>"]).is_err());
        assert!(list(&[]).is_err());
    }
}
