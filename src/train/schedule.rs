//! Learning rate schedules: pure functions of the step and, for `plateau`, of a small state.

use std::fmt;

use crate::config::{AverageConfig, AverageMethod, ScheduleConfig, ScheduleKind, TrainConfig};
use crate::output::format::pluralize;
use crate::run::progress::{Comparison, Plateau, Progress};

/// Learning rate schedule of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    config: ScheduleConfig,
    learning_rate: f64,
    epochs: usize,
    steps_per_epoch: u64,
    average: AverageConfig,
}

impl Schedule {
    /// Creates the schedule of a run whose epochs have this number of steps.
    pub fn new(config: &TrainConfig, steps_per_epoch: u64) -> Self {
        Self {
            config: config.schedule.clone(),
            learning_rate: config.learning_rate(),
            epochs: config.epochs,
            steps_per_epoch: steps_per_epoch.max(1),
            average: config.average.clone(),
        }
    }

    /// Number of steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Number of epochs of the run.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// Returns the learning rate of the step after the last one.
    pub fn rate_after(&self, progress: &Progress) -> f64 {
        self.rate(position(progress), &progress.plateau)
    }

    /// Returns the learning rate of the last step.
    pub fn last_rate(&self, progress: &Progress) -> f64 {
        self.rate(position(progress).saturating_sub(1), &progress.plateau)
    }

    /// Returns true if averages of the weights include the step after the last one.
    pub fn averages_after(&self, progress: &Progress) -> bool {
        self.averages(position(progress))
    }

    /// Returns true if weights are to be averaged, but not yet in the last step.
    pub fn lacks_average(&self, progress: &Progress) -> bool {
        self.average.method != AverageMethod::None
            && !self.averages(position(progress).saturating_sub(1))
    }

    /// Returns true if averages of the weights include a step, counted from 0.
    fn averages(&self, step: u64) -> bool {
        self.average.method != AverageMethod::None
            && step as f64 >= self.average.start() * self.total_steps()
    }

    /// Number of steps of the run.
    fn total_steps(&self) -> f64 {
        self.steps_per_epoch.saturating_mul(self.epochs as u64) as f64
    }

    /// Returns the learning rate of a step, counted from 0.
    fn rate(&self, step: u64, plateau: &Plateau) -> f64 {
        let step = step as f64;
        let warmup = self.config.warmup_steps as f64;
        if step < warmup {
            return self.learning_rate * (step + 1.0) / warmup;
        }
        let steps_per_epoch = self.steps_per_epoch as f64;
        let decay_steps = (self.total_steps() - warmup).max(1.0);
        let done = ((step - warmup) / decay_steps).min(1.0);
        let end = self.config.end_factor;
        let factor = match self.config.name {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => 1.0 + (end - 1.0) * done,
            ScheduleKind::Cosine => {
                end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            ScheduleKind::Exponential => {
                self.config.decay.powf(((step - warmup) / steps_per_epoch).floor())
            }
            ScheduleKind::Plateau => plateau.factor,
        };
        self.learning_rate * factor
    }

    /// Updates the state of the plateau schedule after a validation.
    pub fn validated(&self, plateau: &mut Plateau, comparison: Comparison) {
        if self.config.name != ScheduleKind::Plateau {
            return;
        }
        plateau.waited = if comparison == Comparison::Improved { 0 } else { plateau.waited + 1 };
        if plateau.waited > self.config.patience {
            plateau.waited = 0;
            plateau.factor = (plateau.factor * self.config.factor).max(self.config.min_factor);
        }
    }
}

/// Returns the position of the step after the last one in the schedule, counted from 0.
fn position(progress: &Progress) -> u64 {
    progress.step.saturating_add_signed(progress.schedule_offset)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { config, learning_rate, epochs, .. } = self;
        let name = config.name.as_str();
        match config.name {
            ScheduleKind::Linear | ScheduleKind::Cosine => {
                let end = learning_rate * config.end_factor;
                write!(f, "The {name} schedule falls to {end} at the end of epoch {epochs}")
            }
            ScheduleKind::Constant => write!(f, "The {name} schedule stays at {learning_rate}"),
            ScheduleKind::Exponential => {
                let decay = config.decay;
                write!(f, "The {name} schedule multiplies it by {decay} after each epoch")
            }
            ScheduleKind::Plateau => write!(
                f,
                "The {name} schedule multiplies it by {} after {} without improvement",
                config.factor,
                pluralize(config.patience + 1, "validation")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn schedule(fields: &str) -> Schedule {
        let yaml = format!(
            "data: {{train: x}}\n\
             train: {{epochs: 10, learning_rate: 0.1, schedule: {{{fields}}}}}\n"
        );
        Schedule::new(&config::parse(&yaml, "test", &[]).unwrap().config.train, 10)
    }

    fn rates(schedule: &Schedule, steps: &[u64]) -> Vec<f64> {
        let rate = |step: &u64| schedule.rate(*step, &Plateau::default());
        steps.iter().map(|step| (rate(step) * 1e9).round() / 1e9).collect()
    }

    #[test]
    fn rates_match_hand_computed_values() {
        assert_eq!(rates(&schedule("name: constant"), &[0, 99]), [0.1, 0.1]);
        assert_eq!(rates(&schedule("name: linear"), &[0, 50, 100, 200]), [0.1, 0.05, 0.0, 0.0]);
        assert_eq!(
            rates(&schedule("name: linear, end_factor: 0.2"), &[0, 50, 100]),
            [0.1, 0.06, 0.02]
        );
        assert_eq!(
            rates(&schedule("name: cosine"), &[0, 25, 50, 100]),
            [0.1, 0.085355339, 0.05, 0.0]
        );
        assert_eq!(
            rates(&schedule("name: exponential, decay: 0.5"), &[0, 9, 10, 25]),
            [0.1, 0.1, 0.05, 0.025]
        );
    }

    #[test]
    fn warm_up_increases_to_the_full_rate() {
        let linear = schedule("name: linear, warmup_steps: 20");
        assert_eq!(rates(&linear, &[0, 9, 19, 20, 60, 100]), [0.005, 0.05, 0.1, 0.1, 0.05, 0.0]);
    }

    #[test]
    fn the_rate_drops_after_patience_validations_without_a_new_best() {
        let schedule = schedule("name: plateau, factor: 0.5, patience: 1, min_factor: 0.2");
        let mut plateau = Plateau::default();
        let mut factors = Vec::new();
        for best in [true, false, false, true, false, false, false, false] {
            let comparison = if best { Comparison::Improved } else { Comparison::NotBetter };
            schedule.validated(&mut plateau, comparison);
            factors.push(plateau.factor);
        }
        assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]);
        assert_eq!(schedule.rate(5, &plateau), 0.1 * 0.2);
    }
}
