//! How much each setting matters: the share of the variance of the results that it explains by itself.

use super::halving::Standing;
use super::space::{Coordinates, Dimension, dimensions, part_at};
use super::trials::Trials;
use crate::config::{Metric, SearchSpace};

/// Number of parts into which a line is divided.
const PARTS: usize = 4;
/// Smallest number of trials from which anything follows.
const MIN_TRIALS: usize = 20;

/// Importance of a field.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Importance {
    /// The field, or `cases`.
    pub field: String,
    /// Share of the variance of the ranks at the first rung that the field explains by itself, corrected for chance
    /// (ω²): 0 to 1.
    pub share: f64,
}

/// Returns the importance of the fields, the largest first; none with too few trials.
///
/// Ranks are used instead of scores, because a few trials that learn nothing would hide all else.
pub fn importance(space: &SearchSpace, trials: &Trials, metric: &Metric) -> Vec<Importance> {
    let standings: Vec<Standing> = trials.standings(0, metric);
    let points = standings.iter().filter_map(|standing| trials.all[standing.trial].at.as_ref());
    let points: Vec<Vec<f64>> = points.map(Coordinates::values).collect();
    if points.len() < MIN_TRIALS {
        return Vec::new();
    }
    let axes = space.axes.iter().zip(dimensions(space)).enumerate();
    let importance = axes.map(|(index, (axis, dimension))| {
        let parts = match dimension {
            Dimension::Ordered => PARTS,
            Dimension::Categorical(values) => values,
        };
        let part = |point: &Vec<f64>| part_at(point[index], parts);
        let groups: Vec<usize> = points.iter().map(part).collect();
        Importance { field: axis.key.clone(), share: explained(&groups, parts) }
    });
    let mut importance: Vec<Importance> = importance.collect();
    importance.sort_by(|a, b| b.share.total_cmp(&a.share));
    importance
}

/// Share of the variance of 0, 1, 2, … that their groups explain (ω², Hays 1963), at least 0.
fn explained(groups: &[usize], count: usize) -> f64 {
    let total = groups.len() as f64;
    let mean = (total - 1.0) / 2.0;
    let mut sums = vec![(0.0, 0.0); count];
    let mut square = 0.0;
    for (rank, group) in groups.iter().enumerate() {
        let (sum, number) = &mut sums[*group];
        (*sum, *number) = (*sum + rank as f64, *number + 1.0);
        square += (rank as f64 - mean).powi(2);
    }
    let used = sums.iter().filter(|(_, number)| *number > 0.0);
    let between: f64 =
        used.clone().map(|(sum, number)| number * (sum / number - mean).powi(2)).sum();
    let freedom = used.count() as f64 - 1.0;
    if freedom < 1.0 || total <= freedom + 1.0 {
        return 0.0;
    }
    let error = (square - between) / (total - freedom - 1.0);
    ((between - freedom * error) / (square + error)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_decides_is_important_and_chance_is_not() {
        let decides: Vec<usize> = (0..40).map(|rank| rank / 10).collect();
        let chance: Vec<usize> = (0..40).map(|rank| rank * 7 % 4).collect();
        assert!(explained(&decides, 4) > 0.9);
        assert!(explained(&chance, 4) < 0.05);
        assert_eq!(explained(&[0; 40], 4), 0.0);
    }
}
