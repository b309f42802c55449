//! Search for better settings within a time: trials that are promising train for longer (successive halving), and
//! new ones resemble the better ones (TPE). Commands and processes do not belong here but in [`crate::cli`].

mod ask;
mod default_space;
mod directory;
mod halving;
mod importance;
mod journal;
mod leaderboard;
mod limits;
mod results;
mod space;
mod tpe;
mod trials;

pub use ask::{Asked, Assignment};
pub use default_space::{DataFacts, default_fields};
pub use directory::{TuneDirectory, trial_name};
pub use halving::Rungs;
pub use importance::Importance;
pub use journal::{Event, RungResult};
pub use leaderboard::{Leaderboard, Row};
pub use limits::Limits;
pub use trials::{Trial, Trials};
