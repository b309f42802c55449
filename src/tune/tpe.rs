//! Proposes points that resemble the better ones so far: the tree-structured Parzen estimator (Bergstra, Bardenet,
//! Bengio and Kégl 2011).
//!
//! The points that have been tried are divided into the better ones and the others. Each set gives a density in each
//! dimension, l of the better points and g of the others. Points are drawn from l, and the one with the largest
//! l / g is proposed: where l / g is large, the expected improvement is.

use super::space::{Dimension, part_at};
use crate::random::Sequence;

/// Number of points that are drawn from the density of the better ones for each proposal.
const CANDIDATES: usize = 24;
/// Share of the points that are the better ones.
const BETTER: f64 = 0.25;
/// Maximum number of better points.
const MAX_BETTER: usize = 25;

/// Proposes points, the most promising first. `ranked` are the points that have been tried, the best first; each has
/// a coordinate in [0, 1) in each dimension.
pub fn propose(
    dimensions: &[Dimension],
    ranked: &[&[f64]],
    random: &mut Sequence,
) -> Vec<Vec<f64>> {
    let better = ((BETTER * ranked.len() as f64).ceil() as usize).min(MAX_BETTER);
    let (better, others) = ranked.split_at(better);
    let densities: Vec<[Density; 2]> = dimensions
        .iter()
        .enumerate()
        .map(|(index, dimension)| {
            let of = |points: &[&[f64]]| {
                Density::of(*dimension, points.iter().map(|point| point[index]).collect())
            };
            [of(better), of(others)]
        })
        .collect();
    let mut candidates: Vec<(f64, Vec<f64>)> = (0..CANDIDATES)
        .map(|_| {
            let point: Vec<f64> = densities.iter().map(|[better, _]| better.draw(random)).collect();
            let gain = densities.iter().zip(&point).map(|([better, others], coordinate)| {
                better.at(*coordinate).ln() - others.at(*coordinate).ln()
            });
            (gain.sum(), point)
        })
        .collect();
    candidates.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    candidates.into_iter().map(|(_, point)| point).collect()
}

/// Density of points in one dimension.
enum Density {
    /// Mean of normal distributions, truncated to [0, 1).
    Ordered(Vec<Normal>),
    /// Probability of each value.
    Categorical(Vec<f64>),
}

impl Density {
    /// Estimates the density of points with these coordinates, and of one more that could be anywhere.
    fn of(dimension: Dimension, mut coordinates: Vec<f64>) -> Self {
        let count = coordinates.len();
        match dimension {
            Dimension::Categorical(values) => {
                let mut shares = vec![1.0 / values as f64; values];
                coordinates.iter().for_each(|x| shares[part_at(*x, values)] += 1.0);
                shares.iter_mut().for_each(|share| *share /= (count + 1) as f64);
                Self::Categorical(shares)
            }
            Dimension::Ordered => {
                coordinates.sort_by(f64::total_cmp);
                let narrowest = 1.0 / (count + 1).min(100) as f64;
                let normals = (0..count).map(|index| {
                    let mean = coordinates[index];
                    let before = index.checked_sub(1).map_or(0.0, |before| coordinates[before]);
                    let after = coordinates.get(index + 1).copied().unwrap_or(1.0);
                    let width = (mean - before).max(after - mean);
                    Normal::new(mean, width.clamp(narrowest, 1.0))
                });
                Self::Ordered(normals.chain([Normal::new(0.5, 1.0)]).collect())
            }
        }
    }

    fn at(&self, coordinate: f64) -> f64 {
        match self {
            Self::Ordered(normals) => {
                let sum: f64 = normals.iter().map(|normal| normal.at(coordinate)).sum();
                sum / normals.len() as f64
            }
            Self::Categorical(shares) => shares[part_at(coordinate, shares.len())],
        }
    }

    fn draw(&self, random: &mut Sequence) -> f64 {
        match self {
            Self::Ordered(normals) => {
                normals[random.below(normals.len() as u32) as usize].draw(random)
            }
            Self::Categorical(shares) => {
                let mut left = random.unit();
                let value = shares.iter().position(|share| {
                    left -= share;
                    left < 0.0
                });
                let value = value.unwrap_or(shares.len() - 1);
                (value as f64 + 0.5) / shares.len() as f64
            }
        }
    }
}

/// Normal distribution, truncated to [0, 1).
struct Normal {
    mean: f64,
    deviation: f64,
    /// Probability of [0, 1) before it is truncated.
    inside: f64,
}

impl Normal {
    fn new(mean: f64, deviation: f64) -> Self {
        let below = |x: f64| cumulative((x - mean) / deviation);
        Self { mean, deviation, inside: below(1.0) - below(0.0) }
    }

    fn at(&self, x: f64) -> f64 {
        let distance = (x - self.mean) / self.deviation;
        let scale = self.deviation * std::f64::consts::TAU.sqrt() * self.inside;
        (-0.5 * distance * distance).exp() / scale
    }

    fn draw(&self, random: &mut Sequence) -> f64 {
        // Box and Muller 1958. At least a quarter of the draws are inside.
        let mut draws = (0..1_000).map(|_| {
            let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
            self.mean + self.deviation * radius * (std::f64::consts::TAU * random.unit()).cos()
        });
        draws.find(|x| (0.0..1.0).contains(x)).unwrap_or(0.5)
    }
}

/// Cumulative distribution function of the standard normal distribution, with an error below 1e-7 (Abramowitz and
/// Stegun 1964, formula 26.2.17).
fn cumulative(x: f64) -> f64 {
    const FACTORS: [f64; 5] =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = FACTORS.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt() * series;
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIMENSIONS: [Dimension; 2] = [Dimension::Ordered, Dimension::Categorical(4)];

    #[test]
    fn densities_integrate_to_one() {
        const STEPS: usize = 10_000;
        let coordinates = vec![0.01, 0.2, 0.21, 0.9];
        for dimension in DIMENSIONS {
            let density = Density::of(dimension, coordinates.clone());
            let steps = (0..STEPS).map(|step| density.at((step as f64 + 0.5) / STEPS as f64));
            let integral = steps.sum::<f64>() / STEPS as f64;
            let expected = match dimension {
                Dimension::Ordered => 1.0,
                // A probability, not a density.
                Dimension::Categorical(values) => 1.0 / values as f64,
            };
            assert!((integral / expected - 1.0).abs() < 1e-3, "{dimension:?}: {integral}");
        }
    }

    /// Draws are distributed as the density says.
    #[test]
    fn draws_follow_the_density() {
        const DRAWS: usize = 40_000;
        for dimension in DIMENSIONS {
            let density = Density::of(dimension, vec![0.1, 0.15, 0.8]);
            let mut random = Sequence::new(1);
            let draws: Vec<f64> = (0..DRAWS).map(|_| density.draw(&mut random)).collect();
            for part in 0..4 {
                let range = f64::from(part) / 4.0..f64::from(part + 1) / 4.0;
                let share =
                    draws.iter().filter(|x| range.contains(x)).count() as f64 / DRAWS as f64;
                let expected = match dimension {
                    Dimension::Ordered => {
                        let steps =
                            (0..1_000).map(|step| range.start + (f64::from(step) + 0.5) / 4e3);
                        steps.map(|x| density.at(x)).sum::<f64>() / 4e3
                    }
                    Dimension::Categorical(_) => density.at(range.start),
                };
                assert!(
                    (share - expected).abs() < 0.01,
                    "{dimension:?} {part}: {share} {expected}"
                );
            }
        }
    }

    /// The optimum of a function with a line and a choice is found with fewer trials than at random.
    #[test]
    fn proposals_come_closer_to_the_optimum_than_random_points() {
        let cost = |point: &[f64]| {
            let value = part_at(point[1], 4);
            (point[0] - 0.83).powi(2) + if value == 2 { 0.0 } else { 0.3 }
        };
        let run = |seed: u64, proposes: bool| {
            let mut random = Sequence::new(seed);
            let mut tried: Vec<Vec<f64>> = Vec::new();
            for trial in 0..40 {
                let point = match trial >= 8 && proposes {
                    true => {
                        let mut ranked: Vec<&[f64]> = tried.iter().map(Vec::as_slice).collect();
                        ranked.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
                        propose(&DIMENSIONS, &ranked, &mut random).swap_remove(0)
                    }
                    false => vec![random.unit(), random.unit()],
                };
                tried.push(point);
            }
            tried.iter().map(|point| cost(point)).fold(f64::INFINITY, f64::min)
        };
        let total =
            |proposes: bool| -> f64 { (0..20).map(|seed| run(seed, proposes).sqrt()).sum() };
        let (proposed, random) = (total(true), total(false));
        assert!(proposed < 0.75 * random, "{proposed} {random}");
    }

    #[test]
    fn the_cumulative_distribution_is_that_of_tables() {
        for (x, expected) in
            [(0.0, 0.5), (1.0, 0.841_344_7), (-1.959_964, 0.025), (3.0, 0.998_650_1)]
        {
            assert!((cumulative(x) - expected).abs() < 1e-6, "{x}");
        }
    }
}
