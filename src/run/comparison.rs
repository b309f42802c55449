//! Runs whose scores can be compared.

use crate::config::{Config, Metric};
use crate::data::Fingerprint;
use crate::output::note;
use crate::run::report::RunReport;

/// Returns the metric that ranks runs: that of their configurations, or the loss with a note if these
/// differ.
pub fn ranking_metric<'c>(configs: impl Iterator<Item = &'c Config>) -> Metric {
    common_metric(configs).unwrap_or_else(|| {
        note("the runs have different metrics (train.early_stopping.metric): ranked by loss");
        Metric::Loss
    })
}

/// Returns the metric of all these configurations, the loss if there are none; `None` if they differ.
pub fn common_metric<'c>(configs: impl Iterator<Item = &'c Config>) -> Option<Metric> {
    let mut configs = configs.peekable();
    match configs.peek() {
        None => Some(Metric::Loss),
        Some(_) => Metric::common(configs.map(Config::metric)).cloned(),
    }
}

/// Runs whose scores are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonGroup {
    /// Runs with these validation examples.
    SameExamples(Fingerprint),
    /// Runs of an earlier version, whose validation examples are unknown.
    Unrecorded,
    /// Runs without a score.
    Unscored,
}

impl ComparisonGroup {
    /// Returns the group of a run.
    pub fn of(run: &RunReport) -> Self {
        match run.validation_data {
            _ if run.scored.is_none() => Self::Unscored,
            Some(data) => Self::SameExamples(data),
            None => Self::Unrecorded,
        }
    }
}

/// Groups of ranked runs. A rank means something only within a group.
#[derive(Clone, Debug)]
pub struct ComparisonGroups(Vec<ComparisonGroup>);

impl ComparisonGroups {
    /// Returns the groups of runs, in the order of the first run of each.
    pub fn of<'a>(runs: impl Iterator<Item = &'a RunReport>) -> Self {
        let mut groups = Vec::new();
        for group in runs.map(ComparisonGroup::of) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Self(groups)
    }

    /// Number of sets of validation examples.
    pub fn sets(&self) -> usize {
        self.0.iter().filter(|group| **group != ComparisonGroup::Unscored).count()
    }

    /// Position of the group of a run. A stable sort by it makes comparable runs neighbors.
    pub fn position(&self, run: &RunReport) -> Option<usize> {
        self.0.iter().position(|group| *group == ComparisonGroup::of(run))
    }

    /// Returns a note for the user if there are several sets of validation examples.
    pub fn note(&self) -> Option<String> {
        let sets = self.sets();
        (sets > 1).then(|| {
            format!("the runs have {sets} sets of validation examples: compare only scores on the same set")
        })
    }
}
