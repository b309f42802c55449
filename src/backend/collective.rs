//! Sums over the processes that train one model together.

/// A group of processes, each of which computes the gradient of its share of every batch.
///
/// All processes call the same methods in the same order, with buffers of the same length.
pub trait Collective: Send + Sync {
    /// Number of this process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// Replaces each value by its sum over all processes, added in the order of their ranks; every
    /// process gets the same bits.
    ///
    /// # Errors
    /// Returns an error if another process is lost or late.
    fn sum(&self, values: &mut [f32]) -> anyhow::Result<()>;

    /// [`Collective::sum`] in double precision.
    ///
    /// # Errors
    /// Returns an error if another process is lost or late.
    fn sum_f64(&self, values: &mut [f64]) -> anyhow::Result<()>;

    /// Replaces the values by those of process 0.
    ///
    /// # Errors
    /// Returns an error if another process is lost or late.
    fn broadcast(&self, values: &mut [f32]) -> anyhow::Result<()>;
}

/// The group of a process that trains alone.
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
