//! Process-wide settings of libtorch's CUDA kernels.

use lstmtext::config::{Config, Precision};

use super::bindings::check;

unsafe extern "C" {
    fn lstmtext_set_numerics(tf32: bool, deterministic: bool) -> *mut libc::c_char;
}

/// TF32 and determinism. Neither changes results on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numerics {
    tf32: bool,
    deterministic: bool,
}

impl Numerics {
    /// Returns the settings for `precision` and `deterministic` of a configuration.
    pub fn new(config: &Config) -> Self {
        let tf32 = config.precision == Precision::Tf32;
        Self { tf32, deterministic: config.deterministic }
    }

    /// Applies the settings to the whole process.
    ///
    /// # Errors
    /// Returns an error if libtorch rejects the settings.
    pub fn apply(self) -> anyhow::Result<()> {
        // SAFETY: the function takes plain values and changes settings of libtorch.
        check(unsafe { lstmtext_set_numerics(self.tf32, self.deterministic) })
    }
}
