//! Results of the functions in bindings.cpp and c10d.cpp.

use std::ffi::CStr;

use super::error::LibtorchError;

/// Converts the result of a function in bindings.cpp: null, or an error message, which is freed.
///
/// # Errors
/// Returns an error if there is a message.
pub(super) fn check(message: *mut libc::c_char) -> anyhow::Result<()> {
    match take_string(message) {
        None => Ok(()),
        Some(message) => Err(LibtorchError::new(&message).into()),
    }
}

/// Copies and frees a string that a function in bindings.cpp or c10d.cpp has allocated. Returns `None` for
/// null.
pub(super) fn take_string(string: *mut libc::c_char) -> Option<String> {
    unsafe extern "C" {
        fn lstmtext_free(message: *mut libc::c_char);
    }
    if string.is_null() {
        return None;
    }
    // SAFETY: the string is a C string that the caller owns. It is freed once, here.
    unsafe {
        let text = CStr::from_ptr(string).to_string_lossy().into_owned();
        lstmtext_free(string);
        Some(text)
    }
}
