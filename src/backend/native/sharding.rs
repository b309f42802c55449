//! Cuts a batch into shards, which threads compute concurrently, and each shard into blocks of texts.

use std::cmp::Reverse;
use std::ops::Range;

use super::dropout::{Dropout, Position};
use super::ngrams::BatchNgrams;
use super::row_numbers::{RowNumbers, sort_words};
use super::subwords::BatchSubwords;
use crate::backend::kernel::Layout;
use crate::config::{Input, Inputs, PadSide};
use crate::data::Targets;
use crate::distributed::Worker;
use crate::objective::LossFunction;
use crate::text::{Corpus, CorpusWords, PAD, WordBuckets};

/// Number of texts that a layer processes together.
pub const BLOCK: usize = 12;

/// Temporary row of a word that word dropout removes; later the row of zeros.
const DROPPED: u32 = u32::MAX;

/// A batch, ready to be computed.
pub struct ShardedBatch {
    /// Shards, which together have all examples. Those that other processes compute have no blocks of texts.
    pub shards: Vec<Shard>,
    /// Indices of the shards that this process computes.
    pub own: Range<usize>,
    /// Other processes compute shards of the batch, too.
    pub has_others: bool,
    /// A shard without examples, if this process has no other.
    pub without_texts: Option<Shard>,
    /// For each input, the padding in front, as a block of one text, if its states are computed once
    /// for all texts. All texts start with the same PAD ids, so they differ only from their first real
    /// token on.
    pub shared_padding: Vec<Option<ShardTexts>>,
    /// For each input, the distinct words of all shards, sorted.
    pub words: Vec<Vec<u32>>,
    /// For each input, the character n-grams of these words; `None` without these, or if the batch is not for
    /// training.
    pub subwords: Vec<Option<BatchSubwords>>,
    /// For each input, its n-grams.
    pub ngrams: Vec<BatchNgrams>,
    /// Number of examples.
    pub examples: usize,
}

impl ShardedBatch {
    /// Returns the sum of the weights of all examples.
    pub fn weight(&self, loss_function: &(impl LossFunction + ?Sized)) -> f64 {
        self.shards.iter().map(|shard| loss_function.weight(&shard.targets)).sum()
    }
}

/// A part of a batch, computed by one thread at a time.
#[derive(Default)]
pub struct Shard {
    /// Position of each example in the batch.
    pub positions: Vec<u32>,
    /// Target of each example.
    pub targets: Targets,
    /// Examples of each block.
    pub blocks: Vec<Range<usize>>,
    /// Texts of each input; none for an input without an LSTM.
    pub inputs: Vec<ShardTexts>,
}

/// Texts of one input in a shard.
#[derive(Default)]
pub struct ShardTexts {
    /// Distinct words. The word table has a row for each, and a last row of zeros. With character n-grams, words
    /// outside the vocabulary have ids from the vocabulary size on.
    pub words: Vec<u32>,
    /// Buckets of the character n-grams of each of these words; `None` without these.
    pub buckets: Option<WordBuckets>,
    /// Index of each word in [`ShardedBatch::words`].
    pub union_rows: Vec<u32>,
    /// Texts of each block.
    pub blocks: Vec<SequenceBlock>,
    /// Length of the padding in front that the texts of the batch share.
    pub shared_padding: usize,
}

/// Texts that an LSTM processes together, the longest first.
pub struct SequenceBlock {
    /// Example of each row, as an index into the block.
    pub order: Vec<usize>,
    /// Number of steps of each row.
    pub lengths: Vec<usize>,
    /// Number of these steps that are padding in front, which pooling ignores.
    pub padding: Vec<usize>,
    /// Length of the shared padding that each row continues from; not among its steps.
    pub shared_padding: Vec<usize>,
    /// Order of the tokens.
    pub layout: Layout,
    /// Row of the word table for each token.
    pub word_rows: Vec<u32>,
    /// For each token of a reversed text, the token of the text. Empty if the LSTM is unidirectional.
    pub reversed: Vec<u32>,
}

impl SequenceBlock {
    /// Returns the rows of the word table in the order of the backward direction.
    pub fn reversed_word_rows(&self) -> Vec<u32> {
        self.reversed.iter().map(|token| self.word_rows[*token as usize]).collect()
    }
}

/// Cuts batches into shards.
pub struct BatchSharder {
    inputs: Inputs,
    shards: usize,
    worker: Worker,
    /// Row numbers of the words of each input.
    row_numbers: Vec<RowNumbers>,
}

impl BatchSharder {
    /// Creates a sharder for inputs with these vocabulary sizes.
    pub fn new(inputs: &Inputs, vocabulary_sizes: &[usize], shards: usize) -> Self {
        let row_numbers = vocabulary_sizes.iter().map(|size| RowNumbers::new(*size)).collect();
        Self { inputs: inputs.clone(), shards, worker: Worker::ALONE, row_numbers }
    }

    /// Prepares batches for the this process, which computes some of the shards.
    #[must_use]
    pub fn at(self, worker: Worker) -> Self {
        Self { worker, ..self }
    }

    /// Sets the number of shards of the following batches.
    pub fn set_shards(&mut self, shards: usize) {
        self.shards = shards;
    }

    /// Shards the examples with these indices. `corpora` and `targets` are those of the whole data
    /// set. Predicting needs no targets and no dropout, and training on texts without labels no targets.
    /// `dropout` removes words.
    pub fn shard(
        &mut self,
        corpora: &[Corpus],
        targets: Option<&Targets>,
        examples: &[u32],
        dropout: Option<&Dropout>,
    ) -> ShardedBatch {
        let Self { inputs, shards, worker, row_numbers } = self;
        let shards = (*shards).min(examples.len()).max(1);
        let own = worker.part_of(shards);
        let length = |example: &u32| -> usize {
            let inputs = inputs.iter().zip(corpora).filter(|(input, _)| input.has_lstm());
            inputs
                .map(|(input, corpus)| {
                    text_steps(input, corpus, *example, shares_padding(input, dropout)).steps
                })
                .sum()
        };
        let mut order: Vec<(usize, u32)> =
            examples.iter().map(length).zip(0..examples.len() as u32).collect();
        order.sort_by_key(|(length, position)| (Reverse(*length), *position));
        let mut batch = ShardedBatch {
            shards: Vec::new(),
            without_texts: own.is_empty().then(Shard::default),
            own: own.clone(),
            has_others: *worker != Worker::ALONE,
            shared_padding: Vec::new(),
            words: Vec::new(),
            subwords: Vec::new(),
            ngrams: Vec::new(),
            examples: examples.len(),
        };
        for shard in 0..shards {
            let positions: Vec<u32> =
                assign_to_shard(&order, shard, shards).map(|(_, position)| position).collect();
            let blocks = block_ranges(positions.len());
            batch.shards.push(Shard {
                targets: targets.map_or_else(Targets::default, |targets| {
                    let examples: Vec<u32> =
                        positions.iter().map(|position| examples[*position as usize]).collect();
                    targets.select(&examples)
                }),
                inputs: Vec::new(),
                blocks,
                positions,
            });
        }
        for (input_index, (input, corpus)) in inputs.iter().zip(corpora).enumerate() {
            let is_training = targets.is_some() || dropout.is_some();
            batch.ngrams.push(match input.ngrams.is_on() {
                true => BatchNgrams::of(corpus, examples, is_training),
                false => BatchNgrams::default(),
            });
            if let Some(shard) = &mut batch.without_texts {
                shard.inputs.push(ShardTexts::default());
            }
            if !input.has_lstm() {
                batch.words.push(Vec::new());
                batch.subwords.push(None);
                batch.shared_padding.push(None);
                let shards = batch.shards.iter_mut();
                shards.for_each(|shard| shard.inputs.push(ShardTexts::default()));
                continue;
            }
            let row_numbers = &mut row_numbers[input_index];
            row_numbers.reserve(corpus.words().map_or(0, CorpusWords::count));
            let share = shares_padding(input, dropout);
            let mut padding_steps = 0;
            for (index, shard) in batch.shards.iter_mut().enumerate() {
                row_numbers.reset();
                let mut texts = ShardTexts::default();
                if !own.contains(&index) {
                    // Another process computes the shard; its words are in the sum of all.
                    for position in &shard.positions {
                        let example = examples[*position as usize];
                        let steps = text_steps(input, corpus, example, share);
                        padding_steps = padding_steps.max(steps.shared_padding);
                        let text = (corpus, example, steps.padding);
                        let at = (input_index, *position);
                        for_each_word(input, text, at, dropout, |_, word| {
                            if let Some(word) = word {
                                row_numbers.get_or_add(word, &mut texts.words);
                            }
                        });
                    }
                    shard.inputs.push(texts);
                    continue;
                }
                for block in &shard.blocks {
                    let positions = &shard.positions[block.clone()];
                    let selection = (corpus, examples, positions);
                    let block =
                        sequence_block(input_index, input, selection, dropout, share, |word| {
                            row_numbers.get_or_add(word, &mut texts.words)
                        });
                    let longest = block.shared_padding.iter().copied().max();
                    padding_steps = padding_steps.max(longest.unwrap_or(0));
                    texts.blocks.push(block);
                }
                texts.buckets = word_buckets(corpus, &texts.words);
                let zeros = texts.words.len() as u32;
                for block in &mut texts.blocks {
                    for row in &mut block.word_rows {
                        *row = (*row).min(zeros);
                    }
                }
                shard.inputs.push(texts);
            }
            let without_texts =
                batch.without_texts.iter_mut().filter_map(|shard| shard.inputs.last_mut());
            without_texts.for_each(|texts| texts.shared_padding = padding_steps);
            let mut padding = (padding_steps > 0).then(|| padding_texts(padding_steps, corpus));
            row_numbers.reset();
            let mut words = Vec::new();
            let shards = batch.shards.iter_mut().filter_map(|shard| shard.inputs.last_mut());
            let mut all: Vec<&mut ShardTexts> = shards.chain(&mut padding).collect();
            for texts in &mut all {
                texts.shared_padding = padding_steps;
                texts.union_rows = texts
                    .words
                    .iter()
                    .map(|word| row_numbers.get_or_add(*word, &mut words))
                    .collect();
            }
            let ranks = sort_words(&mut words);
            for texts in &mut all {
                texts.union_rows.iter_mut().for_each(|row| *row = ranks[*row as usize]);
            }
            let of_corpus = corpus.words().filter(|_| is_training);
            batch.subwords.push(of_corpus.map(|of_corpus| BatchSubwords::new(of_corpus, &words)));
            batch.words.push(words);
            batch.shared_padding.push(padding);
        }
        batch
    }
}

/// Returns a single text of the input at `input_index`. Padding in front counts as steps of the
/// text.
pub fn single_text(input_index: usize, input: &Input, corpus: &Corpus, example: u32) -> ShardTexts {
    let mut words: Vec<u32> = Vec::new();
    let row_of = |word: u32| match words.iter().position(|each| *each == word) {
        Some(row) => row as u32,
        None => {
            words.push(word);
            words.len() as u32 - 1
        }
    };
    let block = sequence_block(input_index, input, (corpus, &[example], &[0]), None, false, row_of);
    let union_rows = (0..words.len() as u32).collect();
    let buckets = word_buckets(corpus, &words);
    ShardTexts { words, buckets, union_rows, blocks: vec![block], shared_padding: 0 }
}

/// Returns the buckets of the character n-grams of some words; `None` if the model does not read these.
fn word_buckets(corpus: &Corpus, words: &[u32]) -> Option<WordBuckets> {
    let of_corpus = corpus.words()?;
    let mut buckets = WordBuckets::default();
    words.iter().for_each(|word| buckets.push(of_corpus.buckets(*word)));
    Some(buckets)
}

/// Returns true if the states of padding in front are computed once for all texts. The LSTM must be
/// unidirectional, and no dropout may act on the padding.
fn shares_padding(input: &Input, dropout: Option<&Dropout>) -> bool {
    let drops = dropout.is_some()
        && (input.embedding.dropout > 0.0
            || input.embedding.word_dropout > 0.0
            || (input.lstm.layers > 1 && input.lstm.dropout > 0.0));
    !input.lstm.bidirectional && !drops
}

/// Lengths of a text, in steps.
struct TextSteps {
    /// Steps of its own.
    steps: usize,
    /// Number of these steps that are padding in front.
    padding: usize,
    /// Steps of the shared padding in front.
    shared_padding: usize,
}

fn text_steps(input: &Input, corpus: &Corpus, example: u32, share: bool) -> TextSteps {
    let length = corpus.text(example as usize).len();
    let padding = match input.text.pad {
        PadSide::Back => 0,
        PadSide::Front => corpus.steps(example as usize) - length,
    };
    match share {
        true => TextSteps { steps: length, padding: 0, shared_padding: padding },
        false => TextSteps { steps: length + padding, padding, shared_padding: 0 },
    }
}

/// Returns the examples of a shard. The examples are dealt out back and forth, so that all shards
/// have about the same number of tokens.
fn assign_to_shard(
    order: &[(usize, u32)],
    shard: usize,
    shards: usize,
) -> impl Iterator<Item = (usize, u32)> {
    order.chunks(shards).enumerate().filter_map(move |(round, chunk)| {
        let index = if round % 2 == 0 { shard } else { shards - 1 - shard };
        chunk.get(index).copied()
    })
}

/// Cuts examples into blocks of similar size.
fn block_ranges(examples: usize) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < examples {
        // A small remainder joins the last block.
        let end = if examples - start < BLOCK + BLOCK / 2 { examples } else { start + BLOCK };
        blocks.push(start..end);
        start = end;
    }
    blocks
}

/// Builds the block of the examples at `positions`. `row_of` returns the row of a word in the word
/// table.
fn sequence_block(
    input_index: usize,
    input: &Input,
    (corpus, examples, positions): (&Corpus, &[u32], &[u32]),
    dropout: Option<&Dropout>,
    share: bool,
    mut row_of: impl FnMut(u32) -> u32,
) -> SequenceBlock {
    let all: Vec<TextSteps> = positions
        .iter()
        .map(|position| text_steps(input, corpus, examples[*position as usize], share))
        .collect();
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by_key(|example| Reverse(all[*example].steps));
    let lengths: Vec<usize> = order.iter().map(|example| all[*example].steps).collect();
    let padding: Vec<usize> = order.iter().map(|example| all[*example].padding).collect();
    let shared_padding = order.iter().map(|example| all[*example].shared_padding).collect();
    let layout = Layout::new(&lengths);
    let mut word_rows = vec![0; layout.tokens()];
    for (row, example) in order.iter().enumerate() {
        let at = (input_index, positions[*example]);
        let text = (corpus, examples[positions[*example] as usize], padding[row]);
        for_each_word(input, text, at, dropout, |step, word| {
            word_rows[layout.offset(step) + row] = word.map_or(DROPPED, &mut row_of);
        });
    }
    let mut reversed = Vec::new();
    if input.lstm.bidirectional {
        reversed.reserve(word_rows.len());
        for step in 0..layout.steps() {
            for (row, length) in lengths[..layout.active_rows(step)].iter().enumerate() {
                reversed.push((layout.offset(length - 1 - step) + row) as u32);
            }
        }
    }
    SequenceBlock { order, lengths, padding, shared_padding, layout, word_rows, reversed }
}

/// Calls `visit` with each step of the text of an example and its word, after this number of steps of padding; `None`
/// is a word that `dropout` removes. The text is that of an input and of a position in the batch.
fn for_each_word(
    input: &Input,
    (corpus, example, padding): (&Corpus, u32, usize),
    (input_index, position): (usize, u32),
    dropout: Option<&Dropout>,
    mut visit: impl FnMut(usize, Option<u32>),
) {
    let rate = input.embedding.word_dropout;
    let dropout = dropout.filter(|_| rate > 0.0);
    let words = corpus.word_ids(example as usize);
    for (step, word) in std::iter::repeat_n(PAD, padding).chain(words).enumerate() {
        let position = Position { input: input_index, example: position, step };
        let keeps = dropout.is_none_or(|dropout| dropout.keeps_word(position, rate));
        visit(step, keeps.then_some(word));
    }
}

/// Builds the shared padding: a block of one text of PAD ids.
fn padding_texts(length: usize, corpus: &Corpus) -> ShardTexts {
    let block = SequenceBlock {
        order: vec![0],
        lengths: vec![length],
        padding: vec![0],
        shared_padding: vec![0],
        layout: Layout::new(&[length]),
        word_rows: vec![0; length],
        reversed: Vec::new(),
    };
    let (words, union_rows) = (vec![PAD], Vec::new());
    let buckets = word_buckets(corpus, &words);
    ShardTexts { words, buckets, union_rows, blocks: vec![block], shared_padding: 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config;

    proptest! {
        /// Every token of every text occurs once, in order, with the row of its word in the shard.
        #[test]
        fn shards_and_blocks_have_every_token(
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
            let corpus = Corpus::from_texts(inputs[0].text.pad, 40, texts.iter().map(|text| &text[..]));
            let examples: Vec<u32> = (0..texts.len() as u32).rev().collect();
            let mut sharder = BatchSharder::new(&inputs, &[30], shards);
            let batch = sharder.shard(&[corpus], None, &examples, None);
            prop_assert!(batch.shards.len() <= shards);
            prop_assert!(batch.words[0].is_sorted());
            let mut seen = vec![0; texts.len()];
            for shard in &batch.shards {
                let input = &shard.inputs[0];
                for (word, row) in input.words.iter().zip(&input.union_rows) {
                    prop_assert_eq!(*word, batch.words[0][*row as usize]);
                }
                for (range, block) in shard.blocks.iter().zip(&input.blocks) {
                    prop_assert!(block.lengths.is_sorted_by(|a, b| a >= b));
                    for (row, example) in block.order.iter().enumerate() {
                        let position = shard.positions[range.start + example] as usize;
                        let text = &texts[examples[position] as usize];
                        seen[position] += 1;
                        prop_assert_eq!(block.lengths[row], block.padding[row] + text.len());
                        if front {
                            let padding = block.padding[row] + block.shared_padding[row];
                            prop_assert_eq!(padding, 40 - text.len());
                        }
                        for step in 0..block.lengths[row] {
                            let token = block.layout.offset(step) + row;
                            let word = input.words[block.word_rows[token] as usize];
                            let expected = step.checked_sub(block.padding[row]).map_or(PAD, |at| text[at]);
                            prop_assert_eq!(word, expected);
                            if bidirectional {
                                let mirrored = block.layout.offset(block.lengths[row] - 1 - step) + row;
                                prop_assert_eq!(block.reversed[token] as usize, mirrored);
                            }
                        }
                    }
                }
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
    }
}
