//! `lstmtext data check`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::arguments::{ColumnArgs, SetArgs};
use crate::cli::exit::{FAILURE, SUCCESS};
use crate::config::{BrokenLines, DataConfig, Resolved};
use crate::data::prepared::PreparedData;
use crate::data::{Check, Finding, Level};
use crate::output::format::{group_digits, join_names, pluralize};
use crate::output::{print_json, print_wrapped};

const EXAMPLES: &str = "\
Examples:
  lstmtext data check reviews.csv
  lstmtext data check mine.yaml --json

Reads and encodes the data as training does, and prints a line for each check: ok, note (something that \
may make the model or its scores worse; training prints these too) or error (training stops). Exits with \
code 1 if there is an error.";

/// Check data for what makes models or their scores worse
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
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

/// Output of --json.
#[derive(Serialize)]
struct Report {
    /// Number of examples of each part.
    training: usize,
    validation: usize,
    test: usize,
    labels: Vec<String>,
    findings: Vec<Finding>,
}

/// Runs the command.
pub fn run(args: CheckArgs) -> anyhow::Result<u8> {
    let mut resolved = args.columns.load(&args.config, &args.set)?;
    let configured = count_broken_rows(&mut resolved);
    let data = PreparedData::prepare(resolved)?;
    let mut findings = data.findings;
    findings.iter_mut().for_each(|finding| judge_broken_rows(finding, &configured));
    for check in Check::ALWAYS {
        if findings.iter().all(|finding| finding.check != check) {
            findings.push(Finding::new(check, check.passed()).level(Level::Ok));
        }
    }
    findings.sort_by_key(|finding| finding.check);
    let report = Report {
        training: data.train.len(),
        validation: data.validation.len(),
        test: data.test.len(),
        labels: data.labels,
        findings,
    };
    match args.json {
        true => print_json(&report)?,
        false => print_wrapped(&report.to_text())?,
    }
    let has_errors = report.findings.iter().any(|finding| finding.level == Level::Error);
    Ok(if has_errors { FAILURE } else { SUCCESS })
}

/// Sets that broken rows are counted, and do not stop the check. Returns the previous settings.
fn count_broken_rows(resolved: &mut Resolved) -> DataConfig {
    let configured = resolved.config.data.clone();
    resolved.config.data.broken_lines = BrokenLines::Skip;
    resolved.config.data.max_skipped = 1.0;
    configured
}

/// Makes broken rows an error if training would not skip them.
fn judge_broken_rows(finding: &mut Finding, configured: &DataConfig) {
    let Finding { check: Check::BrokenRows, count, total, .. } = *finding else { return };
    let limit = configured.max_skipped;
    let share = count as f64 / total.max(1) as f64;
    let shares =
        format!("{:.1} %; the limit, data.max_skipped, is {:.1} %", 100.0 * share, 100.0 * limit);
    let (level, remedy) = match configured.broken_lines {
        BrokenLines::Error if share > limit => (
            Level::Error,
            format!(
                "correct them, check data.format, or set data.broken_lines: skip and increase \
                 data.max_skipped ({shares})"
            ),
        ),
        BrokenLines::Skip if share > limit => (
            Level::Error,
            format!("correct them, check data.format, or increase data.max_skipped ({shares})"),
        ),
        BrokenLines::Error => {
            (Level::Error, "correct them, or skip them with data.broken_lines: skip".to_owned())
        }
        BrokenLines::Skip => (Level::Note, shares),
    };
    finding.level = level;
    finding.message += &format!("; {remedy}");
}

impl Report {
    fn to_text(&self) -> String {
        let mut out = format!(
            "{} training, {} validation, {} test examples; {}: {}\n\n",
            group_digits(self.training),
            group_digits(self.validation),
            group_digits(self.test),
            pluralize(self.labels.len(), "label"),
            join_names(&self.labels)
        );
        for finding in &self.findings {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Note => "note",
                Level::Error => "error",
            };
            out += &format!("{level:<5}  {finding}\n");
        }
        out
    }
}
