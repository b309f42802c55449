//! The section `sweep`: reads it, finds what is wrong with it, and resolves its points.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::fields::{Fault, Field, Fields, Walk, at_least, found, section};
use super::search::{Axis, Distribution, DistributionKind, Point, Search, Values};
use super::value::FieldValue;
use super::{
    ConfigError, Document, Override, Reading, Resolved, SWEEP, describe, flow, misplaced, resolve,
    root_of,
};

/// What `seed` stands for.
const SEED: &str = "train.seed";

/// The key of fields that vary together.
const CASES: &str = "cases";

/// The section as it was written; empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepSection(Mapping);

impl SweepSection {
    /// Whether nothing is to be varied.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FieldValue for SweepSection {
    fn from_yaml(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::default()),
            other => other.as_mapping().cloned().map(Self),
        }
    }
    fn to_yaml(&self) -> Value {
        Value::Mapping(self.0.clone())
    }
    fn allowed() -> String {
        "a mapping {field: a list of values, or {uniform: [low, high]}}".into()
    }
}

section! {
    /// What the section says besides the fields that vary.
    pub struct SearchOptions {
        /// Combinations to be drawn.
        trials: Option<usize> = None, at_least(1.0);
        /// Which are drawn.
        search_seed: u64 = 1;
    }
}

/// A configuration with a section `sweep`, and what comes of it.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The configuration without the section.
    pub base: Resolved,
    /// What is to be trained, by its index.
    pub points: Vec<Point>,
    /// The document without the section.
    root: Value,
    source: String,
    name: Option<String>,
}

impl Sweep {
    /// Reads the configuration in `file` with `overrides` on top, and checks every point of it.
    ///
    /// # Errors
    /// A [`ConfigError`] that lists every fault, or says that there is nothing to sweep.
    pub fn load(file: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let Document { yaml, source, name } = Document::read(file)?;
        let root = root_of(&yaml, &source, overrides)?;
        Self::of(root, overrides, &source, name)
            .map_err(|faults| ConfigError { lines: describe(&faults, &yaml, &source, overrides) })
    }

    fn of(
        mut root: Value,
        overrides: &[Override],
        source: &str,
        name: Option<String>,
    ) -> Result<Self, Vec<Fault>> {
        let Reading { config, fields, mut faults } = Reading::of(&root);
        let section = config.sweep;
        faults.extend(self::faults(&section, &root, &fields, overrides));
        if !faults.is_empty() {
            return Err(faults);
        }
        let points = read(&section, &mut Vec::new()).points();
        let points =
            points.map_err(|message| vec![Fault { path: vec![SWEEP.to_owned()], message }])?;
        take_section(&mut root);
        // What contradicts itself there need not do so at any point.
        let Reading { config, fields, .. } = Reading::of(&root);
        let base = Resolved { config, fields }.named(name.clone());
        let sweep = Self { base, points, root, source: source.to_owned(), name };
        match sweep.faults() {
            faults if faults.is_empty() => Ok(sweep),
            faults => Err(faults),
        }
    }

    /// The whole configuration of a point.
    ///
    /// # Errors
    /// None for the points of this sweep, which were checked when it was loaded.
    pub fn resolve(&self, point: &Point) -> Result<Resolved, ConfigError> {
        let resolved = resolve(&self.root_of(point), &[]);
        let resolved = resolved
            .map_err(|faults| ConfigError { lines: describe(&faults, "", &self.source, &[]) })?;
        Ok(resolved.named(self.name.clone()))
    }

    fn root_of(&self, point: &Point) -> Value {
        let mut root = self.root.clone();
        for change in point.changes() {
            // One that cannot be made was found where the section was read.
            let _ = change.apply(&mut root);
        }
        root
    }

    /// What is wrong with points though every value is right by itself, each fault once.
    fn faults(&self) -> Vec<Fault> {
        let mut seen = HashSet::new();
        let mut faults = Vec::new();
        let mut trained: HashMap<u64, &Point> = HashMap::new();
        for point in &self.points {
            let found = match resolve(&self.root_of(point), &[]) {
                Ok(resolved) => match trained.insert(fingerprint_of(&resolved), point) {
                    Some(before) => vec![twice(before, point)],
                    None => Vec::new(),
                },
                Err(faults) => faults.into_iter().map(|fault| at_point(fault, point)).collect(),
            };
            for fault in found {
                let (_, what) = fault.message.split_once(": ").unwrap_or(("", &fault.message));
                if seen.insert(what.to_owned()) {
                    faults.push(fault);
                }
            }
        }
        faults
    }
}

/// A number for a configuration; it differs from that of every other one.
fn fingerprint_of(resolved: &Resolved) -> u64 {
    let mut hasher = DefaultHasher::new();
    resolved.to_yaml().hash(&mut hasher);
    hasher.finish()
}

/// Two points that are the same training: `1` and `1.0` are.
fn twice(first: &Point, second: &Point) -> Fault {
    let [first, second] = [first, second].map(Point::to_string);
    let message = format!("the same training twice: {first} and {second}");
    Fault { path: vec![SWEEP.to_owned()], message }
}

/// A fault of a point as one of the section, with what the point sets.
fn at_point(fault: Fault, point: &Point) -> Fault {
    let settings: Vec<String> = point.settings.iter().map(Override::to_string).collect();
    let (field, message) = (fault.path.join("."), fault.message);
    let message = format!(
        "at {}: {field}: {message}; sweep.cases can say which values go together",
        settings.join(" ")
    );
    Fault { path: vec![SWEEP.to_owned()], message }
}

/// Takes the section out of a document.
fn take_section(root: &mut Value) {
    if let Some(mapping) = root.as_mapping_mut() {
        mapping.shift_remove(SWEEP);
    }
}

/// What is wrong with a section by itself and with each of its values; `root` is the whole document
/// and `table` every field of it.
pub(super) fn faults(
    section: &SweepSection,
    root: &Value,
    table: &[Field],
    overrides: &[Override],
) -> Vec<Fault> {
    if section.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let search = read(section, &mut faults);
    let mut base = root.clone();
    take_section(&mut base);
    for axis in search.axes.iter().chain(&search.seeds) {
        for probe in axis.probes() {
            let wrong = probe_faults(&probe, &base, table).into_iter().map(|message| {
                match axis.key == CASES {
                    true => at(CASES, format!("{}: {message}", probe.field())),
                    false => at(&axis.key, message),
                }
            });
            let overruled = overrides.iter().filter(|set| set.concerns(&probe.path)).map(overruled);
            for fault in wrong.chain(overruled) {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
    }
    faults
}

fn at(key: &str, message: String) -> Fault {
    Fault { path: vec![SWEEP.to_owned(), key.to_owned()], message }
}

/// `--set` for a field that varies.
fn overruled(set: &Override) -> Fault {
    let message = format!(
        "the section sweep varies this field; --set 'sweep.{}=[…]' gives it other values",
        set.field()
    );
    Fault { path: set.path.clone(), message }
}

/// What is wrong with one value of one field.
fn probe_faults(probe: &Override, base: &Value, table: &[Field]) -> Vec<String> {
    if probe.path[0] == SWEEP {
        return vec!["a sweep cannot vary itself".to_owned()];
    }
    if table.iter().any(|field| field.is_section() && field.path == probe.path) {
        return vec!["is a section of fields, and one of these must be named".to_owned()];
    }
    let mut root = base.clone();
    if let Some(fault) = misplaced(probe, probe.apply(&mut root)) {
        return vec![fault.message];
    }
    let faults = Reading::of(&root).faults.into_iter();
    faults
        .filter(|fault| probe.concerns(&fault.path))
        .map(|fault| match fault.path == probe.path {
            true => fault.message,
            false => format!("{}: {}", fault.path.join("."), fault.message),
        })
        .collect()
}

/// Reads the section; what is wrong with it is added to `faults` and left out.
fn read(section: &SweepSection, faults: &mut Vec<Fault>) -> Search {
    let mut walk = Walk::default();
    let written = Value::Mapping(section.0.clone());
    let mut fields = Fields::at(vec![SWEEP.to_owned()], &written, &mut walk);
    let options = SearchOptions::read_fields(&mut fields);
    let rest = fields.rest();
    faults.append(&mut walk.faults);
    let mut search =
        Search { trials: options.trials, search_seed: options.search_seed, ..Search::default() };
    // The fields that vary, and the key in the section that says so.
    let mut varied: Vec<(Vec<String>, String)> = Vec::new();
    for (key, value) in &rest {
        let key = String::from_yaml(key).unwrap_or_else(|| found(key));
        match axis(&key, value, search.trials).and_then(|axis| without_overlap(axis, &varied)) {
            Ok(axis) => {
                varied.extend(axis.probes().into_iter().map(|set| (set.path, key.clone())));
                match sets_seed(&axis) {
                    true => search.seeds = Some(axis),
                    false => search.axes.push(axis),
                }
            }
            Err(message) => faults.push(at(&key, message)),
        }
    }
    search
}

fn axis(key: &str, written: &Value, trials: Option<usize>) -> Result<Axis, String> {
    let values = match key {
        CASES => cases(written),
        "seed" => values(SEED, written, trials),
        field => values(field, written, trials),
    }?;
    let axis = Axis { key: key.to_owned(), values };
    match key == CASES && sets_seed(&axis) {
        true => Err("seeds have a list of their own: seed: [1, 2, 3]".to_owned()),
        false => Ok(axis),
    }
}

fn sets_seed(axis: &Axis) -> bool {
    axis.probes().iter().any(|set| set.field() == SEED)
}

/// The axis, unless one before it varies the same field.
fn without_overlap(axis: Axis, varied: &[(Vec<String>, String)]) -> Result<Axis, String> {
    let probes = axis.probes();
    let taken = |(path, _): &&(Vec<String>, String)| probes.iter().any(|set| set.concerns(path));
    match varied.iter().find(taken) {
        Some((path, other)) => Err(format!("sweep.{other} varies {} already", path.join("."))),
        None => Ok(axis),
    }
}

/// The values of a field: a list, or what `trials` numbers are drawn from.
fn values(field: &str, written: &Value, trials: Option<usize>) -> Result<Values, String> {
    match written {
        Value::Sequence(values) => {
            if let Some(twice) = first_repeated(values) {
                return Err(format!("has {} twice", flow(twice)));
            }
            if values.is_empty() {
                return Err("found an empty list, allowed is a list of values".to_owned());
            }
            let choice = |value: &Value| vec![Override::new(field, value.clone())];
            Ok(Values::Listed(values.iter().map(choice).collect()))
        }
        Value::Mapping(written) if field != SEED => {
            let distribution = distribution(written)?;
            if trials.is_none() {
                return Err(
                    "draws numbers, which needs trials: N, how many combinations are to be \
                            drawn"
                        .to_owned(),
                );
            }
            Ok(Values::Drawn(field.to_owned(), distribution))
        }
        other => Err(format!("found {}, allowed is a list of values", found(other))),
    }
}

fn first_repeated(values: &[Value]) -> Option<&Value> {
    let mut seen = HashSet::new();
    values.iter().find(|value| !seen.insert(flow(value)))
}

/// A mapping of one name to two numbers.
fn distribution(written: &Mapping) -> Result<Distribution, String> {
    let names = DistributionKind::NAMED.map(|(name, _)| name).join(", ");
    let not_one = || {
        format!(
            "found a mapping, allowed is a list of values, or one of {names} with [low, high]; a \
             field in a section is named with dots, as model.lstm.units"
        )
    };
    let mut entries = written.iter();
    let (Some((name, ends)), None) = (entries.next(), entries.next()) else {
        return Err(not_one());
    };
    let named = |(known, _): &&(&str, DistributionKind)| name.as_str() == Some(*known);
    let Some((name, kind)) = DistributionKind::NAMED.iter().find(named) else {
        return Err(not_one());
    };
    let ends: Option<Vec<f64>> =
        ends.as_sequence().and_then(|ends| ends.iter().map(f64::from_yaml).collect());
    let Some([low, high]) = ends.as_deref() else {
        return Err(format!("{name} needs two numbers, [low, high]"));
    };
    let (low, high) = (*low, *high);
    // Beyond it not every whole number is one of these.
    const LARGEST: f64 = 9.0e15;
    if low >= high {
        return Err(format!("{name} needs a low below the high, found [{low}, {high}]"));
    }
    if kind.is_logarithmic() && low <= 0.0 {
        return Err(format!("{name} needs a low above 0, found {low}"));
    }
    if kind.is_whole() && [low, high].iter().any(|end| end.fract() != 0.0 || end.abs() > LARGEST) {
        return Err(format!("{name} needs two whole numbers, found [{low}, {high}]"));
    }
    Ok(Distribution { kind: *kind, low, high })
}

/// Several fields together: a list of mappings.
fn cases(written: &Value) -> Result<Values, String> {
    const ALLOWED: &str = "allowed is a list of mappings {field: value}";
    let list = match written {
        Value::Sequence(list) if !list.is_empty() => list,
        other => return Err(format!("found {}, {ALLOWED}", found(other))),
    };
    if let Some(twice) = first_repeated(list) {
        return Err(format!("has {} twice", flow(twice)));
    }
    let case = |case: &Value| {
        let Value::Mapping(fields) = case else {
            return Err(format!("found {} in the list, {ALLOWED}", found(case)));
        };
        let set = |(field, value): (&Value, &Value)| {
            let field = String::from_yaml(field).unwrap_or_else(|| found(field));
            Override::new(&field, value.clone())
        };
        Ok(fields.iter().map(set).collect())
    };
    Ok(Values::Listed(list.iter().map(case).collect::<Result<_, _>>()?))
}
