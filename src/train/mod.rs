//! The training loop and what surrounds it: schedule, early stopping and observers. What a step
//! computes is the backend's business.

pub mod observers;
pub mod schedule;
pub mod trainer;
