//! Names of the files of an entry.

use anyhow::bail;

use crate::data::source::tokens_file;
use crate::data::targets::Targets;

pub const ROWS: &str = "rows.json";
pub const LABELS: &str = "labels.u32";
/// Ends of the label sets of the rows in [`LABELS`].
pub const LABEL_ENDS: &str = "label-ends.u64";
pub const PROBABILITIES: &str = "probabilities.f32";
pub const LINES: &str = "lines.u64";
pub const HASHES: &str = "keys.u128";
pub const GROUPS: &str = "groups.u32";
pub const MANIFEST: &str = "manifest.json";

/// Kind of the targets, on which the files of an entry depend.
#[derive(Clone, Copy)]
pub enum TargetKind {
    Labels,
    LabelSets,
    Probabilities,
}

impl TargetKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Labels, Self::LabelSets, Self::Probabilities];

    /// Returns the kind of the targets of a file.
    ///
    /// # Errors
    /// Returns an error if they have the probabilities of another model, which a file is read without.
    pub fn of(targets: &Targets) -> anyhow::Result<Self> {
        match targets {
            Targets::Labels(_) => Ok(Self::Labels),
            Targets::LabelSets(_) => Ok(Self::LabelSets),
            Targets::Probabilities { .. } => Ok(Self::Probabilities),
            Targets::Distilled { .. } => bail!("targets of two models cannot be cached"),
        }
    }

    /// Names of the files with the targets.
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::Labels => &[LABELS],
            Self::LabelSets => &[LABELS, LABEL_ENDS],
            Self::Probabilities => &[PROBABILITIES],
        }
    }
}

/// Returns the names of all files of an entry except the manifest, which has their hashes.
pub fn file_names(
    kind: TargetKind,
    inputs: usize,
    has_groups: bool,
) -> impl Iterator<Item = String> {
    let of_input = |input| [words_file(input), ends_file(input), tokens_file(input)];
    let arrays = [ROWS, LINES, HASHES].into_iter().chain(kind.files().iter().copied());
    let groups = has_groups.then(|| GROUPS.to_owned());
    arrays.map(str::to_owned).chain(groups).chain((0..inputs).flat_map(of_input))
}

/// Returns the name of the file with the words of an input.
pub fn words_file(input: usize) -> String {
    format!("words-{input}.json")
}

/// Returns the name of the file with the ends of the texts of an input.
pub fn ends_file(input: usize) -> String {
    format!("ends-{input}.u64")
}
