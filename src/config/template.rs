//! A configuration without its section `sweep`, from which the configurations of runs are made.

use serde_yaml::Value;

use super::draft::Draft;
use super::error::ConfigError;
use super::fields::Fault;
use super::load::Document;
use super::overrides::Override;
use super::resolved::Resolved;
use super::sweep::{Search, section};
use super::yaml::Positions;

/// A configuration without the section `sweep`, to which settings are applied.
#[derive(Clone, Debug)]
pub struct Template {
    root: Value,
    /// The name of the document in messages.
    source: String,
    /// The default name of the experiment.
    name: Option<String>,
}

impl Template {
    /// Applies `overrides` to a document with a section `sweep`, and checks every value of every field. `build` makes
    /// something of the template, the whole configuration, and the section.
    ///
    /// # Errors
    /// Returns an error that lists every fault of the document, or those of `build`.
    pub fn read<T>(
        document: &Document,
        overrides: &[Override],
        build: impl FnOnce(Self, Resolved, Search) -> Result<T, Vec<Fault>>,
    ) -> Result<T, ConfigError> {
        let mut root = document.with_overrides(overrides)?;
        let Draft { config, fields, mut faults } = Draft::read(&root);
        faults.extend(section::faults(&config.sweep, &root, &fields, overrides));
        let built = match faults.is_empty() {
            true => {
                let search = section::read(&config.sweep, &mut Vec::new());
                let full = Resolved { config, fields }.with_default_name(document.name.clone());
                section::remove(&mut root);
                let (source, name) = (document.source.clone(), document.name.clone());
                build(Self { root, source, name }, full, search)
            }
            false => Err(faults),
        };
        built.map_err(|faults| document.error(&faults, overrides))
    }

    /// Reads the configuration itself, which may contradict itself as long as no settings do.
    pub fn base(&self) -> Resolved {
        let Draft { config, fields, .. } = Draft::read(&self.root);
        Resolved { config, fields }.with_default_name(self.name.clone())
    }

    /// Applies settings, and returns the faults of the result.
    pub fn check<'a>(
        &self,
        settings: impl Iterator<Item = &'a Override>,
    ) -> Result<Resolved, Vec<Fault>> {
        let mut root = self.root.clone();
        for set in settings {
            // Settings that cannot be applied were rejected when the section was read.
            let _ = set.apply(&mut root);
        }
        Resolved::check(&root, &[])
    }

    /// Applies settings.
    pub fn resolve<'a>(
        &self,
        settings: impl Iterator<Item = &'a Override>,
    ) -> Result<Resolved, ConfigError> {
        let resolved = self.check(settings).map_err(|faults| {
            ConfigError::from_faults(&faults, &Positions::default(), &self.source, &[])
        })?;
        Ok(resolved.with_default_name(self.name.clone()))
    }
}
