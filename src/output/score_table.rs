//! Tables of scores for papers and other programs: CSV, LaTeX and Markdown.

use anyhow::Context;

use super::table::{Align, Table};

/// A cell of a table of scores.
#[derive(Clone, Debug, PartialEq)]
pub enum ScoreCell {
    /// No value.
    Empty,
    /// Text.
    Text(String),
    /// Mean, and the standard deviation over several runs.
    Score(f64, Option<f64>),
}

/// Format of the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreFormat {
    /// As text with this alignment.
    Text(Align),
    /// With this number of decimals.
    Number(usize),
    /// In percent with two decimals; in CSV as a fraction.
    Percent,
}

/// Table of scores.
#[derive(Clone, Debug)]
pub struct ScoreTable {
    columns: Vec<(String, ScoreFormat)>,
    rows: Vec<Vec<ScoreCell>>,
}

impl ScoreTable {
    /// Creates a table without rows.
    pub fn new(columns: Vec<(String, ScoreFormat)>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub fn add(&mut self, row: Vec<ScoreCell>) {
        self.rows.push(row);
    }

    /// Formats the table for a terminal.
    pub fn table(&self) -> Table {
        let columns = self.columns.iter().map(|(name, format)| (name.clone(), format.align()));
        let mut table = Table::new(columns);
        self.rows.iter().for_each(|row| table.add(self.shown(row, " ± ", " %", "–")));
        table
    }

    /// Formats the table as CSV. Scores are not rounded, and standard deviations have columns of their own.
    ///
    /// # Errors
    /// Returns an error of the encoder.
    pub fn csv(&self) -> anyhow::Result<String> {
        let deviates = |column: usize| {
            self.rows.iter().any(|row| matches!(row[column], ScoreCell::Score(_, Some(_))))
        };
        let deviates: Vec<bool> = (0..self.columns.len()).map(deviates).collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header = Vec::new();
        for ((name, _), deviates) in self.columns.iter().zip(&deviates) {
            let name = name.replace(' ', "_");
            header.push(name.clone());
            header.extend(deviates.then(|| format!("{name}_sd")));
        }
        writer.write_record(header)?;
        for row in &self.rows {
            let mut fields = Vec::new();
            for (cell, deviates) in row.iter().zip(&deviates) {
                let (value, deviation) = match cell {
                    ScoreCell::Empty => (String::new(), None),
                    ScoreCell::Text(text) => (text.clone(), None),
                    ScoreCell::Score(mean, deviation) => (mean.to_string(), *deviation),
                };
                fields.push(value);
                let deviation = deviation.map_or(String::new(), |deviation| deviation.to_string());
                fields.extend(deviates.then_some(deviation));
            }
            writer.write_record(fields)?;
        }
        let bytes = writer.into_inner().context("cannot encode CSV")?;
        String::from_utf8(bytes).context("cannot encode CSV")
    }

    /// Formats the table as a LaTeX tabular with the rules of the package booktabs.
    pub fn latex(&self) -> String {
        let alignments = self.columns.iter().map(|(_, format)| match format.align() {
            Align::Left => 'l',
            Align::Right => 'r',
        });
        let escape = |text: &String| escape_latex(text);
        let headings: Vec<String> = self.headings().iter().map(escape).collect();
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        let rows = self.rows.iter().map(|row| {
            let cells = self.shown(row, " ± ", "", "–");
            line(cells.iter().map(escape).collect())
        });
        format!(
            "\\begin{{tabular}}{{{}}}\n\\toprule\n{}\\midrule\n{}\\bottomrule\n\\end{{tabular}}\n",
            alignments.collect::<String>(),
            line(headings),
            rows.collect::<String>()
        )
    }

    /// Formats the table as Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| {
            let cells: Vec<String> = cells.iter().map(|cell| escape_markdown(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rules = self.columns.iter().map(|(_, format)| match format.align() {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        });
        let rules = format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
        let rows = self.rows.iter().map(|row| line(self.shown(row, " ± ", "", "–")));
        line(self.headings()) + &rules + &rows.collect::<String>()
    }

    /// Returns the names of the columns with their units.
    fn headings(&self) -> Vec<String> {
        let heading = |(name, format): &(String, ScoreFormat)| match format {
            ScoreFormat::Percent => format!("{name} (%)"),
            _ => name.clone(),
        };
        self.columns.iter().map(heading).collect()
    }

    /// Formats the cells of a row.
    fn shown(
        &self,
        row: &[ScoreCell],
        plus_minus: &str,
        percent: &str,
        empty: &str,
    ) -> Vec<String> {
        let cell = |(cell, (_, format)): (&ScoreCell, &(String, ScoreFormat))| {
            let (decimals, factor, unit) = match format {
                ScoreFormat::Percent => (2, 100.0, percent),
                ScoreFormat::Number(decimals) => (*decimals, 1.0, ""),
                ScoreFormat::Text(_) => (0, 1.0, ""),
            };
            match cell {
                ScoreCell::Empty => empty.to_owned(),
                ScoreCell::Text(text) => text.clone(),
                ScoreCell::Score(mean, None) => format!("{:.decimals$}{unit}", mean * factor),
                ScoreCell::Score(mean, Some(deviation)) => format!(
                    "{:.decimals$}{plus_minus}{:.decimals$}{unit}",
                    mean * factor,
                    deviation * factor
                ),
            }
        };
        row.iter().zip(&self.columns).map(cell).collect()
    }
}

impl ScoreFormat {
    fn align(self) -> Align {
        match self {
            Self::Text(align) => align,
            Self::Number(_) | Self::Percent => Align::Right,
        }
    }
}

fn escape_latex(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            // After the end of a row, a bracket would be the argument of the line break.
            '[' | ']' => escaped += &format!("{{{character}}}"),
            '\n' | '\r' => escaped.push(' '),
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '±' => escaped += "$\\pm$",
            '–' => escaped += "--",
            '<' | '>' | '|' => escaped += &format!("${character}$"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn escape_markdown(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '|' | '\\' | '*' | '_' | '`' | '<' | '[' => escaped.extend(['\\', character]),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ScoreTable {
        let columns = vec![
            ("run".to_owned(), ScoreFormat::Text(Align::Left)),
            ("test loss".to_owned(), ScoreFormat::Number(4)),
            ("accuracy".to_owned(), ScoreFormat::Percent),
        ];
        let mut table = ScoreTable::new(columns);
        let score = |mean, deviation| ScoreCell::Score(mean, deviation);
        table.add(vec![
            ScoreCell::Text("a_b|50%".into()),
            score(0.25, Some(0.03125)),
            score(0.5, None),
        ]);
        table.add(vec![ScoreCell::Text("c, d".into()), ScoreCell::Empty, score(1.0, None)]);
        table
    }

    #[test]
    fn csv_has_exact_numbers_and_columns_for_deviations() {
        let expected =
            "run,test_loss,test_loss_sd,accuracy\na_b|50%,0.25,0.03125,0.5\n\"c, d\",,,1\n";
        assert_eq!(table().csv().unwrap(), expected);
    }

    #[test]
    fn a_list_is_no_argument_of_a_line_break() {
        assert_eq!(escape_latex("[1, 2]\n3"), "{[}1, 2{]} 3");
    }

    #[test]
    fn special_characters_are_escaped() {
        let expected = r"\begin{tabular}{lrr}
\toprule
run & test loss & accuracy (\%) \\
\midrule
a\_b$|$50\% & 0.2500 $\pm$ 0.0312 & 50.00 \\
c, d & -- & 100.00 \\
\bottomrule
\end{tabular}
";
        assert_eq!(table().latex(), expected);
        let expected = r"| run | test loss | accuracy (%) |
| --- | ---: | ---: |
| a\_b\|50% | 0.2500 ± 0.0312 | 50.00 |
| c, d | – | 100.00 |
";
        assert_eq!(table().markdown(), expected);
        let lines = table().table().lines();
        assert_eq!(lines[1], "a_b|50%  0.2500 ± 0.0312   50.00 %");
    }
}
