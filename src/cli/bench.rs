//! `lstmtext bench`.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;

use super::arguments::{ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use crate::backend::{Backend, Backends, Compute, Learner, Times};
use crate::config::{BackendKind, ConfigError, Input};
use crate::data::batch_plan::{BatchPlan, Bucketing};
use crate::data::prepared::PreparedData;
use crate::distributed::{Group, SingleProcess, Worker};
use crate::events::EventWriter;
use crate::output::format::{group_digits, pluralize};
use crate::output::{message, print_json, print_wrapped};
use crate::run::checkpoint::Checkpoint;
use crate::system::device::DeviceChoice;
use crate::train::UnlabelledTexts;
use crate::train::setup::{self, Beginning};

const EXAMPLES: &str = "\
Examples:
  lstmtext bench configs/imdb.yaml
  lstmtext bench configs/imdb.yaml --threads 1 --set model.lstm.units=128 --steps 20
  lstmtext bench configs/imdb.yaml --device cuda --trace trace.json

Trains on the data of the configuration and saves nothing. On the CPU with backend: auto, both backends \
alternate if libtorch is installed, so that other load on the machine affects both alike. All figures \
are medians over the rounds. Other load slows down libtorch more than the native backend.

padding: the LSTM over the padding that all texts share. embed: input products of each distinct token and \
their gradients. forward, backward: the LSTM over the texts. head: pooled states to loss. adversarial: the \
pass over perturbed word vectors. unlabelled: the passes of the terms that need no labels. wait: time in which threads have no shard to compute. merge: sum of the \
gradients of all shards. clip: norm of the gradient. optimizer: weight updates. pack: weights to the layout \
of the kernel. \
GFLOP/s nominal counts three products of every token with every weight of the LSTM; the kernel avoids some \
of them. On CUDA, a step includes preparing its batch; a trace contains every operation and kernel \
(ui.perfetto.dev displays it).";

/// Measure the time of the parts of a training step
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// Number of steps per round
    #[arg(long, value_name = "N", default_value = "50", value_parser = crate::config::positive_integer)]
    steps: NonZeroUsize,
    /// Number of rounds
    #[arg(long, value_name = "N", default_value = "5", value_parser = crate::config::positive_integer)]
    rounds: NonZeroUsize,
    /// Record the operations of libtorch during one more round, for Perfetto
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// Number of curves to which a training step adds a point.
const CURVES: usize = 5;

/// Times of a backend.
#[derive(Serialize)]
struct Report {
    backend: String,
    /// Seconds per step; on CUDA including the preparation of the batch, which another thread does
    /// during training on the CPU.
    step: f64,
    /// Seconds to prepare a batch.
    prepare: f64,
    /// Names of the parts of a step, and their seconds.
    parts: Vec<(&'static str, f64)>,
    tokens_per_second: f64,
    /// Nominal floating-point operations per second, as if every token were multiplied.
    gflops: f64,
}

#[derive(Serialize)]
struct Bench {
    backends: Vec<Report>,
    /// Floating-point operations per second of a large matrix product, measured between rounds.
    product_gflops: f64,
    /// Seconds to log the curves of a step.
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
pub fn run(args: BenchArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let resolved = args.set.load(&args.config)?;
    let config = resolved.config.clone();
    let backend = args.compute.start_training(backends, &config)?;
    // With `backend: auto`, both backends are compared.
    let is_native = backend.kind() == BackendKind::Native;
    let both = config.backend == BackendKind::Auto && is_native && backends.has_libtorch();
    let libtorch = match both {
        true => {
            let ComputeArgs { threads, .. } = args.compute;
            let compute = Compute { device: DeviceChoice::Cpu, threads, long_running: true };
            Some(backends.libtorch(&config, compute)?)
        }
        false => None,
    };
    if let Some(path) = &args.trace {
        ensure!(
            !is_native || both,
            ConfigError::new("--trace records libtorch, but the native backend computes")
        );
        // Fail before the measurements, not after them.
        std::fs::File::create_new(path)
            .and_then(|_| std::fs::remove_file(path))
            .with_context(|| format!("cannot create the file \"{}\"", path.display()))?;
    }
    let known = Checkpoint::source_encoders(&resolved.config)?;
    let mut data = PreparedData::prepare_with(resolved, &known, None)?;
    setup::resolve_token_budget(&*backend, &mut data, &SingleProcess)?;
    message(format!(
        "{}: {} per round, {}",
        args.config.display(),
        pluralize(args.steps.get(), "step"),
        pluralize(args.rounds.get(), "round")
    ));
    let train = &data.resolved.config.train;
    let plan = Bucketing::new(train).plan(&data.train.lengths(), train.seed, 0);
    let steps = args.steps.get().min(plan.len());
    let workload = Workload { data: &data, plan, steps };

    let mut measured = Vec::new();
    for backend in [&backend].into_iter().chain(&libtorch) {
        let learner = setup::learner(&**backend, &data, Beginning::New)?;
        measured.push(MeasuredBackend { backend: &**backend, learner, rounds: Vec::new() });
    }
    let mut products = Vec::new();
    for round in 0..=args.rounds.get() {
        for backend in &mut measured {
            let timings = workload.round(&mut *backend.learner)?;
            // The first round only warms up.
            if round > 0 {
                backend.rounds.push(timings);
            }
        }
        if let Some(last) = measured.last().filter(|_| round > 0) {
            products.push(last.backend.multiplication_rate() / 1e9);
        }
    }
    if let (Some(path), Some(last)) = (&args.trace, measured.last_mut()) {
        let MeasuredBackend { backend, learner, .. } = last;
        backend.trace(path, &mut || workload.round(&mut **learner).map(drop))?;
        message(format!("the trace is in \"{}\"; open it in ui.perfetto.dev", path.display()));
    }
    let report = |measured: MeasuredBackend| {
        workload.report(measured.backend.kind().as_str(), measured.rounds)
    };
    let bench = Bench {
        backends: measured.into_iter().map(report).collect(),
        product_gflops: median(products),
        log: log_seconds(steps)?,
        peak_megabytes: peak_megabytes(),
    };
    match args.json {
        true => print_json(&bench)?,
        false => print_wrapped(&bench.to_string())?,
    }
    Ok(SUCCESS)
}

/// A backend, its learner, and the timings of each round.
struct MeasuredBackend<'a> {
    backend: &'a dyn Backend,
    learner: Box<dyn Learner>,
    rounds: Vec<Round>,
}

/// The data and the batches that every backend trains on.
struct Workload<'a> {
    data: &'a PreparedData,
    plan: BatchPlan,
    steps: usize,
}

impl Workload<'_> {
    fn round(&self, learner: &mut dyn Learner) -> anyhow::Result<Round> {
        let config = &self.data.resolved.config.train;
        learner.start_averaging();
        let before = learner.times();
        let mut prepare = learner.preparer(Worker::ALONE);
        let texts = self.data.unlabelled.as_ref();
        let mut unlabelled = texts.map(|texts| {
            (UnlabelledTexts::new(texts, config), learner.unlabelled_preparer(Worker::ALONE))
        });
        let mut round = Round { seconds: 0.0, prepare: 0.0, parts: Times::default() };
        let between = learner.stats_interval();
        let begun = Instant::now();
        for step in 0..self.steps {
            let start = Instant::now();
            let mut batch = prepare(&self.data.train, self.plan.batch(step), step as u64);
            if let Some((texts, prepare)) = &mut unlabelled {
                batch = texts.add_to(batch, step as u64, prepare);
            }
            round.prepare += start.elapsed().as_secs_f64();
            let start = Instant::now();
            // With this learning rate, the weights hardly change, and the step takes as long as any other.
            learner.step(&batch, Group::ALONE, config.gradient_clip, 1e-9)?;
            if (step + 1).is_multiple_of(between) || step + 1 == self.steps {
                learner.drain_step_stats();
            }
            round.seconds += start.elapsed().as_secs_f64();
        }
        if between > 1 {
            // The device computes asynchronously, so the times of the parts are those of the host only.
            round.seconds = begun.elapsed().as_secs_f64();
            return Ok(round);
        }
        for (part, seconds) in learner.times().0 {
            let earlier = before.0.iter().find(|(name, _)| *name == part);
            round.parts.add(part, seconds - earlier.map_or(0.0, |(_, seconds)| *seconds));
        }
        Ok(round)
    }

    fn report(&self, backend: &str, rounds: Vec<Round>) -> Report {
        let steps = self.steps as f64;
        let all = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick).collect()) / steps;
        let step = all(|round| round.seconds);
        let parts = rounds[0].parts.0.iter().map(|(part, _)| {
            let seconds = |round: &Round| {
                let entry = round.parts.0.iter().find(|(name, _)| name == part);
                entry.map_or(0.0, |(_, seconds)| *seconds)
            };
            (*part, median(rounds.iter().map(seconds).collect()) / steps)
        });
        let examples: Vec<u32> =
            (0..self.steps).flat_map(|step| self.plan.batch(step).iter().copied()).collect();
        let train = &self.data.train;
        let inputs = self.data.resolved.config.inputs.iter().zip(&train.inputs);
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

/// Computes the nominal number of operations per token in training: three products with every weight of
/// the LSTM.
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

/// Measures the seconds to log the curves of a step.
fn log_seconds(steps: usize) -> anyhow::Result<f64> {
    let directory = std::env::temp_dir().join(format!("lstmtext-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let mut events = EventWriter::create(&directory, SystemTime::now())?;
    let start = Instant::now();
    for step in 0..steps as u64 {
        for curve in 0..CURVES {
            events.scalar(&format!("bench/{curve}"), 0.5, step, SystemTime::now())?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(events);
    std::fs::remove_dir_all(&directory)?;
    Ok(seconds / steps as f64)
}

/// Returns the peak memory of this process, as Linux reports it.
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
            match report.parts.is_empty() {
                true => writeln!(
                    f,
                    "  including preparation on the host: {prepare:.3} ms {share:.1} %"
                )?,
                false => {
                    writeln!(
                        f,
                        "  concurrently, on another thread: prepare {prepare:.3} ms {share:.1} %"
                    )?;
                }
            }
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
