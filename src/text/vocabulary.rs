//! Words to ids, as `keras.datasets.imdb` numbers them.

use anyhow::ensure;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::TokenizedTexts;
use crate::config::TextConfig;

/// Fills short texts.
pub const PAD: u32 = 0;
/// Stands in front of every text where `text.start_token` is set.
pub const START: u32 = 1;
/// Stands for every word outside the vocabulary.
pub const OOV: u32 = 2;
/// The id of the most frequent word; id 3 is unused, as in Keras.
pub const FIRST_WORD: u32 = 4;

const SPECIAL: [&str; FIRST_WORD as usize] = ["<pad>", "<start>", "<oov>", "<unused>"];

/// The words that have ids: special ones, then words by falling count in the training examples,
/// the first seen first where counts are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// The word of each id.
    words: Vec<Box<str>>,
    /// The id of each word, special ones left out: no text can spell them.
    ids: FxHashMap<Box<str>, u32>,
}

/// How often a word occurs, and how many tokens stand before its first.
#[derive(Clone, Copy, Default)]
struct Count {
    count: u64,
    first: u64,
}

impl Vocabulary {
    /// Counts the words of some texts, in this order, and keeps what the configuration asks for.
    ///
    /// # Errors
    /// Where no word is left: every text would look the same.
    pub fn count(
        tokens: &TokenizedTexts,
        texts: impl Iterator<Item = usize>,
        config: &TextConfig,
    ) -> anyhow::Result<Self> {
        let mut counts = vec![Count::default(); tokens.words().len()];
        let mut position = 0;
        tokens.read(texts, |numbers| {
            for number in numbers {
                let Count { count, first } = &mut counts[*number as usize];
                if *count == 0 {
                    *first = position;
                }
                *count += 1;
                position += 1;
            }
        });
        // Where min_count is 1, words of other texts still have no place.
        let frequent = |count: &Count| count.count >= config.min_count.max(1);
        let mut ranked: Vec<usize> =
            (0..counts.len()).filter(|number| frequent(&counts[*number])).collect();
        ranked.par_sort_unstable_by_key(|number| {
            (std::cmp::Reverse(counts[*number].count), counts[*number].first)
        });
        ranked.truncate(config.vocabulary_size.saturating_sub(SPECIAL.len()));
        ensure!(
            !ranked.is_empty(),
            "no word of the training texts occurs {} times; lower text.min_count",
            config.min_count
        );
        Ok(Self::new(ranked.into_iter().map(|number| tokens.words()[number].clone())))
    }

    /// Counts the words of texts that are all there.
    ///
    /// # Errors
    /// As [`Vocabulary::count`].
    pub fn build(texts: &[String], config: &TextConfig) -> anyhow::Result<Self> {
        Self::count(&TokenizedTexts::of(texts, config), 0..texts.len(), config)
    }

    fn new(words: impl Iterator<Item = Box<str>>) -> Self {
        let words: Vec<Box<str>> = SPECIAL.iter().map(|word| (*word).into()).chain(words).collect();
        let numbered = words.iter().enumerate().skip(SPECIAL.len());
        let ids = numbered.map(|(id, word)| (word.clone(), id as u32)).collect();
        Self { words, ids }
    }

    /// The vocabulary of these words by falling frequency, special ones not among them, cut to
    /// `size` ids.
    ///
    /// # Errors
    /// Says what is wrong where there is no word, or one stands twice.
    pub fn of_words(words: Vec<String>, size: usize) -> Result<Self, String> {
        let special = SPECIAL.iter().map(|word| (*word).to_owned());
        let vocabulary = Self::from_words(special.chain(words).take(size).collect())?;
        if vocabulary.is_empty() {
            return Err("there is no word in it".into());
        }
        Ok(vocabulary)
    }

    /// The vocabulary whose word number i has id i, special ones included.
    ///
    /// # Errors
    /// Says what is wrong when the special words are not where they belong or a word stands twice.
    pub fn from_words(words: Vec<String>) -> Result<Self, String> {
        if words.len() < SPECIAL.len() || words.iter().zip(SPECIAL).any(|(a, b)| a != b) {
            return Err(format!("expected it to begin with {}", SPECIAL.join(" ")));
        }
        let total = words.len();
        let vocabulary =
            Self::new(words.into_iter().skip(SPECIAL.len()).map(String::into_boxed_str));
        match vocabulary.ids.len() + SPECIAL.len() == total {
            true => Ok(vocabulary),
            false => Err("a word stands in it twice".into()),
        }
    }

    /// The number of ids, special ones included: the rows of the embedding.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there are no words besides the special ones.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of `word`, [`OOV`] where it has none.
    pub fn id(&self, word: &str) -> u32 {
        self.ids.get(word).copied().unwrap_or(OOV)
    }

    /// The words besides the special ones, by falling frequency.
    pub fn own_words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(SPECIAL.len()).map(|word| &**word)
    }

    /// The word of each id.
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
    fn words_are_ranked_by_count_then_by_first_sight() {
        let texts = texts(&["b a", "a c d", "d c a"]);
        let vocabulary = Vocabulary::build(&texts, &text_config("min_count: 1")).unwrap();
        let words: Vec<&str> = vocabulary.words().iter().map(|word| &**word).collect();
        assert_eq!(words, ["<pad>", "<start>", "<oov>", "<unused>", "a", "c", "d", "b"]);
        assert_eq!((vocabulary.id("a"), vocabulary.id("<pad>"), vocabulary.id("z")), (4, OOV, OOV));
    }

    #[test]
    fn rare_words_and_words_beyond_the_size_have_no_id() {
        let texts = texts(&["a a a b b c"]);
        let build = |fields: &str| Vocabulary::build(&texts, &text_config(fields));
        assert_eq!(build("min_count: 2").unwrap().len(), 6);
        assert_eq!(build("min_count: 1, vocabulary_size: 5").unwrap().len(), 5);
        assert!(build("min_count: 4").unwrap_err().to_string().contains("text.min_count"));
    }

    proptest! {
        /// Of any texts: every frequent word has an id, up to the size, the more frequent the lower.
        #[test]
        fn ids_go_to_frequent_words_in_their_order(
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
            // A sort that keeps the order of first sight.
            seen.sort_by_key(|word| std::cmp::Reverse(counts[word]));
            seen.retain(|word| counts[word] >= min_count);
            seen.truncate(size - SPECIAL.len());
            let config = text_config(&format!("min_count: {min_count}, vocabulary_size: {size}"));
            match Vocabulary::build(&texts, &config) {
                Err(_) => prop_assert!(seen.is_empty()),
                Ok(found) => {
                    prop_assert_eq!(found.own_words().collect::<Vec<_>>(), seen);
                    for (id, word) in found.words().iter().enumerate().skip(SPECIAL.len()) {
                        prop_assert_eq!(found.id(word) as usize, id);
                    }
                    let words = found.words().iter().map(|word| word.to_string()).collect();
                    prop_assert_eq!(Vocabulary::from_words(words).unwrap(), found);
                }
            }
        }
    }

    #[test]
    fn counting_in_parallel_changes_nothing() {
        let many: Vec<String> =
            (0..2_000).map(|i| format!("w{} w{} w{}", i % 7, i % 301, i)).collect();
        let config = text_config("min_count: 1");
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = one.install(|| Vocabulary::build(&many, &config)).unwrap();
        assert_eq!(Vocabulary::build(&many, &config).unwrap(), alone);
    }

    #[test]
    fn a_damaged_word_list_is_refused() {
        let list = |words: &[&str]| Vocabulary::from_words(texts(words));
        assert!(list(&["<pad>", "<start>", "<oov>", "<unused>", "a"]).is_ok());
        assert!(list(&["<pad>", "<start>", "<oov>", "<unused>", "a", "a"]).is_err());
        assert!(list(&["a", "<start>", "<oov>", "<unused>"]).is_err());
        assert!(list(&[]).is_err());
    }
}
