//! Loads a configuration with a section `sweep`, and checks and resolves its points.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::error::ConfigError;
use super::fields::Fault;
use super::load::Document;
use super::overrides::Override;
use super::resolved::Resolved;
use super::sweep::{Point, Search, section};
use super::template::Template;

/// A configuration with a section `sweep` and the points it generates.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The configuration without the section.
    pub base: Resolved,
    /// The points, by index.
    pub points: Vec<Point>,
    template: Template,
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
        Template::read(document, overrides, |template, _, search| Self::new(template, &search))
    }

    fn new(template: Template, search: &Search) -> Result<Self, Vec<Fault>> {
        if search.is_adaptive() {
            let message = "this command needs the settings of all runs beforehand, which method: asha and tpe \
                           choose one after the other";
            return Err(vec![section::fault(message.to_owned())]);
        }
        let points = search.points();
        let points = points.map_err(|message| vec![section::fault(message)])?;
        let sweep = Self { base: template.base(), points, template };
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
        self.template.resolve(point.overrides())
    }

    /// Returns the faults of points whose values are valid one by one, each fault once.
    fn faults(&self) -> Vec<Fault> {
        let mut seen = HashSet::new();
        let mut faults = Vec::new();
        let mut points: HashMap<u64, &Point> = HashMap::new();
        for point in &self.points {
            let new_faults = match self.template.check(point.overrides()) {
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

/// Two points with the same configuration, such as `1` and `1.0`.
fn duplicate(first: &Point, second: &Point) -> Fault {
    section::fault(format!("two points have the same configuration: {first} and {second}"))
}

/// Reports a fault of a point as one of the section, together with the settings of the point.
fn at_point(fault: Fault, point: &Point) -> Fault {
    let settings: Vec<String> = point.settings.iter().map(Override::to_string).collect();
    let (field, message) = (fault.path.join("."), fault.message);
    section::fault(format!(
        "at {}: {field}: {message}; list compatible combinations in sweep.cases",
        settings.join(" ")
    ))
}
