//! Bounds of the numbers in the files of a run.

/// Maximum number of steps, examples or tokens of a run, far more than any run reaches.
pub(super) const MAX_COUNT: u64 = 1 << 53;

/// Returns false if no run has a step with this number.
pub(super) fn is_plausible_step(step: u64) -> bool {
    step <= MAX_COUNT
}

/// Returns false if a number cannot be a duration in seconds, or a rate.
pub(super) fn is_plausible_duration(seconds: f64) -> bool {
    seconds.is_finite() && seconds >= 0.0
}
