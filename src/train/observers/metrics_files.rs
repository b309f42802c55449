//! Writes the metrics and the summary of a run.

use super::observer::{Observer, Validation};
use crate::backend::Learner;
use crate::run::directory::RunDirectory;
use crate::run::summary::RunSummary;

/// Appends every validation to `metrics.jsonl` and `times.jsonl`, and writes `summary.json` at the
/// end.
pub struct MetricsFiles {
    run: RunDirectory,
}

impl MetricsFiles {
    /// Writes into `run`.
    pub fn new(run: RunDirectory) -> Self {
        Self { run }
    }
}

impl Observer for MetricsFiles {
    fn validated(&mut self, validation: &Validation) -> anyhow::Result<()> {
        self.run.append_record(&validation.record, validation.train_seconds)
    }

    fn finished(&mut self, outcome: &RunSummary, _: u64, _: &dyn Learner) -> anyhow::Result<()> {
        self.run.write_summary(outcome)
    }
}
