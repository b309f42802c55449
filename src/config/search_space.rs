//! Loads a configuration with a section `sweep` whose runs depend on the results of those before them.

use std::time::Duration;

use super::draft::Draft;
use super::error::ConfigError;
use super::fields::Fault;
use super::load::Document;
use super::load_sweep::Sweep;
use super::overrides::{Override, field_path};
use super::resolved::Resolved;
use super::sweep::{Axis, Search, SearchMethod, section};
use super::template::Template;
use super::types::Every;

/// A configuration with a section `sweep` whose runs depend on the results of those before them.
#[derive(Clone, Debug)]
pub struct SearchSpace {
    /// The configuration without the section.
    pub base: Resolved,
    /// The whole configuration.
    pub full: Resolved,
    /// Method that finds settings.
    pub method: SearchMethod,
    /// Duration of the search.
    pub budget: Option<Duration>,
    /// Maximum number of trials.
    pub trials: Option<usize>,
    /// Random seed of the settings.
    pub seed: u64,
    /// The fields that vary.
    pub axes: Vec<Axis>,
    template: Template,
}

impl SearchSpace {
    /// Applies `overrides` to a configuration with a section `sweep`, and checks every value of every field.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] that lists every fault, or an error if nothing varies.
    pub fn of(document: &Document, overrides: &[Override]) -> Result<Self, ConfigError> {
        Template::read(document, overrides, Self::new)
    }

    fn new(template: Template, full: Resolved, search: Search) -> Result<Self, Vec<Fault>> {
        let Search { axes, seeds, trials, search_seed, method, budget } = search;
        let fault = match method.filter(|method| *method != SearchMethod::Grid) {
            None => Some("needs method: tpe, asha or random"),
            Some(_) if seeds.is_some() => Some(
                "seed: trials have the seed train.seed; train the best settings with several seeds",
            ),
            Some(_) if axes.is_empty() => Some("nothing varies; list the values of a field"),
            Some(_) => None,
        };
        let (None, Some(method)) = (fault, method) else {
            return Err(vec![section::fault(fault.unwrap_or_default().to_owned())]);
        };
        let space = Self {
            base: template.base(),
            full,
            method,
            budget: budget.map(|budget| budget.0),
            trials,
            seed: search_seed,
            axes,
            template,
        };
        match space.faults() {
            faults if faults.is_empty() => Ok(space),
            faults => Err(faults),
        }
    }

    /// Returns the faults of fields with which scores are not comparable, or that the search itself sets.
    fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.axes.iter().flat_map(axis_faults).collect();
        if self.method.is_halving() && self.base.config.train.validate_every != Every::Epoch {
            let message = "trials are compared after whole epochs; set it to epoch".to_owned();
            faults.push(Fault { path: field_path("train.validate_every"), message });
        }
        faults
    }

    /// Resolves the configuration with some settings.
    ///
    /// # Errors
    /// Returns an error if the settings contradict each other, or the configuration.
    pub fn resolve(&self, settings: &[Override]) -> Result<Resolved, ConfigError> {
        self.template.resolve(settings.iter())
    }
}

/// Returns the faults of the fields of an axis, which cannot vary.
fn axis_faults(axis: &Axis) -> Vec<Fault> {
    let fault = |field: String| {
        let reason = match field.as_str() {
            name if name.starts_with("data.") || name.ends_with("text.train_max_length") => {
                "scores on different examples are not comparable"
            }
            "train.epochs" => "the search decides how long a trial trains, at most train.epochs",
            name if name.starts_with("train.early_stopping") => {
                "trials are ranked by train.early_stopping.metric"
            }
            name if name.starts_with("pretrain.") || name == "train.from" => {
                "each trial would learn from unlabelled text again; pre-train once, and set train.from"
            }
            _ => return None,
        };
        Some(section::fault_at(&axis.key, format!("{field} cannot vary, because {reason}")))
    };
    axis.fields().into_iter().filter_map(fault).collect()
}

/// A configuration with a section `sweep`: its runs are known, or depend on each other's results.
pub enum SearchPlan {
    /// All runs are known.
    Points(Box<Sweep>),
    /// Runs depend on the results of those before them.
    Adaptive(Box<SearchSpace>),
}

impl SearchPlan {
    /// Applies `overrides` to a configuration with a section `sweep`.
    ///
    /// # Errors
    /// See [`Sweep::load`].
    pub fn of(document: &Document, overrides: &[Override]) -> Result<Self, ConfigError> {
        let section = Draft::read(&document.with_overrides(overrides)?).config.sweep;
        match section::read(&section, &mut Vec::new()).is_adaptive() {
            true => {
                SearchSpace::of(document, overrides).map(|space| Self::Adaptive(Box::new(space)))
            }
            false => Sweep::of(document, overrides).map(|sweep| Self::Points(Box::new(sweep))),
        }
    }
}
