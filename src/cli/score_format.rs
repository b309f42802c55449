//! The option `--format` of tables of scores.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::output::score_table::ScoreTable;
use crate::output::{print, print_data, print_json};

/// Format of a table of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScoreTableFormat {
    /// For a terminal.
    Table,
    /// Numbers that are not rounded, for other programs.
    Csv,
    /// JSON.
    Json,
    /// A tabular with the rules of booktabs.
    Latex,
    /// Markdown.
    Markdown,
}

/// `--format`, of commands that have `--json` too.
#[derive(Debug, Args)]
pub struct ScoreFormatArgs {
    /// Output format: table, csv (numbers that are not rounded), json, latex (a tabular with the rules of
    /// booktabs) or markdown
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true,
        conflicts_with = "json"
    )]
    format: ScoreTableFormat,
}

impl ScoreFormatArgs {
    /// Returns the format. `json` is true if `--json` is given.
    pub fn format(&self, json: bool) -> ScoreTableFormat {
        if json { ScoreTableFormat::Json } else { self.format }
    }
}

/// Prints a table of scores. `text` is for a terminal, `json` for the format JSON.
///
/// # Errors
/// Returns an error if stdout cannot be written.
pub fn print_scores(
    format: ScoreTableFormat,
    text: impl FnOnce() -> String,
    scores: impl FnOnce() -> ScoreTable,
    json: &impl Serialize,
) -> anyhow::Result<()> {
    match format {
        ScoreTableFormat::Table => print(&text()),
        ScoreTableFormat::Csv => print_data(&scores().csv()?),
        ScoreTableFormat::Json => print_json(json),
        ScoreTableFormat::Latex => print(&scores().latex()),
        ScoreTableFormat::Markdown => print(&scores().markdown()),
    }
}
