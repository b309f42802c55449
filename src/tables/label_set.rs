//! Sets of labels in the cells of a table.

use crate::config::DataConfig;

/// Separator of labels that are read from other columns.
const SEPARATOR: &str = ", ";

/// Returns the separator of the labels of a text: that of the data, with which they can be read again.
pub fn label_separator(data: &DataConfig) -> &str {
    data.label_separator.as_deref().unwrap_or(SEPARATOR)
}
