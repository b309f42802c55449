//! Batches of the learner, and their preparation on another thread.

use std::sync::{Arc, Mutex, PoisonError};

use tch::{Device, Tensor};

use super::distinct_ids::{DistinctIds, distinct_ids, sorted};
use super::inference::batch_context;
use super::share::Share;
use crate::batch::{Batch, PackedSigns, distinct_buckets, to_device};
use crate::device_dataset::DeviceDataset;
use crate::libtorch::{BatchContext, device_memory, with_batch_context};
use crate::loss::BatchTargets;
use lstmtext::backend::{PreparedBatch, Preparer, RandomSigns};
use lstmtext::data::Dataset;
use lstmtext::distributed::Worker;
use lstmtext::objective::CrossEntropy;
use lstmtext::text::Corpus;

/// Copy of a data set on the device. `None` before the first batch, `Some(None)` if it does not fit.
pub type SharedDataset = Arc<Mutex<Option<Option<DeviceDataset>>>>;

/// A batch and the seed of its dropout masks.
pub struct TorchBatch {
    pub context: BatchContext,
    pub batch: Batch,
    /// `None` for unlabelled texts.
    pub targets: Option<BatchTargets>,
    /// Distinct ids of the batch of all processes for each input, and then distinct buckets of character n-grams for
    /// each input; empty if a single process updates all rows.
    pub distinct_ids: Vec<DistinctIds>,
    /// N-grams of the batch of all processes, for each input that has n-grams; empty for a single process.
    pub distinct_ngrams: Vec<DistinctIds>,
    /// Part of the weight of the batch of all processes.
    pub share: f64,
    /// Part of its texts.
    pub text_share: f64,
    /// Frequency of each word of each input, `[V]`, for adversarial training. Unlabelled batches have none.
    pub frequencies: Vec<Tensor>,
    /// Random directions of virtual adversarial training, for the input of each LSTM.
    pub signs: Vec<PackedSigns>,
    pub seed: u64,
}

/// What batches are prepared for.
pub struct Preparation {
    pub device: Device,
    pub has_labels: bool,
    /// The distinct ids of a batch are needed.
    pub needs_ids: bool,
    /// Vocabulary size of each input, if the frequencies of its words are needed.
    pub vocabulary_sizes: Option<Vec<usize>>,
    /// Inputs whose word vectors have random directions, with their sizes.
    pub embedding_sizes: Vec<(usize, usize)>,
    pub objective: CrossEntropy,
    pub classes: usize,
}

impl Preparation {
    /// Returns the function that prepares batches of a data set, whose copy on the device is `device_dataset`.
    pub fn preparer(self, device_dataset: SharedDataset, worker: Worker) -> Preparer {
        let Self {
            device,
            has_labels,
            needs_ids,
            vocabulary_sizes,
            embedding_sizes,
            objective,
            classes,
        } = self;
        let has_others = worker != Worker::ALONE;
        // If the amount of memory is unknown, the data set stays in host memory.
        let memory = device_memory(device).unwrap_or(0);
        let mut frequencies: Option<Vec<Tensor>> = None;
        Box::new(move |data: &Dataset, whole, seed| {
            let share = Share::new(worker, whole, data, has_labels.then_some(&objective));
            let (examples, seed) = (&share.examples[..], Share::seed(worker, seed));
            let context = batch_context(true, &data.inputs, examples);
            with_batch_context(context, || {
                let mut copy = device_dataset.lock().unwrap_or_else(PoisonError::into_inner);
                let copy = copy.get_or_insert_with(|| {
                    // The next batches may be those of other examples.
                    let is_whole = !data.is_collected();
                    is_whole.then(|| DeviceDataset::try_new(data, device, memory)).flatten()
                });
                let batch = match copy {
                    Some(copy) => copy.gather(data, examples),
                    None => Batch::gather(&data.inputs, examples, device),
                };
                let targets = BatchTargets::gather(data, examples, &objective, classes, device);
                let distinct =
                    |corpus: &Corpus| DistinctIds::new(distinct_ids(corpus, whole), device);
                let buckets = |corpus: &Corpus| {
                    DistinctIds::new(sorted(distinct_buckets(corpus, whole)), device)
                };
                let ngrams = |corpus: &Corpus| {
                    let rows = whole.iter().flat_map(|example| corpus.ngrams(*example as usize));
                    DistinctIds::new(sorted(rows.copied().collect()), device)
                };
                let with_ngrams = data.inputs.iter().filter(|corpus| corpus.has_ngrams());
                let signs = |(input, size): &(usize, usize)| {
                    let (signs, corpus) = (RandomSigns::new(seed), &data.inputs[*input]);
                    PackedSigns::draw(signs, *input, *size, corpus, examples, device)
                };
                let frequencies = frequencies.get_or_insert_with(|| {
                    let sizes = vocabulary_sizes.as_deref().unwrap_or_default();
                    let all = data.word_frequencies(sizes);
                    all.iter().map(|frequencies| to_device(frequencies, device)).collect()
                });
                PreparedBatch::new(TorchBatch {
                    context,
                    batch,
                    targets,
                    distinct_ids: match needs_ids {
                        true => data
                            .inputs
                            .iter()
                            .map(distinct)
                            .chain(data.inputs.iter().map(buckets))
                            .collect(),
                        false => Vec::new(),
                    },
                    distinct_ngrams: match has_others {
                        true => with_ngrams.map(ngrams).collect(),
                        false => Vec::new(),
                    },
                    share: share.factor,
                    text_share: share.text_factor,
                    frequencies: frequencies.iter().map(Tensor::shallow_clone).collect(),
                    signs: embedding_sizes.iter().map(signs).collect(),
                    seed,
                })
            })
        })
    }
}
