//! Words of a batch with their character n-grams.

use tch::{Device, Kind, Tensor};

use super::to_device;
use lstmtext::config::PadSide;
use lstmtext::text::{Corpus, CorpusWords, PAD};

/// Distinct words of a batch, W of them, whose vectors are means of their own and those of their character n-grams.
#[derive(Debug)]
pub struct BatchWords {
    /// Index of the word of each token, int64 [B, T].
    indices: Tensor,
    /// Id of each word, int64 `[W]`; PAD for words outside the vocabulary.
    ids: Tensor,
    /// 1 for words of the vocabulary, 0 for others, float [W, 1].
    known: Tensor,
    /// Buckets of one word after the other, int64.
    buckets: Tensor,
    /// Start of each word in `buckets`, int64 `[W]`.
    starts: Tensor,
    /// 1 divided by the number of vectors of which each word is the mean, float [W, 1].
    scales: Tensor,
}

impl BatchWords {
    /// Collects the words of the texts with these indices, padded to `time_steps`.
    pub fn gather(
        corpus: &Corpus,
        words: &CorpusWords,
        examples: &[u32],
        time_steps: usize,
        device: Device,
    ) -> Self {
        let mut tokens = vec![PAD; examples.len() * time_steps];
        for (row, example) in tokens.chunks_exact_mut(time_steps.max(1)).zip(examples) {
            let start = match corpus.pad() {
                PadSide::Back => 0,
                PadSide::Front => time_steps - corpus.text(*example as usize).len(),
            };
            let of_text = corpus.word_ids(*example as usize);
            row[start..].iter_mut().zip(of_text).for_each(|(token, word)| *token = word);
        }
        let mut distinct = tokens.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let index = |word: &u32| distinct.partition_point(|other| other < word) as i64;
        let indices: Vec<i64> = tokens.iter().map(index).collect();
        let (mut ids, mut known, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        let (mut buckets, mut starts) = (Vec::new(), Vec::new());
        for word in &distinct {
            let is_known = words.is_known(*word);
            let of_word = words.buckets(*word);
            ids.push(i64::from(if is_known { *word } else { PAD }));
            known.push(f32::from(u8::from(is_known)));
            scales.push(1.0 / (of_word.len() + usize::from(is_known)) as f32);
            starts.push(buckets.len() as i64);
            buckets.extend(of_word.iter().map(|bucket| i64::from(*bucket)));
        }
        let column = |values: &[f32]| to_device(values, device).unsqueeze(1);
        Self {
            indices: to_device(&indices, device).view([examples.len() as i64, time_steps as i64]),
            ids: to_device(&ids, device),
            known: column(&known),
            buckets: to_device(&buckets, device),
            starts: to_device(&starts, device),
            scales: column(&scales),
        }
    }

    /// Returns the vector of each token, [B, T, E], from the vectors of words [V, E] and of buckets [buckets, E].
    pub fn vectors(&self, own: &Tensor, subwords: &Tensor) -> Tensor {
        let own_vectors = own.index_select(0, &self.ids) * &self.known; // [W, E]
        let sums = match self.buckets.numel() {
            0 => own_vectors.zeros_like(),
            _ => self.bucket_sums(subwords),
        };
        let vectors = (own_vectors + sums) * &self.scales;
        Tensor::embedding(&vectors, &self.indices, -1, false, false)
    }

    /// Returns the sum of the vectors of the buckets of each word, [W, E].
    fn bucket_sums(&self, subwords: &Tensor) -> Tensor {
        const SUM: i64 = 0;
        let bag = Tensor::embedding_bag::<Tensor>(
            subwords,
            &self.buckets,
            &self.starts,
            false,
            SUM,
            false,
            None,
            false,
        );
        bag.0.to_kind(Kind::Float)
    }
}

/// Returns the distinct buckets of the words of some texts, sorted; none if the model has no character n-grams.
pub fn distinct_buckets(corpus: &Corpus, examples: &[u32]) -> Vec<u32> {
    let Some(words) = corpus.words() else { return Vec::new() };
    let tokens = examples.iter().flat_map(|example| corpus.word_ids(*example as usize));
    let mut tokens: Vec<u32> = tokens.collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut buckets: Vec<u32> =
        tokens.iter().flat_map(|word| words.buckets(*word)).copied().collect();
    buckets.sort_unstable();
    buckets.dedup();
    buckets
}
