//! A valid configuration together with its fields.

use serde_yaml::Value;

use super::draft::Draft;
use super::fields::{Fault, Field, set_value};
use super::overrides::Override;
use super::print::resolved_yaml;
use super::schema::Config;
use super::sweep::section;
use super::types::AutoNumber;

/// A valid configuration and the fields it is printed from.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// Every field with its value and description, in the order of the reference.
    pub fields: Vec<Field>,
}

impl Resolved {
    /// Checks a document with `overrides` applied.
    ///
    /// # Errors
    /// Returns all faults if there are any.
    pub(super) fn check(root: &Value, overrides: &[Override]) -> Result<Self, Vec<Fault>> {
        let (resolved, faults) = Self::read(root, overrides);
        if faults.is_empty() { Ok(resolved) } else { Err(faults) }
    }

    /// Reads a document with `overrides` applied. Returns its faults, too.
    pub(super) fn read(root: &Value, overrides: &[Override]) -> (Self, Vec<Fault>) {
        let Draft { config, fields, mut faults } = Draft::read(root);
        faults.extend(section::faults(&config.sweep, root, &fields, overrides));
        // A faulty field has its default value, from which no contradiction follows.
        let faulty: Vec<Vec<String>> = faults.iter().map(|fault| fault.path.clone()).collect();
        let is_faulty = |fault: &Fault| faulty.iter().any(|path| fault.path.starts_with(path));
        faults.extend(config.contradictions().into_iter().filter(|fault| !is_faulty(fault)));
        (Self { config, fields }, faults)
    }

    /// The resolved configuration as commented YAML. Reading it gives the same configuration.
    pub fn to_yaml(&self) -> String {
        resolved_yaml(&self.fields)
    }

    /// Replaces `train.token_budget: auto` with the number of tokens that was found.
    pub fn set_token_budget(&mut self, tokens: usize) {
        self.config.train.token_budget = Some(AutoNumber::Number(tokens));
        set_value(&mut self.fields, &["train", "token_budget"], Value::from(tokens as u64));
    }

    /// Replaces `train.shards` with this number.
    pub fn set_shards(&mut self, shards: usize) {
        self.config.train.shards = AutoNumber::Number(shards);
        set_value(&mut self.fields, &["train", "shards"], Value::from(shards as u64));
    }

    /// Replaces `data.multi_label: null` with what the data tells.
    pub fn set_multi_label(&mut self, multi_label: bool) {
        self.config.data.multi_label = Some(multi_label);
        set_value(&mut self.fields, &["data", "multi_label"], Value::from(multi_label));
    }

    /// Replaces the values that are `auto` or depend on the data with those that were chosen for a run of this
    /// configuration.
    pub fn take_choices(&mut self, run: &Config) {
        let (train, chosen) = (&self.config.train, &run.train);
        let shards = (train.shards, chosen.shards);
        let budgets = (train.token_budget, chosen.token_budget);
        if let (None, Some(multi_label)) = (self.config.data.multi_label, run.data.multi_label) {
            self.set_multi_label(multi_label);
        }
        if let (AutoNumber::Auto, AutoNumber::Number(shards)) = shards {
            self.set_shards(shards);
        }
        if let (Some(AutoNumber::Auto), Some(AutoNumber::Number(tokens))) = budgets {
            self.set_token_budget(tokens);
        }
    }

    /// Sets the name of the experiment if the configuration does not.
    pub(super) fn with_default_name(mut self, name: Option<String>) -> Self {
        if self.config.name.is_none() {
            let value = name.as_deref().map_or(Value::Null, Value::from);
            set_value(&mut self.fields, &["name"], value);
            self.config.name = name;
        }
        self
    }
}
