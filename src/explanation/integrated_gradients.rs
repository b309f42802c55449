//! Integrated gradients of the word vectors (Sundararajan, Taly and Yan 2017).
//!
//! The path leads straight from the vector of PAD in place of every word to the vectors of the
//! text. The network gets a vocabulary in which every word at every point of the path has its own
//! id, so that the gradient of the embedding is the gradient of each position. The logits of n-grams
//! grow from 0 along the same path: each point of it is a single n-gram with these logits.

use super::attribution::Integration;
use super::model::{EncodedExample, Model};
use super::ngrams::TextNgrams;
use crate::backend::kernel::Instructions;
use crate::backend::native::{BatchSharder, Gradients, Network};
use crate::config::{Config, Labelling, Precision};
use crate::data::Targets;
use crate::model::parameters::{
    embedding_name, ngram_value_name, ngram_weight_name, subwords_name,
};
use crate::model::{ModelSpec, NamedTensor};
use crate::objective::LogOdds;
use crate::text::{Corpus, FIRST_WORD, Ids, LocatedText, PAD};

/// Number of intervals of the path at the start.
const INITIAL_INTERVALS: usize = 16;
/// Gradients per interval, at the points of Gauss-Legendre quadrature. It is exact for polynomials
/// of degree 3.
const POINTS: usize = 2;
/// Maximum number of gradients.
const MAX_POINTS: usize = 2048;
/// Intervals are halved until the sum of their gaps is within this share of the whole difference in
/// log-odds, …
const RELATIVE_TOLERANCE: f64 = 0.01;
/// … or within this absolute difference, which is not visible, …
const ABSOLUTE_TOLERANCE: f64 = 1e-3;
/// … or they get too short for single precision.
const MIN_LENGTH: f64 = 1e-6;
/// Maximum number of word vectors in memory.
const MAX_VECTORS: usize = 1 << 15;

/// Result of integrating along the path.
pub(super) struct Integrated {
    /// Contribution of each token of each input through the LSTM.
    pub words: Vec<Vec<f64>>,
    /// Mean derivative of the log-odds with respect to each logit: with an n-gram's logits, it gives the
    /// contribution of the n-gram.
    pub logits: Vec<f64>,
    /// Details of the integration.
    pub integration: Integration,
}

/// Integrates the gradient of the log-odds along the path.
///
/// Log-odds can jump within a hundredth of the path. Since they are known at the ends of each
/// interval, the gap between their difference and the integral shows where, and only those
/// intervals are halved.
pub(super) fn integrated_gradients(
    model: &Model,
    example: &EncodedExample,
) -> anyhow::Result<Integrated> {
    let mut path = Path::new(model, example)?;
    let positions: Vec<f64> =
        (0..=INITIAL_INTERVALS).map(|end| end as f64 / INITIAL_INTERVALS as f64).collect();
    let ends = path.points(&positions);
    let (baseline, whole) = (ends[0].log_odds, ends[INITIAL_INTERVALS].log_odds);
    let mut intervals = path.intervals(ends.windows(2).map(|pair| (pair[0], pair[1])));
    let mut steps = INITIAL_INTERVALS * POINTS;
    let tolerance = (RELATIVE_TOLERANCE * (whole - baseline).abs()).max(ABSOLUTE_TOLERANCE);
    loop {
        let gap = |interval: &Interval| interval.gap(&path.ngram_logits).abs();
        let gaps: f64 = intervals.iter().map(&gap).sum();
        let large_gap = tolerance / (2 * intervals.len()) as f64;
        let (halved, kept): (Vec<Interval>, Vec<Interval>) =
            intervals.into_iter().partition(|interval| {
                let length = interval.to.position - interval.from.position;
                gaps > tolerance && gap(interval) > large_gap && length > MIN_LENGTH
            });
        intervals = kept;
        if halved.is_empty() || steps + 2 * POINTS * halved.len() > MAX_POINTS {
            intervals.extend(halved);
            break;
        }
        let middle =
            |interval: &Interval| f64::midpoint(interval.from.position, interval.to.position);
        let middles: Vec<f64> = halved.iter().map(middle).collect();
        let middles = path.points(&middles);
        let halves = halved.iter().zip(middles);
        intervals.extend(path.intervals(
            halves.flat_map(|(interval, middle)| [(interval.from, middle), (middle, interval.to)]),
        ));
        steps += 2 * POINTS * halved.len();
    }
    let tokens = example.texts.iter().map(|text| vec![0.0; text.tokens.len()]);
    let mut words: Vec<Vec<f64>> = tokens.collect();
    let mut logits = vec![0.0; path.ngram_logits.len()];
    for Derivative { words: of_interval, logits: of_logits } in
        intervals.iter().map(|interval| &interval.integral)
    {
        for ((sums, text), values) in words.iter_mut().zip(&example.texts).zip(of_interval) {
            text.read().zip(values).for_each(|(token, value)| sums[token] += value);
        }
        logits.iter_mut().zip(of_logits).for_each(|(sum, value)| *sum += value);
    }
    let sum = words.iter().flatten().sum::<f64>() + dot(&logits, &path.ngram_logits);
    let integration = Integration {
        baseline_log_odds: baseline,
        steps,
        completeness_gap: sum - (example.log_odds - baseline),
    };
    Ok(Integrated { words, logits, integration })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Network that computes log-odds and gradients at points of the path.
struct Path<'a> {
    network: Network,
    labelling: Labelling,
    sharder: BatchSharder,
    embeddings: Vec<EmbeddingPath>,
    example: &'a EncodedExample,
    corpora: Vec<Corpus>,
    /// Index of the weights of each input's n-grams, and the logits at the end of the path.
    ngrams: Vec<(usize, Vec<f64>)>,
    /// Sum of these logits over all inputs.
    ngram_logits: Vec<f64>,
    /// Maximum number of points in a batch.
    batch_size: usize,
}

/// Derivative of the log-odds at a point of the path, or its integral over an interval.
struct Derivative {
    /// Along the path of each word of each input.
    words: Vec<Vec<f64>>,
    /// With respect to each logit.
    logits: Vec<f64>,
}

/// Path of the word vectors of an input.
struct EmbeddingPath {
    /// Index of the embedding among the weights.
    weight: usize,
    /// Embedding size.
    size: usize,
    /// Vector of PAD.
    baseline: Vec<f32>,
    /// Vectors of the text minus the baseline.
    direction: Vec<f32>,
}

impl EmbeddingPath {
    /// Returns false for an input without an LSTM.
    fn exists(&self) -> bool {
        !self.direction.is_empty()
    }
}

/// Interval of the path.
struct Interval {
    from: PathPoint,
    to: PathPoint,
    integral: Derivative,
}

/// Point of the path.
#[derive(Clone, Copy)]
struct PathPoint {
    /// Position from 0 to 1.
    position: f64,
    log_odds: f64,
}

impl Interval {
    /// Sum of the contributions minus the difference in log-odds.
    fn gap(&self, ngram_logits: &[f64]) -> f64 {
        let Derivative { words, logits } = &self.integral;
        let sum = words.iter().flatten().sum::<f64>() + dot(logits, ngram_logits);
        sum - (self.to.log_odds - self.from.log_odds)
    }
}

impl<'a> Path<'a> {
    fn new(model: &Model, example: &'a EncodedExample) -> anyhow::Result<Self> {
        let ids: Vec<Vec<u32>> = example.texts.iter().map(LocatedText::ids).collect();
        let longest = ids.iter().map(Vec::len).max().unwrap_or(1);
        let logits = model.config.logit_count(model.labels.len())?;
        let batch_size = (MAX_VECTORS / longest.max(1)).clamp(1, INITIAL_INTERVALS * POINTS);
        let mut weights = Vec::new();
        let (mut tables, mut sizes, mut corpora) = (Vec::new(), Vec::new(), Vec::new());
        let mut ngrams = Vec::new();
        for (input_index, (input, ids)) in model.config.inputs.iter().zip(&ids).enumerate() {
            let name = embedding_name(input);
            let size = input.embedding.size;
            let rows = FIRST_WORD as usize + batch_size * ids.len();
            let mut baseline = vec![0.0; size];
            let mut direction = Vec::with_capacity(ids.len() * size);
            for tensor in model.classifier.weights().filter(|tensor| tensor.name == name) {
                let row = |id: u32| &tensor.values[id as usize * size..][..size];
                baseline = row(PAD).to_vec();
                let text = [example.texts[input_index].words()];
                let corpus = model.encode(input_index, &text);
                let vectors = model.classifier.vectors_of_text(input_index, &corpus);
                // Padding in front is not part of the path.
                let vectors = &vectors[vectors.len() - ids.len() * size..];
                for vector in vectors.chunks_exact(size) {
                    direction.extend(vector.iter().zip(&baseline).map(|(to, from)| to - from));
                }
                // Special ids keep their vectors, above all PAD.
                let mut values = tensor.values[..FIRST_WORD as usize * size].to_vec();
                values.resize(rows * size, 0.0);
                weights.push(NamedTensor { name: name.clone(), shape: vec![rows, size], values });
            }
            let path_ids: Vec<u32> = (FIRST_WORD..rows as u32).collect();
            let mut corpus = model.corpus(input_index, path_ids.chunks(ids.len()));
            if input.ngrams.is_on() {
                let text = &example.texts[input_index];
                let (name, shape) = (ngram_weight_name(input), vec![batch_size, logits]);
                ngrams
                    .push((name.clone(), TextNgrams::of(model, input_index, text, logits).logits));
                weights.push(NamedTensor { name, shape, values: vec![0.0; batch_size * logits] });
                let points = (0..batch_size as u32).collect();
                corpus.set_ngrams(Ids::Memory(points), &vec![1; batch_size]);
            }
            corpora.push(corpus);
            sizes.push(rows);
            tables.push((name, size, baseline, direction));
        }
        let of_path: Vec<String> = weights.iter().map(|tensor| tensor.name.clone()).collect();
        let values = model.config.inputs.iter().map(ngram_value_name);
        let subwords = model.config.inputs.iter().map(subwords_name);
        let replaced: Vec<String> = of_path.into_iter().chain(values).chain(subwords).collect();
        let kept = model.classifier.weights().filter(|tensor| !replaced.contains(&tensor.name));
        weights.extend(kept.cloned());
        let inputs = model.config.inputs.with_plain_embeddings().with_plain_ngrams();
        let config = Config { inputs, precision: Precision::Fp32, ..model.config.clone() };
        let classes = model.labels.len();
        let ngram_counts = vec![batch_size; sizes.len()];
        let vocabulary_sizes = sizes.clone();
        let spec = ModelSpec { config: &config, vocabulary_sizes, ngram_counts, classes };
        let network = Network::new(&spec, weights, Instructions::best())?;
        let weight = |name: &str| {
            network.weights().iter().position(|each| each.tensor.name == name).unwrap_or_default()
        };
        let embeddings = tables
            .into_iter()
            .map(|(name, size, baseline, direction)| EmbeddingPath {
                weight: weight(&name),
                size,
                baseline,
                direction,
            })
            .collect();
        let mut ngram_logits = vec![0.0; logits];
        for (_, logits) in &ngrams {
            ngram_logits.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += logit);
        }
        let ngrams = ngrams.into_iter().map(|(name, logits)| (weight(&name), logits)).collect();
        let sharder = BatchSharder::new(&config.inputs, &sizes, rayon::current_num_threads());
        Ok(Path {
            labelling: model.labelling(),
            network,
            sharder,
            embeddings,
            example,
            corpora,
            ngrams,
            ngram_logits,
            batch_size,
        })
    }

    /// Writes the word vectors and the logits of n-grams at some positions, each from 0 to 1, into the
    /// weights.
    fn move_to(&mut self, positions: &[f64]) {
        for (weight, logits) in &self.ngrams {
            let values = &mut self.network.weights_mut()[*weight].tensor.values;
            let points = values.chunks_exact_mut(logits.len()).zip(positions);
            for (point, position) in points {
                let logits = point.iter_mut().zip(logits);
                logits.for_each(|(value, logit)| *value = (position * logit) as f32);
            }
        }
        let embeddings = self.embeddings.iter().filter(|embedding| embedding.exists());
        for embedding in embeddings {
            let tensor = &mut self.network.weights_mut()[embedding.weight].tensor;
            let texts = tensor.values[FIRST_WORD as usize * embedding.size..]
                .chunks_exact_mut(embedding.direction.len());
            for (text, position) in texts.zip(positions) {
                let words = text.chunks_exact_mut(embedding.size);
                for (word, direction) in words.zip(embedding.direction.chunks_exact(embedding.size))
                {
                    let steps = embedding.baseline.iter().zip(direction);
                    for (value, (from, step)) in word.iter_mut().zip(steps) {
                        *value = from + *position as f32 * step;
                    }
                }
            }
        }
    }

    /// Computes the log-odds at some positions.
    fn points(&mut self, positions: &[f64]) -> Vec<PathPoint> {
        let mut points = Vec::with_capacity(positions.len());
        for positions in positions.chunks(self.batch_size) {
            self.move_to(positions);
            let log_odds = self.log_odds(positions.len()).into_iter();
            let pairs = log_odds.zip(positions);
            points.extend(
                pairs.map(|(log_odds, position)| PathPoint { position: *position, log_odds }),
            );
        }
        points
    }

    /// Computes the log-odds at the `count` current positions.
    fn log_odds(&mut self, count: usize) -> Vec<f64> {
        let examples: Vec<u32> = (0..count as u32).collect();
        let batch = self.sharder.shard(&self.corpora, None, &examples, None);
        let rows = self.network.log_probabilities(&batch);
        let rows = rows.chunks_exact(rows.len() / count);
        rows.map(|row| self.labelling.log_odds(row, self.example.class)).collect()
    }

    /// Computes the contributions of the intervals between these points.
    fn intervals(&mut self, ends: impl Iterator<Item = (PathPoint, PathPoint)>) -> Vec<Interval> {
        let ends: Vec<(PathPoint, PathPoint)> = ends.collect();
        let gauss_legendre = |(from, to): &(PathPoint, PathPoint)| {
            let middle = f64::midpoint(from.position, to.position);
            let half = (to.position - from.position) / 2.0;
            [-1.0, 1.0].map(|side| middle + side * half / 3.0_f64.sqrt())
        };
        let positions: Vec<f64> = ends.iter().flat_map(gauss_legendre).collect();
        let derivatives = self.derivatives(&positions);
        let pairs = derivatives.chunks_exact(POINTS);
        ends.into_iter()
            .zip(pairs)
            .map(|((from, to), pair)| {
                let half = (to.position - from.position) / 2.0;
                let sum = |(a, b): (&f64, &f64)| half * (a + b);
                let inputs = pair[0].words.iter().zip(&pair[1].words);
                let words = inputs.map(|(a, b)| a.iter().zip(b).map(sum).collect()).collect();
                let logits = pair[0].logits.iter().zip(&pair[1].logits).map(sum).collect();
                Interval { from, to, integral: Derivative { words, logits } }
            })
            .collect()
    }

    /// Computes the derivative of the log-odds along the path at each position.
    fn derivatives(&mut self, positions: &[f64]) -> Vec<Derivative> {
        let targets = Targets::Labels(vec![self.example.class as u32; self.batch_size]);
        let mut gradients = Gradients::default();
        let mut all = Vec::with_capacity(positions.len());
        for positions in positions.chunks(self.batch_size) {
            self.move_to(positions);
            let examples: Vec<u32> = (0..positions.len() as u32).collect();
            let batch = self.sharder.shard(&self.corpora, Some(&targets), &examples, None);
            self.network.gradients(&batch, &LogOdds(self.labelling), None, &mut gradients);
            // The loss is the negative log-odds, averaged over the batch.
            let scale = -(positions.len() as f64);
            let zeros =
                |embedding: &EmbeddingPath| vec![0.0; embedding.direction.len() / embedding.size];
            let logits = self.ngram_logits.len();
            let mut derivatives: Vec<Derivative> = positions
                .iter()
                .map(|_| Derivative {
                    words: self.embeddings.iter().map(zeros).collect(),
                    logits: vec![0.0; logits],
                })
                .collect();
            // All inputs add to the same logits.
            if let Some(rows) = gradients.ngrams.first() {
                for (point, slopes) in rows.words.iter().zip(rows.values.chunks_exact(logits)) {
                    let to = derivatives[*point as usize].logits.iter_mut().zip(slopes);
                    to.for_each(|(to, slope)| *to = scale * f64::from(*slope));
                }
            }
            let embeddings = self.embeddings.iter().enumerate();
            for (input, embedding) in embeddings.filter(|(_, embedding)| embedding.exists()) {
                let words = embedding.direction.len() / embedding.size;
                for rows in gradients.rows.iter().filter(|rows| rows.parameter == embedding.weight)
                {
                    let vectors = rows.values.chunks_exact(embedding.size);
                    for (id, vector) in rows.words.iter().zip(vectors) {
                        // Skip the padding.
                        let Some(index) = id.checked_sub(FIRST_WORD) else { continue };
                        let (point, word) = (index as usize / words, index as usize % words);
                        let direction =
                            &embedding.direction[word * embedding.size..][..embedding.size];
                        let products = vector
                            .iter()
                            .zip(direction)
                            .map(|(a, b)| f64::from(*a) * f64::from(*b));
                        derivatives[point].words[input][word] = scale * products.sum::<f64>();
                    }
                }
            }
            all.extend(derivatives);
        }
        all
    }
}

#[cfg(test)]
pub(super) mod probes {
    //! Access to single points of the path, for tests.

    use super::*;

    fn encode(model: &Model, texts: &[String]) -> EncodedExample {
        let texts = model.encoders.iter().zip(texts);
        let texts = texts.map(|(encoder, text)| encoder.locate(text)).collect();
        EncodedExample { texts, class: 1, log_odds: 0.0 }
    }

    /// Derivative of the log-odds of class 1 along the path of each word.
    pub fn derivatives(model: &Model, texts: &[String], position: f64) -> Vec<Vec<f64>> {
        let example = encode(model, texts);
        Path::new(model, &example).unwrap().derivatives(&[position]).remove(0).words
    }

    /// Log-odds of class 1 with one word moved further along the path by `by`.
    pub fn log_odds_with(
        model: &Model,
        texts: &[String],
        position: f64,
        (input, word): (usize, usize),
        by: f64,
    ) -> f64 {
        let example = encode(model, texts);
        let mut path = Path::new(model, &example).unwrap();
        let EmbeddingPath { weight, size, direction, .. } = &path.embeddings[input];
        let (weight, size) = (*weight, *size);
        let direction = direction[word * size..][..size].to_vec();
        path.move_to(&[position]);
        let values = &mut path.network.weights_mut()[weight].tensor.values;
        let vector = &mut values[(FIRST_WORD as usize + word) * size..][..size];
        vector.iter_mut().zip(direction).for_each(|(value, step)| *value += by as f32 * step);
        path.log_odds(1)[0]
    }
}
