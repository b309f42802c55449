//! Batches of examples as tensors.
//!
//! Letters in shapes: B batch, T time, E embedding, H hidden units of one direction, D pooled
//! features, C classes, V vocabulary.

mod words;

use tch::{Device, Kind, Tensor};

use lstmtext::backend::RandomSigns;
use lstmtext::config::PadSide;
use lstmtext::text::{Corpus, PAD};

pub use words::{BatchWords, distinct_buckets};

/// Copies values to a device. The host does not wait for a copy to a CUDA device.
pub fn to_device<T: tch::kind::Element>(values: &[T], device: Device) -> Tensor {
    let tensor = Tensor::from_slice(values);
    match device {
        Device::Cpu => tensor,
        // `pin_memory` warns about its device argument, which tch requires; `_pin_memory` does not.
        device => tensor.internal_pin_memory(device).to_device_(device, T::KIND, true, false),
    }
}

/// A batch of examples.
#[derive(Debug)]
pub struct Batch {
    /// Texts of each input.
    pub inputs: Vec<PaddedTexts>,
    /// N-grams of each input; `None` if the model does not read them.
    pub ngrams: Vec<Option<NgramBags>>,
}

impl Batch {
    /// Collects the examples with these indices. `inputs` has the texts of the whole data set.
    pub fn gather(inputs: &[Corpus], examples: &[u32], device: Device) -> Self {
        let gather = |corpus| PaddedTexts::gather(corpus, examples, device);
        Self {
            inputs: inputs.iter().map(gather).collect(),
            ngrams: NgramBags::gather_all(inputs, examples, device),
        }
    }
}

/// N-grams of the texts of one input, in the form of PyTorch's `EmbeddingBag`.
#[derive(Debug)]
pub struct NgramBags {
    /// Rows of the distinct n-grams among all that the model knows, sorted, int64 [n-grams].
    pub rows: Tensor,
    /// The same rows in the memory of the host.
    pub host_rows: Vec<i64>,
    /// N-grams of one text after the other, as indices into `rows`, int64.
    pub indices: Tensor,
    /// Start of each text in `indices`, int64 `[B]`.
    pub starts: Tensor,
}

impl NgramBags {
    /// Collects the n-grams of the texts with these indices, for each input that has n-grams.
    pub fn gather_all(inputs: &[Corpus], examples: &[u32], device: Device) -> Vec<Option<Self>> {
        let gather =
            |corpus: &Corpus| corpus.has_ngrams().then(|| Self::gather(corpus, examples, device));
        inputs.iter().map(gather).collect()
    }

    fn gather(corpus: &Corpus, examples: &[u32], device: Device) -> Self {
        let (mut all, mut starts) = (Vec::new(), Vec::with_capacity(examples.len()));
        for example in examples {
            starts.push(all.len() as i64);
            all.extend_from_slice(corpus.ngrams(*example as usize));
        }
        let mut rows = all.clone();
        rows.sort_unstable();
        rows.dedup();
        let index = |row: &u32| rows.partition_point(|other| other < row) as i64;
        let indices: Vec<i64> = all.iter().map(index).collect();
        let rows: Vec<i64> = rows.iter().map(|row| i64::from(*row)).collect();
        let [indices, starts] = [indices, starts].map(|values| to_device(&values, device));
        Self { rows: to_device(&rows, device), host_rows: rows, indices, starts }
    }
}

/// Random signs for the components of the word vectors of some texts.
#[derive(Debug)]
pub struct PackedSigns {
    /// Signs of [`RandomSigns::BLOCK`] components in the bits of a number, int64 [B, T, blocks].
    bits: Tensor,
    /// Embedding dimension E.
    size: i64,
}

impl PackedSigns {
    /// Draws the signs for the word vectors, of `size` components, of these texts of the input at `input`.
    pub fn draw(
        signs: RandomSigns,
        input: usize,
        size: usize,
        corpus: &Corpus,
        examples: &[u32],
        device: Device,
    ) -> Self {
        let time_steps = examples.iter().map(|i| corpus.steps(*i as usize)).max().unwrap_or(0);
        let blocks = size.div_ceil(RandomSigns::BLOCK);
        let mut bits = Vec::with_capacity(examples.len() * time_steps * blocks);
        for (position, example) in (0..).zip(examples) {
            let start = match corpus.pad() {
                PadSide::Back => 0,
                PadSide::Front => time_steps - corpus.text(*example as usize).len(),
            };
            for step in 0..time_steps {
                let word = step.saturating_sub(start);
                let draw = |block| signs.draw(input, position, word, block).cast_signed();
                bits.extend((0..blocks).map(draw));
            }
        }
        let shape = [examples.len() as i64, time_steps as i64, blocks as i64];
        Self { bits: to_device(&bits, device).view(shape), size: size as i64 }
    }

    /// Returns the signs as 1 and -1, float [B, T, E].
    pub fn unpack(&self) -> Tensor {
        let places = Tensor::arange(RandomSigns::BLOCK as i64, (Kind::Int64, self.bits.device()));
        let bits = self.bits.unsqueeze(3).bitwise_right_shift(&places).bitwise_and(1);
        let bits = bits.flatten(2, 3).narrow(2, 0, self.size); // [B, T, E]
        (bits * 2 - 1).to_kind(Kind::Float)
    }
}

/// Texts of one input, padded to the same length.
#[derive(Debug)]
pub struct PaddedTexts {
    /// Token ids, int64 [B, T].
    pub ids: Tensor,
    /// Words with their character n-grams, if the model reads these.
    pub words: Option<BatchWords>,
    /// Position of the padding.
    pub padding: Padding,
}

impl PaddedTexts {
    /// Collects the texts with these indices.
    pub fn gather(corpus: &Corpus, examples: &[u32], device: Device) -> Self {
        let time_steps = examples.iter().map(|i| corpus.steps(*i as usize)).max().unwrap_or(0);
        let mut ids = vec![i64::from(PAD); examples.len() * time_steps];
        let mut lengths = Vec::with_capacity(examples.len());
        for (row, example) in ids.chunks_exact_mut(time_steps.max(1)).zip(examples) {
            let text = corpus.text(*example as usize);
            let start = match corpus.pad() {
                PadSide::Back => 0,
                PadSide::Front => time_steps - text.len(),
            };
            for (slot, id) in row[start..].iter_mut().zip(text) {
                *slot = i64::from(*id);
            }
            lengths.push(text.len() as i64);
        }
        let (batch_size, time_steps) = (examples.len() as i64, time_steps as i64);
        let lengths = to_device(&lengths, device);
        Self {
            ids: to_device(&ids, device).view([batch_size, time_steps]),
            words: corpus.words().map(|words| {
                BatchWords::gather(corpus, words, examples, time_steps as usize, device)
            }),
            padding: Padding::new(lengths, time_steps, corpus.pad()),
        }
    }
}

/// Direction in which an LSTM reads a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first token to the last.
    Forward,
    /// From the last token to the first.
    Backward,
}

/// Padding of the texts in a batch.
#[derive(Debug)]
pub struct Padding {
    /// Number of real tokens of each text, int64 `[B]`.
    pub lengths: Tensor,
    /// Number of time steps T, padding included.
    pub time_steps: i64,
    side: PadSide,
    /// 0, 1, …, T−1, int64 [1, T].
    times: Tensor,
}

impl Padding {
    /// Creates the padding of texts with these lengths, int64 `[B]`, to `time_steps`.
    pub fn new(lengths: Tensor, time_steps: i64, side: PadSide) -> Self {
        let times = Tensor::arange(time_steps, (Kind::Int64, lengths.device())).unsqueeze(0);
        Self { lengths, time_steps, side, times }
    }

    /// Returns a mask of the real tokens, in the order in which `direction` reads: bool [B, T].
    pub fn mask(&self, direction: Direction) -> Tensor {
        let lengths = self.lengths.unsqueeze(1); // [B, 1]
        match (self.side, direction) {
            (PadSide::Front, Direction::Forward) => {
                self.times.ge_tensor(&(-lengths + self.time_steps))
            }
            _ => self.times.lt_tensor(&lengths),
        }
    }

    /// Reverses time, [B, T, ·] → [B, T, ·]. Padding at the end stays at the end, so that the
    /// backward LSTM starts with the last real token. Padding in front is read like text and is
    /// reversed with it. Reversing twice returns the original.
    pub fn reverse(&self, sequence: &Tensor) -> Tensor {
        let mirrored = match self.side {
            PadSide::Front => {
                (-&self.times + (self.time_steps - 1)).expand([self.batch_size(), -1], false)
            }
            PadSide::Back => {
                let mirrored = self.lengths.unsqueeze(1) - 1 - &self.times;
                mirrored.where_self(&mirrored.ge(0), &self.times)
            }
        };
        self.select(sequence, &(mirrored + self.row_offsets())).view_as(sequence)
    }

    /// Returns the state after the last time step, padding at the end excluded: [B, T, H] → [B, H].
    pub fn last(&self, sequence: &Tensor) -> Tensor {
        match self.side {
            PadSide::Front => sequence.select(1, self.time_steps - 1),
            PadSide::Back => {
                self.select(sequence, &(self.lengths.unsqueeze(1) - 1 + self.row_offsets()))
            }
        }
    }

    fn batch_size(&self) -> i64 {
        self.lengths.size()[0]
    }

    /// Index of each row's first vector in the flattened batch, int64 [B, 1].
    fn row_offsets(&self) -> Tensor {
        let rows = Tensor::arange(self.batch_size(), (Kind::Int64, self.lengths.device()));
        (rows * self.time_steps).unsqueeze(1)
    }

    /// Selects vectors by their indices in the flattened batch, [B, T, ·] → [indices, ·].
    fn select(&self, sequence: &Tensor, indices: &Tensor) -> Tensor {
        sequence.flatten(0, 1).index_select(0, &indices.flatten(0, 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn padding(side: PadSide) -> Padding {
        Padding::new(Tensor::from_slice(&[2_i64, 3]), 3, side)
    }

    fn sequence() -> Tensor {
        Tensor::from_slice(&[1_i64, 2, 0, 4, 5, 6]).view([2, 3, 1])
    }

    fn values(tensor: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(tensor.to_kind(Kind::Int64).flatten(0, -1)).unwrap()
    }

    #[test]
    fn padding_at_the_end_stays_there_when_time_is_reversed() {
        let padding = padding(PadSide::Back);
        let reversed = padding.reverse(&sequence());
        assert_eq!(values(&reversed), [2, 1, 0, 6, 5, 4]);
        assert_eq!(values(&padding.reverse(&reversed)), values(&sequence()));
        assert_eq!(values(&padding.last(&sequence())), [2, 6]);
        for direction in [Direction::Forward, Direction::Backward] {
            assert_eq!(values(&padding.mask(direction)), [1, 1, 0, 1, 1, 1]);
        }
    }

    #[test]
    fn padding_in_front_is_read_like_text() {
        let padding = padding(PadSide::Front);
        assert_eq!(values(&padding.reverse(&sequence())), [0, 2, 1, 6, 5, 4]);
        assert_eq!(values(&padding.last(&sequence())), [0, 6]);
        assert_eq!(values(&padding.mask(Direction::Forward)), [0, 1, 1, 1, 1, 1]);
        assert_eq!(values(&padding.mask(Direction::Backward)), [1, 1, 0, 1, 1, 1]);
    }

    proptest! {
        /// Each row has its text, with padding on the configured side. The mask covers the text
        /// only. The last state of a direction is the state after the last token that it reads.
        #[test]
        fn a_batch_contains_the_texts_and_padding(
            texts in vec(vec(1_u32..100, 1..9), 1..7),
            chosen in vec(any::<prop::sample::Index>(), 1..7),
            front in any::<bool>(),
        ) {
            let pad = if front { PadSide::Front } else { PadSide::Back };
            let corpus = Corpus::from_texts(pad, 9, texts.iter().map(Vec::as_slice));
            let examples: Vec<u32> =
                chosen.iter().map(|index| index.index(texts.len()) as u32).collect();
            let batch = PaddedTexts::gather(&corpus, &examples, Device::Cpu);
            let time_steps = batch.padding.time_steps as usize;
            let longest = examples.iter().map(|example| texts[*example as usize].len()).max();
            prop_assert_eq!(time_steps, if front { 9 } else { longest.unwrap() });
            prop_assert_eq!(batch.ids.size(), [examples.len() as i64, time_steps as i64]);

            let ids = values(&batch.ids);
            let found_mask = values(&batch.padding.mask(Direction::Forward));
            let reversed = batch.padding.reverse(&batch.ids.unsqueeze(-1));
            let last = values(&batch.padding.last(&batch.ids.unsqueeze(-1)));
            let last_backward = values(&batch.padding.last(&reversed));
            for (row, example) in examples.iter().enumerate() {
                let text: Vec<i64> =
                    texts[*example as usize].iter().map(|id| i64::from(*id)).collect();
                let padding = vec![i64::from(PAD); time_steps - text.len()];
                let (expected, mask) = match front {
                    true => ([padding.clone(), text.clone()].concat(), [vec![0; padding.len()], vec![1; text.len()]]),
                    false => ([text.clone(), padding.clone()].concat(), [vec![1; text.len()], vec![0; padding.len()]]),
                };
                let range = row * time_steps..(row + 1) * time_steps;
                prop_assert_eq!(&ids[range.clone()], expected);
                prop_assert_eq!(&found_mask[range], mask.concat());
                prop_assert_eq!(last[row], text[text.len() - 1]);
                // Padding in front is read like text, so the backward LSTM ends with it.
                let first = if padding.is_empty() || !front { text[0] } else { i64::from(PAD) };
                prop_assert_eq!(last_backward[row], first);
            }
        }
    }
}
