//! Examples as tensors.
//!
//! Letters used in shapes everywhere: B batch, T time, E embedding, H hidden units of one
//! direction, D pooled features, C classes, V vocabulary.

use tch::{Device, Kind, Tensor};

use lstmtext::config::PadSide;
use lstmtext::text::{Corpus, PAD};

/// Numbers on a device; copied there beside its other work.
pub fn to_device<T: tch::kind::Element>(numbers: &[T], device: Device) -> Tensor {
    let tensor = Tensor::from_slice(numbers);
    match device {
        Device::Cpu => tensor,
        // pin_memory warns that it is to be called without a device, which tch cannot do.
        device => tensor.internal_pin_memory(device).to_device_(device, T::KIND, true, false),
    }
}

/// Some examples.
#[derive(Debug)]
pub struct Batch {
    /// For each input its texts.
    pub inputs: Vec<Sequences>,
}

impl Batch {
    /// Collects the examples with these numbers; `inputs` are those of the whole data set.
    pub fn gather(inputs: &[Corpus], examples: &[u32], device: Device) -> Self {
        let gather = |corpus| Sequences::gather(corpus, examples, device);
        Self { inputs: inputs.iter().map(gather).collect() }
    }
}

/// The texts of one input, padded to one length.
#[derive(Debug)]
pub struct Sequences {
    /// Word ids, int64 [B, T].
    pub ids: Tensor,
    /// Where the real tokens are.
    pub positions: Positions,
}

impl Sequences {
    /// Collects the texts with these numbers.
    pub fn gather(corpus: &Corpus, examples: &[u32], device: Device) -> Self {
        let width = examples.iter().map(|i| corpus.steps(*i as usize)).max().unwrap_or(0);
        let mut ids = vec![i64::from(PAD); examples.len() * width];
        let mut lengths = Vec::with_capacity(examples.len());
        for (row, example) in ids.chunks_exact_mut(width.max(1)).zip(examples) {
            let text = corpus.text(*example as usize);
            let start = match corpus.pad() {
                PadSide::Back => 0,
                PadSide::Front => width - text.len(),
            };
            for (slot, id) in row[start..].iter_mut().zip(text) {
                *slot = i64::from(*id);
            }
            lengths.push(text.len() as i64);
        }
        let (rows, width) = (examples.len() as i64, width as i64);
        let lengths = to_device(&lengths, device);
        Self {
            ids: to_device(&ids, device).view([rows, width]),
            positions: Positions::new(lengths, width, corpus.pad()),
        }
    }
}

/// The direction in which an LSTM reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first word to the last.
    Forward,
    /// From the last word to the first.
    Backward,
}

/// Where the real tokens of a padded batch are, in the order in which a direction reads them.
#[derive(Debug)]
pub struct Positions {
    /// Real tokens of each example, int64 `[B]`.
    pub lengths: Tensor,
    /// T.
    pub width: i64,
    pad: PadSide,
    /// 0, 1, …, T−1, int64 [1, T].
    times: Tensor,
}

impl Positions {
    /// The positions of texts of these lengths, int64 `[B]`, padded to `width`.
    pub fn new(lengths: Tensor, width: i64, pad: PadSide) -> Self {
        let times = Tensor::arange(width, (Kind::Int64, lengths.device())).unsqueeze(0);
        Self { lengths, width, pad, times }
    }

    /// Which steps are real tokens, in reading order: bool [B, T].
    pub fn real(&self, direction: Direction) -> Tensor {
        let lengths = self.lengths.unsqueeze(1); // [B, 1]
        match (self.pad, direction) {
            (PadSide::Front, Direction::Forward) => self.times.ge_tensor(&(-lengths + self.width)),
            _ => self.times.lt_tensor(&lengths),
        }
    }

    /// Reverses time, [B, T, ·] → [B, T, ·]. Padding at the end stays there, so that the backward
    /// LSTM begins with the last real token; padding in front is text and is reversed with it.
    /// Twice gives the original.
    pub fn reverse(&self, sequence: &Tensor) -> Tensor {
        let mirrored = match self.pad {
            PadSide::Front => (-&self.times + (self.width - 1)).expand([self.rows(), -1], false),
            PadSide::Back => {
                let mirrored = self.lengths.unsqueeze(1) - 1 - &self.times;
                mirrored.where_self(&mirrored.ge(0), &self.times)
            }
        };
        self.pick(sequence, &(mirrored + self.row_starts())).view_as(sequence)
    }

    /// The state after the last step read, [B, T, H] → [B, H].
    pub fn last(&self, sequence: &Tensor) -> Tensor {
        match self.pad {
            PadSide::Front => sequence.select(1, self.width - 1),
            PadSide::Back => {
                self.pick(sequence, &(self.lengths.unsqueeze(1) - 1 + self.row_starts()))
            }
        }
    }

    fn rows(&self) -> i64 {
        self.lengths.size()[0]
    }

    /// Where each row begins when rows are laid end to end, int64 [B, 1].
    fn row_starts(&self) -> Tensor {
        let rows = Tensor::arange(self.rows(), (Kind::Int64, self.lengths.device()));
        (rows * self.width).unsqueeze(1)
    }

    /// The vectors with these indices when rows are laid end to end: [B, T, ·] → [indices, ·].
    fn pick(&self, sequence: &Tensor, indices: &Tensor) -> Tensor {
        sequence.flatten(0, 1).index_select(0, &indices.flatten(0, 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn positions(pad: PadSide) -> Positions {
        Positions::new(Tensor::from_slice(&[2_i64, 3]), 3, pad)
    }

    fn sequence() -> Tensor {
        Tensor::from_slice(&[1_i64, 2, 0, 4, 5, 6]).view([2, 3, 1])
    }

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(tensor.to_kind(Kind::Int64).flatten(0, -1)).unwrap()
    }

    #[test]
    fn padding_at_the_end_stays_there_when_time_is_reversed() {
        let positions = positions(PadSide::Back);
        let reversed = positions.reverse(&sequence());
        assert_eq!(numbers(&reversed), [2, 1, 0, 6, 5, 4]);
        assert_eq!(numbers(&positions.reverse(&reversed)), numbers(&sequence()));
        assert_eq!(numbers(&positions.last(&sequence())), [2, 6]);
        for direction in [Direction::Forward, Direction::Backward] {
            assert_eq!(numbers(&positions.real(direction)), [1, 1, 0, 1, 1, 1]);
        }
    }

    #[test]
    fn padding_in_front_is_read_like_text() {
        let positions = positions(PadSide::Front);
        assert_eq!(numbers(&positions.reverse(&sequence())), [0, 2, 1, 6, 5, 4]);
        assert_eq!(numbers(&positions.last(&sequence())), [0, 6]);
        assert_eq!(numbers(&positions.real(Direction::Forward)), [0, 1, 1, 1, 1, 1]);
        assert_eq!(numbers(&positions.real(Direction::Backward)), [1, 1, 0, 1, 1, 1]);
    }

    proptest! {
        /// For any texts: each row has its text where `pad` puts it and padding elsewhere, only
        /// the text counts as real, and a direction's last state is that after its last token.
        #[test]
        fn a_batch_has_every_text_and_nothing_else(
            texts in vec(vec(1_u32..100, 1..9), 1..7),
            chosen in vec(any::<prop::sample::Index>(), 1..7),
            front in any::<bool>(),
        ) {
            let pad = if front { PadSide::Front } else { PadSide::Back };
            let corpus = Corpus::from_texts(pad, 9, texts.iter().map(Vec::as_slice));
            let examples: Vec<u32> =
                chosen.iter().map(|index| index.index(texts.len()) as u32).collect();
            let batch = Sequences::gather(&corpus, &examples, Device::Cpu);
            let width = batch.positions.width as usize;
            let longest = examples.iter().map(|example| texts[*example as usize].len()).max();
            prop_assert_eq!(width, if front { 9 } else { longest.unwrap() });
            prop_assert_eq!(batch.ids.size(), [examples.len() as i64, width as i64]);

            let ids = numbers(&batch.ids);
            let real = numbers(&batch.positions.real(Direction::Forward));
            let reversed = batch.positions.reverse(&batch.ids.unsqueeze(-1));
            let last = numbers(&batch.positions.last(&batch.ids.unsqueeze(-1)));
            let last_backward = numbers(&batch.positions.last(&reversed));
            for (row, example) in examples.iter().enumerate() {
                let text: Vec<i64> =
                    texts[*example as usize].iter().map(|id| i64::from(*id)).collect();
                let padding = vec![i64::from(PAD); width - text.len()];
                let (expected, mask) = match front {
                    true => ([padding.clone(), text.clone()].concat(), [vec![0; padding.len()], vec![1; text.len()]]),
                    false => ([text.clone(), padding.clone()].concat(), [vec![1; text.len()], vec![0; padding.len()]]),
                };
                let range = row * width..(row + 1) * width;
                prop_assert_eq!(&ids[range.clone()], expected);
                prop_assert_eq!(&real[range], mask.concat());
                prop_assert_eq!(last[row], text[text.len() - 1]);
                // Padding in front is read like text: the backward LSTM ends with it.
                let first = if padding.is_empty() || !front { text[0] } else { i64::from(PAD) };
                prop_assert_eq!(last_backward[row], first);
            }
        }
    }
}
