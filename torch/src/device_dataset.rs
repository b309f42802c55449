//! A data set in the memory of a device. Its batches are assembled on the device, so that a step
//! copies only the indices of its examples.

use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, NgramBags, PaddedTexts, Padding, to_device};
use crate::libtorch::unless_out_of_memory;
use lstmtext::config::PadSide;
use lstmtext::data::Dataset;
use lstmtext::text::{Corpus, PAD};

/// A data set may take 1 / `MEMORY_SHARE` of a device's memory; the model needs the rest.
const MEMORY_SHARE: u64 = 4;

/// Texts of a data set on a device.
#[derive(Debug)]
pub struct DeviceDataset {
    inputs: Vec<DeviceCorpus>,
    device: Device,
}

/// Texts of one input.
#[derive(Debug)]
struct DeviceCorpus {
    /// Ids of all texts, concatenated, int32.
    ids: Tensor,
    /// Start of each text in `ids`, int64 `[N]`.
    starts: Tensor,
    /// Number of ids of each text, int64 `[N]`.
    lengths: Tensor,
    pad: PadSide,
}

impl DeviceDataset {
    /// Copies a data set to a device with `memory` bytes. Returns `None` if the data set takes more
    /// than a quarter of them, if the device runs out of memory, or if words have character n-grams, which the host
    /// collects.
    pub fn try_new(data: &Dataset, device: Device, memory: u64) -> Option<Self> {
        if data.inputs.iter().any(|corpus| corpus.words().is_some()) {
            return None;
        }
        // Other programs may use the memory.
        Self::fits(data, memory).then(|| unless_out_of_memory(|| Self::new(data, device))).flatten()
    }

    fn fits(data: &Dataset, memory: u64) -> bool {
        // The ids, and the start and length of each text.
        let bytes = |corpus: &Corpus| 4 * corpus.tokens() as u64 + 16 * corpus.len() as u64;
        data.inputs.iter().map(bytes).sum::<u64>() <= memory / MEMORY_SHARE
    }

    fn new(data: &Dataset, device: Device) -> Self {
        Self {
            inputs: data.inputs.iter().map(|corpus| DeviceCorpus::new(corpus, device)).collect(),
            device,
        }
    }

    /// Collects the examples with these indices. `data` must be the data set that was copied.
    pub fn gather(&self, data: &Dataset, examples: &[u32]) -> Batch {
        let indices: Vec<i64> = examples.iter().map(|example| i64::from(*example)).collect();
        let indices = to_device(&indices, self.device);
        let inputs = self.inputs.iter().zip(&data.inputs).map(|(copy, corpus)| {
            let time_steps = examples.iter().map(|example| corpus.steps(*example as usize)).max();
            copy.gather(&indices, time_steps.unwrap_or(0) as i64)
        });
        Batch {
            inputs: inputs.collect(),
            ngrams: NgramBags::gather_all(&data.inputs, examples, self.device),
        }
    }
}

impl DeviceCorpus {
    fn new(corpus: &Corpus, device: Device) -> Self {
        // Ids fit into 31 bits: each word of a vocabulary takes more than one byte of memory.
        let ids: Vec<i32> = corpus.ids().iter().map(|id| *id as i32).collect();
        let lengths: Vec<i64> =
            (0..corpus.len()).map(|text| corpus.text(text).len() as i64).collect();
        let lengths = to_device(&lengths, device);
        Self {
            ids: to_device(&ids, device),
            starts: lengths.cumsum(0, Kind::Int64) - &lengths,
            lengths,
            pad: corpus.pad(),
        }
    }

    /// Collects the texts with these indices, int64 `[B]`, padded to `time_steps`.
    fn gather(&self, indices: &Tensor, time_steps: i64) -> PaddedTexts {
        let lengths = self.lengths.index_select(0, indices);
        let device = self.lengths.device();
        let times = Tensor::arange(time_steps, (Kind::Int64, device)).unsqueeze(0); // [1, T]
        // Index of each time step in its text, out of range in the padding, [B, T].
        let positions = match self.pad {
            PadSide::Back => times.expand([indices.size()[0], time_steps], false),
            PadSide::Front => times + lengths.unsqueeze(1) - time_steps,
        };
        let mask = positions.ge(0).logical_and(&positions.lt_tensor(&lengths.unsqueeze(1)));
        let starts = self.starts.index_select(0, indices).unsqueeze(1);
        let flat = (starts + positions).clamp(0, self.ids.size()[0] - 1).flatten(0, 1);
        let ids = self.ids.index_select(0, &flat).to_kind(Kind::Int64).view_as(&mask);
        PaddedTexts {
            // Filling with a scalar avoids copying a tensor to the device.
            ids: ids.masked_fill(&mask.logical_not(), i64::from(PAD)),
            words: None,
            padding: Padding::new(lengths, time_steps, self.pad),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Direction;

    fn values(tensor: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(tensor.to_kind(Kind::Int64).flatten(0, -1)).unwrap()
    }

    proptest! {
        /// Batches assembled from the device's copy equal those assembled by the host.
        #[test]
        fn batches_equal_those_of_the_host(
            texts in vec(vec(1_u32..100, 1..9), 1..7),
            chosen in vec(any::<prop::sample::Index>(), 1..7),
            front in any::<bool>(),
        ) {
            let pad = if front { PadSide::Front } else { PadSide::Back };
            let corpus = Corpus::from_texts(pad, 9, texts.iter().map(Vec::as_slice));
            let data = Dataset { inputs: vec![corpus], ..Dataset::default() };
            let examples: Vec<u32> =
                chosen.iter().map(|index| index.index(texts.len()) as u32).collect();
            let batch = DeviceDataset::new(&data, Device::Cpu).gather(&data, &examples);
            let host = PaddedTexts::gather(&data.inputs[0], &examples, Device::Cpu);
            prop_assert_eq!(batch.inputs[0].ids.size(), host.ids.size());
            prop_assert_eq!(values(&batch.inputs[0].ids), values(&host.ids));
            for direction in [Direction::Forward, Direction::Backward] {
                let mask = |texts: &PaddedTexts| values(&texts.padding.mask(direction));
                prop_assert_eq!(mask(&batch.inputs[0]), mask(&host));
            }
        }
    }

    #[test]
    fn a_data_set_may_take_a_quarter_of_the_memory() {
        let corpus = Corpus::from_texts(PadSide::Back, 9, [&[4_u32; 100][..]]);
        let data = Dataset { inputs: vec![corpus], ..Dataset::default() };
        assert!(DeviceDataset::fits(&data, 4 * 416) && !DeviceDataset::fits(&data, 4 * 416 - 4));
    }
}
