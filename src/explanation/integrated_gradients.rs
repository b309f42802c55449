//! Integrated gradients of the word vectors (Sundararajan, Taly and Yan 2017).
//!
//! The path leads straight from the vector of PAD in place of every word to the vectors of the
//! text. The network gets a vocabulary in which every word at every point of the path has its own
//! id, so that the gradient of the embedding is the gradient of each position.

use super::attribution::Integration;
use super::model::{EncodedExample, Model};
use crate::backend::kernel::Instructions;
use crate::backend::native::{BatchSharder, Gradients, Network};
use crate::config::Config;
use crate::data::Targets;
use crate::model::parameters::embedding_name;
use crate::model::{ModelSpec, NamedTensor};
use crate::objective::{LogOdds, log_odds};
use crate::text::{Corpus, FIRST_WORD, PAD};

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

/// Returns the contribution of each word of each input, and details of the integration.
///
/// Log-odds can jump within a hundredth of the path. Since they are known at the ends of each
/// interval, the gap between their difference and the integral shows where, and only those
/// intervals are halved.
pub(super) fn integrated_gradients(
    model: &Model,
    example: &EncodedExample,
) -> anyhow::Result<(Vec<Vec<f64>>, Integration)> {
    let mut path = Path::new(model, example)?;
    let positions: Vec<f64> =
        (0..=INITIAL_INTERVALS).map(|end| end as f64 / INITIAL_INTERVALS as f64).collect();
    let ends = path.points(&positions);
    let (baseline, whole) = (ends[0].log_odds, ends[INITIAL_INTERVALS].log_odds);
    let mut intervals = path.intervals(ends.windows(2).map(|pair| (pair[0], pair[1])));
    let mut steps = INITIAL_INTERVALS * POINTS;
    let tolerance = (RELATIVE_TOLERANCE * (whole - baseline).abs()).max(ABSOLUTE_TOLERANCE);
    loop {
        let gaps: f64 = intervals.iter().map(|interval| interval.gap().abs()).sum();
        let large_gap = tolerance / (2 * intervals.len()) as f64;
        let (halved, kept): (Vec<Interval>, Vec<Interval>) =
            intervals.into_iter().partition(|interval| {
                let length = interval.to.position - interval.from.position;
                gaps > tolerance && interval.gap().abs() > large_gap && length > MIN_LENGTH
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
    let mut sums: Vec<Vec<f64>> = example.ids.iter().map(|ids| vec![0.0; ids.len()]).collect();
    for interval in &intervals {
        for (sums, contributions) in sums.iter_mut().zip(&interval.contributions) {
            sums.iter_mut().zip(contributions).for_each(|(sum, value)| *sum += value);
        }
    }
    let sum: f64 = sums.iter().flatten().sum();
    let integration = Integration {
        baseline_log_odds: baseline,
        steps,
        completeness_gap: sum - (example.log_odds - baseline),
    };
    Ok((sums, integration))
}

/// Network that computes log-odds and gradients at points of the path.
struct Path<'a> {
    network: Network,
    sharder: BatchSharder,
    embeddings: Vec<EmbeddingPath>,
    example: &'a EncodedExample,
    corpora: Vec<Corpus>,
    /// Maximum number of points in a batch.
    batch_size: usize,
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

/// Interval of the path.
struct Interval {
    from: PathPoint,
    to: PathPoint,
    /// Contribution of each word of each input.
    contributions: Vec<Vec<f64>>,
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
    fn gap(&self) -> f64 {
        let sum: f64 = self.contributions.iter().flatten().sum();
        sum - (self.to.log_odds - self.from.log_odds)
    }
}

impl<'a> Path<'a> {
    fn new(model: &Model, example: &'a EncodedExample) -> anyhow::Result<Self> {
        let longest = example.ids.iter().map(Vec::len).max().unwrap_or(1);
        let batch_size = (MAX_VECTORS / longest.max(1)).clamp(1, INITIAL_INTERVALS * POINTS);
        let mut weights = Vec::new();
        let (mut tables, mut sizes, mut corpora) = (Vec::new(), Vec::new(), Vec::new());
        for (input_index, (input, ids)) in model.config.inputs.iter().zip(&example.ids).enumerate()
        {
            let name = embedding_name(input);
            let size = input.embedding.size;
            let rows = FIRST_WORD as usize + batch_size * ids.len();
            let mut baseline = vec![0.0; size];
            let mut direction = Vec::with_capacity(ids.len() * size);
            for tensor in model.classifier.weights().filter(|tensor| tensor.name == name) {
                let row = |id: u32| &tensor.values[id as usize * size..][..size];
                baseline = row(PAD).to_vec();
                for id in ids {
                    direction.extend(row(*id).iter().zip(&baseline).map(|(to, from)| to - from));
                }
                // Special ids keep their vectors, above all PAD.
                let mut values = tensor.values[..FIRST_WORD as usize * size].to_vec();
                values.resize(rows * size, 0.0);
                weights.push(NamedTensor { name: name.clone(), shape: vec![rows, size], values });
            }
            let path_ids: Vec<u32> = (FIRST_WORD..rows as u32).collect();
            corpora.push(model.corpus(input_index, path_ids.chunks(ids.len())));
            sizes.push(rows);
            tables.push((name, size, baseline, direction));
        }
        let is_embedding =
            |tensor: &&NamedTensor| tables.iter().any(|(name, ..)| *name == tensor.name);
        weights.extend(model.classifier.weights().filter(|tensor| !is_embedding(tensor)).cloned());
        let inputs = model.config.inputs.with_trainable_embeddings();
        let config = Config { inputs, ..model.config.clone() };
        let classes = model.labels.len();
        let spec = ModelSpec { config: &config, vocabulary_sizes: sizes.clone(), classes };
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
        let sharder = BatchSharder::new(&config.inputs, &sizes, rayon::current_num_threads());
        Ok(Path { network, sharder, embeddings, example, corpora, batch_size })
    }

    /// Writes the word vectors at some positions, each from 0 to 1, into the embeddings.
    fn move_to(&mut self, positions: &[f64]) {
        for embedding in &self.embeddings {
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
        rows.map(|row| log_odds(row, self.example.class)).collect()
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
                let inputs = pair[0].iter().zip(&pair[1]);
                let contributions =
                    inputs.map(|(a, b)| a.iter().zip(b).map(sum).collect()).collect();
                Interval { from, to, contributions }
            })
            .collect()
    }

    /// Computes the derivative of the log-odds along the path at each position, for each word of
    /// each input.
    fn derivatives(&mut self, positions: &[f64]) -> Vec<Vec<Vec<f64>>> {
        let targets = Targets::Labels(vec![self.example.class as u32; self.batch_size]);
        let mut gradients = Gradients::default();
        let mut all = Vec::with_capacity(positions.len());
        for positions in positions.chunks(self.batch_size) {
            self.move_to(positions);
            let examples: Vec<u32> = (0..positions.len() as u32).collect();
            let batch = self.sharder.shard(&self.corpora, Some(&targets), &examples, None);
            self.network.gradients(&batch, &LogOdds, None, &mut gradients);
            // The loss is the negative log-odds, averaged over the batch.
            let scale = -(positions.len() as f64);
            let zeros =
                |embedding: &EmbeddingPath| vec![0.0; embedding.direction.len() / embedding.size];
            let mut derivatives: Vec<Vec<Vec<f64>>> =
                positions.iter().map(|_| self.embeddings.iter().map(zeros).collect()).collect();
            for (input, embedding) in self.embeddings.iter().enumerate() {
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
                        derivatives[point][input][word] = scale * products.sum::<f64>();
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
        let tokens = model
            .encoders
            .iter()
            .zip(texts)
            .map(|(encoder, text)| encoder.encode_with_spans(text).0);
        let ids = tokens.map(|tokens| tokens.iter().map(|token| token.id).collect()).collect();
        EncodedExample { ids, class: 1, log_odds: 0.0 }
    }

    /// Derivative of the log-odds of class 1 along the path of each word.
    pub fn derivatives(model: &Model, texts: &[String], position: f64) -> Vec<Vec<f64>> {
        let example = encode(model, texts);
        Path::new(model, &example).unwrap().derivatives(&[position]).remove(0)
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
