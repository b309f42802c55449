//! A configuration without its section `sweep`, from which the configurations of runs are made.

use serde_yaml::Value;

use super::draft::Draft;
use super::error::ConfigError;
use super::fields::Fault;
use super::load::Document;
use super::overrides::Override;
use super::resolved::Resolved;
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
    /// Creates the template of a document, whose section has been removed from `root`.
    pub fn new(root: Value, document: &Document) -> Self {
        Self { root, source: document.source.clone(), name: document.name.clone() }
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
