//! How CUDA devices compute, a matter of the whole process.

use crate::config::{Config, Precision};

use super::fused::result_of;

unsafe extern "C" {
    fn lstmtext_set_numerics(tf32: bool, deterministic: bool) -> *mut libc::c_char;
}

/// Lets libtorch compute as `precision` and `deterministic` of the configuration say, until this is
/// called again. On the CPU neither changes a number.
///
/// # Errors
/// libtorch's own.
pub fn set_numerics(config: &Config) -> anyhow::Result<()> {
    let tf32 = config.precision == Precision::Tf32;
    // SAFETY: the function takes plain values and sets switches of libtorch's.
    result_of(unsafe { lstmtext_set_numerics(tf32, config.deterministic) })
}
