//! Communication between the processes that train a model together.

/// A group of processes that train a model together. Each computes the gradient of its part of a batch.
///
/// All processes must call the same methods in the same order, with buffers of the same length.
pub trait Collective: Send + Sync {
    /// Returns the rank of this process, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of processes.
    fn size(&self) -> usize;

    /// Replaces each value with its sum over all processes (all-reduce). The values are added in rank
    /// order, so that every process gets the same bits.
    ///
    /// # Errors
    /// Returns an error if another process has failed or does not respond in time.
    fn sum(&self, values: &mut [f32]) -> anyhow::Result<()>;

    /// Does the same as [`Collective::sum`], in double precision.
    ///
    /// # Errors
    /// Returns an error if another process has failed or does not respond in time.
    fn sum_f64(&self, values: &mut [f64]) -> anyhow::Result<()>;

    /// Replaces the values with those of rank 0.
    ///
    /// # Errors
    /// Returns an error if another process has failed or does not respond in time.
    fn broadcast(&self, values: &mut [f32]) -> anyhow::Result<()>;
}

/// A group with a single process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SingleProcess;

impl Collective for SingleProcess {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _: &mut [f32]) -> anyhow::Result<()> {
        Ok(())
    }

    fn sum_f64(&self, _: &mut [f64]) -> anyhow::Result<()> {
        Ok(())
    }

    fn broadcast(&self, _: &mut [f32]) -> anyhow::Result<()> {
        Ok(())
    }
}
