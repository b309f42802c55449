//! Grid search and random search. The points are a pure function of the section `sweep`, so every
//! machine gives them the same indices.

use std::collections::HashSet;
use std::fmt;

use serde_yaml::Value;

use super::method::SearchMethod;
use crate::config::overrides::Override;
use crate::config::types::TimeBudget;
use crate::random::{fingerprint, unit_interval};

/// Maximum number of points.
pub const MAX_POINTS: usize = 10_000;

/// Maximum number of attempts to draw a new combination.
const MAX_ATTEMPTS: u64 = 100_000;

/// Significant digits of a random real number. The last bits of a logarithm differ between machines.
const DIGITS: usize = 4;

/// One field, or several fields that vary together.
#[derive(Clone, Debug)]
pub struct Axis {
    /// The key in the section.
    pub key: String,
    /// The values.
    pub values: Values,
}

/// The values of an axis.
#[derive(Clone, Debug)]
pub enum Values {
    /// A list of choices, each of which sets one field or several.
    List(Vec<Vec<Override>>),
    /// A distribution of values for the named field.
    Distribution(String, Distribution),
}

/// A distribution from `low` to `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    pub kind: DistributionKind,
    pub low: f64,
    pub high: f64,
}

/// The kind of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DistributionKind {
    /// Uniform.
    Uniform,
    /// Log-uniform.
    LogUniform,
    /// Uniform over the integers, both ends included.
    Integers,
    /// Log-uniform over the integers, both ends included.
    LogIntegers,
}

impl DistributionKind {
    /// Every kind with its name in a configuration.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("uniform", Self::Uniform),
        ("log_uniform", Self::LogUniform),
        ("integers", Self::Integers),
        ("log_integers", Self::LogIntegers),
    ];

    pub fn is_integer(self) -> bool {
        matches!(self, Self::Integers | Self::LogIntegers)
    }

    pub fn is_logarithmic(self) -> bool {
        matches!(self, Self::LogUniform | Self::LogIntegers)
    }
}

impl Distribution {
    /// Returns the quantile `q`, which is in [0, 1).
    fn quantile(&self, q: f64) -> Value {
        // Each integer stands for the interval up to the next.
        let high = if self.kind.is_integer() { self.high + 1.0 } else { self.high };
        let number = match self.kind.is_logarithmic() {
            true => (self.low.ln() + q * (high.ln() - self.low.ln())).exp(),
            false => self.low + q * (high - self.low),
        };
        match self.kind.is_integer() {
            true => integer(number.floor().clamp(self.low, self.high)),
            false => Value::from(rounded(number).clamp(self.low, self.high)),
        }
    }

    /// Returns both ends and, unless the distribution is over integers, a value between them.
    fn probes(&self) -> Vec<Value> {
        match self.kind.is_integer() {
            true => vec![integer(self.low), integer(self.high)],
            false => {
                vec![self.low.into(), self.quantile(std::f64::consts::FRAC_1_PI), self.high.into()]
            }
        }
    }
}

fn integer(number: f64) -> Value {
    Value::from(number as i64)
}

fn rounded(number: f64) -> f64 {
    format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
}

impl Axis {
    /// Returns overrides that together show whether the values are valid for their fields.
    pub fn probes(&self) -> Vec<Override> {
        match &self.values {
            Values::List(choices) => choices.iter().flatten().cloned().collect(),
            Values::Distribution(field, distribution) => {
                distribution.probes().into_iter().map(|value| Override::new(field, value)).collect()
            }
        }
    }

    /// Returns the fields that it sets.
    pub fn fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = self.probes().iter().map(Override::field).collect();
        fields.sort();
        fields.dedup();
        fields
    }

    /// Returns the number of values that have no order, or none if the axis is a line: a distribution, or numbers
    /// in ascending or descending order.
    pub fn unordered_values(&self) -> Option<usize> {
        let Values::List(choices) = &self.values else { return None };
        let number = |choice: &Vec<Override>| match &choice[..] {
            [set] => set.value().as_f64(),
            _ => None,
        };
        let numbers: Option<Vec<f64>> = choices.iter().map(number).collect();
        let is_line = numbers.is_some_and(|numbers| {
            numbers.is_sorted() || numbers.is_sorted_by(|before, after| before >= after)
        });
        (!is_line || choices.len() < 3).then_some(choices.len())
    }

    /// Returns the settings at the quantile `q`, which is in [0, 1).
    pub fn quantile(&self, q: f64) -> Vec<Override> {
        match &self.values {
            Values::List(choices) => choices[(q * choices.len() as f64) as usize].clone(),
            Values::Distribution(field, distribution) => {
                vec![Override::new(field, distribution.quantile(q))]
            }
        }
    }
}

/// A point of a sweep: the settings of one training run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The fields that vary, except the seed.
    pub settings: Vec<Override>,
    /// `train.seed`, if it varies.
    pub seed: Option<Override>,
}

/// Formats a point as in `model.lstm.units=32 train.seed=1`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words: Vec<String> = self.overrides().map(Override::to_string).collect();
        f.write_str(&words.join(" "))
    }
}

impl Point {
    /// All settings, the seed last.
    pub fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.settings.iter().chain(&self.seed)
    }
}

/// A grid search or random search.
#[derive(Clone, Debug, Default)]
pub struct Search {
    pub axes: Vec<Axis>,
    /// The seeds. Each is combined with every combination of the axes.
    pub seeds: Option<Axis>,
    /// Number of random combinations. `None`: every combination.
    pub trials: Option<usize>,
    pub search_seed: u64,
    pub method: Option<SearchMethod>,
    /// Time after which an adaptive search ends.
    pub budget: Option<TimeBudget>,
}

impl Search {
    /// Returns true if what is trained depends on the results so far, or on the time.
    pub fn is_adaptive(&self) -> bool {
        self.method.is_some_and(|method| {
            method.is_halving() || method == SearchMethod::Random && self.budget.is_some()
        })
    }

    /// Returns the options that contradict the method, and why.
    pub fn option_faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let name = self.method.map_or("", SearchMethod::as_str);
        match (self.method, self.trials) {
            (Some(SearchMethod::Grid), Some(_)) => {
                faults.push(("trials", "has no effect with method: grid; remove it".to_owned()));
            }
            (Some(method), None) if method != SearchMethod::Grid && self.budget.is_none() => {
                let message = format!("{name} needs budget: TIME, trials: N, or both");
                faults.push(("method", message));
            }
            _ => {}
        }
        if self.budget.is_some() && !self.is_adaptive() {
            let message = "needs method: random, asha or tpe, which end at any time";
            faults.push(("budget", message.to_owned()));
        }
        faults
    }

    /// Returns the points by index. The last axis varies faster than those before it, and the seed
    /// fastest.
    ///
    /// # Errors
    /// Returns a message if there are no points, too many, or fewer combinations than trials.
    pub fn points(&self) -> Result<Vec<Point>, String> {
        if self.axes.is_empty() && self.seeds.is_none() {
            return Err("nothing varies; list the values of a field, as in {model.lstm.units: \
                        [32, 64], seed: [1, 2, 3]}, or with --set 'sweep.model.lstm.units=[32, 64]'"
                .to_owned());
        }
        let seeds = self.seeds.as_ref().map_or_else(Vec::new, Axis::probes);
        let count = self.trials.map_or_else(|| self.grid_size(), Some);
        let count = count.and_then(|combinations| combinations.checked_mul(seeds.len().max(1)));
        match count {
            Some(count) if count <= MAX_POINTS => {}
            _ => {
                let count = count.map_or("too many".to_owned(), |count| count.to_string());
                return Err(format!("has {count} points; the maximum is {MAX_POINTS}"));
            }
        }
        let combinations = match self.trials {
            Some(trials) => self.draw(trials)?,
            None => self.grid(),
        };
        Ok(combinations.into_iter().flat_map(|settings| with_seeds(settings, &seeds)).collect())
    }

    /// Returns the number of combinations, or `None` if it overflows.
    fn grid_size(&self) -> Option<usize> {
        self.axes.iter().try_fold(1_usize, |size, axis| match &axis.values {
            Values::List(choices) => size.checked_mul(choices.len()),
            // Distributions need trials.
            Values::Distribution(..) => Some(size),
        })
    }

    fn grid(&self) -> Vec<Vec<Override>> {
        let mut combinations = vec![Vec::new()];
        for axis in &self.axes {
            let Values::List(choices) = &axis.values else { continue };
            let longer = combinations.iter().flat_map(|settings: &Vec<Override>| {
                choices.iter().map(move |choice| [&settings[..], choice].concat())
            });
            combinations = longer.collect();
        }
        combinations
    }

    /// Draws distinct combinations. A larger number of trials begins with those of a smaller one.
    fn draw(&self, trials: usize) -> Result<Vec<Vec<Override>>, String> {
        let mut combinations = Vec::with_capacity(trials);
        let mut seen = HashSet::new();
        for trial in 0..trials {
            let mut drawn = (0..MAX_ATTEMPTS).map(|attempt| self.trial(trial as u64, attempt));
            let Some(settings) = drawn.find(|settings| seen.insert(settings.clone())) else {
                return Err(format!(
                    "has {trials} trials, but only {trial} different combinations were found; \
                     remove trials to train every combination"
                ));
            };
            combinations.push(settings);
        }
        Ok(combinations)
    }

    fn trial(&self, trial: u64, attempt: u64) -> Vec<Override> {
        let quantile = |axis: &Axis| {
            // The draws of an axis do not depend on the other axes.
            let name = axis.key.bytes().map(u64::from);
            let words = [self.search_seed, trial, attempt].into_iter().chain(name);
            unit_interval(fingerprint(words))
        };
        self.axes.iter().flat_map(|axis| axis.quantile(quantile(axis))).collect()
    }
}

/// Combines settings with every seed.
fn with_seeds(settings: Vec<Override>, seeds: &[Override]) -> Vec<Point> {
    let point = |seed| Point { settings: settings.clone(), seed };
    match seeds {
        [] => vec![point(None)],
        seeds => seeds.iter().map(|seed| point(Some(seed.clone()))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(field: &str, values: &[i64]) -> Axis {
        let choice = |value: &i64| vec![Override::new(field, Value::from(*value))];
        Axis { key: field.into(), values: Values::List(values.iter().map(choice).collect()) }
    }

    fn drawn(field: &str, kind: DistributionKind, low: f64, high: f64) -> Axis {
        let values = Values::Distribution(field.into(), Distribution { kind, low, high });
        Axis { key: field.into(), values }
    }

    fn seeds(seeds: &[i64]) -> Option<Axis> {
        Some(listed("train.seed", seeds))
    }

    /// Formats a point as in `a=1 b=2 train.seed=3`.
    fn formatted(point: &Point) -> String {
        let setting = |set: &Override| format!("{}={}", set.field(), set.value().as_i64().unwrap());
        point.overrides().map(setting).collect::<Vec<_>>().join(" ")
    }

    /// Draws 4,000 numbers from a distribution.
    fn numbers(kind: DistributionKind, low: f64, high: f64) -> Vec<f64> {
        let axes = vec![drawn("x", kind, low, high)];
        let search = Search { axes, ..Search::default() };
        (0..4_000).map(|trial| search.trial(trial, 0)[0].value().as_f64().unwrap()).collect()
    }

    /// Returns the Kolmogorov-Smirnov distance of numbers in [0, 1] from the uniform distribution.
    fn distance_from_uniform(mut shares: Vec<f64>) -> f64 {
        shares.sort_by(f64::total_cmp);
        let count = shares.len() as f64;
        let distance = |(i, share): (usize, &f64)| (share - (i as f64 + 0.5) / count).abs();
        shares.iter().enumerate().map(distance).fold(0.0, f64::max)
    }

    /// Critical value of the Kolmogorov-Smirnov test for 4,000 draws at the 0.1 % level.
    const CRITICAL: f64 = 0.031;

    #[test]
    fn the_last_axis_varies_fastest_except_for_the_seed() {
        let axes = vec![listed("a", &[1, 2]), listed("b", &[5, 6])];
        let search = Search { axes, seeds: seeds(&[7, 8]), ..Search::default() };
        let points: Vec<String> = search.points().unwrap().iter().map(formatted).collect();
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
    fn a_sweep_can_vary_the_seed_alone() {
        let search = Search { seeds: seeds(&[1, 2]), ..Search::default() };
        assert_eq!(search.points().unwrap().len(), 2);
        assert!(Search::default().points().unwrap_err().contains("nothing varies"));
    }

    #[test]
    fn too_large_a_grid_is_rejected_before_it_is_built() {
        let thousand: Vec<i64> = (0..1_000).collect();
        let axes: Vec<Axis> = (0..12).map(|i| listed(&format!("f{i}"), &thousand)).collect();
        let points = |axes: &[Axis]| Search { axes: axes.to_vec(), ..Search::default() }.points();
        assert!(points(&axes).unwrap_err().contains("has too many points"));
        assert!(
            points(&axes[..2]).unwrap_err().contains("has 1000000 points; the maximum is 10000")
        );
        assert_eq!(points(&axes[..1]).unwrap().len(), 1_000);
    }

    /// The last two lines are the output of this script, SplitMix64 in Python:
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
    fn draws_depend_on_the_section_only() {
        let axes =
            || vec![listed("a", &[1, 2, 3]), drawn("b", DistributionKind::Integers, 1.0, 9e9)];
        let search = |trials, search_seed| Search {
            axes: axes(),
            seeds: seeds(&[1, 2]),
            trials: Some(trials),
            search_seed,
            ..Search::default()
        };
        let points = search(20, 1).points().unwrap();
        assert_eq!(points.len(), 40);
        assert_eq!(points, search(20, 1).points().unwrap());
        assert_ne!(points, search(20, 2).points().unwrap());
        assert_eq!(
            points[..10],
            search(5, 1).points().unwrap(),
            "more trials start with the same points"
        );
        // An axis does not depend on the others.
        let alone = Search { axes: axes()[1..].to_vec(), ..search(20, 1) }.points().unwrap();
        let b = |point: &Point| point.settings.last().cloned();
        assert_eq!(
            points.iter().map(b).collect::<Vec<_>>(),
            alone.iter().map(b).collect::<Vec<_>>()
        );
        let first: Vec<String> = points.iter().step_by(2).take(2).map(formatted).collect();
        assert_eq!(first, ["a=1 b=2461116792 train.seed=1", "a=3 b=8125081142 train.seed=1"]);
    }

    #[test]
    fn no_combination_is_drawn_twice() {
        let search = |trials| Search {
            axes: vec![listed("a", &[1, 2, 3]), listed("b", &[4, 5])],
            trials: Some(trials),
            ..Search::default()
        };
        let mut points: Vec<String> = search(6).points().unwrap().iter().map(formatted).collect();
        points.sort();
        points.dedup();
        assert_eq!(points.len(), 6);
        let rejected = search(7).points().unwrap_err();
        assert!(rejected.contains("only 6 different combinations"), "{rejected}");
    }

    #[test]
    fn uniform_draws_are_uniform() {
        let shares = numbers(DistributionKind::Uniform, -2.0, 6.0);
        let shares: Vec<f64> = shares.into_iter().map(|x| (x + 2.0) / 8.0).collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        assert!(distance_from_uniform(shares) < CRITICAL);
    }

    #[test]
    fn logarithms_of_log_uniform_draws_are_uniform() {
        let drawn = numbers(DistributionKind::LogUniform, 1e-4, 1e-2);
        assert!(drawn.iter().all(|x| (1e-4..=1e-2).contains(x)));
        let shares = drawn.iter().map(|x| (x / 1e-4).ln() / 100_f64.ln()).collect();
        assert!(distance_from_uniform(shares) < CRITICAL);
    }

    #[test]
    fn integers_are_drawn_uniformly_and_include_both_ends() {
        let drawn = numbers(DistributionKind::Integers, 3.0, 7.0);
        for number in 3..=7 {
            let count = drawn.iter().filter(|x| **x == f64::from(number)).count();
            assert!((680..920).contains(&count), "{number}: {count} of 4000");
        }
        assert!(drawn.iter().all(|x| (3.0..=7.0).contains(x)));
        let drawn = numbers(DistributionKind::LogIntegers, 1.0, 255.0);
        assert!(drawn.iter().all(|x| x.fract() == 0.0 && (1.0..=255.0).contains(x)));
        // One eighth of the logarithms from 1 to 256 are below 2, half of them below 16.
        for (below, expected) in [(2.0, 500), (16.0, 2_000)] {
            let count = drawn.iter().filter(|x| **x < below).count();
            assert!(count.abs_diff(expected) < 110, "{count} below {below}");
        }
    }

    #[test]
    fn drawn_numbers_are_rounded_and_stay_in_range() {
        assert_eq!(
            [0.123_456_7, 0.000_987_654, 123_456.0].map(rounded),
            [0.1235, 0.0009877, 123_500.0]
        );
        let low = 0.123_456_7;
        let narrow = Distribution { kind: DistributionKind::Uniform, low, high: 0.123_456_8 };
        assert_eq!(
            narrow.quantile(0.5),
            Value::from(0.123_456_8),
            "rounded up, then clamped to the upper end"
        );
    }
}
