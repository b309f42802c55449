//! Models in the formats of other programs. Computing with models and the formats of this program don't
//! belong here.

pub mod keras;
pub mod numpy;
pub mod pytorch;
