//! `lstmtext data stats`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::arguments::{ColumnArgs, SetArgs};
use crate::cli::exit::SUCCESS;
use crate::config::Input;
use crate::data::check::report::findings;
use crate::data::stats::{LabelsPerText, SplitStats, split_stats};
use crate::data::{self, Finding, SplitName};
use crate::output::format::group_digits;
use crate::output::table::{Align, Table};
use crate::output::width::{shorten_labels, wrap_items};
use crate::output::{print_json, print_wrapped, terminal_width};
use crate::run::checkpoint::Checkpoint;
use crate::text::{Corpus, Encoder};

/// Maximum number of labels whose examples are counted in the text.
const LISTED_LABELS: usize = 50;

/// Count examples, labels, text lengths and unknown words
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lstmtext data stats configs/imdb.yaml --set text.max_length=200"
)]
pub struct StatsArgs {
    /// Configuration file (YAML), or data
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    set: SetArgs,
}

#[derive(Serialize)]
struct StatsReport {
    labels: Vec<String>,
    /// Vocabulary size of each input.
    vocabularies: Vec<usize>,
    #[serde(rename = "parts")]
    splits: Vec<SplitStats>,
    notes: Vec<String>,
}

/// Runs the command.
pub fn run(args: StatsArgs) -> anyhow::Result<u8> {
    let mut config = args.columns.load(&args.config, &args.set)?.config;
    config.data.multi_label = Some(data::has_several_labels(&config, None)?);
    let known = Checkpoint::source_encoders(&config)?;
    known.share_subwords(&config.inputs);
    let mut data = data::load(&config, None)?;
    let encoders = data.train.encoders(&config.inputs, &known)?;
    data.drop_long_texts(&config)?;
    let untruncated: Vec<Encoder> = encoders.iter().map(Encoder::without_truncation).collect();
    let corpora = |name: SplitName| -> anyhow::Result<Vec<Corpus>> {
        let inputs = untruncated.iter().enumerate();
        inputs.map(|(input, encoder)| data.split(name).encode(input, encoder)).collect()
    };
    let [train, validation, test] = SplitName::ALL.map(corpora);
    let corpora = [train?, validation?, test?];
    let mut splits = Vec::new();
    for (name, corpora) in SplitName::ALL.into_iter().zip(&corpora) {
        let examples = data.split(name);
        if examples.is_empty() {
            continue;
        }
        for (input, corpus) in config.inputs.iter().zip(corpora) {
            splits.push(split_stats(name, input, corpus, &data.labels, &examples.targets));
        }
    }
    let findings = findings(&data, corpora.each_ref().map(|part| &part[..]), &encoders, &config)?;
    let notes = findings.into_iter().filter(Finding::is_notable);
    let notes = notes.map(|finding| finding.message).collect();
    let report = StatsReport {
        vocabularies: encoders.vocabulary_sizes(),
        splits,
        labels: data.labels.clone(),
        notes,
    };
    match args.json {
        true => print_json(&report)?,
        false => print_wrapped(&format_report(&report, &config.inputs, terminal_width()))?,
    }
    Ok(SUCCESS)
}

fn format_report(report: &StatsReport, inputs: &[Input], columns: usize) -> String {
    let mut out = String::new();
    for (input, size) in inputs.iter().zip(&report.vocabularies) {
        out.push_str(&format!("{}vocabulary: {} ids\n", input.prefix(), group_digits(*size)));
    }
    let numbers =
        ["examples", "tokens", "median", "90 %", "95 %", "longest", "truncated", "unknown"];
    let numbers = numbers.map(|name| (name.to_owned(), Align::Right));
    let mut table = Table::new([("split".to_owned(), Align::Left)].into_iter().chain(numbers));
    for split in &report.splits {
        table.add(vec![
            match &split.input {
                Some(input) => format!("{} {input}", split.name),
                None => split.name.clone(),
            },
            group_digits(split.examples),
            group_digits(split.tokens),
            split.median_length.to_string(),
            split.length_90.to_string(),
            split.length_95.to_string(),
            split.longest.to_string(),
            format!("{:.1}%", 100.0 * split.cut_share),
            format!("{:.2}%", 100.0 * split.unknown_share),
        ]);
    }
    let width = table.widths()[0];
    out.push_str(&format!("\n{}\n\nlabels\n", table.lines_within(columns).join("\n")));
    out.push_str(&format_labels(&report.splits, width, columns));
    out.push_str(&format_labels_per_text(&report.splits, width));
    out.push_str(
        "\nlengths in tokens; truncated: texts longer than text.max_length;\n\
         unknown: tokens that are not in the vocabulary\n",
    );
    for note in &report.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out
}

/// Formats how many labels the texts have, if they can have several.
fn format_labels_per_text(splits: &[SplitStats], width: usize) -> String {
    let mut lines: Vec<String> = splits
        .iter()
        .filter_map(|split| {
            let LabelsPerText { mean, min, max, unlabelled } = split.labels_per_text?;
            let (name, none) = (&split.name, group_digits(unlabelled));
            Some(format!(
                "{name:<width$}  {mean:.2} on average, {min} to {max}; {none} texts without\n"
            ))
        })
        .collect();
    // All inputs of a split have the same labels.
    lines.dedup();
    match lines.is_empty() {
        true => String::new(),
        false => format!("\nlabels per text\n{}", lines.concat()),
    }
}

/// Formats the number of examples of each label, in lines of at most `columns` columns. The names of the
/// splits take up `width` of them.
fn format_labels(splits: &[SplitStats], width: usize, columns: usize) -> String {
    let (mut out, mut last, mut key) = (String::new(), "", String::new());
    for split in splits {
        // All inputs of a split have the same labels.
        if std::mem::replace(&mut last, &split.name) == split.name {
            continue;
        }
        let labels = shorten_labels(
            split.labels.iter().take(LISTED_LABELS).map(|(label, _)| label.as_str()),
            columns.saturating_sub(width + 10),
        );
        let counts = labels.names.iter().zip(&split.labels);
        let mut counts: Vec<String> = counts
            .map(|(label, (_, count))| match label.ends_with(|c: char| c.is_numeric()) {
                // Otherwise the label and the number would look like one.
                true => format!("{label:?} {}", group_digits(*count)),
                false => format!("{label} {}", group_digits(*count)),
            })
            .collect();
        if split.labels.len() > LISTED_LABELS {
            counts.push(format!("… ({} in total)", split.labels.len()));
        }
        let mut name = split.name.as_str();
        for line in wrap_items(&counts, ", ", columns.saturating_sub(width + 2)) {
            out.push_str(&format!("{name:<width$}  {line}\n"));
            name = "";
        }
        key = labels.key;
    }
    out + &key
}
