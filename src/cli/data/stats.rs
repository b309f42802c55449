//! `lstmtext data stats`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::{FINE, SetArgs};
use crate::config::{self, Input};
use crate::data::stats::{PartStats, part_labels, part_stats};
use crate::data::{self, SplitName};
use crate::output::format::{group_digits, join_names};
use crate::output::{print, print_json};

/// Count examples, labels, lengths and unknown words
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lstmtext data stats configs/imdb.yaml --set text.max_length=200"
)]
pub struct StatsArgs {
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
    /// The number of ids of each input.
    vocabularies: Vec<usize>,
    parts: Vec<PartStats>,
    notes: Vec<String>,
}

/// Runs the command.
pub fn run(args: StatsArgs) -> anyhow::Result<u8> {
    let config = config::load(&args.config, &args.set.overrides)?.config;
    let mut splits = data::load(&config)?;
    let encoders = splits.train.encoders(&config.inputs)?;
    splits.leave_out_long(&config)?;
    let mut parts = Vec::new();
    for name in [SplitName::Train, SplitName::Validation, SplitName::Test] {
        let part = splits.part(name);
        if part.is_empty() {
            continue;
        }
        for (number, (input, encoder)) in config.inputs.iter().zip(&*encoders).enumerate() {
            let labels = part_labels(&splits.labels, &part.labels);
            let whole = part.encode(number, &encoder.uncut())?;
            parts.push(PartStats { labels, ..part_stats(name, input, &whole) });
        }
    }
    let report = StatsReport {
        vocabularies: encoders.sizes(),
        parts,
        labels: splits.labels.clone(),
        notes: splits.notes.clone(),
    };
    match args.json {
        true => print_json(&report)?,
        false => print(&table(&report, &config.inputs))?,
    }
    Ok(FINE)
}

fn table(report: &StatsReport, inputs: &[Input]) -> String {
    let mut out = String::new();
    for (input, ids) in inputs.iter().zip(&report.vocabularies) {
        out.push_str(&format!("{}vocabulary: {} ids\n", input.prefix(), group_digits(*ids)));
    }
    let name = |part: &PartStats| match &part.input {
        Some(input) => format!("{} {input}", part.name),
        None => part.name.clone(),
    };
    let width = report.parts.iter().map(|part| name(part).len()).max().unwrap_or(0).max(10);
    out.push_str(&format!(
        "\n{:<width$}  examples      tokens  median   90 %   95 %  longest    cut  unknown\n",
        "split"
    ));
    for part in &report.parts {
        out.push_str(&format!(
            "{:<width$} {:>9} {:>11} {:>7} {:>6} {:>6} {:>8} {:>5.1}% {:>7.2}%\n",
            name(part),
            group_digits(part.examples),
            group_digits(part.tokens),
            part.median_length,
            part.length_90,
            part.length_95,
            part.longest,
            100.0 * part.cut_share,
            100.0 * part.unknown_share,
        ));
    }
    out.push_str("\nlabels\n");
    let mut last = "";
    for part in &report.parts {
        // Every input of a part has the labels of the part.
        if std::mem::replace(&mut last, &part.name) == part.name {
            continue;
        }
        let count = |(label, count): &(String, usize)| format!("{label} {}", group_digits(*count));
        let labels: Vec<String> = part.labels.iter().map(count).collect();
        out.push_str(&format!("{:<width$}  {}\n", part.name, join_names(&labels)));
    }
    out.push_str("\nlengths in tokens; cut: texts longer than text.max_length;\nunknown: tokens without an id\n");
    for note in &report.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out
}
