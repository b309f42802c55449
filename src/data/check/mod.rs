//! The check of the data before training: what in it makes a model learn less, or score better, than its user
//! may expect. Rows that cannot be read at all are errors of the formats.

pub mod duplicates;
mod groups;
mod leakage;
pub mod report;
pub mod splits;
pub mod texts;
