//! Asynchronous successive halving (ASHA, Li et al. 2020): all trials train for a few epochs, and the better third
//! of them for three times as many, up to the last rung.

use crate::config::Metric;
use crate::objective::metrics::Score;

/// Factor between the epochs of one rung and the next, and between the numbers of trials that reach them.
pub const REDUCTION: usize = 3;
/// Maximum number of rungs.
const MAX_RUNGS: usize = 3;

/// Numbers of epochs after which trials are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rungs(Vec<usize>);

impl Rungs {
    /// Returns the rungs of runs with this number of epochs.
    pub fn of(epochs: usize) -> Self {
        let mut rungs = vec![epochs];
        while let Some(lowest) = rungs.last().filter(|lowest| **lowest > 1) {
            if rungs.len() == MAX_RUNGS {
                break;
            }
            rungs.push((lowest / REDUCTION).max(1));
        }
        rungs.reverse();
        Self(rungs)
    }

    /// Returns the only rung of runs that all train to the end.
    pub fn single(epochs: usize) -> Self {
        Self(vec![epochs])
    }

    /// Number of epochs of a rung.
    pub fn epochs(&self, rung: usize) -> usize {
        self.0[rung.min(self.last())]
    }

    /// Index of the last rung, at which a run is over.
    pub fn last(&self) -> usize {
        self.0.len() - 1
    }
}

/// A trial in the ranking of a rung.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Number of the trial.
    pub trial: usize,
    /// Its best score up to this rung.
    pub score: Score,
    /// It has not been promoted, and can be.
    pub can_be_promoted: bool,
}

/// Sorts the trials of a rung, the best first. The earlier one of equals comes first.
pub fn rank(standings: &mut [Standing], metric: &Metric) {
    standings.sort_by(|a, b| a.score.rank(b.score, metric).then(a.trial.cmp(&b.trial)));
}

/// Returns the trial to promote, and its rung. `rungs` has the ranking of each rung but the last, the best trial
/// first.
pub fn promotion(rungs: &[Vec<Standing>]) -> Option<(usize, usize)> {
    let candidates = rungs.iter().enumerate().rev().filter_map(|(rung, standings)| {
        let promoted = &standings[..standings.len() / REDUCTION];
        promoted
            .iter()
            .find(|standing| standing.can_be_promoted)
            .map(|standing| (standing.trial, rung))
    });
    candidates.into_iter().next()
}

/// Returns the trial to promote if there will be no new ones: the best of the highest rung that has any, unless a
/// trial has reached the last rung.
pub fn final_promotion(rungs: &[Vec<Standing>], has_finished: bool) -> Option<(usize, usize)> {
    if has_finished {
        return None;
    }
    let (rung, standings) = rungs.iter().enumerate().rev().find(|(_, rung)| !rung.is_empty())?;
    standings
        .iter()
        .find(|standing| standing.can_be_promoted)
        .map(|standing| (standing.trial, rung))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_grow_by_the_factor() {
        for (epochs, expected) in
            [(1, &[1][..]), (2, &[1, 2]), (9, &[1, 3, 9]), (20, &[2, 6, 20]), (81, &[9, 27, 81])]
        {
            assert_eq!(Rungs::of(epochs), Rungs(expected.to_vec()), "{epochs}");
        }
    }

    fn standings(losses: &[(usize, f64, bool)]) -> Vec<Standing> {
        let standing = |(trial, loss, can_be_promoted): &(usize, f64, bool)| Standing {
            trial: *trial,
            score: Score::new(*loss, 0.5),
            can_be_promoted: *can_be_promoted,
        };
        let mut standings: Vec<Standing> = losses.iter().map(standing).collect();
        rank(&mut standings, &Metric::Loss);
        standings
    }

    #[test]
    fn the_best_third_is_promoted_from_the_highest_rung() {
        let low = standings(&[(0, 0.5, true), (1, 0.3, false), (2, 0.4, true)]);
        // Trial 1 has been promoted, and a third of three trials is one.
        assert_eq!(promotion(&[low.clone(), Vec::new()]), None);
        let more = [(3, 0.35, true), (4, 0.9, true), (5, 0.8, true)];
        let low = [low, standings(&more)].concat();
        let mut low: Vec<Standing> = low;
        rank(&mut low, &Metric::Loss);
        assert_eq!(promotion(&[low.clone(), Vec::new()]), Some((3, 0)));
        let high = standings(&[(6, 0.2, true), (7, 0.3, true), (8, 0.4, true)]);
        assert_eq!(promotion(&[low, high]), Some((6, 1)), "the higher rung comes first");
    }

    #[test]
    fn at_the_end_the_best_trial_trains_to_the_last_rung() {
        let low = standings(&[(0, 0.5, true), (1, 0.3, true)]);
        assert_eq!(promotion(&[low.clone(), Vec::new()]), None);
        assert_eq!(final_promotion(&[low.clone(), Vec::new()], false), Some((1, 0)));
        let high = standings(&[(1, 0.3, true)]);
        assert_eq!(final_promotion(&[low.clone(), high.clone()], false), Some((1, 1)));
        assert_eq!(final_promotion(&[low, high], true), None);
    }
}
