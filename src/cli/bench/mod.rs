//! `lstmtext bench`.

mod classifier;
mod language_model;
mod report;
mod workload;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::{Context, ensure};
use clap::Args;

use self::classifier::ClassifierSteps;
use self::language_model::LanguageModelSteps;
use self::report::{Bench, Report, Round, median, peak_megabytes};
use self::workload::{RunRound, Workload};
use super::arguments::{ComputeArgs, SetArgs};
use super::exit::SUCCESS;
use super::language_model_run::start_backend;
use super::pretrain::language_model_overrides;
use super::starter;
use crate::backend::{Backend, Backends, Compute};
use crate::config::{BackendKind, ConfigError};
use crate::events::EventWriter;
use crate::output::format::pluralize;
use crate::output::{message, print_json, print_wrapped};
use crate::system::device::DeviceChoice;

const EXAMPLES: &str = "\
Examples:
  lstmtext bench configs/imdb.yaml
  lstmtext bench configs/imdb.yaml --threads 1 --set model.lstm.units=128 --steps 20
  lstmtext bench configs/imdb.yaml --device cuda --trace trace.json
  lstmtext bench configs/imdb_best.yaml --language-model

Trains on the data of the configuration and saves nothing. On the CPU with backend: auto, both backends \
alternate if libtorch is installed, so that other load on the machine affects both alike. All figures \
are medians over the rounds. Other load slows down libtorch more than the native backend.

padding: the LSTM over the padding that all texts share. embed: input products of each distinct token \
and their gradients. forward, backward: the LSTM over the texts. head: pooled states to loss. \
adversarial: the pass over perturbed word vectors. unlabelled: the passes of the terms that need no \
labels. joint: the joint language model. wait: time in which threads have no shard to compute. merge: sum of the gradients of all shards. \
clip: norm of the gradient. optimizer: weight updates. pack: weights to the layout of the kernel. \
GFLOP/s nominal counts three products of every token with every weight of the LSTM; the kernel avoids \
some of them. Language models: draw: negative words and dropout masks. softmax: projection and loss. A \
token that both directions read counts once, its operations twice. On CUDA, a step includes preparing \
its batch; a trace contains every operation and kernel (ui.perfetto.dev displays it).";

/// Measure the time of the parts of a training step
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// Configuration file (YAML)
    config: PathBuf,
    /// Measure the training of the language model, as pretrain performs it, instead of that of the classifier
    #[arg(long)]
    language_model: bool,
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

/// Runs the command.
pub fn run(args: BenchArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let mut overrides = args.set.overrides.clone();
    if args.language_model {
        overrides.extend(language_model_overrides());
    }
    let resolved = starter::load(&args.config, &overrides)?;
    let config = resolved.config.clone();
    let backend = match args.language_model {
        true => start_backend(&args.compute, backends, &config)?,
        false => args.compute.start_training(backends, &config)?,
    };
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
    let steps = args.steps.get();
    let workload: Box<dyn Workload> = match args.language_model {
        true => Box::new(LanguageModelSteps::new(resolved, steps)?),
        false => Box::new(ClassifierSteps::new(resolved, &*backend, steps)?),
    };
    let amount = workload.amount();
    message(format!(
        "{}: {} per round, {}",
        args.config.display(),
        pluralize(amount.steps, "step"),
        pluralize(args.rounds.get(), "round")
    ));
    let mut measured = Vec::new();
    for backend in [&*backend].into_iter().chain(libtorch.as_deref()) {
        let run_round = workload.start(backend)?;
        measured.push(MeasuredBackend { backend, run_round, rounds: Vec::new() });
    }
    let mut products = Vec::new();
    for round in 0..=args.rounds.get() {
        for backend in &mut measured {
            let times = (backend.run_round)()?;
            // The first round only warms up.
            if round > 0 {
                backend.rounds.push(times);
            }
        }
        if let Some(last) = measured.last().filter(|_| round > 0) {
            products.push(last.backend.multiplication_rate() / 1e9);
        }
    }
    if let (Some(path), Some(last)) = (&args.trace, measured.last_mut()) {
        let MeasuredBackend { backend, run_round, .. } = last;
        backend.trace(path, &mut || run_round().map(drop))?;
        message(format!("the trace is in \"{}\"; open it in ui.perfetto.dev", path.display()));
    }
    let report = |measured: &MeasuredBackend| {
        Report::of(measured.backend.kind().as_str(), &measured.rounds, amount)
    };
    let bench = Bench {
        backends: measured.iter().map(report).collect(),
        product_gflops: median(products),
        log: log_seconds(amount.steps)?,
        peak_megabytes: peak_megabytes(),
    };
    match args.json {
        true => print_json(&bench)?,
        false => print_wrapped(&bench.to_string())?,
    }
    Ok(SUCCESS)
}

/// A backend with a model on it, and the times of each round.
struct MeasuredBackend<'a> {
    backend: &'a dyn Backend,
    run_round: RunRound<'a>,
    rounds: Vec<Round>,
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
