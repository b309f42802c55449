//! The times that `lstmtext bench` measures, and what it prints of them.

use std::fmt;

use serde::Serialize;

use crate::backend::Times;
use crate::output::format::group_digits;

/// Times of a backend.
#[derive(Serialize)]
pub struct Report {
    pub backend: &'static str,
    /// Seconds per step; including the preparation of the batch, unless another thread does it meanwhile.
    pub step: f64,
    /// Seconds to prepare a batch.
    pub prepare: f64,
    /// Another thread prepares batches.
    #[serde(skip)]
    pub prepares_meanwhile: bool,
    /// Names of the parts of a step, and their seconds.
    pub parts: Vec<(&'static str, f64)>,
    pub tokens_per_second: f64,
    /// Nominal floating-point operations per second, as if every token were multiplied.
    pub gflops: f64,
}

/// Result of the command.
#[derive(Serialize)]
pub struct Bench {
    pub backends: Vec<Report>,
    /// Floating-point operations per second of a large matrix product, measured between rounds.
    pub product_gflops: f64,
    /// Seconds to log the curves of a step.
    pub log: f64,
    pub peak_megabytes: Option<u64>,
}

/// Times of some steps.
pub struct Round {
    pub seconds: f64,
    /// Seconds of preparing batches.
    pub prepare: f64,
    /// Another thread prepares batches.
    pub prepares_meanwhile: bool,
    pub parts: Times,
}

impl Round {
    /// Returns a round that has not begun.
    pub fn new() -> Self {
        Self { seconds: 0.0, prepare: 0.0, prepares_meanwhile: true, parts: Times::default() }
    }

    /// Adds what each part has taken between two measurements.
    pub fn add_parts(&mut self, before: &Times, after: Times) {
        for (part, seconds) in after.0 {
            let earlier = before.0.iter().find(|(name, _)| *name == part);
            self.parts.add(part, seconds - earlier.map_or(0.0, |(_, seconds)| *seconds));
        }
    }
}

/// Number of steps, tokens and operations of a round.
#[derive(Clone, Copy)]
pub struct Amount {
    pub steps: usize,
    pub tokens: usize,
    /// Nominal floating-point operations.
    pub operations: f64,
}

impl Report {
    /// Returns the medians of some rounds of a backend.
    pub fn of(backend: &'static str, rounds: &[Round], amount: Amount) -> Self {
        let steps = amount.steps as f64;
        let all = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick).collect()) / steps;
        let step = all(|round| round.seconds);
        let parts = rounds[0].parts.0.iter().map(|(part, _)| {
            let seconds = |round: &Round| {
                let entry = round.parts.0.iter().find(|(name, _)| name == part);
                entry.map_or(0.0, |(_, seconds)| *seconds)
            };
            (*part, median(rounds.iter().map(seconds).collect()) / steps)
        });
        Self {
            backend,
            step,
            prepare: all(|round| round.prepare),
            prepares_meanwhile: rounds[0].prepares_meanwhile,
            parts: parts.collect(),
            tokens_per_second: amount.tokens as f64 / steps / step,
            gflops: amount.operations / steps / step / 1e9,
        }
    }
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for report in &self.backends {
            writeln!(
                f,
                "{:<9}{:>9.3} ms per step  {:>10} tokens/s  {:>6.1} GFLOP/s nominal",
                report.backend,
                1e3 * report.step,
                group_digits(report.tokens_per_second as usize),
                report.gflops,
            )?;
            let sum: f64 = report.parts.iter().map(|(_, seconds)| seconds).sum();
            for (part, seconds) in &report.parts {
                let share = 100.0 * seconds / sum;
                writeln!(f, "  {part:<12}{:>9.3} ms {share:>5.1} %", 1e3 * seconds)?;
            }
            let share = 100.0 * report.prepare / report.step;
            let prepare = 1e3 * report.prepare;
            let place = match report.prepares_meanwhile {
                true => "concurrently, on another thread: prepare",
                false => "including preparation on the host:",
            };
            writeln!(f, "  {place} {prepare:.3} ms {share:.1} %")?;
            writeln!(
                f,
                "  per logged step: curves {:.3} ms {:.1} %",
                1e3 * self.log,
                100.0 * self.log / report.step
            )?;
        }
        if let [native, torch] = &self.backends[..] {
            writeln!(f, "native is {:.2} times as fast as libtorch", torch.step / native.step)?;
        }
        write!(f, "a large matrix product: {:.1} GFLOP/s", self.product_gflops)?;
        match self.peak_megabytes {
            Some(megabytes) => {
                write!(f, "; peak memory {} MB", group_digits(megabytes as usize))
            }
            None => Ok(()),
        }
    }
}

/// Returns the median of some values; NaN without any.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the peak memory of this process, as Linux reports it.
pub fn peak_megabytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}
