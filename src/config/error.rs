//! The error that reports everything that is wrong with a configuration.

use std::fmt;

use super::fields::Fault;
use super::overrides::Override;
use super::yaml::{Positions, Problem};

/// Maximum number of faults that are listed.
const MAX_LISTED: usize = 100;

/// An invalid configuration. The message lists every fault on a line of its own, up to a limit.
#[derive(Debug)]
pub struct ConfigError {
    pub(super) lines: Vec<String>,
    /// Number of faults.
    total: usize,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.lines[..] {
            [line] => f.write_str(line),
            lines => {
                write!(f, "{} errors in the configuration\n{}", self.total, lines.join("\n"))?;
                match self.total - lines.len() {
                    0 => Ok(()),
                    more => write!(f, "\n… and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// An error with a single message, which is not tied to a line.
    pub fn new(message: impl Into<String>) -> Self {
        Self { lines: vec![message.into()], total: 1 }
    }

    /// An error that lists `faults` in the order of the file, with those of `--set` last.
    pub(super) fn from_faults(
        faults: &[Fault],
        positions: &Positions,
        source: &str,
        overrides: &[Override],
    ) -> Self {
        let mut lines: Vec<((usize, usize), String)> = Vec::new();
        for fault in faults {
            let field = fault.path.join(".");
            let message = &fault.message;
            let overridden = overrides.iter().any(|set| set.overlaps(&fault.path));
            let (position, text) = match positions.get(&fault.path) {
                _ if overridden => ((usize::MAX, 0), format!("--set {field}: {message}")),
                Some((line, column)) => {
                    ((line, column), format!("{source}:{line}:{column}: {field}: {message}"))
                }
                None if field.is_empty() => ((0, 0), format!("{source}: {message}")),
                None => ((0, 0), format!("{source}: {field}: {message}")),
            };
            lines.push((position, text));
        }
        lines.sort();
        Self::listing(lines.into_iter().map(|(_, text)| text))
    }

    /// An error for YAML that cannot be parsed. The position comes first, as in every other message.
    pub(super) fn invalid_yaml(source: &str, problems: &[Problem]) -> Self {
        Self::listing(problems.iter().map(|Problem { position, message }| match position {
            Some((line, column)) => format!("{source}:{line}:{column}: invalid YAML: {message}"),
            None => format!("{source}: invalid YAML: {message}"),
        }))
    }

    fn listing(faults: impl ExactSizeIterator<Item = String>) -> Self {
        let total = faults.len();
        Self { lines: faults.take(MAX_LISTED).collect(), total }
    }
}
