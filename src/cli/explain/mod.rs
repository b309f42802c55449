//! `lstmtext explain`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::arguments::thread_count;
use super::exit::SUCCESS;
use super::output_file;
use super::texts::TextArgs;
use crate::config::ConfigError;
use crate::explanation::{Explainer, Method, page};
use crate::io::replace::write_output;
use crate::output::format::{join_names, pluralize};
use crate::output::{StyledText, has_colors, message, print_json, print_styled, terminal_width};
use crate::run::saved_model::SavedModel;
use crate::system::threads;

mod terminal;

const EXAMPLES: &str = "\
Examples:
  lstmtext explain runs/a \"Not bad at all.\"
  lstmtext explain runs/a \"Not bad at all.\" \"A waste of time.\" --html why.html
  lstmtext explain runs/a \"Not bad at all.\" --method leave-one-out --class positive --json
  lstmtext explain runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\"

In a terminal, words have the color of the class that they support. Words outside the vocabulary \
are underlined, or followed by [?] without colors; truncated text is grey. Put -- before a text that \
begins with -.

Contributions are measured in log-odds of the class, log p - log (1 - p). Positive values support \
the class. Integrated gradients use PAD in place of every word as their baseline; they add up to \
the change in log-odds from the baseline to the text, up to the completeness gap. leave-one-out is \
the decrease in log-odds when the word is removed.

The words of an ensemble are those that all its tokenizers agree on. Integrated gradients explain an \
ensemble of two classes, or of several labels per text, that averages log-odds: contributions are the weighted means of those of its \
members. leave-one-out explains every ensemble.

If a text can have several labels, each label has log-odds of its own: --class selects one, by default the most \
probable one, and positive values support it against its absence.

For a model with attention pooling, the words with the largest attention weights follow.";

/// Show the contribution of each word to a prediction
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// Checkpoint, run (uses its best checkpoint) or ensemble
    checkpoint: PathBuf,
    #[command(flatten)]
    texts: TextArgs,
    /// Ignore the calibration of the model
    #[arg(long)]
    uncalibrated: bool,
    /// Attribution method; by default integrated-gradients, or leave-one-out for ensembles that have no
    /// exact gradients
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// Class to explain; by default the predicted class of each text, or the most probable one of several labels
    #[arg(long, value_name = "LABEL")]
    class: Option<String>,
    /// Write an HTML page with the explanations
    #[arg(
        long,
        value_name = "FILE",
        value_parser = PathBufValueParser::new().try_map(HtmlFile::new)
    )]
    html: Option<HtmlFile>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Color words; auto does so if stdout is a terminal and NO_COLOR is not set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Number of CPU threads; by default one per core
    #[arg(long, value_name = "N", value_parser = thread_count)]
    threads: Option<NonZeroUsize>,
}

/// An HTML file. Its extension is checked so that no other file is overwritten by mistake.
#[derive(Clone, Debug)]
struct HtmlFile(PathBuf);

impl HtmlFile {
    fn new(path: PathBuf) -> Result<Self, String> {
        match path.extension().is_some_and(|extension| extension == "html" || extension == "htm") {
            true => Ok(Self(path)),
            false => Err("the file name must end in .html".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    fn is_enabled(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => has_colors(),
        }
    }
}

/// Runs the command.
pub fn run(args: ExplainArgs) -> anyhow::Result<u8> {
    threads::set_count(args.threads)?;
    let model = SavedModel::open(&args.checkpoint, &args.texts.set.overrides)?;
    let model = if args.uncalibrated { model.uncalibrated() } else { model };
    if let Some(HtmlFile(path)) = &args.html {
        output_file::check("--html", path, model.config(), args.texts.file.as_deref())?;
    }
    let explainer = Explainer::new(&model)?;
    let texts = args.texts.read(&model)?;
    let class = args.class.map(|label| class_index(&label, explainer.labels())).transpose()?;
    let explain = |example: usize| {
        let texts: Vec<String> = texts.iter().map(|column| column[example].clone()).collect();
        explainer.explain(&texts, class, args.method)
    };
    let explanations = (0..texts[0].len()).map(explain).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(HtmlFile(path)) = &args.html {
        write_output(path, page::of(&explanations).as_bytes())
            .context("cannot write the HTML page")?;
        let count = pluralize(explanations.len(), "text");
        message(format!("{}: {count} explained", path.display()));
    }
    match args.json {
        true => print_json(&explanations)?,
        false => {
            let colored = args.color.is_enabled();
            let mut out = StyledText::new(colored);
            for (index, explanation) in explanations.iter().enumerate() {
                out.push(if index > 0 { "\n\n" } else { "" });
                terminal::append(&mut out, explanation, terminal_width(), !colored);
            }
            print_styled(&out)?;
        }
    }
    Ok(SUCCESS)
}

fn class_index(label: &str, labels: &[String]) -> Result<usize, ConfigError> {
    labels.iter().position(|each| each == label).ok_or_else(|| {
        ConfigError::new(format!(
            "--class {label}: unknown label; the labels are {}",
            join_names(labels)
        ))
    })
}
