//! Arguments that other programs have, and what does the same here.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

use crate::config::{defaults, field_of_argument};
use crate::output::shell::quoted;

/// Arguments of other programs that are not fields of the configuration.
const ARGUMENTS: [(&[&str], &str, &str); 6] = [
    (
        &[
            "o",
            "output",
            "output-dir",
            "outdir",
            "out-dir",
            "save-dir",
            "logdir",
            "log-dir",
            "model-dir",
            "model-path",
            "save-model",
            "save-path",
            "checkpoint-dir",
            "default-root-dir",
        ],
        "out",
        "--out",
    ),
    (&["gpu", "gpus", "cuda"], "device", "--device cuda"),
    (&["cpu", "no-cuda", "no-gpu"], "device", "--device cpu"),
    (&["json"], "format", "--format jsonl"),
    (
        &["thread", "workers", "num-workers", "dataloader-num-workers", "n-jobs", "jobs"],
        "threads",
        "--threads",
    ),
    (&["resume-from", "resume-from-checkpoint", "checkpoint"], "resume", "--resume"),
];

/// Returns an error that says how to set what an unknown argument of `program` sets elsewhere, such as
/// `--epochs 3` or fastText's `-epoch 3`.
pub fn advice(fault: &clap::Error, arguments: &[OsString], program: &Command) -> Option<String> {
    let ContextValue::String(unknown) = fault.get(ContextKind::InvalidArg)? else { return None };
    if fault.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    let command = words
        .iter()
        .skip(1)
        .try_fold(program, |command, word| command.find_subcommand(word).ok_or(command));
    let command = command.unwrap_or_else(|last| last);
    let has = |name: &str| command.get_arguments().any(|arg: &Arg| arg.get_long() == Some(name));
    let fields = defaults();
    if !unknown.starts_with('-') {
        if has("data") && Path::new(unknown).exists() {
            let option = if Path::new(unknown).is_dir() { "--compare" } else { "--data" };
            let path = quoted(unknown.as_ref());
            return Some(format!("unknown argument {unknown}; use {option} {path}"));
        }
        let (name, value) = unknown.split_once('=')?;
        let field = field_of_argument(name, &fields).filter(|_| has("set"))?;
        return Some(set_advice(unknown, &field, value));
    }

    // clap reads -epoch as -e with a value.
    let is_unknown = |word: &&str| word.starts_with(unknown.as_str());
    let index = words.iter().position(is_unknown)?;
    let (argument, value) = match words[index].split_once('=') {
        Some((argument, value)) => (argument, Some(value)),
        None => (words[index], words.get(index + 1).copied()),
    };
    let name = argument.trim_start_matches('-').replace('_', "-").to_lowercase();
    if matches!(name.as_str(), "config" | "config-file" | "cfg" | "c") {
        let takes_file = command.get_positionals().any(|arg| arg.get_id() == "config");
        return takes_file
            .then(|| format!("unknown argument {argument}; name the file without it"));
    }
    if let Some((.., ours)) =
        ARGUMENTS.iter().find(|(names, long, _)| has(long) && names.contains(&name.as_str()))
    {
        return Some(format!("unknown argument {argument}; use {ours}"));
    }
    let mut field = field_of_argument(argument, &fields).filter(|_| has("set"))?;
    if command.get_name() == "evaluate" && field == "train.batch_size" {
        field = "train.validation_batch_size".to_owned();
    }
    let is_value = |value: &&str| !value.starts_with('-') || value.parse::<f64>().is_ok();
    let default = fields.iter().find(|each| each.path.join(".") == field);
    let is_switch = default.is_some_and(|default| default.default.is_bool());
    let value = match value.filter(is_value) {
        Some(value) => value.to_owned(),
        None if is_switch => "true".to_owned(),
        None => "VALUE".to_owned(),
    };
    // fastText's -wordNgrams 2 stands for single words and pairs.
    let longest: Option<usize> = value.parse().ok().filter(|_| field == "model.ngrams.sizes");
    let value = match longest {
        Some(longest) => format!("{:?}", (1..=longest.min(10)).collect::<Vec<_>>()),
        None => value,
    };
    Some(set_advice(argument, &field, &value))
}

fn set_advice(argument: &str, field: &str, value: &str) -> String {
    let set = format!("{field}={value}");
    format!("unknown argument {argument}; use --set {}", quoted(set.as_ref()))
}
