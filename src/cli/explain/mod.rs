//! `lstmtext explain`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::FINE;
use crate::config::ConfigError;
use crate::config::count;
use crate::explanation::{Explainer, Method, page};
use crate::io::files::write_atomic;
use crate::output::format::join_names;
use crate::output::{message, print, print_json};
use crate::prediction::text_columns::{NamedText, TextColumns};
use crate::run::checkpoint::Checkpoint;
use crate::system::threads;

mod terminal;

const EXAMPLES: &str = "\
Examples:
  lstmtext explain runs/a \"Not bad at all.\"
  lstmtext explain runs/a \"Not bad at all.\" \"A waste of time.\" --html why.html
  lstmtext explain runs/a \"Not bad at all.\" --method leave-one-out --class positive --json
  lstmtext explain runs/b --input story=\"Mary went home.\" --input question=\"Where is Mary?\"

In a terminal, words that speak for a class have the colour of its heading; words outside the
vocabulary are underlined, and what is not read is grey. A text that begins with - follows --.

A contribution is a part of the log-odds of a class, log p - log (1 - p): positive where the word
speaks for the class. Integrated gradients go from PAD in place of every word to the text; the gap
is what their sum lacks of the difference between both. leave-one-out is how much the log-odds fall
without the word.";

/// Show what each word contributes to a decision
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// A checkpoint, or a run (then its best)
    checkpoint: PathBuf,
    /// The texts
    texts: Vec<String>,
    /// The text of one of several columns; needed for each of them
    #[arg(long = "input", value_name = "NAME=TEXT", conflicts_with = "texts")]
    inputs: Vec<NamedText>,
    /// How contributions are measured
    #[arg(long, value_name = "METHOD", default_value = "integrated-gradients")]
    method: Method,
    /// The class that is explained; by default the most probable one of each text
    #[arg(long, value_name = "LABEL")]
    class: Option<String>,
    /// Write a page that shows the same
    #[arg(long, value_name = "FILE")]
    html: Option<HtmlFile>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Whether words are coloured; by default where stdout is a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// CPU threads; all cores by default
    #[arg(long, value_name = "N", value_parser = count)]
    threads: Option<NonZeroUsize>,
}

/// A file whose name says that it is a page, so that no other is written over.
#[derive(Clone, Debug)]
struct HtmlFile(PathBuf);

impl FromStr for HtmlFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        match path.extension().is_some_and(|extension| extension == "html" || extension == "htm") {
            true => Ok(Self(path)),
            false => Err("the file's name has to end in .html".to_owned()),
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
    fn is_wanted(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
        }
    }
}

/// Runs the command.
pub fn run(args: ExplainArgs) -> anyhow::Result<u8> {
    threads::set_count(args.threads)?;
    let explainer = Explainer::new(&Checkpoint::open(&args.checkpoint)?)?;
    let texts = TextColumns::of(explainer.inputs()).given(args.texts, args.inputs)?;
    if texts[0].is_empty() {
        bail!(ConfigError::new(
            "there is no text: name one or more after the checkpoint".to_owned()
        ));
    }
    let class = args.class.map(|label| number_of(&label, explainer.labels())).transpose()?;
    let explain = |example: usize| {
        let texts: Vec<String> = texts.iter().map(|column| column[example].clone()).collect();
        explainer.explain(&texts, class, args.method)
    };
    let found = (0..texts[0].len()).map(explain).collect::<anyhow::Result<Vec<_>>>()?;
    if let Some(HtmlFile(path)) = &args.html {
        write_atomic(path, page::of(&found).as_bytes()).context("cannot write the page")?;
        message(format!("{}: {} explained", path.display(), texts_in_words(found.len())));
    }
    match args.json {
        true => print_json(&found)?,
        false => {
            let colored = args.color.is_wanted();
            let shown: Vec<String> =
                found.iter().map(|explanation| terminal::of(explanation, colored)).collect();
            print(&shown.join("\n\n"))?;
        }
    }
    Ok(FINE)
}

fn number_of(label: &str, labels: &[String]) -> Result<usize, ConfigError> {
    labels.iter().position(|known| known == label).ok_or_else(|| {
        ConfigError::new(format!("--class {label}: the labels are {}", join_names(labels)))
    })
}

fn texts_in_words(count: usize) -> String {
    match count {
        1 => "1 text".to_owned(),
        many => format!("{many} texts"),
    }
}
