//! What libtorch does and when, by its own profiler.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::ensure;
use tch::Device;

use super::fused::result_of;

unsafe extern "C" {
    fn lstmtext_trace_begin(cuda: bool) -> *mut libc::c_char;
    fn lstmtext_trace_end(path: *const libc::c_char) -> *mut libc::c_char;
}

/// Does `work` and writes every operation and kernel of it to a new file in Chrome's trace format,
/// which Perfetto shows.
///
/// # Errors
/// The work's own, or where the file cannot be written.
pub fn traced(
    path: &Path,
    device: Device,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let file = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the function takes a plain value and starts libtorch's profiler.
    result_of(unsafe { lstmtext_trace_begin(matches!(device, Device::Cuda(_))) })?;
    let worked = work();
    // SAFETY: the path is a C string that outlives the call; the profiler was started above.
    result_of(unsafe { lstmtext_trace_end(file.as_ptr()) })?;
    worked?;
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    ensure!(bytes > 0, "libtorch wrote no trace to \"{}\"", path.display());
    Ok(())
}
