//! `lstmtext bench`.

use std::fmt;
use std::time::{Instant, SystemTime};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::engine::Engine;
use crate::libtorch::{multiplication_rate, traced};
use crate::token_budget::resolve_token_budget;
use crate::training::{native_learner, torch_learner};
use lstmtext::backend::{Learner, Times};
use lstmtext::cli::{BenchArgs, FINE};
use lstmtext::config::{self, Backend, ConfigError, Input};
use lstmtext::data::batch_plan::{Bucketing, Plan};
use lstmtext::data::prepared::PreparedData;
use lstmtext::events::EventWriter;
use lstmtext::output::format::{group_digits, pluralize};
use lstmtext::output::{message, print, print_json};

/// The curves that a step of training has.
const CURVES: usize = 5;

/// What a backend took.
#[derive(Serialize)]
struct Report {
    backend: String,
    /// Seconds of a step; on the CPU without making its batch ready, which another thread does
    /// meanwhile in training, on CUDA with it.
    step: f64,
    /// Seconds that making a batch ready takes.
    prepare: f64,
    /// Parts of the step with their names, in seconds.
    parts: Vec<(&'static str, f64)>,
    tokens_per_second: f64,
    /// Nominal floating-point operations of embedding and LSTM, as if every position were multiplied.
    gflops: f64,
}

#[derive(Serialize)]
struct Bench {
    backends: Vec<Report>,
    /// Operations a second of a large matrix product of libtorch's, measured in between.
    product_gflops: f64,
    /// Seconds that writing the curves of a step takes.
    log: f64,
    peak_megabytes: Option<u64>,
}

/// One round of a backend.
struct Round {
    seconds: f64,
    prepare: f64,
    parts: Times,
}

/// Runs the command.
pub fn run(args: BenchArgs) -> anyhow::Result<u8> {
    let resolved = config::load(&args.config, &args.set.overrides)?;
    let engine = Engine::start(&args.compute, &resolved.config)?;
    if let Some(path) = &args.trace {
        ensure!(
            resolved.config.backend != Backend::Native,
            ConfigError::new("--trace is what libtorch does, but backend is native")
        );
        // Not only after all the work.
        std::fs::File::create_new(path)
            .and_then(|_| std::fs::remove_file(path))
            .with_context(|| format!("cannot make the file \"{}\"", path.display()))?;
    }
    let mut experiment = PreparedData::prepare(resolved)?;
    resolve_token_budget(&mut experiment, engine)?;
    let config = &experiment.resolved.config;
    message(format!(
        "{}: {} in each of {}",
        args.config.display(),
        pluralize(args.steps.get(), "step"),
        pluralize(args.rounds.get(), "round")
    ));
    let plan = Bucketing::of(&config.train).plan(&experiment.train.lengths(), config.train.seed, 0);
    let steps = args.steps.get().min(plan.len());
    let work = Work { experiment: &experiment, plan, steps };

    let both = config.backend == Backend::Auto && engine == Engine::Native;
    let mut native =
        (engine == Engine::Native).then(|| native_learner(&experiment, None)).transpose()?;
    let device = match engine {
        Engine::Native => tch::Device::Cpu,
        Engine::Libtorch(device) => device,
    };
    let mut torch =
        (both || native.is_none()).then(|| torch_learner(&experiment, None, device)).transpose()?;
    let (mut natives, mut torches, mut products) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=args.rounds.get() {
        let native = native.as_mut().map(|learner| work.round(learner)).transpose()?;
        let torch = torch.as_mut().map(|learner| work.round(learner)).transpose()?;
        // The first round only warms up.
        if round > 0 {
            natives.extend(native);
            torches.extend(torch);
            products.push(multiplication_rate(device) / 1e9);
        }
    }
    if let (Some(path), Some(learner)) = (&args.trace, &mut torch) {
        traced(path, device, || work.round(learner).map(drop))?;
        message(format!("the trace is in \"{}\"; ui.perfetto.dev shows it", path.display()));
    }
    let backends = [("native", natives), ("libtorch", torches)];
    let bench = Bench {
        backends: backends
            .into_iter()
            .filter(|(_, rounds)| !rounds.is_empty())
            .map(|(name, rounds)| work.report(name, rounds))
            .collect(),
        product_gflops: median(products),
        log: log_seconds(steps)?,
        peak_megabytes: peak_megabytes(),
    };
    match args.json {
        true => print_json(&bench)?,
        false => print(&bench.to_string())?,
    }
    Ok(FINE)
}

/// What every backend computes.
struct Work<'a> {
    experiment: &'a PreparedData,
    plan: Plan,
    steps: usize,
}

impl Work<'_> {
    fn round(&self, learner: &mut impl Learner) -> anyhow::Result<Round> {
        let config = &self.experiment.resolved.config.train;
        let before = learner.times();
        let mut prepare = learner.preparer();
        let mut round = Round { seconds: 0.0, prepare: 0.0, parts: Times::default() };
        let between = learner.stats_interval();
        let begun = Instant::now();
        for step in 0..self.steps {
            let start = Instant::now();
            let batch = prepare(&self.experiment.train, self.plan.batch(step), step as u64);
            round.prepare += start.elapsed().as_secs_f64();
            let start = Instant::now();
            // So small a rate changes nothing, but takes as long as any other.
            learner.step(&batch, config.gradient_clip, 1e-9)?;
            if (step + 1).is_multiple_of(between) || step + 1 == self.steps {
                learner.measured();
            }
            round.seconds += start.elapsed().as_secs_f64();
        }
        if between > 1 {
            // A device goes on meanwhile: the parts are the host's only.
            round.seconds = begun.elapsed().as_secs_f64();
            return Ok(round);
        }
        for (part, seconds) in learner.times().0 {
            let earlier = before.0.iter().find(|(known, _)| *known == part);
            round.parts.add(part, seconds - earlier.map_or(0.0, |(_, seconds)| *seconds));
        }
        Ok(round)
    }

    fn report(&self, backend: &str, rounds: Vec<Round>) -> Report {
        let steps = self.steps as f64;
        let all = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick).collect()) / steps;
        let step = all(|round| round.seconds);
        let parts = rounds[0].parts.0.iter().map(|(part, _)| {
            let of = |round: &Round| {
                let found = round.parts.0.iter().find(|(known, _)| known == part);
                found.map_or(0.0, |(_, seconds)| *seconds)
            };
            (*part, median(rounds.iter().map(of).collect()) / steps)
        });
        let examples: Vec<u32> =
            (0..self.steps).flat_map(|step| self.plan.batch(step).iter().copied()).collect();
        let train = &self.experiment.train;
        let inputs = self.experiment.resolved.config.inputs.iter().zip(&train.inputs);
        let operations: f64 = inputs
            .map(|(input, corpus)| {
                let tokens: usize = examples.iter().map(|i| corpus.steps(*i as usize)).sum();
                tokens as f64 * operations(input)
            })
            .sum();
        Report {
            backend: backend.to_owned(),
            step,
            prepare: all(|round| round.prepare),
            parts: parts.collect(),
            tokens_per_second: train.tokens_of(&examples) as f64 / steps / step,
            gflops: operations / steps / step / 1e9,
        }
    }
}

/// Nominal operations of a step of a text in training: three products with every weight of the LSTM.
fn operations(input: &Input) -> f64 {
    let directions = if input.lstm.bidirectional { 2 } else { 1 };
    let units = input.lstm.units;
    let layer = |layer: usize| {
        let inputs = if layer == 0 { input.embedding.size } else { directions * units };
        (3 * 8 * units * (inputs + units) * directions) as f64
    };
    (0..input.lstm.layers).map(layer).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the curves of a step take to write.
fn log_seconds(steps: usize) -> anyhow::Result<f64> {
    let folder = std::env::temp_dir().join(format!("lstmtext-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut events = EventWriter::create(&folder, SystemTime::now())?;
    let start = Instant::now();
    for step in 0..steps as u64 {
        for curve in 0..CURVES {
            events.scalar(&format!("bench/{curve}"), 0.5, step, SystemTime::now())?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(events);
    std::fs::remove_dir_all(&folder)?;
    Ok(seconds / steps as f64)
}

/// The most memory that this process has had, as Linux tells it.
fn peak_megabytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for report in &self.backends {
            writeln!(
                f,
                "{:<9}{:>9.3} ms a step  {:>10} tokens/s  {:>6.1} GFLOP/s nominal",
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
            match report.parts.is_empty() {
                true => writeln!(f, "  of which the host prepares: {prepare:.3} ms {share:.1} %")?,
                false => {
                    writeln!(
                        f,
                        "  beside it, in another thread: prepare {prepare:.3} ms {share:.1} %"
                    )?;
                }
            }
            writeln!(
                f,
                "  for each logged step: curves {:.3} ms {:.1} %",
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
                write!(f, "; memory at most {} MB", group_digits(megabytes as usize))
            }
            None => Ok(()),
        }
    }
}
