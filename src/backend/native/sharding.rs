//! A batch as the kernel reads it: shards for threads, blocks of texts, each word once.

use std::ops::Range;

use super::dropout::{Dropout, Place};
use crate::backend::kernel::Layout;
use crate::config::{Input, Inputs, PadSide};
use crate::text::{Corpus, PAD};

/// Texts that go through a layer together.
const BLOCK: usize = 12;

/// Some examples, ready to be computed.
pub struct ShardedBatch {
    /// A part for each thread; together all examples.
    pub shards: Vec<Shard>,
    /// For each input the words of all shards, each once and in order.
    pub words: Vec<Vec<u32>>,
    /// The number of examples.
    pub examples: usize,
}

/// What one thread computes.
pub struct Shard {
    /// The place of each example in the batch.
    pub places: Vec<u32>,
    /// Its class.
    pub labels: Vec<u32>,
    /// The examples that are computed together.
    pub blocks: Vec<Range<usize>>,
    /// For each input what is to be read.
    pub inputs: Vec<Texts>,
}

/// The texts of one input in a shard.
pub struct Texts {
    /// The words, each once; the table of inputs has one row more, which is zero.
    pub words: Vec<u32>,
    /// Where each word stands among those of all shards.
    pub union: Vec<u32>,
    /// The block of each range of examples.
    pub blocks: Vec<SequenceBlock>,
    /// The longest padding in front, where it is computed once for all texts: it reads PAD, the
    /// same for all, so that two texts differ only from their first real token on.
    pub lead: Option<SequenceBlock>,
}

/// Rows that an LSTM reads together, the longest first.
pub struct SequenceBlock {
    /// The example of each row, from 0 in its block.
    pub order: Vec<usize>,
    /// The steps of each row.
    pub lengths: Vec<usize>,
    /// Of these, padding in front that counts for nothing but is read.
    pub pads: Vec<usize>,
    /// Padding in front that each row shares with the others and that is not among its steps.
    pub leads: Vec<usize>,
    /// Where the steps lie.
    pub layout: Layout,
    /// The row of the table of inputs for each step.
    pub rows: Vec<u32>,
    /// For each step the one that takes its place when the text is read backwards; empty where
    /// nobody does.
    pub reversed: Vec<u32>,
}

impl SequenceBlock {
    /// The rows of the table of inputs in the order in which a backward LSTM reads them.
    pub fn rows_reversed(&self) -> Vec<u32> {
        self.reversed.iter().map(|token| self.rows[*token as usize]).collect()
    }
}

/// Makes readings of batches.
pub struct BatchSharder {
    inputs: Inputs,
    shards: usize,
    /// For each input a note at every word.
    marks: Vec<Marks>,
}

/// Numbers words in the order in which they come, without clearing anything in between.
struct Marks {
    round: u32,
    /// The round in which each word was seen last, and its number then.
    seen: Vec<(u32, u32)>,
}

impl Marks {
    fn new(words: usize) -> Self {
        Self { round: 0, seen: vec![(0, 0); words] }
    }

    fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.seen.fill((0, 0));
            self.round = 1;
        }
    }

    /// The number of a word; a new word is added to `words`.
    fn number(&mut self, word: u32, words: &mut Vec<u32>) -> u32 {
        let seen = &mut self.seen[word as usize];
        if seen.0 != self.round {
            *seen = (self.round, words.len() as u32);
            words.push(word);
        }
        seen.1
    }
}

impl BatchSharder {
    /// A reader for so many words of each input.
    pub fn new(inputs: &Inputs, vocabularies: &[usize], shards: usize) -> Self {
        let marks = vocabularies.iter().map(|words| Marks::new(*words)).collect();
        Self { inputs: inputs.clone(), shards, marks }
    }

    /// Cuts batches into so many shards from now on.
    pub fn cut_into(&mut self, shards: usize) {
        self.shards = shards;
    }

    /// Reads the examples with these numbers; `corpora` and `labels` are those of the whole data
    /// set, labels where they are to be learnt. With `dropout` words are dropped.
    pub fn read(
        &mut self,
        corpora: &[Corpus],
        labels: Option<&[u32]>,
        examples: &[u32],
        dropout: Option<&Dropout>,
    ) -> ShardedBatch {
        let Self { inputs, shards, marks } = self;
        let shards = (*shards).min(examples.len()).max(1);
        let length = |example: &u32| -> usize {
            let inputs = inputs.iter().zip(corpora);
            inputs.map(|(input, corpus)| steps(input, corpus, *example, dropout).0).sum()
        };
        let mut order: Vec<(usize, u32)> =
            examples.iter().map(length).zip(0..examples.len() as u32).collect();
        order.sort_by_key(|(length, place)| (std::cmp::Reverse(*length), *place));
        let mut reading =
            ShardedBatch { shards: Vec::new(), words: Vec::new(), examples: examples.len() };
        for shard in 0..shards {
            let places: Vec<u32> = deal(&order, shard, shards).map(|(_, place)| place).collect();
            let blocks = blocks(places.len());
            reading.shards.push(Shard {
                labels: labels.map_or(Vec::new(), |labels| {
                    places.iter().map(|place| labels[examples[*place as usize] as usize]).collect()
                }),
                inputs: Vec::new(),
                blocks,
                places,
            });
        }
        for (number, (input, corpus)) in inputs.iter().zip(corpora).enumerate() {
            let marks = &mut marks[number];
            for shard in &mut reading.shards {
                marks.begin();
                let mut texts =
                    Texts { words: Vec::new(), union: Vec::new(), blocks: Vec::new(), lead: None };
                let mut longest = 0;
                for block in &shard.blocks {
                    let places = &shard.places[block.clone()];
                    let strip = strip(number, input, corpus, examples, places, dropout, |word| {
                        marks.number(word, &mut texts.words)
                    });
                    longest = longest.max(strip.leads.iter().copied().max().unwrap_or(0));
                    texts.blocks.push(strip);
                }
                if longest > 0 {
                    let row = marks.number(PAD, &mut texts.words);
                    texts.lead = Some(lead(longest, row));
                }
                let zero = texts.words.len() as u32;
                for strip in &mut texts.blocks {
                    for row in &mut strip.rows {
                        *row = (*row).min(zero);
                    }
                }
                shard.inputs.push(texts);
            }
            marks.begin();
            let mut words = Vec::new();
            for texts in reading.shards.iter_mut().filter_map(|shard| shard.inputs.last_mut()) {
                texts.union =
                    texts.words.iter().map(|word| marks.number(*word, &mut words)).collect();
            }
            let places = sort(&mut words);
            for texts in reading.shards.iter_mut().filter_map(|shard| shard.inputs.last_mut()) {
                texts.union.iter_mut().for_each(|number| *number = places[*number as usize]);
            }
            reading.words.push(words);
        }
        reading
    }
}

/// Sorts words; for each the place where it stands then.
fn sort(words: &mut [u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..words.len() as u32).collect();
    order.sort_unstable_by_key(|number| words[*number as usize]);
    let mut places = vec![0; words.len()];
    for (place, number) in order.into_iter().enumerate() {
        places[number as usize] = place as u32;
    }
    words.sort_unstable();
    places
}

/// Whether padding in front is computed once for all texts.
fn shares_lead(input: &Input, dropout: Option<&Dropout>) -> bool {
    let dropped = dropout.is_some()
        && (input.embedding.dropout > 0.0
            || input.embedding.word_dropout > 0.0
            || (input.lstm.layers > 1 && input.lstm.dropout > 0.0));
    !input.lstm.bidirectional && !dropped
}

/// The steps that an example has of its own, and padding in front: (read as steps, shared).
fn steps(
    input: &Input,
    corpus: &Corpus,
    example: u32,
    dropout: Option<&Dropout>,
) -> (usize, usize, usize) {
    let length = corpus.text(example as usize).len();
    let padding = match input.text.pad {
        PadSide::Back => 0,
        PadSide::Front => corpus.steps(example as usize) - length,
    };
    match shares_lead(input, dropout) {
        true => (length, 0, padding),
        false => (length + padding, padding, 0),
    }
}

/// The examples of a shard: dealt out back and forth, so that all have about as many tokens.
fn deal(order: &[(usize, u32)], shard: usize, shards: usize) -> impl Iterator<Item = (usize, u32)> {
    order.chunks(shards).enumerate().filter_map(move |(round, chunk)| {
        let number = if round % 2 == 0 { shard } else { shards - 1 - shard };
        chunk.get(number).copied()
    })
}

/// Blocks of like size.
fn blocks(examples: usize) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < examples {
        // A few that are left over go along with the last block.
        let end = if examples - start < BLOCK + BLOCK / 2 { examples } else { start + BLOCK };
        blocks.push(start..end);
        start = end;
    }
    blocks
}

/// The strip of some examples.
fn strip(
    number: usize,
    input: &Input,
    corpus: &Corpus,
    examples: &[u32],
    places: &[u32],
    dropout: Option<&Dropout>,
    mut row_of: impl FnMut(u32) -> u32,
) -> SequenceBlock {
    let all: Vec<(usize, usize, usize)> = places
        .iter()
        .map(|place| steps(input, corpus, examples[*place as usize], dropout))
        .collect();
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|example| std::cmp::Reverse(all[*example].0));
    let lengths: Vec<usize> = order.iter().map(|example| all[*example].0).collect();
    let pads: Vec<usize> = order.iter().map(|example| all[*example].1).collect();
    let leads: Vec<usize> = order.iter().map(|example| all[*example].2).collect();
    let layout = Layout::new(&lengths);
    let texts: Vec<&[u32]> = order
        .iter()
        .map(|example| corpus.text(examples[places[*example] as usize] as usize))
        .collect();
    let rate = input.embedding.word_dropout;
    let dropout = dropout.filter(|_| rate > 0.0);
    let mut rows = vec![0; layout.tokens()];
    for (row, text) in texts.iter().enumerate() {
        let words = std::iter::repeat_n(&PAD, pads[row]).chain(*text);
        for (step, word) in words.enumerate() {
            let place = Place { input: number, example: places[order[row]], step };
            rows[layout.start(step) + row] = match dropout {
                Some(dropout) if !dropout.keeps_word(place, rate) => u32::MAX,
                _ => row_of(*word),
            };
        }
    }
    let mut reversed = Vec::new();
    if input.lstm.bidirectional {
        reversed.reserve(rows.len());
        for step in 0..layout.steps() {
            for (row, length) in lengths[..layout.active(step)].iter().enumerate() {
                reversed.push((layout.start(length - 1 - step) + row) as u32);
            }
        }
    }
    SequenceBlock { order, lengths, pads, leads, layout, rows, reversed }
}

/// A strip of one row that reads PAD.
fn lead(length: usize, row: u32) -> SequenceBlock {
    SequenceBlock {
        order: vec![0],
        lengths: vec![length],
        pads: vec![0],
        leads: vec![0],
        layout: Layout::new(&[length]),
        rows: vec![row; length],
        reversed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    proptest! {
        /// Every token of every text is read once, in its order, from the table of its shard.
        #[test]
        fn shards_and_blocks_read_every_token(
            texts in prop::collection::vec(prop::collection::vec(0_u32..30, 1..40), 1..90),
            shards in 1_usize..5,
            front: bool,
            bidirectional: bool,
        ) {
            let pad = if front { "front" } else { "back" };
            let yaml = format!(
                "data: {{train: x}}\ntext: {{pad: {pad}}}\nmodel: {{lstm: {{bidirectional: {bidirectional}}}}}\n"
            );
            let inputs = config::parse(&yaml, "test", &[]).unwrap().config.inputs;
            let corpus = Corpus::of(inputs[0].text.pad, 40, texts.iter().map(|text| &text[..]));
            let examples: Vec<u32> = (0..texts.len() as u32).rev().collect();
            let reading = BatchSharder::new(&inputs, &[30], shards).read(&[corpus], None, &examples, None);
            prop_assert!(reading.shards.len() <= shards);
            prop_assert!(reading.words[0].is_sorted());
            let mut seen = vec![0; texts.len()];
            for shard in &reading.shards {
                let input = &shard.inputs[0];
                for (word, number) in input.words.iter().zip(&input.union) {
                    prop_assert_eq!(*word, reading.words[0][*number as usize]);
                }
                for (block, strip) in shard.blocks.iter().zip(&input.blocks) {
                    prop_assert!(strip.lengths.is_sorted_by(|a, b| a >= b));
                    for (row, example) in strip.order.iter().enumerate() {
                        let place = shard.places[block.start + example] as usize;
                        let text = &texts[examples[place] as usize];
                        seen[place] += 1;
                        prop_assert_eq!(strip.lengths[row], strip.pads[row] + text.len());
                        if front {
                            prop_assert_eq!(strip.pads[row] + strip.leads[row], 40 - text.len());
                        }
                        for step in 0..strip.lengths[row] {
                            let token = strip.layout.start(step) + row;
                            let word = input.words[strip.rows[token] as usize];
                            let expected = step.checked_sub(strip.pads[row]).map_or(PAD, |at| text[at]);
                            prop_assert_eq!(word, expected);
                            if bidirectional {
                                let mirrored = strip.layout.start(strip.lengths[row] - 1 - step) + row;
                                prop_assert_eq!(strip.reversed[token] as usize, mirrored);
                            }
                        }
                    }
                }
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
    }
}
