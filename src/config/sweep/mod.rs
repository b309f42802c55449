//! The section `sweep`: reads and checks it, and generates the points of a search. Training and
//! ranking of the runs do not belong here but in [`crate::sweep`].

mod load;
mod search;
pub(super) mod section;

pub use load::Sweep;
pub use search::Point;
