//! Wall time of the parts of a training step.

use std::time::Instant;

/// Seconds of wall time for each named part of a step. Parts that run on several threads count with
/// the mean over the threads.
#[derive(Clone, Debug, Default)]
pub struct Times(pub Vec<(&'static str, f64)>);

impl Times {
    /// Adds seconds to a part.
    pub fn add(&mut self, part: &'static str, seconds: f64) {
        match self.0.iter_mut().find(|(name, _)| *name == part) {
            Some((_, sum)) => *sum += seconds,
            None => self.0.push((part, seconds)),
        }
    }

    /// Runs `work` and adds its time to a part.
    pub fn measure<T>(&mut self, part: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(part, start.elapsed().as_secs_f64());
        result
    }

    /// Adds the seconds that several threads together have spent in some parts. What they leave of the wall time
    /// `elapsed` counts as `wait`.
    pub fn add_parallel(
        &mut self,
        parts: impl IntoIterator<Item = (&'static str, f64)>,
        threads: usize,
        elapsed: f64,
    ) {
        let mut waiting = elapsed;
        for (part, seconds) in parts {
            let seconds = seconds / threads as f64;
            self.add(part, seconds);
            waiting -= seconds;
        }
        self.add("wait", waiting);
    }
}
