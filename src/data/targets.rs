//! The targets of examples: one label, a set of labels, or a probability for each label.

use crate::config::Labelling;

/// Targets of examples, all of the same kind. Labels are class indices below C.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One label per example: `[examples]`.
    Labels(Vec<u32>),
    /// Any number of labels per example.
    LabelSets(LabelSets),
    /// A probability for each class. They add up to 1, unless a text can have several labels.
    Probabilities {
        /// Number of classes, C.
        classes: usize,
        /// Probabilities, row by row: [examples, C].
        probabilities: Vec<f32>,
    },
    /// Labels, and the probabilities that another model predicts.
    Distilled {
        /// Number of classes, C.
        classes: usize,
        /// 1 for each label of an example, 0 for the other classes: [examples, C].
        labels: Vec<f32>,
        /// Probabilities of the other model: [examples, C].
        teacher: Vec<f32>,
    },
}

/// A set of labels for each example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelSets {
    /// Labels of all examples, concatenated.
    labels: Vec<u32>,
    /// End of each example in `labels`: `[examples]`.
    ends: Vec<usize>,
}

/// Target of one example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// One label.
    Label(u32),
    /// A set of labels.
    LabelSet(&'a [u32]),
    /// A probability for each class: `[C]`.
    Probabilities(&'a [f32]),
    /// Labels, and the probabilities that another model predicts.
    Distilled {
        /// 1 for each label, 0 for the other classes: `[C]`.
        labels: &'a [f32],
        /// Probabilities of the other model: `[C]`.
        teacher: &'a [f32],
    },
}

impl Target<'_> {
    /// Returns the share of a class, between 0 and 1; that of a label is 1, and that of any other class 0.
    ///
    /// # Panics
    /// Panics if there is no probability for the class.
    pub fn share(self, class: usize) -> f64 {
        let has_class = match self {
            Self::Label(label) => label as usize == class,
            Self::LabelSet(labels) => labels.contains(&(class as u32)),
            Self::Probabilities(shares) | Self::Distilled { labels: shares, .. } => {
                return f64::from(shares[class]);
            }
        };
        f64::from(u8::from(has_class))
    }

    /// Returns the label, the first one of a set, or the first one of the greatest share.
    pub fn most_probable(self) -> u32 {
        match self {
            Self::Label(label) => label,
            Self::LabelSet(labels) => labels.first().copied().unwrap_or(0),
            Self::Probabilities(shares) | Self::Distilled { labels: shares, .. } => {
                let labels = shares.iter().enumerate().rev();
                labels.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(label, _)| label as u32)
            }
        }
    }

    /// Returns the labels in ascending order. A share stands for the label that it favors: the greatest of
    /// classes that exclude each other, or each of at least one half.
    pub fn labels(self, labelling: Labelling) -> Vec<u32> {
        match (labelling, self) {
            (Labelling::One, target) => vec![target.most_probable()],
            (Labelling::Several, Self::Label(label)) => vec![label],
            (Labelling::Several, Self::LabelSet(labels)) => labels.to_vec(),
            (
                Labelling::Several,
                Self::Probabilities(shares) | Self::Distilled { labels: shares, .. },
            ) => (0..)
                .zip(shares)
                .filter(|(_, share)| **share >= 0.5)
                .map(|(label, _)| label)
                .collect(),
        }
    }

    /// Returns the share of each class: `[C]`.
    pub fn shares(self, classes: usize) -> impl Iterator<Item = f32> {
        (0..classes).map(move |class| self.share(class) as f32)
    }
}

/// A label that is not among the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLabel {
    /// Index of the first example with it.
    pub example: usize,
    /// The label.
    pub label: u32,
}

impl LabelSets {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns true if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the labels of the example at `index`.
    ///
    /// # Panics
    /// Panics if `index` is out of bounds.
    pub fn get(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.labels[start..self.ends[index]]
    }

    /// Returns the sets with these labels, concatenated, each up to one of the ends; `None` if the ends do not
    /// fit.
    pub fn from_parts(labels: Vec<u32>, ends: Vec<usize>) -> Option<Self> {
        let last = ends.last().copied().unwrap_or(0);
        (ends.is_sorted() && last == labels.len()).then_some(Self { labels, ends })
    }

    /// Labels of all examples, concatenated.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// End of each example in [`LabelSets::labels`]: `[examples]`.
    pub fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// Adds an example with these labels.
    pub fn push(&mut self, set: &[u32]) {
        self.labels.extend_from_slice(set);
        self.ends.push(self.labels.len());
    }

    /// Returns the labels of all examples in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl<'a> FromIterator<&'a [u32]> for LabelSets {
    fn from_iter<I: IntoIterator<Item = &'a [u32]>>(sets: I) -> Self {
        let mut all = Self::default();
        sets.into_iter().for_each(|set| all.push(set));
        all
    }
}

impl Targets {
    /// Number of examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.len(),
            Self::LabelSets(sets) => sets.len(),
            Self::Probabilities { classes, probabilities: rows }
            | Self::Distilled { classes, labels: rows, .. } => {
                rows.len().checked_div(*classes).unwrap_or(0)
            }
        }
    }

    /// Returns true if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the target of the example at `index`.
    ///
    /// # Panics
    /// Panics if `index` is out of bounds.
    pub fn get(&self, index: usize) -> Target<'_> {
        match self {
            Self::Labels(labels) => Target::Label(labels[index]),
            Self::LabelSets(sets) => Target::LabelSet(sets.get(index)),
            Self::Probabilities { classes, probabilities } => {
                Target::Probabilities(&probabilities[index * classes..][..*classes])
            }
            Self::Distilled { classes, labels, teacher } => Target::Distilled {
                labels: &labels[index * classes..][..*classes],
                teacher: &teacher[index * classes..][..*classes],
            },
        }
    }

    /// Returns the targets of all examples in order.
    pub fn iter(&self) -> impl Iterator<Item = Target<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Gathers the targets of the examples at `indices`.
    ///
    /// # Panics
    /// Panics if an index is out of bounds.
    pub fn select(&self, indices: &[u32]) -> Self {
        let indices = indices.iter().map(|index| *index as usize);
        match self {
            Self::Labels(labels) => Self::Labels(indices.map(|index| labels[index]).collect()),
            Self::LabelSets(sets) => {
                Self::LabelSets(indices.map(|index| sets.get(index)).collect())
            }
            Self::Probabilities { classes, probabilities } => Self::Probabilities {
                classes: *classes,
                probabilities: select_rows(probabilities, *classes, indices),
            },
            Self::Distilled { classes, labels, teacher } => Self::Distilled {
                classes: *classes,
                labels: select_rows(labels, *classes, indices.clone()),
                teacher: select_rows(teacher, *classes, indices),
            },
        }
    }

    /// Replaces labels with classes: `class_of` has the class of each label, if it is known. Classes without
    /// a label have the probability 0.
    ///
    /// # Errors
    /// Returns the first example with a label that is unknown. A label with the probability 0 counts too.
    pub fn with_classes(
        &self,
        class_of: &[Option<u32>],
        classes: usize,
    ) -> Result<Self, UnknownLabel> {
        let class = |example: usize, label: u32| {
            class_of[label as usize].ok_or(UnknownLabel { example, label })
        };
        Ok(match self {
            Self::Labels(labels) => {
                let labels = labels.iter().enumerate();
                let labels = labels.map(|(example, label)| class(example, *label));
                Self::Labels(labels.collect::<Result<_, _>>()?)
            }
            Self::LabelSets(sets) => {
                let mut all = LabelSets::default();
                for (example, set) in sets.iter().enumerate() {
                    let set = set.iter().map(|label| class(example, *label));
                    let mut set = set.collect::<Result<Vec<u32>, _>>()?;
                    set.sort_unstable();
                    all.push(&set);
                }
                Self::LabelSets(all)
            }
            Self::Probabilities { classes: labels, probabilities } => {
                let columns = (0..*labels as u32).map(|label| class(0, label));
                let columns = columns.collect::<Result<Vec<u32>, _>>()?;
                let probabilities = move_columns(probabilities, &columns, classes);
                Self::Probabilities { classes, probabilities }
            }
            Self::Distilled { classes: names, labels, teacher } => {
                let columns = (0..*names as u32).map(|label| class(0, label));
                let columns = columns.collect::<Result<Vec<u32>, _>>()?;
                let labels = move_columns(labels, &columns, classes);
                let teacher = move_columns(teacher, &columns, classes);
                Self::Distilled { classes, labels, teacher }
            }
        })
    }

    /// Returns the label of every example, or `None` if examples can have several.
    pub fn labels(&self) -> Option<&[u32]> {
        match self {
            Self::Labels(labels) => Some(labels),
            Self::LabelSets(_) | Self::Probabilities { .. } | Self::Distilled { .. } => None,
        }
    }

    /// Counts the examples of each class: `[C]`. An example with several labels counts once for
    /// each of them; probabilities are added up.
    ///
    /// # Panics
    /// Panics if a label is not below `classes`.
    pub fn class_counts(&self, classes: usize) -> Vec<f64> {
        let mut counts = vec![0.0; classes];
        match self {
            Self::Labels(labels) | Self::LabelSets(LabelSets { labels, .. }) => {
                for label in labels {
                    counts[*label as usize] += 1.0;
                }
            }
            Self::Probabilities { classes, probabilities: rows }
            | Self::Distilled { classes, labels: rows, .. } => {
                for row in rows.chunks_exact((*classes).max(1)) {
                    for (count, probability) in counts.iter_mut().zip(row) {
                        *count += f64::from(*probability);
                    }
                }
            }
        }
        counts
    }

    /// Returns integers that identify the targets, for a fingerprint. Single labels are returned
    /// unchanged; a set is preceded by its size, and probabilities by the number of classes.
    pub fn fingerprint_values(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Labels(labels) => Box::new(labels.iter().copied()),
            Self::LabelSets(sets) => Box::new(sets.iter().flat_map(|labels| {
                std::iter::once(labels.len() as u32).chain(labels.iter().copied())
            })),
            Self::Probabilities { classes, probabilities } => {
                let bits = probabilities.iter().map(|probability| probability.to_bits());
                Box::new(std::iter::once(*classes as u32).chain(bits))
            }
            Self::Distilled { classes, labels, teacher } => {
                let bits = labels.iter().chain(teacher).map(|probability| probability.to_bits());
                Box::new(std::iter::once(*classes as u32).chain(bits))
            }
        }
    }
}

/// Returns the rows of a matrix with this number of columns at these indices.
fn select_rows(values: &[f32], columns: usize, indices: impl Iterator<Item = usize>) -> Vec<f32> {
    indices.flat_map(|index| &values[index * columns..][..columns]).copied().collect()
}

/// Moves the value in each column of the rows to the column that `to` names, of `width`. Others are 0.
fn move_columns(values: &[f32], to: &[u32], width: usize) -> Vec<f32> {
    let rows = values.chunks_exact(to.len().max(1));
    let mut moved = vec![0.0; rows.len() * width];
    for (row, values) in moved.chunks_exact_mut(width.max(1)).zip(rows) {
        to.iter().zip(values).for_each(|(column, value)| row[*column as usize] = *value);
    }
    moved
}

impl Default for Targets {
    fn default() -> Self {
        Self::Labels(Vec::new())
    }
}

impl From<Vec<u32>> for Targets {
    fn from(labels: Vec<u32>) -> Self {
        Self::Labels(labels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: usize = 3;

    fn any_targets() -> impl Strategy<Value = Targets> {
        let label = 0..CLASSES as u32;
        let sets = prop::collection::vec(prop::collection::vec(label.clone(), 0..3), 0..20);
        let rows = prop::collection::vec(prop::array::uniform3(0.0_f32..1.0), 0..20);
        prop_oneof![
            prop::collection::vec(label, 0..20).prop_map(Targets::Labels),
            sets.prop_map(|sets| { Targets::LabelSets(sets.iter().map(Vec::as_slice).collect()) }),
            rows.clone().prop_map(|rows| Targets::Probabilities {
                classes: CLASSES,
                probabilities: rows.concat(),
            }),
            rows.prop_map(|rows| Targets::Distilled {
                classes: CLASSES,
                labels: rows.iter().flatten().map(|value| value.round()).collect(),
                teacher: rows.concat(),
            }),
        ]
    }

    #[test]
    fn shares_stand_for_the_labels_that_they_favor() {
        let soft = Target::Probabilities(&[0.5, 0.2, 0.5]);
        let distilled = Target::Distilled { labels: &[0.0, 1.0, 0.0], teacher: &[0.5, 0.2, 0.3] };
        assert_eq!(soft.labels(Labelling::One), [0]);
        assert_eq!(soft.labels(Labelling::Several), [0, 2]);
        assert_eq!((soft.most_probable(), distilled.most_probable()), (0, 1));
        assert_eq!(distilled.labels(Labelling::Several), [1]);
        assert_eq!(Target::LabelSet(&[]).labels(Labelling::Several), [0_u32; 0]);
        assert_eq!(Target::LabelSet(&[0, 2]).shares(3).collect::<Vec<_>>(), [1.0, 0.0, 1.0]);
    }

    fn label_sets() -> Targets {
        Targets::LabelSets([&[0, 2][..], &[], &[1]].into_iter().collect())
    }

    fn distributions() -> Targets {
        Targets::Probabilities { classes: 2, probabilities: vec![0.25, 0.75, 1.0, 0.0] }
    }

    #[test]
    fn a_single_label_is_returned_for_each_example() {
        let targets = Targets::from(vec![2, 0, 2]);
        assert_eq!((targets.len(), targets.get(0)), (3, Target::Label(2)));
        assert_eq!(targets.labels(), Some(&[2, 0, 2][..]));
        assert_eq!(targets.class_counts(4), [1.0, 0.0, 2.0, 0.0]);
        assert_eq!(targets.select(&[1, 1, 2]), Targets::Labels(vec![0, 0, 2]));
        assert!(Targets::default().is_empty());
    }

    #[test]
    fn label_sets_may_be_empty() {
        let targets = label_sets();
        assert_eq!(targets.len(), 3);
        assert_eq!(targets.get(0), Target::LabelSet(&[0, 2]));
        assert_eq!(targets.get(1), Target::LabelSet(&[]));
        assert_eq!(targets.labels(), None);
        assert_eq!(targets.class_counts(3), [1.0, 1.0, 1.0]);
        assert_eq!(
            targets.select(&[2, 0]),
            Targets::LabelSets([&[1][..], &[0, 2]].into_iter().collect())
        );
    }

    #[test]
    fn distributions_are_rows_of_probabilities() {
        let targets = distributions();
        assert_eq!(targets.len(), 2);
        assert_eq!(targets.get(1), Target::Probabilities(&[1.0, 0.0]));
        assert_eq!(targets.labels(), None);
        assert_eq!(targets.class_counts(2), [1.25, 0.75]);
        let reversed =
            Targets::Probabilities { classes: 2, probabilities: vec![1.0, 0.0, 0.25, 0.75] };
        assert_eq!(targets.select(&[1, 0]), reversed);
        let none = Targets::Probabilities { classes: 0, probabilities: Vec::new() };
        assert!(none.is_empty() && none.class_counts(2) == [0.0, 0.0]);
    }

    #[test]
    fn labels_become_classes_in_their_order() {
        let class_of = [Some(2), Some(0)];
        let classes = |targets: Targets| targets.with_classes(&class_of, 3).unwrap();
        assert_eq!(classes(vec![0, 1].into()), Targets::Labels(vec![2, 0]));
        let sets = |sets: &[&[u32]]| Targets::LabelSets(sets.iter().copied().collect());
        assert_eq!(classes(sets(&[&[0, 1], &[], &[0]])), sets(&[&[0, 2], &[], &[2]]));
        let (moved, rows) = (vec![0.75, 0.0, 0.25, 0.0, 0.0, 1.0], vec![0.25, 0.75, 1.0, 0.0]);
        let probabilities = moved.clone();
        assert_eq!(classes(distributions()), Targets::Probabilities { classes: 3, probabilities });
        let distilled = |classes, rows: &Vec<f32>| Targets::Distilled {
            classes,
            labels: rows.clone(),
            teacher: rows.clone(),
        };
        assert_eq!(classes(distilled(2, &rows)), distilled(3, &moved));
        let unknown = |example| Err(UnknownLabel { example, label: 1 });
        let class_of = [Some(0), None];
        assert_eq!(Targets::Labels(vec![0, 1]).with_classes(&class_of, 1), unknown(1));
        assert_eq!(sets(&[&[0], &[], &[0, 1]]).with_classes(&class_of, 1), unknown(2));
        assert_eq!(distributions().with_classes(&class_of, 1), unknown(0));
    }

    #[test]
    fn fingerprints_of_single_labels_are_the_labels() {
        let values = |targets: &Targets| targets.fingerprint_values().collect::<Vec<_>>();
        assert_eq!(values(&Targets::Labels(vec![1, 0])), [1, 0]);
        assert_eq!(values(&label_sets()), [2, 0, 2, 0, 1, 1]);
        assert_eq!(values(&distributions())[..2], [2, 0.25_f32.to_bits()]);
    }

    proptest! {
        #[test]
        fn selected_targets_equal_those_at_the_indices(
            targets in any_targets(),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let all: Vec<u32> = (0..targets.len() as u32).collect();
            prop_assert_eq!(&targets.select(&all), &targets);
            prop_assert_eq!(targets.iter().count(), targets.len());
            prop_assume!(!targets.is_empty());
            let indices: Vec<u32> =
                picks.iter().map(|pick| pick.index(targets.len()) as u32).collect();
            let selected = targets.select(&indices);
            prop_assert_eq!(selected.len(), indices.len());
            for (position, index) in indices.iter().enumerate() {
                prop_assert_eq!(selected.get(position), targets.get(*index as usize));
            }
        }

        #[test]
        fn class_counts_add_up_over_the_examples(targets in any_targets()) {
            let mut sum = vec![0.0; CLASSES];
            for index in 0..targets.len() as u32 {
                let counts = targets.select(&[index]).class_counts(CLASSES);
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            let counts = targets.class_counts(CLASSES);
            for (count, sum) in counts.iter().zip(sum) {
                prop_assert!((count - sum).abs() < 1e-9);
            }
        }

        #[test]
        fn fingerprints_differ_if_targets_of_a_kind_differ(
            first in any_targets(),
            second in any_targets(),
        ) {
            if std::mem::discriminant(&first) == std::mem::discriminant(&second) {
                let equal = first.fingerprint_values().eq(second.fingerprint_values());
                prop_assert_eq!(equal, first == second);
            }
        }
    }
}
