//! The points of a sweep: every combination of values, or combinations drawn at random. They are a
//! pure function of the section, so that every machine numbers them alike.

use std::collections::HashSet;
use std::fmt;

use serde_yaml::Value;

use super::Override;
use crate::random::fingerprint;

/// More points than this are a mistake.
const MOST_POINTS: usize = 10_000;

/// Draws in vain after which no other combination is expected.
const MOST_DRAWS: u64 = 100_000;

/// A number drawn between two others is rounded to so many significant digits: nobody needs more,
/// and the last bits of a logarithm differ between machines.
const DIGITS: usize = 4;

/// What varies: one field or several together.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its name in the section.
    pub key: String,
    pub values: Values,
}

/// The values that an axis has.
#[derive(Clone, Debug)]
pub enum Values {
    /// One of these, each of which sets one field or several.
    Listed(Vec<Vec<Override>>),
    /// A number, for the field of this name.
    Drawn(String, Distribution),
}

/// Where numbers are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    pub kind: DistributionKind,
    pub low: f64,
    pub high: f64,
}

/// How numbers lie between the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistributionKind {
    /// Evenly.
    Uniform,
    /// Their logarithms evenly.
    LogUniform,
    /// Whole numbers, evenly, both ends included.
    Integers,
    /// Whole numbers whose logarithms lie evenly, both ends included.
    LogIntegers,
}

impl DistributionKind {
    /// Every kind, by its name in a configuration.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("uniform", Self::Uniform),
        ("log_uniform", Self::LogUniform),
        ("integers", Self::Integers),
        ("log_integers", Self::LogIntegers),
    ];

    pub fn is_whole(self) -> bool {
        matches!(self, Self::Integers | Self::LogIntegers)
    }

    pub fn is_logarithmic(self) -> bool {
        matches!(self, Self::LogUniform | Self::LogIntegers)
    }
}

impl Distribution {
    /// The number that lies so far between both ends, `share` in [0, 1).
    fn at(&self, share: f64) -> Value {
        // Each whole number has the part of the line up to the next.
        let high = if self.kind.is_whole() { self.high + 1.0 } else { self.high };
        let number = match self.kind.is_logarithmic() {
            true => (self.low.ln() + share * (high.ln() - self.low.ln())).exp(),
            false => self.low + share * (high - self.low),
        };
        match self.kind.is_whole() {
            true => whole(number.floor().clamp(self.low, self.high)),
            false => Value::from(rounded(number).clamp(self.low, self.high)),
        }
    }

    /// Both ends and, where there are any, a number with a fraction between them.
    fn probes(&self) -> Vec<Value> {
        match self.kind.is_whole() {
            true => vec![whole(self.low), whole(self.high)],
            false => vec![self.low.into(), self.at(std::f64::consts::FRAC_1_PI), self.high.into()],
        }
    }
}

fn whole(number: f64) -> Value {
    Value::from(number as i64)
}

fn rounded(number: f64) -> f64 {
    format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
}

impl Axis {
    /// Settings that show whether the axis fits its fields.
    pub fn probes(&self) -> Vec<Override> {
        match &self.values {
            Values::Listed(choices) => choices.iter().flatten().cloned().collect(),
            Values::Drawn(field, distribution) => {
                distribution.probes().into_iter().map(|value| Override::new(field, value)).collect()
            }
        }
    }

    /// The settings that lie so far along the axis, `share` in [0, 1).
    fn at(&self, share: f64) -> Vec<Override> {
        match &self.values {
            Values::Listed(choices) => choices[(share * choices.len() as f64) as usize].clone(),
            Values::Drawn(field, distribution) => {
                vec![Override::new(field, distribution.at(share))]
            }
        }
    }
}

/// One of the trainings of a sweep: what it changes in the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Every field that varies, but not the seed.
    pub settings: Vec<Override>,
    /// `train.seed`, where it varies.
    pub seed: Option<Override>,
}

/// As `model.lstm.units=32 train.seed=1`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words: Vec<String> = self.changes().map(Override::to_string).collect();
        f.write_str(&words.join(" "))
    }
}

impl Point {
    /// Everything that it changes.
    pub fn changes(&self) -> impl Iterator<Item = &Override> {
        self.settings.iter().chain(&self.seed)
    }
}

/// What the section asks for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    pub axes: Vec<Axis>,
    /// The seeds, each of which is combined with everything.
    pub seeds: Option<Axis>,
    /// So many combinations are drawn; without it there is every one.
    pub trials: Option<usize>,
    pub search_seed: u64,
}

impl Search {
    /// The points by their index: the last axis varies faster than those before it, and seeds
    /// faster than any.
    ///
    /// # Errors
    /// Where there are none, too many, or not as many different ones as asked for; in words.
    pub fn points(&self) -> Result<Vec<Point>, String> {
        if self.axes.is_empty() && self.seeds.is_none() {
            return Err("varies nothing: give it a field with a list of values, as \
                        {model.lstm.units: [32, 64], seed: [1, 2, 3]}"
                .to_owned());
        }
        let seeds = self.seeds.as_ref().map_or_else(Vec::new, Axis::probes);
        let count = self.trials.map_or_else(|| self.grid_size(), Some);
        let count = count.and_then(|combinations| combinations.checked_mul(seeds.len().max(1)));
        match count {
            Some(count) if count <= MOST_POINTS => {}
            _ => {
                let count = count.map_or("too many".to_owned(), |count| count.to_string());
                return Err(format!("has {count} points, at most {MOST_POINTS} are allowed"));
            }
        }
        let combinations = match self.trials {
            Some(trials) => self.draw(trials)?,
            None => self.grid(),
        };
        Ok(combinations.into_iter().flat_map(|settings| with_seeds(settings, &seeds)).collect())
    }

    /// The number of combinations; none where that is no number any more.
    fn grid_size(&self) -> Option<usize> {
        self.axes.iter().try_fold(1_usize, |size, axis| match &axis.values {
            Values::Listed(choices) => size.checked_mul(choices.len()),
            // Only trials can be drawn.
            Values::Drawn(..) => Some(size),
        })
    }

    fn grid(&self) -> Vec<Vec<Override>> {
        let mut combinations = vec![Vec::new()];
        for axis in &self.axes {
            let Values::Listed(choices) = &axis.values else { continue };
            let longer = combinations.iter().flat_map(|settings: &Vec<Override>| {
                choices.iter().map(move |choice| [&settings[..], choice].concat())
            });
            combinations = longer.collect();
        }
        combinations
    }

    /// So many combinations, no two alike. More trials have those of fewer in front.
    fn draw(&self, trials: usize) -> Result<Vec<Vec<Override>>, String> {
        let mut combinations = Vec::with_capacity(trials);
        let mut seen = HashSet::new();
        for trial in 0..trials {
            let mut drawn = (0..MOST_DRAWS).map(|attempt| self.trial(trial as u64, attempt));
            let Some(settings) = drawn.find(|settings| seen.insert(settings.clone())) else {
                return Err(format!(
                    "has {trials} trials, but only {trial} different combinations were found: \
                     without trials each is trained"
                ));
            };
            combinations.push(settings);
        }
        Ok(combinations)
    }

    fn trial(&self, trial: u64, attempt: u64) -> Vec<Override> {
        let share = |axis: &Axis| {
            // An axis draws the same whichever others there are.
            let name = axis.key.bytes().map(u64::from);
            let words = [self.search_seed, trial, attempt].into_iter().chain(name);
            unit_interval(fingerprint(words))
        };
        self.axes.iter().flat_map(|axis| axis.at(share(axis))).collect()
    }
}

/// The points that have these settings.
fn with_seeds(settings: Vec<Override>, seeds: &[Override]) -> Vec<Point> {
    let point = |seed| Point { settings: settings.clone(), seed };
    match seeds {
        [] => vec![point(None)],
        seeds => seeds.iter().map(|seed| point(Some(seed.clone()))).collect(),
    }
}

/// A number in [0, 1) of 53 random bits.
fn unit_interval(bits: u64) -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    (bits >> (64 - BITS)) as f64 / (1_u64 << BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(field: &str, values: &[i64]) -> Axis {
        let choice = |value: &i64| vec![Override::new(field, Value::from(*value))];
        Axis { key: field.into(), values: Values::Listed(values.iter().map(choice).collect()) }
    }

    fn drawn(field: &str, kind: DistributionKind, low: f64, high: f64) -> Axis {
        let values = Values::Drawn(field.into(), Distribution { kind, low, high });
        Axis { key: field.into(), values }
    }

    fn seeds(seeds: &[i64]) -> Option<Axis> {
        Some(listed("train.seed", seeds))
    }

    /// A point as `a=1 b=2 train.seed=3`.
    fn words(point: &Point) -> String {
        let word = |set: &Override| format!("{}={}", set.field(), set.value().as_i64().unwrap());
        point.changes().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Many draws from a distribution.
    fn numbers(kind: DistributionKind, low: f64, high: f64) -> Vec<f64> {
        let axes = vec![drawn("x", kind, low, high)];
        let search = Search { axes, ..Search::default() };
        (0..4_000).map(|trial| search.trial(trial, 0)[0].value().as_f64().unwrap()).collect()
    }

    /// The largest distance between the distribution of numbers in [0, 1] and the uniform one.
    fn distance_from_uniform(mut shares: Vec<f64>) -> f64 {
        shares.sort_by(f64::total_cmp);
        let count = shares.len() as f64;
        let distance = |(i, share): (usize, &f64)| (share - (i as f64 + 0.5) / count).abs();
        shares.iter().enumerate().map(distance).fold(0.0, f64::max)
    }

    /// Kolmogorov and Smirnov reject at this distance one sample of 4,000 in a thousand.
    const FAR: f64 = 0.031;

    #[test]
    fn the_last_axis_varies_fastest_and_seeds_faster_still() {
        let axes = vec![listed("a", &[1, 2]), listed("b", &[5, 6])];
        let search = Search { axes, seeds: seeds(&[7, 8]), ..Search::default() };
        let points: Vec<String> = search.points().unwrap().iter().map(words).collect();
        assert_eq!(
            points,
            [
                "a=1 b=5 train.seed=7",
                "a=1 b=5 train.seed=8",
                "a=1 b=6 train.seed=7",
                "a=1 b=6 train.seed=8",
                "a=2 b=5 train.seed=7",
                "a=2 b=5 train.seed=8",
                "a=2 b=6 train.seed=7",
                "a=2 b=6 train.seed=8",
            ]
        );
    }

    #[test]
    fn seeds_alone_are_a_sweep() {
        let search = Search { seeds: seeds(&[1, 2]), ..Search::default() };
        assert_eq!(search.points().unwrap().len(), 2);
        assert!(Search::default().points().unwrap_err().contains("varies nothing"));
    }

    #[test]
    fn a_grid_too_large_is_refused_before_it_is_made() {
        let thousand: Vec<i64> = (0..1_000).collect();
        let axes: Vec<Axis> = (0..12).map(|i| listed(&format!("f{i}"), &thousand)).collect();
        let points = |axes: &[Axis]| Search { axes: axes.to_vec(), ..Search::default() }.points();
        assert!(points(&axes).unwrap_err().contains("has too many points"));
        assert!(points(&axes[..2]).unwrap_err().contains("has 1000000 points, at most 10000"));
        assert_eq!(points(&axes[..1]).unwrap().len(), 1_000);
    }

    /// The last two lines are what this prints, with SplitMix64 in Python:
    ///
    /// ```python
    /// M = 2**64 - 1
    /// def mix(s):
    ///     z = s + 0x9E3779B97F4A7C15 & M
    ///     z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & M
    ///     z = (z ^ z >> 27) * 0x94D049BB133111EB & M
    ///     return z ^ z >> 31
    /// def share(seed, trial, key):
    ///     s = 0
    ///     for word in [seed, trial, 0, *key.encode()]: s = mix(s ^ word)
    ///     return (s >> 11) / 2**53
    /// for t in 0, 1: print([1, 2, 3][int(3 * share(1, t, "a"))], int(1 + 9e9 * share(1, t, "b")))
    /// ```
    #[test]
    fn draws_depend_on_the_section_alone() {
        let axes =
            || vec![listed("a", &[1, 2, 3]), drawn("b", DistributionKind::Integers, 1.0, 9e9)];
        let search = |trials, search_seed| Search {
            axes: axes(),
            seeds: seeds(&[1, 2]),
            trials: Some(trials),
            search_seed,
        };
        let points = search(20, 1).points().unwrap();
        assert_eq!(points.len(), 40);
        assert_eq!(points, search(20, 1).points().unwrap());
        assert_ne!(points, search(20, 2).points().unwrap());
        assert_eq!(points[..10], search(5, 1).points().unwrap(), "more trials begin with fewer");
        // Another axis changes nothing for this one.
        let alone = Search { axes: axes()[1..].to_vec(), ..search(20, 1) }.points().unwrap();
        let b = |point: &Point| point.settings.last().cloned();
        assert_eq!(
            points.iter().map(b).collect::<Vec<_>>(),
            alone.iter().map(b).collect::<Vec<_>>()
        );
        let first: Vec<String> = points.iter().step_by(2).take(2).map(words).collect();
        assert_eq!(first, ["a=1 b=2461116792 train.seed=1", "a=3 b=8125081142 train.seed=1"]);
    }

    #[test]
    fn no_combination_is_drawn_twice() {
        let search = |trials| Search {
            axes: vec![listed("a", &[1, 2, 3]), listed("b", &[4, 5])],
            trials: Some(trials),
            ..Search::default()
        };
        let mut points: Vec<String> = search(6).points().unwrap().iter().map(words).collect();
        points.sort();
        points.dedup();
        assert_eq!(points.len(), 6);
        let refused = search(7).points().unwrap_err();
        assert!(refused.contains("only 6 different combinations"), "{refused}");
    }

    #[test]
    fn uniform_draws_are_spread_evenly() {
        let shares = numbers(DistributionKind::Uniform, -2.0, 6.0);
        let shares: Vec<f64> = shares.into_iter().map(|x| (x + 2.0) / 8.0).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(distance_from_uniform(shares) < FAR);
    }

    #[test]
    fn the_logarithms_of_log_uniform_draws_are_spread_evenly() {
        let drawn = numbers(DistributionKind::LogUniform, 1e-4, 1e-2);
        assert!(drawn.iter().all(|x| (1e-4..=1e-2).contains(x)));
        let shares = drawn.iter().map(|x| (x / 1e-4).ln() / 100_f64.ln()).collect();
        assert!(distance_from_uniform(shares) < FAR);
    }

    #[test]
    fn whole_numbers_are_drawn_evenly_to_both_ends() {
        let drawn = numbers(DistributionKind::Integers, 3.0, 7.0);
        for number in 3..=7 {
            let count = drawn.iter().filter(|x| **x == f64::from(number)).count();
            assert!((680..920).contains(&count), "{number}: {count} of 4000");
        }
        assert!(drawn.iter().all(|x| (3.0..=7.0).contains(x)));
        let drawn = numbers(DistributionKind::LogIntegers, 1.0, 255.0);
        assert!(drawn.iter().all(|x| x.fract() == 0.0 && (1.0..=255.0).contains(x)));
        // An eighth of the logarithms from 1 to 256 lies below 2, half of them below 16.
        for (below, expected) in [(2.0, 500), (16.0, 2_000)] {
            let count = drawn.iter().filter(|x| **x < below).count();
            assert!(count.abs_diff(expected) < 110, "{count} below {below}");
        }
    }

    #[test]
    fn drawn_numbers_have_few_digits_and_stay_inside() {
        assert_eq!(
            [0.123_456_7, 0.000_987_654, 123_456.0].map(rounded),
            [0.1235, 0.0009877, 123_500.0]
        );
        let low = 0.123_456_7;
        let narrow = Distribution { kind: DistributionKind::Uniform, low, high: 0.123_456_8 };
        assert_eq!(narrow.at(0.5), Value::from(0.123_456_8), "rounded up, and back to the end");
    }
}
