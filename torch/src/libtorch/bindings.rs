//! Results of the functions in bindings.cpp.

use std::ffi::CStr;

use super::error::LibtorchError;

unsafe extern "C" {
    fn lstmtext_free(message: *mut libc::c_char);
}

/// Converts the result of a function in bindings.cpp: null, or an error message, which is freed.
///
/// # Errors
/// Returns an error if there is a message.
pub(super) fn check(message: *mut libc::c_char) -> anyhow::Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: the message is a C string that the caller owns. It is freed once, here.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        lstmtext_free(message);
        text
    };
    Err(LibtorchError::new(&text).into())
}
