//! Resumes a run: checks that the data still fits its checkpoint, and says what has changed.

use std::fmt;

use anyhow::{bail, ensure};

use super::schedule::Schedule;
use crate::config::{AverageMethod, TrainConfig};
use crate::data::prepared::PreparedData;
use crate::random::absorb;
use crate::run::progress::Progress;

/// State of a run that resumes.
pub struct Resume {
    /// Position in the run after its last step.
    pub progress: Progress,
    /// Settings of the run up to that step, if they can be read.
    pub settings: Option<TrainConfig>,
    /// The weights of the best validation still exist.
    pub has_best: bool,
}

/// State from which training starts.
#[derive(Default)]
pub struct Start {
    pub progress: Progress,
    /// The weights of the best validation are missing.
    pub lost_best: bool,
    /// Notes for the user.
    pub notes: Vec<String>,
}

impl Resume {
    /// Returns the state from which the run continues on `data`. `order` is the fingerprint of the
    /// training examples and their order, and `batches` returns the number of batches of an epoch.
    ///
    /// # Errors
    /// Returns an error if the run was interrupted inside an epoch and its examples or their order have
    /// changed since, or if validation examples may have been trained on.
    pub fn start(
        self,
        data: &PreparedData,
        order: u64,
        batches: impl Fn(usize) -> usize,
        schedule: &Schedule,
    ) -> anyhow::Result<Start> {
        let Self { progress, settings, has_best } = self;
        let mut start = Start { progress, lost_best: false, notes: Vec::new() };
        let change = match start.progress.order == order {
            true => None,
            false => Some(OrderChange::of(&start.progress, settings.as_ref(), data)),
        };
        check_position(&start.progress, change.as_ref(), batches)?;
        start.lost_best = start.progress.best.is_some() && !has_best;
        start.compare_data(data)?;
        start.compare_metric(settings.as_ref(), data);
        if start.lost_best {
            start.notes.push(
                "the checkpoint of the best validation is missing; that of the last step takes its \
                 place"
                    .to_owned(),
            );
        }
        if start.progress.step > 0 {
            start.note_order(change.as_ref());
            start.notes.extend(average_note(settings.as_ref(), &data.resolved.config.train));
            start.notes.extend(continue_schedule(&mut start.progress, settings, schedule, order));
        }
        Ok(start)
    }
}

/// Change of the examples of an epoch or of their order since the checkpoint.
struct OrderChange {
    /// The set of training examples is another one.
    has_other_examples: bool,
    /// Fields that have changed.
    fields: Vec<&'static str>,
}

impl OrderChange {
    fn of(progress: &Progress, settings: Option<&TrainConfig>, data: &PreparedData) -> Self {
        let now = &data.resolved.config.train;
        let changed = |then: &TrainConfig| {
            [
                ("train.seed", then.seed != now.seed),
                ("train.batch_size", then.batch_size != now.batch_size),
                ("train.token_budget", then.tokens() != now.tokens()),
                ("train.bucketing", then.bucketing != now.bucketing),
                ("train.bucketing_window", then.bucketing_window != now.bucketing_window),
            ]
        };
        let fields = settings.map(changed).into_iter().flatten();
        Self {
            has_other_examples: progress
                .data
                .is_some_and(|then| then.train != data.fingerprints.train),
            fields: fields.filter(|(_, has_changed)| *has_changed).map(|(name, _)| name).collect(),
        }
    }
}

impl fmt::Display for OrderChange {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let fields = self.fields.join(", ");
        match (self.has_other_examples, self.fields.is_empty()) {
            (true, true) => f.write_str("the training examples have changed"),
            (true, false) => {
                write!(f, "the training examples and their order ({fields}) have changed")
            }
            (false, true) => f.write_str("the training examples or their order have changed"),
            (false, false) => {
                write!(f, "the order of the training examples ({fields}) has changed")
            }
        }
    }
}

/// Checks that a run that was interrupted inside an epoch can continue there.
fn check_position(
    progress: &Progress,
    change: Option<&OrderChange>,
    batches: impl Fn(usize) -> usize,
) -> anyhow::Result<()> {
    let Progress { epoch, batch, .. } = *progress;
    if batch == 0 {
        return Ok(());
    }
    if let Some(change) = change {
        let remedy = match (change.has_other_examples, &change.fields[..]) {
            (true, []) => "restore the data".to_owned(),
            (false, []) => "restore the former settings and data".to_owned(),
            (true, fields) => format!("restore the data and {}", fields.join(" and ")),
            (false, fields) => {
                format!("resume with the former {} until the epoch ends", fields.join(" and "))
            }
        };
        bail!("the run was interrupted inside epoch {}, and {change} since: {remedy}", epoch + 1);
    }
    ensure!(
        batch < batches(epoch),
        "the checkpoint continues after batch {batch} of epoch {}, which has fewer; the checkpoint is \
         damaged",
        epoch + 1
    );
    Ok(())
}

impl Start {
    /// Compares the validation and test examples and the unlabelled texts with those that the run has used
    /// so far.
    fn compare_data(&mut self, data: &PreparedData) -> anyhow::Result<()> {
        let now = data.fingerprints;
        let Some(then) = self.progress.data else { return Ok(()) };
        if then.validation != now.validation {
            ensure!(
                then.train == now.train,
                "the training and the validation examples have changed since the run started, so \
                 that some validation examples may have been trained on: restore the data, or start \
                 a new run"
            );
            self.notes.push(
                "the validation examples have changed since the run started, so scores before and \
                 after are not comparable; best/ will be the best of the scores from now on"
                    .to_owned(),
            );
            // Former scores belong to the former examples.
            let progress = &mut self.progress;
            (progress.best, progress.last, progress.waited) = (None, None, 0);
            self.lost_best = false;
        }
        if then.test != now.test {
            self.notes.push("the test examples have changed since the run started".to_owned());
        }
        // A run can begin or stop to use them.
        let both = then.unlabelled.zip(now.unlabelled);
        if both.is_some_and(|(then, now)| then != now) {
            self.notes.push(
                "the unlabelled texts have changed since the checkpoint was saved".to_owned(),
            );
        }
        Ok(())
    }

    /// Drops the best validation if it has no value of the metric of the run, because that has changed.
    fn compare_metric(&mut self, settings: Option<&TrainConfig>, data: &PreparedData) {
        let now = data.resolved.config.metric();
        let then = settings.map(|settings| &settings.early_stopping.metric);
        if then.is_none_or(|then| then == now) {
            return;
        }
        let progress = &mut self.progress;
        // A value of the former metric must not be taken for one of this metric.
        let scores = progress.best.iter_mut().map(|best| &mut best.validation);
        let scores = scores.chain(progress.last.iter_mut().map(|last| &mut last.validation));
        scores.for_each(|score| score.metric = None);
        if now.is_additional() && progress.best.is_some() {
            self.notes.push(format!(
                "train.early_stopping.metric has changed, and earlier validations have no {}; best/ \
                 will be the best of the validations from now on",
                now.title()
            ));
            (progress.best, progress.waited) = (None, 0);
            self.lost_best = false;
        }
    }

    /// Notes that the training examples or their order have changed.
    fn note_order(&mut self, change: Option<&OrderChange>) {
        let is_recorded = self.progress.data.is_some();
        self.notes.extend(match change {
            // The validation examples may have changed, too.
            Some(change) if !is_recorded && change.fields.is_empty() => Some(format!(
                "{change} since the checkpoint was saved; some validation examples may have been trained \
                 on"
            )),
            Some(change) => Some(format!("{change} since the checkpoint was saved")),
            None if !is_recorded => Some(
                "the checkpoint does not record its validation examples (it is of an earlier version): \
                 if they have changed since, scores before and after are not comparable"
                    .to_owned(),
            ),
            None => None,
        });
    }
}

/// Returns a note if the method of weight averaging has changed.
fn average_note(former: Option<&TrainConfig>, now: &TrainConfig) -> Option<String> {
    let (former, now) = (former?.average.method, now.average.method);
    let note = match (former, now) {
        (former, now) if former == now => return None,
        (_, AverageMethod::None) => {
            "weights are no longer averaged: training continues from those before averaging"
        }
        (AverageMethod::None, _) => "weights are averaged from now on",
        _ => "the method of averaging weights has changed: the average starts anew",
    };
    Some(note.to_owned())
}

/// Continues the schedule of a run from the same epoch if the number of steps of an epoch has changed.
/// Returns a note if the number of epochs has changed, or if the learning rate is not what it would have
/// been with the former settings. `order` is the fingerprint of the examples and their order.
fn continue_schedule(
    progress: &mut Progress,
    settings: Option<TrainConfig>,
    schedule: &Schedule,
    order: u64,
) -> Option<String> {
    let steps = schedule.steps_per_epoch();
    let former_steps = match progress.steps_per_epoch {
        0 if progress.order == order => steps,
        0 => progress.step / (progress.epoch as u64).max(1),
        former => former,
    };
    let epochs = settings.as_ref().map(|settings| settings.epochs);
    let former = settings.map(|settings| Schedule::new(&settings, former_steps));
    let former = former.map(|former| former.rate_after(progress));
    if former_steps != steps {
        let epochs = i64::try_from(progress.epoch).ok()?;
        let position = epochs.saturating_mul(i64::try_from(steps).ok()?);
        progress.schedule_offset = position.saturating_sub_unsigned(progress.step);
    }
    let (former, rate) = (former?, schedule.rate_after(progress));
    let same = (rate - former).abs() <= 1e-6 * former.abs().max(rate.abs());
    let former = match same {
        true if epochs == Some(schedule.epochs()) => return None,
        true => String::new(),
        false => format!("; with the former settings it would be {}", significant(former)),
    };
    Some(format!("the learning rate continues at {}{former}. {schedule}", significant(rate)))
}

/// Rounds to three significant digits.
fn significant(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Computes a fingerprint of the training examples and of all options that determine their order in an
/// epoch.
///
/// # Errors
/// Returns an error if a process is lost that has some of the texts.
pub fn order_fingerprint(data: &PreparedData, lengths: &[Vec<usize>]) -> anyhow::Result<u64> {
    /// Number of texts that processes send each other at once.
    const TEXTS: usize = 1 << 12;
    let config = &data.resolved.config.train;
    let options = [
        config.seed,
        config.batch_size as u64,
        config.tokens().map_or(u64::MAX, |tokens| tokens as u64),
        u64::from(config.bucketing),
        config.bucketing_window as u64,
    ];
    let lengths = lengths.iter().flatten().map(|length| *length as u64);
    let train = &data.train;
    let mut hash = absorb(0, options.into_iter().chain(lengths));
    let with_ids = |hash: u64, ids: &[u32]| absorb(hash, ids.iter().map(|id| u64::from(*id)));
    for corpus in &train.inputs {
        let Some(shards) = corpus.shards() else {
            hash = with_ids(hash, corpus.ids());
            continue;
        };
        let texts: Vec<u32> = (0..corpus.len() as u32).collect();
        for texts in texts.chunks(TEXTS) {
            hash = with_ids(hash, corpus.collect_tokens(texts, shards.collective())?.ids());
        }
    }
    Ok(absorb(hash, train.targets.fingerprint_values().map(u64::from)))
}
