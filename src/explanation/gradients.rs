//! Integrated gradients.
//!
//! The network is given a vocabulary in which every word of every point of the path has an id and a
//! vector of its own, so that the gradient of its embedding is that of every place of the text.

use super::{Explainer, Integration, Question};
use crate::backend::kernel::Instructions;
use crate::backend::native::{BatchSharder, Gradients, LogOdds, Network, log_odds};
use crate::config::Config;
use crate::model::named_tensors::NamedTensor;
use crate::text::{Corpus, FIRST_WORD, PAD};

/// The parts that the path is cut into at first.
const PARTS: usize = 16;
/// The points in each at which the gradient is taken: those of Gauss and Legendre, which integrate a
/// polynomial of the third degree exactly.
const POINTS: usize = 2;
/// The most points in all.
const MOST: usize = 2048;
/// A part is halved until the sum of all gaps is at most this share of the whole difference, or
const CLOSE: f64 = 0.01;
/// this much of the log-odds, which no picture shows,
const NOTHING: f64 = 1e-3;
/// unless it is so short: single precision knows nothing between its ends.
const SHORTEST: f64 = 1e-6;
/// Word vectors that are in memory together.
const VECTORS: usize = 1 << 15;

/// The network along the path.
struct Path<'a> {
    network: Network,
    reader: BatchSharder,
    /// For each input where its word vectors stand among the parameters, and their size.
    tables: Vec<Table>,
    question: &'a Question,
    corpora: Vec<Corpus>,
    /// Points that are computed together.
    together: usize,
}

/// The word vectors of an input.
struct Table {
    parameter: usize,
    size: usize,
    /// That of PAD, where the path begins.
    baseline: Vec<f32>,
    /// Those of the text less the baseline, where the path leads.
    direction: Vec<f32>,
}

/// A part of the path.
struct Part {
    from: End,
    to: End,
    /// For each input what each of its words contributes here.
    contributions: Vec<Vec<f64>>,
}

/// A point of the path, from 0 to 1, and the log-odds there.
#[derive(Clone, Copy)]
struct End {
    at: f64,
    log_odds: f64,
}

impl Part {
    /// The sum of the contributions less the difference that they are to explain.
    fn gap(&self) -> f64 {
        let sum: f64 = self.contributions.iter().flatten().sum();
        sum - (self.to.log_odds - self.from.log_odds)
    }
}

impl Explainer {
    /// For each input what each of its words contributes. The log-odds may jump within a hundredth
    /// of the path; since they are known at the ends of every part, it shows where that is, and only
    /// there the path is cut finer.
    pub(super) fn integrate(
        &self,
        question: &Question,
    ) -> anyhow::Result<(Vec<Vec<f64>>, Integration)> {
        let mut path = self.path(question)?;
        let ends: Vec<f64> = (0..=PARTS).map(|end| end as f64 / PARTS as f64).collect();
        let ends = path.ends(&ends);
        let (baseline, whole) = (ends[0].log_odds, ends[PARTS].log_odds);
        let mut parts = path.parts(ends.windows(2).map(|pair| (pair[0], pair[1])));
        let mut steps = PARTS * POINTS;
        let close = (CLOSE * (whole - baseline).abs()).max(NOTHING);
        loop {
            let gaps: f64 = parts.iter().map(|part| part.gap().abs()).sum();
            let coarse = close / (2 * parts.len()) as f64;
            let (halved, kept): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| {
                gaps > close && part.gap().abs() > coarse && part.to.at - part.from.at > SHORTEST
            });
            parts = kept;
            if halved.is_empty() || steps + 2 * POINTS * halved.len() > MOST {
                parts.extend(halved);
                break;
            }
            let middles: Vec<f64> =
                halved.iter().map(|part| f64::midpoint(part.from.at, part.to.at)).collect();
            let middles = path.ends(&middles);
            let halves = halved.iter().zip(middles);
            parts.extend(
                path.parts(
                    halves.flat_map(|(part, middle)| [(part.from, middle), (middle, part.to)]),
                ),
            );
            steps += 2 * POINTS * halved.len();
        }
        let mut sums: Vec<Vec<f64>> = question.ids.iter().map(|ids| vec![0.0; ids.len()]).collect();
        for part in &parts {
            for (sums, found) in sums.iter_mut().zip(&part.contributions) {
                sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
            }
        }
        let sum: f64 = sums.iter().flatten().sum();
        let integration = Integration {
            baseline_log_odds: baseline,
            steps,
            completeness_gap: sum - (question.log_odds - baseline),
        };
        Ok((sums, integration))
    }

    fn path<'a>(&self, question: &'a Question) -> anyhow::Result<Path<'a>> {
        let longest = question.ids.iter().map(Vec::len).max().unwrap_or(1);
        let together = (VECTORS / longest.max(1)).clamp(1, PARTS * POINTS);
        let mut weights = Vec::new();
        let (mut begun, mut sizes, mut corpora) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (input, ids)) in self.config.inputs.iter().zip(&question.ids).enumerate() {
            let name = format!("{}embedding.weight", input.prefix());
            let size = input.embedding.size;
            let rows = FIRST_WORD as usize + together * ids.len();
            let mut baseline = vec![0.0; size];
            let mut direction = Vec::with_capacity(ids.len() * size);
            for array in self.classifier.weights().filter(|array| array.name == name) {
                let row = |id: u32| &array.values[id as usize * size..][..size];
                baseline = row(PAD).to_vec();
                for id in ids {
                    direction.extend(row(*id).iter().zip(&baseline).map(|(to, from)| to - from));
                }
                // What stands for words in no text stays, above all the padding.
                let mut values = array.values[..FIRST_WORD as usize * size].to_vec();
                values.resize(rows * size, 0.0);
                weights.push(NamedTensor { name: name.clone(), shape: vec![rows, size], values });
            }
            let all: Vec<u32> = (FIRST_WORD..rows as u32).collect();
            corpora.push(self.corpus(number, all.chunks(ids.len())));
            sizes.push(rows);
            begun.push((name, size, baseline, direction));
        }
        let is_table = |array: &&NamedTensor| begun.iter().any(|(name, ..)| *name == array.name);
        weights.extend(self.classifier.weights().filter(|array| !is_table(array)).cloned());
        let inputs = self.config.inputs.with_trained_vectors();
        let config = Config { inputs, ..self.config.clone() };
        let classes = self.labels.len();
        let network = Network::new(&config, &sizes, classes, weights, Instructions::best())?;
        let parameter = |name: &str| {
            network.parameters().iter().position(|own| own.array.name == name).unwrap_or_default()
        };
        let tables = begun
            .into_iter()
            .map(|(name, size, baseline, direction)| Table {
                parameter: parameter(&name),
                size,
                baseline,
                direction,
            })
            .collect();
        let reader = BatchSharder::new(&config.inputs, &sizes, rayon::current_num_threads());
        Ok(Path { network, reader, tables, question, corpora, together })
    }
}

impl Path<'_> {
    /// Puts the vectors of some points of the path, each from 0 to 1, where the network reads them.
    fn move_to(&mut self, points: &[f64]) {
        for table in &self.tables {
            let array = &mut self.network.parameters_mut()[table.parameter].array;
            let texts = array.values[FIRST_WORD as usize * table.size..]
                .chunks_exact_mut(table.direction.len());
            for (text, point) in texts.zip(points) {
                let words = text.chunks_exact_mut(table.size);
                for (word, direction) in words.zip(table.direction.chunks_exact(table.size)) {
                    let steps = table.baseline.iter().zip(direction);
                    for (value, (from, step)) in word.iter_mut().zip(steps) {
                        *value = from + *point as f32 * step;
                    }
                }
            }
        }
    }

    /// The log-odds at some points.
    fn ends(&mut self, points: &[f64]) -> Vec<End> {
        let mut ends = Vec::with_capacity(points.len());
        for points in points.chunks(self.together) {
            self.move_to(points);
            let found = self.log_odds(points.len()).into_iter().zip(points);
            ends.extend(found.map(|(log_odds, at)| End { at: *at, log_odds }));
        }
        ends
    }

    /// Those of the points that it was moved to, of which there are `count`.
    fn log_odds(&mut self, count: usize) -> Vec<f64> {
        let examples: Vec<u32> = (0..count as u32).collect();
        let reading = self.reader.read(&self.corpora, None, &examples, None);
        let rows = self.network.log_probabilities(&reading);
        let rows = rows.chunks_exact(rows.len() / count);
        rows.map(|row| log_odds(row, self.question.class)).collect()
    }

    /// The parts between these ends.
    fn parts(&mut self, ends: impl Iterator<Item = (End, End)>) -> Vec<Part> {
        let ends: Vec<(End, End)> = ends.collect();
        let gauss_legendre = |(from, to): &(End, End)| {
            let (middle, half) = (f64::midpoint(from.at, to.at), (to.at - from.at) / 2.0);
            [-1.0, 1.0].map(|side| middle + side * half / 3.0_f64.sqrt())
        };
        let points: Vec<f64> = ends.iter().flat_map(gauss_legendre).collect();
        let derivatives = self.derivatives(&points);
        let pairs = derivatives.chunks_exact(POINTS);
        ends.into_iter()
            .zip(pairs)
            .map(|((from, to), pair)| {
                let half = (to.at - from.at) / 2.0;
                let sum = |(a, b): (&f64, &f64)| half * (a + b);
                let inputs = pair[0].iter().zip(&pair[1]);
                let contributions =
                    inputs.map(|(a, b)| a.iter().zip(b).map(sum).collect()).collect();
                Part { from, to, contributions }
            })
            .collect()
    }

    /// At each of some points how the log-odds change with each word of each input, along the path.
    fn derivatives(&mut self, points: &[f64]) -> Vec<Vec<Vec<f64>>> {
        let labels = vec![self.question.class as u32; self.together];
        let mut gradients = Gradients::default();
        let mut all = Vec::with_capacity(points.len());
        for points in points.chunks(self.together) {
            self.move_to(points);
            let examples: Vec<u32> = (0..points.len() as u32).collect();
            let reading = self.reader.read(&self.corpora, Some(&labels), &examples, None);
            self.network.gradients(&reading, &LogOdds, None, &mut gradients);
            // Of a loss, which is the negative, and the mean over the points.
            let scale = -(points.len() as f64);
            let words = |table: &Table| vec![0.0; table.direction.len() / table.size];
            let mut found: Vec<Vec<Vec<f64>>> =
                points.iter().map(|_| self.tables.iter().map(words).collect()).collect();
            for (input, table) in self.tables.iter().enumerate() {
                let words = table.direction.len() / table.size;
                for rows in gradients.rows.iter().filter(|rows| rows.parameter == table.parameter) {
                    let vectors = rows.values.chunks_exact(table.size);
                    for (id, vector) in rows.words.iter().zip(vectors) {
                        // Not the padding.
                        let Some(place) = id.checked_sub(FIRST_WORD) else { continue };
                        let (point, word) = (place as usize / words, place as usize % words);
                        let direction = &table.direction[word * table.size..][..table.size];
                        let products = vector
                            .iter()
                            .zip(direction)
                            .map(|(a, b)| f64::from(*a) * f64::from(*b));
                        found[point][input][word] = scale * products.sum::<f64>();
                    }
                }
            }
            all.extend(found);
        }
        all
    }
}

#[cfg(test)]
impl Explainer {
    fn question_of(&self, texts: &[String]) -> Question {
        let tokens = self.encoders.iter().zip(texts).map(|(encoder, text)| encoder.located(text).0);
        let ids = tokens.map(|tokens| tokens.iter().map(|token| token.id).collect()).collect();
        Question { ids, class: 1, log_odds: 0.0 }
    }

    /// How the log-odds of class 1 change along each word's own way, at a point of the path.
    pub(super) fn derivatives(&self, texts: &[String], point: f64) -> Vec<Vec<f64>> {
        let question = self.question_of(texts);
        self.path(&question).unwrap().derivatives(&[point]).remove(0)
    }

    /// The log-odds of class 1 where one word is further along its way by `by`.
    pub(super) fn log_odds_with(
        &self,
        texts: &[String],
        point: f64,
        input: usize,
        place: usize,
        by: f64,
    ) -> f64 {
        let question = self.question_of(texts);
        let mut path = self.path(&question).unwrap();
        let Table { parameter, size, direction, .. } = &path.tables[input];
        let (parameter, size) = (*parameter, *size);
        let direction = direction[place * size..][..size].to_vec();
        path.move_to(&[point]);
        let values = &mut path.network.parameters_mut()[parameter].array.values;
        let vector = &mut values[(FIRST_WORD as usize + place) * size..][..size];
        vector.iter_mut().zip(direction).for_each(|(value, step)| *value += by as f32 * step);
        path.log_odds(1)[0]
    }
}
