//! Encoded examples that lie on a device, where batches are made of them: a step copies nothing but
//! the numbers of its examples there.

use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, Positions, Sequences, to_device};
use crate::libtorch::unless_out_of_memory;
use lstmtext::config::PadSide;
use lstmtext::data::Dataset;
use lstmtext::text::{Corpus, PAD};

/// The share of a device's memory that examples may take; the rest is the model's.
const SHARE: u64 = 4;

/// All inputs and labels of a data set on a device.
#[derive(Debug)]
pub struct DeviceDataset {
    inputs: Vec<ResidentCorpus>,
    /// int64 `[N]`
    labels: Tensor,
}

/// The texts of an input.
#[derive(Debug)]
struct ResidentCorpus {
    /// The ids of all texts, one after the other, int32.
    ids: Tensor,
    /// Where each text begins, int64 `[N]`.
    starts: Tensor,
    /// How many ids it has, int64 `[N]`.
    lengths: Tensor,
    pad: PadSide,
}

impl DeviceDataset {
    /// Copies everything to a device with so many bytes of memory, if it can be spared.
    pub fn where_it_fits(data: &Dataset, device: Device, memory: u64) -> Option<Self> {
        // Other programs may have taken it.
        Self::fits(data, memory).then(|| unless_out_of_memory(|| Self::new(data, device))).flatten()
    }

    fn fits(data: &Dataset, memory: u64) -> bool {
        // An id, and of each text its place and length.
        let of = |corpus: &Corpus| 4 * corpus.tokens() as u64 + 16 * corpus.len() as u64;
        data.inputs.iter().map(of).sum::<u64>() <= memory / SHARE
    }

    fn new(data: &Dataset, device: Device) -> Self {
        let labels = data.targets.labels().unwrap_or_default();
        let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
        Self {
            inputs: data.inputs.iter().map(|corpus| ResidentCorpus::new(corpus, device)).collect(),
            labels: to_device(&labels, device),
        }
    }

    /// The examples with these numbers and their labels, int64 `[B]`; `data` is what all this was
    /// made of.
    pub fn gather(&self, data: &Dataset, examples: &[u32]) -> (Batch, Tensor) {
        let numbers: Vec<i64> = examples.iter().map(|example| i64::from(*example)).collect();
        let numbers = to_device(&numbers, self.labels.device());
        let inputs = self.inputs.iter().zip(&data.inputs).map(|(resident, corpus)| {
            let width = examples.iter().map(|example| corpus.steps(*example as usize)).max();
            resident.gather(&numbers, width.unwrap_or(0) as i64)
        });
        (Batch { inputs: inputs.collect() }, self.labels.index_select(0, &numbers))
    }
}

impl ResidentCorpus {
    fn new(corpus: &Corpus, device: Device) -> Self {
        // Ids are below 2³¹: a vocabulary is in memory, and its words take more than a byte each.
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

    /// The texts with these numbers, int64 `[B]`, in `width` steps.
    fn gather(&self, numbers: &Tensor, width: i64) -> Sequences {
        let lengths = self.lengths.index_select(0, numbers);
        let device = self.lengths.device();
        let times = Tensor::arange(width, (Kind::Int64, device)).unsqueeze(0); // [1, T]
        // The place of each step in its text, [B, T]; it has none in the padding.
        let places = match self.pad {
            PadSide::Back => times.expand([numbers.size()[0], width], false),
            PadSide::Front => times + lengths.unsqueeze(1) - width,
        };
        let real = places.ge(0).logical_and(&places.lt_tensor(&lengths.unsqueeze(1)));
        let starts = self.starts.index_select(0, numbers).unsqueeze(1);
        let flat = (starts + places).clamp(0, self.ids.size()[0] - 1).flatten(0, 1);
        let ids = self.ids.index_select(0, &flat).to_kind(Kind::Int64).view_as(&real);
        Sequences {
            // A number that is no tensor need not be copied there.
            ids: ids.masked_fill(&real.logical_not(), i64::from(PAD)),
            positions: Positions::new(lengths, width, self.pad),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Direction;

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(tensor.to_kind(Kind::Int64).flatten(0, -1)).unwrap()
    }

    proptest! {
        /// A batch that was made on the device is the one that was made here.
        #[test]
        fn batches_are_the_same(
            texts in vec(vec(1_u32..100, 1..9), 1..7),
            chosen in vec(any::<prop::sample::Index>(), 1..7),
            front in any::<bool>(),
        ) {
            let pad = if front { PadSide::Front } else { PadSide::Back };
            let corpus = Corpus::from_texts(pad, 9, texts.iter().map(Vec::as_slice));
            let labels: Vec<u32> = (0..texts.len() as u32).map(|text| text % 3).collect();
            let data = Dataset { inputs: vec![corpus], targets: labels.into() };
            let examples: Vec<u32> =
                chosen.iter().map(|index| index.index(texts.len()) as u32).collect();
            let (batch, labels) = DeviceDataset::new(&data, Device::Cpu).gather(&data, &examples);
            let here = Sequences::gather(&data.inputs[0], &examples, Device::Cpu);
            prop_assert_eq!(batch.inputs[0].ids.size(), here.ids.size());
            prop_assert_eq!(numbers(&batch.inputs[0].ids), numbers(&here.ids));
            for direction in [Direction::Forward, Direction::Backward] {
                let real = |texts: &Sequences| numbers(&texts.positions.real(direction));
                prop_assert_eq!(real(&batch.inputs[0]), real(&here));
            }
            let expected: Vec<i64> =
                examples.iter().map(|example| i64::from(data.targets.labels().unwrap()[*example as usize])).collect();
            prop_assert_eq!(numbers(&labels), expected);
        }
    }

    #[test]
    fn examples_that_leave_no_room_stay_here() {
        let corpus = Corpus::from_texts(PadSide::Back, 9, [&[4_u32; 100][..]]);
        let data = Dataset { inputs: vec![corpus], targets: vec![0].into() };
        assert!(DeviceDataset::fits(&data, 4 * 416) && !DeviceDataset::fits(&data, 4 * 416 - 4));
    }
}
