//! The section `sweep`: checks it, and generates the points of a search. Training and ranking of the
//! runs do not belong here but in [`crate::sweep`].

mod search;
pub(super) mod section;

pub use search::Point;
