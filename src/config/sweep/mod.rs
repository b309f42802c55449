//! The section `sweep`: checks it, and generates the points of a search. Training and ranking of the
//! runs do not belong here but in [`crate::sweep`].

mod method;
mod search;
pub(super) mod section;

pub use method::SearchMethod;
pub(super) use search::Search;
pub use search::{Axis, Point};
