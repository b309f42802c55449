//! Reads the section `sweep` and checks its values.

use std::collections::{HashMap, HashSet};

use serde_yaml::{Mapping, Value};

use super::method::SearchMethod;
use super::search::{Axis, Distribution, DistributionKind, MAX_POINTS, Search, Values};
use crate::config::draft::{self, Draft};
use crate::config::fields::{Collector, Fault, Field, SectionReader, found, section};
use crate::config::overrides::Override;
use crate::config::print::inline_yaml;
use crate::config::schema::{CASES, SWEEP};
use crate::config::types::{SweepSection, TimeBudget};
use crate::config::value::{FieldValue, above, at_least};

/// The field that the key `seed` stands for.
const SEED: &str = "train.seed";

section! {
    /// The options of the section, which are not fields that vary.
    pub struct SearchOptions {
        /// Number of random combinations.
        trials: Option<usize> = None, at_least(1.0);
        /// Random seed of the combinations.
        search_seed: u64 = 1;
        /// How the combinations are found. null: random with trials, and grid without.
        method: Option<SearchMethod> = None;
        /// Time after which no more is trained.
        budget: Option<TimeBudget> = None;
    }
}

/// Removes the section from a document.
pub fn remove(root: &mut Value) {
    if let Some(mapping) = root.as_mapping_mut() {
        mapping.shift_remove(SWEEP);
    }
}

/// Returns the faults of a section and of each of its values. `root` is the whole document, `fields`
/// are all its fields.
pub fn faults(
    section: &SweepSection,
    root: &Value,
    fields: &[Field],
    overrides: &[Override],
) -> Vec<Fault> {
    if section.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let search = read(section, &mut faults);
    let mut base = root.clone();
    remove(&mut base);
    let axes = || search.axes.iter().chain(&search.seeds);
    let values: usize = axes().map(|axis| axis.probes().len()).sum();
    if values > MAX_POINTS {
        let message = format!("lists {values} values; the maximum is {MAX_POINTS}");
        return vec![fault(message)];
    }
    let mut seen = HashSet::new();
    for axis in axes() {
        for probe in axis.probes() {
            let wrong = probe_faults(&probe, &base, fields).into_iter().map(|message| {
                match axis.key == CASES {
                    true => fault_at(CASES, format!("{}: {message}", probe.field())),
                    false => fault_at(&axis.key, message),
                }
            });
            let overridden =
                overrides.iter().filter(|set| set.overlaps(&probe.path)).map(overridden_fault);
            faults.extend(wrong.chain(overridden).filter(|fault| seen.insert(fault.clone())));
        }
    }
    faults
}

/// A fault of the section as a whole.
pub fn fault(message: String) -> Fault {
    Fault { path: vec![SWEEP.to_owned()], message }
}

/// A fault of the value of a key.
pub fn fault_at(key: &str, message: String) -> Fault {
    Fault { path: vec![SWEEP.to_owned(), key.to_owned()], message }
}

/// The fault of a `--set` for a field that varies.
fn overridden_fault(set: &Override) -> Fault {
    let message = format!(
        "the section sweep varies this field; change its values with --set 'sweep.{}=[…]'",
        set.field()
    );
    Fault { path: set.path.clone(), message }
}

/// Returns the faults of one value of one field.
fn probe_faults(probe: &Override, base: &Value, fields: &[Field]) -> Vec<String> {
    if probe.path[0] == SWEEP {
        return vec!["a sweep cannot vary the section sweep".to_owned()];
    }
    if fields.iter().any(|field| field.is_section() && field.path == probe.path) {
        return vec!["is a section; name one of its fields".to_owned()];
    }
    let mut root = relevant(base, &probe.path, fields);
    if let Some(fault) = draft::apply(probe, &mut root) {
        return vec![fault.message];
    }
    let faults = Draft::read(&root).faults.into_iter();
    faults
        .filter(|fault| probe.overlaps(&fault.path))
        .map(|fault| match fault.path == probe.path {
            true => fault.message,
            false => format!("{}: {}", fault.path.join("."), fault.message),
        })
        .collect()
}

/// Returns the values of `base` on which the validity of the field at `path` depends. A field of an
/// input inherits from other sections, and one within a mapping is a part of it.
fn relevant(base: &Value, path: &[String], fields: &[Field]) -> Value {
    let is_within = |field: &&Field| !field.is_section() && path.starts_with(&field.path);
    if path[0] == "inputs" {
        return base.clone();
    }
    let mut relevant = Value::Null;
    if let Some(Field { path, .. }) = fields.iter().find(is_within)
        && let Some(value) = path.iter().try_fold(base, |value, name| value.get(name))
    {
        // Nothing is in the way of the first value.
        let _ = Override::new(&path.join("."), value.clone()).apply(&mut relevant);
    }
    relevant
}

/// Reads the section. Adds its faults to `faults` and skips what is faulty.
pub fn read(section: &SweepSection, faults: &mut Vec<Fault>) -> Search {
    let mut collector = Collector::default();
    let written = section.to_yaml();
    let mut reader = SectionReader::at(vec![SWEEP.to_owned()], &written, &mut collector);
    let options = SearchOptions::read_fields(&mut reader);
    let rest = reader.rest();
    faults.append(&mut collector.faults);
    let SearchOptions { trials, search_seed, method, budget } = options;
    let mut search = Search { trials, search_seed, method, budget, ..Search::default() };
    let draws = trials.is_some() || search.is_adaptive();
    faults.extend(search.option_faults().into_iter().map(|(key, message)| fault_at(key, message)));
    let mut varied = Varied::default();
    for (key, value) in &rest {
        let key = String::from_yaml(key).unwrap_or_else(|| found(key));
        match axis(&key, value, draws).and_then(|axis| varied.add(axis)) {
            Ok(axis) if sets_seed(&axis) => search.seeds = Some(axis),
            Ok(axis) => search.axes.push(axis),
            Err(message) => faults.push(fault_at(&key, message)),
        }
    }
    search
}

fn axis(key: &str, written: &Value, draws: bool) -> Result<Axis, String> {
    let values = match key {
        CASES => cases(written),
        "seed" => values(SEED, written, draws),
        field => values(field, written, draws),
    }?;
    let axis = Axis { key: key.to_owned(), values };
    match key == CASES && sets_seed(&axis) {
        true => Err("a case cannot set train.seed; list the seeds, as in seed: [1, 2, 3]".into()),
        false => Ok(axis),
    }
}

fn sets_seed(axis: &Axis) -> bool {
    axis.probes().iter().any(|set| set.field() == SEED)
}

/// The fields that vary and their parents, each with its key in the section.
#[derive(Default)]
struct Varied {
    fields: HashMap<Vec<String>, String>,
    parents: HashMap<Vec<String>, String>,
}

impl Varied {
    /// Adds the fields of an axis. Returns an error if a previous axis varies one of them.
    fn add(&mut self, axis: Axis) -> Result<Axis, String> {
        let paths: HashSet<Vec<String>> = axis.probes().into_iter().map(|set| set.path).collect();
        for path in &paths {
            let above = (1..=path.len()).find_map(|end| self.fields.get(&path[..end]));
            if let Some(other) = above.or_else(|| self.parents.get(path)) {
                return Err(format!("sweep.{other} already varies {}", path.join(".")));
            }
        }
        for path in paths {
            for end in 1..path.len() {
                self.parents.insert(path[..end].to_owned(), axis.key.clone());
            }
            self.fields.insert(path, axis.key.clone());
        }
        Ok(axis)
    }
}

/// Reads the values of a field: a list or, if combinations are drawn, a distribution.
fn values(field: &str, written: &Value, draws: bool) -> Result<Values, String> {
    match written {
        Value::Sequence(values) => {
            if let Some(duplicate) = first_duplicate(values) {
                return Err(format!("lists {} twice", inline_yaml(duplicate)));
            }
            if values.is_empty() {
                return Err("found an empty list, expected at least one value".to_owned());
            }
            let choice = |value: &Value| vec![Override::new(field, value.clone())];
            Ok(Values::List(values.iter().map(choice).collect()))
        }
        Value::Mapping(written) if field != SEED => {
            let distribution = distribution(written)?;
            if !draws {
                return Err(
                    "random values need trials: N, the number of combinations to draw".to_owned()
                );
            }
            Ok(Values::Distribution(field.to_owned(), distribution))
        }
        other => Err(format!("found {}, expected a list of values", found(other))),
    }
}

fn first_duplicate(values: &[Value]) -> Option<&Value> {
    let mut seen = HashSet::new();
    values.iter().find(|value| !seen.insert(inline_yaml(value)))
}

/// Reads a distribution, such as `{uniform: [low, high]}`.
fn distribution(written: &Mapping) -> Result<Distribution, String> {
    let names = DistributionKind::NAMED.map(|(name, _)| name).join(", ");
    let no_distribution = || {
        format!(
            "found a mapping, expected a list of values or {{NAME: [low, high]}}, where NAME is one \
             of {names}; fields of sections are named with dots, as in model.lstm.units"
        )
    };
    let mut entries = written.iter();
    let (Some((name, ends)), None) = (entries.next(), entries.next()) else {
        return Err(no_distribution());
    };
    let is_named = |(each, _): &&(&str, DistributionKind)| name.as_str() == Some(*each);
    let Some((name, kind)) = DistributionKind::NAMED.iter().find(is_named) else {
        return Err(no_distribution());
    };
    let ends: Option<Vec<f64>> =
        ends.as_sequence().and_then(|ends| ends.iter().map(f64::from_yaml).collect());
    let Some([low, high]) = ends.as_deref() else {
        return Err(format!("{name} needs two numbers, [low, high]"));
    };
    let (low, high) = (*low, *high);
    // Larger integers are not all representable as f64.
    const MAX_INTEGER: f64 = 9.0e15;
    if low >= high {
        return Err(format!("{name} needs low < high, found [{low}, {high}]"));
    }
    if kind.is_logarithmic() && !above(0.0).contains(low) {
        return Err(format!("{name} needs low > 0, found {}", inline_yaml(&low.to_yaml())));
    }
    let is_integer = |end: &f64| end.fract() == 0.0 && end.abs() <= MAX_INTEGER;
    if kind.is_integer() && ![low, high].iter().all(is_integer) {
        return Err(format!("{name} needs two integers, found [{low}, {high}]"));
    }
    Ok(Distribution { kind: *kind, low, high })
}

/// Reads fields that vary together: a list of mappings.
fn cases(written: &Value) -> Result<Values, String> {
    const EXPECTED: &str = "expected a list of mappings {field: value}";
    let list = match written {
        Value::Sequence(list) if !list.is_empty() => list,
        other => return Err(format!("found {}, {EXPECTED}", found(other))),
    };
    if let Some(duplicate) = first_duplicate(list) {
        return Err(format!("lists {} twice", inline_yaml(duplicate)));
    }
    let case = |case: &Value| {
        let Value::Mapping(fields) = case else {
            return Err(format!("found {} in the list, {EXPECTED}", found(case)));
        };
        let set = |(field, value): (&Value, &Value)| {
            let field = String::from_yaml(field).unwrap_or_else(|| found(field));
            Override::new(&field, value.clone())
        };
        Ok(fields.iter().map(set).collect())
    };
    Ok(Values::List(list.iter().map(case).collect::<Result<_, _>>()?))
}
