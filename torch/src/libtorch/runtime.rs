//! Version, threads and speed of libtorch.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::time::Instant;

use lstmtext::system::threads;
use tch::{Device, Kind, Tensor};

/// Version of libtorch.
pub fn version() -> &'static str {
    unsafe extern "C" {
        fn lstmtext_torch_version() -> *const libc::c_char;
    }
    // SAFETY: the function returns a string literal.
    let version = unsafe { CStr::from_ptr(lstmtext_torch_version()) };
    version.to_str().unwrap_or("(unknown version)")
}

/// Number of threads that libtorch uses on the CPU.
pub fn thread_count() -> usize {
    tch::get_num_threads().max(1) as usize
}

/// Measures the floating-point operations per second of a large matrix product.
pub fn multiplication_rate(device: Device) -> f64 {
    const SIZE: i64 = 1024;
    let _no_grad = tch::no_grad_guard();
    let matrix = || Tensor::ones([SIZE, SIZE], (Kind::Float, device));
    let (a, b) = (matrix(), matrix());
    let timed = |repetitions: usize| {
        let start = Instant::now();
        let mut product = a.matmul(&b);
        for _ in 1..repetitions {
            product = a.matmul(&b);
        }
        // Reading a value waits for the device.
        product.double_value(&[0, 0]);
        start.elapsed().as_secs_f64() / repetitions as f64
    };
    timed(1);
    2.0 * (SIZE as f64).powi(3) / timed(10)
}

/// Sets the number of CPU threads of libtorch and of lstmtext itself; `None` means one per core.
///
/// # Errors
/// Returns an error if the system cannot start the threads.
pub fn set_threads(count: Option<NonZeroUsize>) -> anyhow::Result<()> {
    threads::set_count(count)?;
    let count = count.map_or_else(thread_count, NonZeroUsize::get).min(threads::MAX_COUNT);
    if count != thread_count() {
        tch::set_num_threads(count as i32);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_that_tch_supports() {
        assert!(
            super::version().starts_with(lstmtext::system::torch_program::LIBTORCH_VERSION),
            "{}",
            super::version()
        );
    }
}
