//! Loads a configuration with a section `sweep`, and checks and resolves its points.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde_yaml::Value;

use super::draft::Draft;
use super::error::ConfigError;
use super::fields::Fault;
use super::load::Document;
use super::overrides::Override;
use super::resolved::Resolved;
use super::schema::SWEEP;
use super::sweep::{Point, section};
use super::yaml::Positions;

/// A configuration with a section `sweep` and the points it generates.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The configuration without the section.
    pub base: Resolved,
    /// The points, by index.
    pub points: Vec<Point>,
    /// The document without the section.
    root: Value,
    source: String,
    name: Option<String>,
}

impl Sweep {
    /// Loads the configuration in `file`, applies `overrides` and checks every point.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] that lists every fault, or an error if nothing varies.
    pub fn load(file: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        Self::of(&Document::read(file)?, overrides)
    }

    /// Applies `overrides` to a configuration, and checks every point.
    ///
    /// # Errors
    /// See [`Sweep::load`].
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
        let points = section::read(&config.sweep, &mut Vec::new()).points();
        let points = points.map_err(|message| vec![sweep_fault(message)])?;
        section::remove(&mut root);
        // The base may contradict itself as long as no point does.
        let Draft { config, fields, .. } = Draft::read(&root);
        let base = Resolved { config, fields }.with_default_name(document.name.clone());
        let (source, name) = (document.source.clone(), document.name.clone());
        let sweep = Self { base, points, root, source, name };
        match sweep.faults() {
            faults if faults.is_empty() => Ok(sweep),
            faults => Err(faults),
        }
    }

    /// Resolves the configuration of a point.
    ///
    /// # Errors
    /// Returns an error if the configuration is invalid. The points of this sweep are valid.
    pub fn resolve(&self, point: &Point) -> Result<Resolved, ConfigError> {
        let resolved = Resolved::check(&self.root_of(point), &[]);
        let resolved = resolved.map_err(|faults| {
            ConfigError::from_faults(&faults, &Positions::default(), &self.source, &[])
        })?;
        Ok(resolved.with_default_name(self.name.clone()))
    }

    fn root_of(&self, point: &Point) -> Value {
        let mut root = self.root.clone();
        for set in point.overrides() {
            // Settings that cannot be applied were rejected when the section was read.
            let _ = set.apply(&mut root);
        }
        root
    }

    /// Returns the faults of points whose values are valid one by one, each fault once.
    fn faults(&self) -> Vec<Fault> {
        let mut seen = HashSet::new();
        let mut faults = Vec::new();
        let mut points: HashMap<u64, &Point> = HashMap::new();
        for point in &self.points {
            let new_faults = match Resolved::check(&self.root_of(point), &[]) {
                Ok(resolved) => match points.insert(fingerprint(&resolved), point) {
                    Some(previous) => vec![duplicate(previous, point)],
                    None => Vec::new(),
                },
                Err(faults) => faults.into_iter().map(|fault| at_point(fault, point)).collect(),
            };
            for fault in new_faults {
                let (_, message) = fault.message.split_once(": ").unwrap_or(("", &fault.message));
                if seen.insert(message.to_owned()) {
                    faults.push(fault);
                }
            }
        }
        faults
    }
}

/// Computes a hash of a configuration.
fn fingerprint(resolved: &Resolved) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", resolved.config).hash(&mut hasher);
    hasher.finish()
}

fn sweep_fault(message: String) -> Fault {
    Fault { path: vec![SWEEP.to_owned()], message }
}

/// Two points with the same configuration, such as `1` and `1.0`.
fn duplicate(first: &Point, second: &Point) -> Fault {
    sweep_fault(format!("two points have the same configuration: {first} and {second}"))
}

/// Reports a fault of a point as one of the section, together with the settings of the point.
fn at_point(fault: Fault, point: &Point) -> Fault {
    let settings: Vec<String> = point.settings.iter().map(Override::to_string).collect();
    let (field, message) = (fault.path.join("."), fault.message);
    sweep_fault(format!(
        "at {}: {field}: {message}; list compatible combinations in sweep.cases",
        settings.join(" ")
    ))
}
