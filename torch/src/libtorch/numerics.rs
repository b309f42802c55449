//! How CUDA devices compute, a matter of the whole process.

use lstmtext::config::{Config, Precision};

use super::fused::result_of;

unsafe extern "C" {
    fn lstmtext_set_numerics(tf32: bool, deterministic: bool) -> *mut libc::c_char;
}

/// What `precision` and `deterministic` of a configuration mean for libtorch as a whole. On the CPU
/// neither changes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numerics {
    tf32: bool,
    deterministic: bool,
}

impl Numerics {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let tf32 = config.precision == Precision::Tf32;
        Self { tf32, deterministic: config.deterministic }
    }

    /// Lets libtorch compute so until others are set.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn set(self) -> anyhow::Result<()> {
        // SAFETY: the function takes plain values and sets switches of libtorch's.
        result_of(unsafe { lstmtext_set_numerics(self.tf32, self.deterministic) })
    }
}
