//! The error that reports everything that is wrong with a configuration.

use std::fmt;

use super::fields::Fault;
use super::locate::locate;
use super::overrides::Override;

/// An invalid configuration. The message lists every fault on a line of its own.
#[derive(Debug)]
pub struct ConfigError {
    pub(super) lines: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.lines[..] {
            [line] => f.write_str(line),
            lines => {
                write!(f, "{} errors in the configuration\n{}", lines.len(), lines.join("\n"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// An error with a single message, which is not tied to a line.
    pub fn new(message: impl Into<String>) -> Self {
        Self { lines: vec![message.into()] }
    }

    /// An error that lists `faults` in the order of the file, with those of `--set` last.
    pub(super) fn from_faults(
        faults: &[Fault],
        yaml: &str,
        source: &str,
        overrides: &[Override],
    ) -> Self {
        let mut lines: Vec<((usize, usize), String)> = Vec::new();
        for fault in faults {
            let field = fault.path.join(".");
            let message = &fault.message;
            let overridden = overrides.iter().any(|set| set.overlaps(&fault.path));
            let (position, text) = match locate(yaml, &fault.path) {
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
        Self { lines: lines.into_iter().map(|(_, text)| text).collect() }
    }

    /// An error for YAML that cannot be parsed. The position comes first, as in every other message.
    pub(super) fn invalid_yaml(source: &str, error: &serde_yaml::Error) -> Self {
        let mut message = error.to_string();
        let position = error.location().map_or(String::new(), |at| {
            let (line, column) = (at.line(), at.column());
            message = message.replacen(&format!(" at line {line} column {column}"), "", 1);
            format!(":{line}:{column}")
        });
        let is_misaligned = ["mapping values are not allowed", "did not find expected key"]
            .into_iter()
            .any(|symptom| message.contains(symptom));
        let advice = if is_misaligned { "; check the indentation and quotes" } else { "" };
        Self::new(format!("{source}{position}: invalid YAML: {message}{advice}"))
    }
}
