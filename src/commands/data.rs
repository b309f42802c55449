//! `lstmtext data`: getting data sets, and looking at them.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::output::{print, print_json};
use super::{FINE, SetArgs};
use crate::config;
use crate::console::{PLAIN_INTERVAL, say};
use crate::data::{self, SplitName};
use crate::fetch::{self, Download, Limits, Patience};
use crate::files::replace_folder;
use crate::numbers::grouped;
use crate::stats::{PartStats, part_stats};
use crate::text::{Encoder, Vocabulary};

/// Get a data set, or look at one
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    Fetch(FetchArgs),
    Stats(StatsArgs),
    Split(SplitArgs),
}

/// Runs the command.
pub fn run(args: DataArgs) -> anyhow::Result<u8> {
    match args.command {
        DataCommand::Fetch(args) => run_fetch(args),
        DataCommand::Stats(args) => run_stats(args),
        DataCommand::Split(args) => run_split(args),
    }
}

const FETCH_EXAMPLES: &str = "\
Example:
  lstmtext data fetch imdb && lstmtext train configs/imdb_official.yaml

The download goes on where an interrupted one stopped, is checked by its SHA-256, and is unpacked
without trusting what the archive says. A folder that is there already is left alone.";

/// Download and unpack a data set
#[derive(Debug, Args)]
#[command(after_help = FETCH_EXAMPLES)]
struct FetchArgs {
    /// imdb: the Large Movie Review Dataset (Maas et al. 2011), 25,000 + 25,000 labelled reviews
    dataset: Dataset,
    /// Folder that the data set becomes; by default data/aclImdb
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Another place to download the archive from
    #[arg(long)]
    url: Option<String>,
    /// The SHA-256 that the archive must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dataset {
    Imdb,
}

/// What is published where, and how much of it there is.
struct Publication {
    url: &'static str,
    sha256: &'static str,
    archive: &'static str,
    folder: &'static str,
    max_download: u64,
    limits: Limits,
}

const IMDB: Publication = Publication {
    url: "http://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    sha256: "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
    archive: "aclImdb_v1.tar.gz",
    folder: "aclImdb",
    max_download: 200 << 20,
    limits: Limits { max_entries: 200_000, max_bytes: 2 << 30 },
};

fn run_fetch(args: FetchArgs) -> anyhow::Result<u8> {
    let publication = match args.dataset {
        Dataset::Imdb => IMDB,
    };
    let folder = args.to.unwrap_or_else(|| PathBuf::from("data").join(publication.folder));
    if folder.is_dir() {
        say(format!("\"{}\" is there already", folder.display()));
        return print(&folder.display().to_string()).map(|()| FINE);
    }
    let archive = folder.with_file_name(publication.archive);
    let request = Download {
        url: args.url.unwrap_or_else(|| publication.url.into()),
        sha256: args.sha256.unwrap_or_else(|| publication.sha256.into()),
        max_bytes: publication.max_download,
        patience: Patience::default(),
    };
    say(format!("fetching {}", request.url));
    let bar = progress_bar("{bytes}/{total_bytes} {wide_bar:.cyan/dim} {bytes_per_sec} ETA {eta}");
    let mut told = Instant::now();
    fetch::download(&request, &archive, &mut |received, total| {
        if bar.is_hidden() && told.elapsed() >= PLAIN_INTERVAL {
            told = Instant::now();
            let total = total.map_or("?".to_owned(), |total| format!("{:.1}", total as f64 / 1e6));
            say(format!("{:.1} of {total} MB", received as f64 / 1e6));
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(received);
    })?;
    bar.finish_and_clear();

    say(format!("unpacking to {}", folder.display()));
    let bar = progress_bar("{pos} files {spinner}");
    let extracted = fetch::extract_tar_gz(
        &archive,
        publication.folder,
        &folder,
        &publication.limits,
        &mut |files| bar.set_position(files),
    )?;
    bar.finish_and_clear();
    fs::remove_file(&archive)
        .with_context(|| format!("cannot remove \"{}\"", archive.display()))?;
    let files = grouped(extracted.files as usize);
    say(format!("{files} files, {:.1} MB", extracted.bytes as f64 / 1e6));
    print(&folder.display().to_string()).map(|()| FINE)
}

fn progress_bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::new(0).with_style(style)
}

/// Count examples, labels, lengths and unknown words
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lstmtext data stats configs/imdb.yaml --set text.max_length=200"
)]
struct StatsArgs {
    /// The configuration, a YAML file
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Serialize)]
struct StatsReport {
    labels: Vec<String>,
    vocabulary: usize,
    parts: Vec<PartStats>,
    notes: Vec<String>,
}

fn run_stats(args: StatsArgs) -> anyhow::Result<u8> {
    let config = config::load(&args.config, &args.set.overrides)?.config;
    let splits = data::load(&config.data)?;
    let vocabulary = Vocabulary::build(&splits.train.texts, &config.text)?;
    // Whole texts are counted, so that the share that will be cut can be told.
    let mut whole = config.text.clone();
    whole.max_length = usize::MAX;
    whole.pad = config::PadSide::Back;
    let encoder = Encoder::new(&whole, vocabulary);
    let parts = [SplitName::Train, SplitName::Validation, SplitName::Test];
    let parts = parts.into_iter().filter(|name| !splits.part(*name).is_empty());
    let report = StatsReport {
        vocabulary: encoder.vocabulary().len(),
        parts: parts
            .map(|name| part_stats(name, splits.part(name), &splits.labels, &encoder, &config.text))
            .collect(),
        labels: splits.labels.clone(),
        notes: splits.notes.clone(),
    };
    match args.json {
        true => print_json(&report)?,
        false => print(&table(&report))?,
    }
    Ok(FINE)
}

fn table(report: &StatsReport) -> String {
    let mut out = format!("vocabulary: {} ids\n\n", grouped(report.vocabulary));
    out.push_str(
        "split       examples      tokens  median   90 %   95 %  longest    cut  unknown  labels\n",
    );
    for part in &report.parts {
        let labels: Vec<String> = part
            .labels
            .iter()
            .map(|(label, count)| format!("{label} {}", grouped(*count)))
            .collect();
        out.push_str(&format!(
            "{:<10} {:>9} {:>11} {:>7} {:>6} {:>6} {:>8} {:>5.1}% {:>7.2}%  {}\n",
            part.name,
            grouped(part.examples),
            grouped(part.tokens),
            part.median_length,
            part.length_90,
            part.length_95,
            part.longest,
            100.0 * part.cut_share,
            100.0 * part.unknown_share,
            labels.join(", "),
        ));
    }
    out.push_str("\nlengths in tokens; cut: texts longer than text.max_length; unknown: tokens without an id\n");
    for note in &report.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out
}

/// Write the training, validation and test examples to files, for other programs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lstmtext data split configs/imdb.yaml --to data/imdb_split")]
struct SplitArgs {
    /// The configuration, a YAML file
    config: PathBuf,
    /// New folder that gets train.jsonl, validation.jsonl and, where there is one, test.jsonl
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Serialize)]
struct SplitLine<'a> {
    text: &'a str,
    label: &'a str,
}

fn run_split(args: SplitArgs) -> anyhow::Result<u8> {
    let config = config::load(&args.config, &args.set.overrides)?.config;
    ensure!(!args.to.exists(), "\"{}\" is there already; name a new folder", args.to.display());
    let splits = data::load(&config.data)?;
    replace_folder(&args.to, |folder| {
        for name in [SplitName::Train, SplitName::Validation, SplitName::Test] {
            let part = splits.part(name);
            if part.is_empty() {
                continue;
            }
            let mut lines = String::new();
            for (text, label) in part.texts.iter().zip(&part.labels) {
                let line = SplitLine { text, label: &splits.labels[*label as usize] };
                lines += &serde_json::to_string(&line).context("cannot encode an example")?;
                lines.push('\n');
            }
            let path = folder.join(format!("{name}.jsonl"));
            fs::write(&path, lines)
                .with_context(|| format!("cannot write \"{}\"", path.display()))?;
        }
        Ok(())
    })?;
    for note in &splits.notes {
        say(format!("note: {note}"));
    }
    print(&args.to.display().to_string()).map(|()| FINE)
}
