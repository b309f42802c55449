//! Runs a search, of `lstmtext tune` or `lstmtext sweep`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::latency::LatencyCheck;
use super::session::{End, Session};
use super::{refit, report};
use crate::backend::Backends;
use crate::cli::arguments::ComputeArgs;
use crate::cli::exit::{FAILURE, SUCCESS};
use crate::cli::many_runs::{resume_command, threads_per_run};
use crate::config::SearchSpace;
use crate::output::format::{format_duration, pluralize};
use crate::output::{message, note};
use crate::sweep::Launch;
use crate::system::signals::{Interrupt, Messages};
use crate::system::threads;
use crate::tune::{Limits, TuneDirectory};

const MESSAGES: Messages = Messages {
    first: "\nstopping: each trial saves after its current step; press Ctrl-C again to quit at once\n",
    second: "\nquit; the trials may still be saving\n",
};

/// A search that a command asks for.
pub struct SearchRequest<'a> {
    /// The space.
    pub space: SearchSpace,
    /// The first trial has the settings of the configuration itself.
    pub starts_with_base: bool,
    /// Limits of the models.
    pub limits: Limits,
    /// Number of trials whose checkpoints are kept. `None`: all.
    pub keep: Option<usize>,
    /// Number of trials at once.
    pub jobs: NonZeroUsize,
    /// Device and threads.
    pub compute: &'a ComputeArgs,
    /// Directory.
    pub path: &'a Path,
    /// Print JSON.
    pub json: bool,
    /// Train the best settings on the training and validation examples together.
    pub refit: bool,
}

/// Searches, and reports what was found.
///
/// # Errors
/// Returns an error if the directory has something else, or cannot be written, or if the trials fail.
pub fn run(request: SearchRequest, backends: &dyn Backends) -> anyhow::Result<u8> {
    let SearchRequest { space, starts_with_base, limits, keep, jobs, compute, path, json, refit } =
        request;
    threads::set_count(compute.threads)?;
    let directory = TuneDirectory::new(space, limits, starts_with_base, path);
    directory.create()?;
    let launch = Launch { jobs, threads: threads_per_run(compute, jobs), device: compute.device };
    print_start(&directory, launch)?;
    let interrupt = Interrupt::listen_with(MESSAGES)?;
    let latency = LatencyCheck::new(compute, backends);
    let end = Session::new(&directory, launch, keep, latency)?.run(&interrupt)?;
    let found = report::report(&directory, json, end)?;
    match end {
        End::Done | End::OutOfTime if !found => Ok(FAILURE),
        End::Done | End::OutOfTime if refit => refit::refit(&directory, launch, &interrupt),
        End::Done | End::OutOfTime => Ok(SUCCESS),
        End::Stopped(signal) => {
            message(format!("\nstopped by a signal; to continue:\n  {}", resume_command()));
            Ok(128 + signal as u8)
        }
    }
}

fn print_start(directory: &TuneDirectory, launch: Launch) -> anyhow::Result<()> {
    let trials = directory.trials().context("cannot continue the search")?;
    let space = &directory.space;
    let mut limits: Vec<String> = Vec::new();
    limits.extend(space.budget.map(|budget| format!("{} in all", format_duration(budget))));
    limits.extend(space.trials.map(|trials| format!("at most {}", pluralize(trials, "trial"))));
    let threads = match launch.threads {
        Some(threads) => format!(" with {} each", pluralize(threads.get(), "thread")),
        None => String::new(),
    };
    message(format!(
        "search: {} by {}, {}; {} at once{threads}",
        pluralize(space.axes.len(), "setting"),
        directory.metric().title(),
        limits.join(", "),
        launch.jobs
    ));
    let rungs: Vec<String> =
        (0..=directory.rungs.last()).map(|rung| directory.rungs.epochs(rung).to_string()).collect();
    let goes_on = if rungs.len() > 1 { " (the best third is promoted each time)" } else { "" };
    message(format!("epochs: {}{goes_on}", rungs.join(", ")));
    message(format!("in:     {} (each trial has a log.txt)", directory.path().display()));
    if !trials.all.is_empty() {
        let before = Duration::from_secs_f64(trials.elapsed);
        note(format!(
            "continues with {} after {}",
            pluralize(trials.all.len(), "trial"),
            format_duration(before)
        ));
    }
    message("");
    Ok(())
}
