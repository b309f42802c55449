//! Methods of a search.

use crate::config::value::choice;

choice! {
    /// How the combinations of a search are found.
    pub enum SearchMethod {
        /// Every combination.
        Grid = "grid",
        /// Random combinations, each trained to the end.
        Random = "random",
        /// Random combinations, of which the better ones are trained for longer (Li et al. 2020).
        Asha = "asha",
        /// The same with combinations that resemble the better ones so far (Bergstra et al. 2011).
        Tpe = "tpe",
    }
}

impl SearchMethod {
    /// Returns true if only the better combinations are trained to the end.
    pub fn is_halving(self) -> bool {
        matches!(self, Self::Asha | Self::Tpe)
    }
}
