//! OperandFormat of the distinct words of some texts: the rows of tables and gradients that have one row for each word. The
//! tables and gradients themselves don't belong here.

/// OperandFormat distinct words in the order in which they first occur. Starting over takes constant time.
pub struct RowNumbers {
    round: u32,
    /// Last round in which each word occurred, and its number in that round.
    last_seen: Vec<(u32, u32)>,
}

impl RowNumbers {
    /// Creates numbers for the words of a vocabulary of this size.
    pub fn new(vocabulary_size: usize) -> Self {
        Self { round: 0, last_seen: vec![(0, 0); vocabulary_size] }
    }

    /// Makes room for words below `count`.
    pub fn reserve(&mut self, count: usize) {
        if count > self.last_seen.len() {
            self.last_seen.resize(count, (0, 0));
        }
    }

    /// Starts over from 0.
    pub fn reset(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.last_seen.fill((0, 0));
            self.round = 1;
        }
    }

    /// Returns the number of a word, and adds a new word to `words`.
    pub fn get_or_add(&mut self, word: u32, words: &mut Vec<u32>) -> u32 {
        let last_seen = &mut self.last_seen[word as usize];
        if last_seen.0 != self.round {
            *last_seen = (self.round, words.len() as u32);
            words.push(word);
        }
        last_seen.1
    }
}

/// Sorts words. Returns the new index of each word.
pub fn sort_words(words: &mut [u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..words.len() as u32).collect();
    order.sort_unstable_by_key(|index| words[*index as usize]);
    let mut ranks = vec![0; words.len()];
    for (rank, index) in order.into_iter().enumerate() {
        ranks[index as usize] = rank as u32;
    }
    words.sort_unstable();
    ranks
}
