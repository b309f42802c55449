//! Resumes a run: checks that the data still fits its checkpoint, and says what has changed.

use anyhow::ensure;

use super::schedule::Schedule;
use crate::config::TrainConfig;
use crate::data::prepared::PreparedData;
use crate::random::fingerprint;
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
        check_position(&start.progress, order, batches)?;
        start.lost_best = start.progress.best.is_some() && !has_best;
        start.compare_data(data)?;
        if start.lost_best {
            start.notes.push(
                "the checkpoint of the best validation is missing; that of the last step takes its \
                 place"
                    .to_owned(),
            );
        }
        if start.progress.step > 0 {
            start.compare_order(order);
            start.notes.extend(continue_schedule(&mut start.progress, settings, schedule, order));
        }
        Ok(start)
    }
}

/// Checks that a run that was interrupted inside an epoch can continue there.
fn check_position(
    progress: &Progress,
    order: u64,
    batches: impl Fn(usize) -> usize,
) -> anyhow::Result<()> {
    let Progress { epoch, batch, .. } = *progress;
    if batch == 0 {
        return Ok(());
    }
    ensure!(
        progress.order == order,
        "the run was interrupted inside epoch {}, and its training examples or their order have \
         changed since: restore the data, train.seed, batch_size, token_budget and bucketing",
        epoch + 1
    );
    ensure!(
        batch < batches(epoch),
        "the checkpoint continues after batch {batch} of epoch {}, which has fewer; the checkpoint is \
         damaged",
        epoch + 1
    );
    Ok(())
}

impl Start {
    /// Compares the validation and test examples with those that the run has used so far.
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
        Ok(())
    }

    /// Notes that the training examples or their order have changed.
    fn compare_order(&mut self, order: u64) {
        if self.progress.order == order {
            return;
        }
        let leak = match self.progress.data {
            Some(_) => "",
            // The validation examples may have changed, too.
            None => "; some validation examples may have been trained on",
        };
        self.notes.push(format!(
            "the training examples or their order have changed since the checkpoint was saved{leak}"
        ));
    }
}

/// Continues the schedule of a run from the same epoch if the number of steps of an epoch has changed.
/// Returns a note if the learning rate is not what it would have been with the former settings. `order`
/// is the fingerprint of the examples and their order.
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
    let former = settings.map(|settings| Schedule::new(&settings, former_steps));
    let former = former.map(|former| former.rate_after(progress));
    if former_steps != steps {
        let epochs = i64::try_from(progress.epoch).ok()?;
        let position = epochs.saturating_mul(i64::try_from(steps).ok()?);
        progress.schedule_offset = position.saturating_sub_unsigned(progress.step);
    }
    let (former, rate) = (former?, schedule.rate_after(progress));
    let same = (rate - former).abs() <= 1e-6 * former.abs().max(rate.abs());
    (!same).then(|| {
        format!(
            "the learning rate continues at {}; with the former settings it would be {}. {schedule}",
            significant(rate),
            significant(former)
        )
    })
}

/// Rounds to three significant digits.
fn significant(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Computes a fingerprint of the training examples and of all options that determine their order in an
/// epoch.
pub fn order_fingerprint(data: &PreparedData, lengths: &[Vec<usize>]) -> u64 {
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
    let ids = train.inputs.iter().flat_map(|corpus| corpus.ids());
    let values = ids.copied().chain(train.targets.fingerprint_values()).map(u64::from);
    fingerprint(options.into_iter().chain(lengths).chain(values))
}
