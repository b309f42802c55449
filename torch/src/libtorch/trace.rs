//! Traces by libtorch's profiler.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::ensure;
use tch::Device;

use super::bindings::check;

unsafe extern "C" {
    fn lstmtext_trace_begin(cuda: bool) -> *mut libc::c_char;
    fn lstmtext_trace_end(path: *const libc::c_char) -> *mut libc::c_char;
}

/// Runs `work` and writes its operations and kernels to a new file in Chrome's trace format, which
/// Perfetto can open.
///
/// # Errors
/// Returns an error if `work` fails or the file cannot be written.
pub fn record_trace(
    path: &Path,
    device: Device,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the function takes a plain value and starts the profiler.
    check(unsafe { lstmtext_trace_begin(matches!(device, Device::Cuda(_))) })?;
    let result = work();
    // SAFETY: the path is a C string that outlives the call. The profiler was started above.
    check(unsafe { lstmtext_trace_end(file.as_ptr()) })?;
    result?;
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    ensure!(bytes > 0, "libtorch wrote no trace to \"{}\"", path.display());
    Ok(())
}
