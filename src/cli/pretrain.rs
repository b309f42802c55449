//! `lstmtext pretrain`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_yaml::Value;

use super::arguments::ComputeArgs;
use super::exit::SUCCESS;
use super::hints::{program, relative, tensorboard};
use super::language_model_run::{self, LanguageModelCompute, resume_hint};
use super::output_directory;
use super::pretraining_texts::PretrainingTextArgs;
use super::processes::ProcessArgs;
use crate::backend::Backends;
use crate::config::{Override, Resolved};
use crate::output::format::{group_digits, pluralize};
use crate::output::shell::quoted_path;
use crate::output::{message, print, print_json};
use crate::pretrain::language_model::Ending;
use crate::run::directory::RunDirectory;
use crate::run::language_model::LanguageModelSummary;
use crate::run::new_run::NewRun;
use crate::system::allocator;
use crate::system::signals::Interrupt;

const EXAMPLES: &str = "\
Examples:
  lstmtext pretrain mine.yaml
  lstmtext pretrain corpus.txt --set model.embedding.size=100 --set model.lstm.units=256 --out runs/lm
  lstmtext pretrain mine.yaml --vectors vectors.vec --out runs/lm
  lstmtext pretrain --resume runs/lm
  lstmtext perplexity runs/lm --file other.txt
  lstmtext train mine.yaml --from runs/lm

The model is that of the section model: an embedding and an LSTM that predicts the next word, and with \
model.lstm.bidirectional another one that predicts the word before. Settings of the training are in \
pretrain.language_model. The run directory contains config.yaml, TensorBoard event files, metrics.jsonl, \
summary.json and the checkpoints best/ and last/. Ctrl-C finishes the current step, saves last/ and prints the \
command that resumes the run.";

/// Train a language model on texts without labels, from which classifiers can start
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PretrainArgs {
    #[command(flatten)]
    texts: PretrainingTextArgs,
    /// Word vectors to start from: a file of `lstmtext vectors`, word2vec, GloVe or fastText
    /// (model.embedding.vectors)
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    vectors: Option<PathBuf>,
    /// Resume the run in this directory
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "paths", "text"])]
    resume: Option<PathBuf>,
    /// Directory of the run; by default runs/NAME-TIME
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Print the summary and the directory of the run as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    processes: ProcessArgs,
}

/// Runs the command.
pub fn run(args: PretrainArgs, backends: &dyn Backends) -> anyhow::Result<u8> {
    let interrupt = Interrupt::listen()?;
    let group = args.processes.join(backends, "pretrain")?;
    if !group.collective.is_alone() {
        interrupt.expect_launcher();
    }
    let arguments = &group.compute(&args.compute);
    let compute = LanguageModelCompute { backends, arguments, group: &group };
    group.finish(train(&args, &compute, &interrupt))
}

fn train(
    args: &PretrainArgs,
    compute: &LanguageModelCompute,
    interrupt: &Interrupt,
) -> anyhow::Result<u8> {
    let (run, ending) = match &args.resume {
        Some(path) => {
            let (run, overrides) = (RunDirectory::open(path), &args.texts.set.overrides);
            let ending = language_model_run::resume(&run, compute, overrides, interrupt)?;
            (run, ending)
        }
        None => args.start(compute, interrupt)?,
    };
    match ending {
        Ending::Finished(summary) => {
            report(&run, &summary, args.json)?;
            Ok(SUCCESS)
        }
        Ending::Interrupted(signal) => {
            message(format!(
                "stopped by a signal; progress is saved in \"{}\"",
                run.last().display()
            ));
            message(resume_hint(run.path()));
            Ok(128 + signal as u8)
        }
    }
}

impl PretrainArgs {
    /// Starts a new run.
    fn start(
        &self,
        compute: &LanguageModelCompute,
        interrupt: &Interrupt,
    ) -> anyhow::Result<(RunDirectory, Ending)> {
        let (group, collective) = (compute.group, &*compute.group.collective);
        let mut fixed = language_model_overrides();
        fixed.extend(self.vectors.as_ref().map(|path| {
            let path = Value::from(path.to_string_lossy().as_ref());
            Override::new("model.embedding.vectors", path)
        }));
        let mut resolved = collective.agree(self.texts.load(&fixed).map_err(Into::into))?;
        let backend = collective.agree(compute.start(&resolved.config))?;
        let size = collective.worker().world_size;
        resolved.set_shards(resolved.config.train.shards_for(group.cores()?, size));
        let new = group.on_first(|| self.create_run(&resolved, interrupt))?;
        let path = new.as_ref().map_or(Path::new(""), |new| new.directory().path());
        let path = collective.broadcast_bytes(path.as_os_str().as_bytes().to_vec())?;
        let run = RunDirectory::open(Path::new(OsStr::from_bytes(&path)));
        let ending =
            language_model_run::start(&resolved, (&run, new), (&*backend, compute), interrupt)?;
        Ok((run, ending))
    }

    /// Creates the directory of a new run.
    fn create_run(&self, resolved: &Resolved, interrupt: &Interrupt) -> anyhow::Result<NewRun> {
        let path = match &self.out {
            Some(path) => {
                output_directory::check_new(path)?;
                path.clone()
            }
            None => {
                let name = resolved.config.name.as_deref().unwrap_or("run");
                output_directory::create_run(&format!("{name}-lm"))?
            }
        };
        // A run that cannot start leaves no directory behind.
        let new = NewRun::lock(&path)?;
        interrupt.remove_on_exit(new.paths());
        let on_failure = interrupt.clone();
        allocator::on_failure(move |_| on_failure.remove_temporary());
        Ok(new)
    }
}

/// Overrides of the configuration of a language model: it has no n-grams, and its checkpoints have no files of them.
/// Settings of fine-tuning are for the classifier that starts from it.
pub fn language_model_overrides() -> Vec<Override> {
    [
        ("model.ngrams", Value::Null),
        ("train.from", Value::Null),
        ("train.fit_head", Value::from(false)),
        ("train.finetune", Value::from("full")),
        ("train.freeze", Value::Sequence(Vec::new())),
        ("train.unfreeze.every_epochs", Value::Null),
    ]
    .map(|(field, value)| Override::new(field, value))
    .into()
}

/// Output of --json.
#[derive(Serialize)]
struct Printed<'a> {
    /// Directory of the run.
    run: &'a Path,
    #[serde(flatten)]
    summary: &'a LanguageModelSummary,
}

/// Prints the perplexity to stdout, and the next commands to try to stderr.
fn report(run: &RunDirectory, summary: &LanguageModelSummary, json: bool) -> anyhow::Result<()> {
    if json {
        print_json(&Printed { run: run.path(), summary })?;
    } else if let Some(best) = &summary.best {
        print(&format!("perplexity  {}  best/ (epoch {})", best.perplexity, best.epoch))?;
    }
    message(format!(
        "trained {} on {} tokens in {:.1} s, {} tokens/s",
        pluralize(summary.epochs, "epoch"),
        group_digits(summary.tokens as usize),
        summary.seconds,
        group_digits(summary.tokens_per_second as usize)
    ));
    let shown = quoted_path(&relative(run.path()));
    message(format!(
        "\nnext:\n  {}\n  {} perplexity {shown} --file FILE\n  {} train CONFIG --from {shown}",
        tensorboard(run.path()),
        program(),
        program(),
    ));
    Ok(())
}
