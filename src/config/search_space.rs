//! Loads a configuration with a section `sweep` whose runs depend on the results of those before them.

use std::time::Duration;

use serde_yaml::Value;

use super::draft::Draft;
use super::error::ConfigError;
use super::fields::Fault;
use super::load::Document;
use super::load_sweep::Sweep;
use super::overrides::Override;
use super::resolved::Resolved;
use super::sweep::{Axis, Search, SearchMethod, section};
use super::template::Template;

/// A configuration with a section `sweep` whose runs depend on the results of those before them.
#[derive(Clone, Debug)]
pub struct SearchSpace {
    /// The configuration without the section.
    pub base: Resolved,
    /// The whole configuration.
    pub full: Resolved,
    /// How settings are found.
    pub method: SearchMethod,
    /// Time after which no more is trained.
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
        let root = document.with_overrides(overrides)?;
        Self::new(root, overrides, document).map_err(|faults| document.error(&faults, overrides))
    }

    fn new(
        mut root: Value,
        overrides: &[Override],
        document: &Document,
    ) -> Result<Self, Vec<Fault>> {
        let Draft { config, fields, mut faults } = Draft::read(&root);
        faults.extend(section::faults(&config.sweep, &root, &fields, overrides));
        if !faults.is_empty() {
            return Err(faults);
        }
        let search = section::read(&config.sweep, &mut Vec::new());
        let full = Resolved { config, fields }.with_default_name(document.name.clone());
        section::remove(&mut root);
        let template = Template::new(root, document);
        let Search { axes, seeds, trials, search_seed, method, budget } = search;
        let fault = match method.filter(|method| *method != SearchMethod::Grid) {
            None => Some("needs method: tpe, asha or random"),
            Some(_) if seeds.is_some() => Some(
                "seed: trials have the seed train.seed; train the best settings with several seeds",
            ),
            Some(_) if axes.is_empty() => Some("nothing varies; list the values of a field"),
            Some(_) => None,
        };
        match (fault, method) {
            (None, Some(method)) => Ok(Self {
                base: template.base(),
                full,
                method,
                budget: budget.map(|budget| budget.0),
                trials,
                seed: search_seed,
                axes,
                template,
            }),
            (fault, _) => Err(vec![section::fault(fault.unwrap_or_default().to_owned())]),
        }
    }

    /// Resolves the configuration with some settings.
    ///
    /// # Errors
    /// Returns an error if the settings contradict each other, or the configuration.
    pub fn resolve(&self, settings: &[Override]) -> Result<Resolved, ConfigError> {
        self.template.resolve(settings.iter())
    }
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
