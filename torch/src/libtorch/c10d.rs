//! c10d, the part of libtorch that connects processes, as far as c10d.cpp binds it.

use std::error::Error;
use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::ptr::{self, NonNull};
use std::time::Duration;

use anyhow::{Context, ensure};
use tch::{Device, Tensor};

use super::bindings::take_string;

/// An error of c10d, Gloo or NCCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct C10dError {
    message: String,
}

impl C10dError {
    /// Creates an error from the message of an exception: its first line without places in source code, and
    /// the cause that NCCL adds.
    fn new(message: &str) -> Self {
        let mut parts = message.lines().next().unwrap_or_default().split('[');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match part.split_once(']') {
                Some((location, rest)) if location.contains('/') => text += rest.trim_start(),
                _ => text.extend(["[", part]),
            }
        }
        let cause = message.split_once("Last error:").map(|(_, cause)| cause.trim_start());
        if let Some(cause) = cause.and_then(|cause| cause.lines().next()) {
            text.extend([": ", cause]);
        }
        Self { message: text.trim().trim_end_matches('.').to_owned() }
    }
}

impl fmt::Display for C10dError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for C10dError {}

/// Converts the result of a function in c10d.cpp: null, or an error message, which is freed.
///
/// # Errors
/// Returns a [`C10dError`] if there is a message.
fn check(message: *mut c_char) -> anyhow::Result<()> {
    match take_string(message) {
        None => Ok(()),
        Some(message) => Err(C10dError::new(&message).into()),
    }
}

/// A store of c10d.
#[repr(C)]
struct RawStore {
    _private: [u8; 0],
}

/// A group of processes of c10d.
#[repr(C)]
struct RawGroup {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn lstmtext_store_connect(
        host: *const c_char,
        port: u16,
        serves: bool,
        prefix: *const c_char,
        timeout: i64,
        store: *mut *mut RawStore,
    ) -> *mut c_char;
    fn lstmtext_store_set(
        store: *mut RawStore,
        key: *const c_char,
        value: *const c_char,
    ) -> *mut c_char;
    fn lstmtext_store_get(
        store: *mut RawStore,
        key: *const c_char,
        timeout: i64,
        value: *mut *mut c_char,
    ) -> *mut c_char;
    fn lstmtext_store_free(store: *mut RawStore);
    fn lstmtext_group_connect(
        store: *mut RawStore,
        rank: c_int,
        size: c_int,
        address: *const c_char,
        timeout: i64,
        group: *mut *mut RawGroup,
    ) -> *mut c_char;
    fn lstmtext_group_sum(group: *mut RawGroup, values: *mut f32, count: usize) -> *mut c_char;
    fn lstmtext_group_sum_f64(group: *mut RawGroup, values: *mut f64, count: usize) -> *mut c_char;
    fn lstmtext_group_sum_cpu(
        group: *mut RawGroup,
        tensor: *const torch_sys::C_tensor,
    ) -> *mut c_char;
    fn lstmtext_group_connect_cuda(group: *mut RawGroup) -> *mut c_char;
    fn lstmtext_group_sum_cuda(
        group: *mut RawGroup,
        tensor: *const torch_sys::C_tensor,
    ) -> *mut c_char;
    fn lstmtext_group_broadcast(group: *mut RawGroup, bytes: *mut u8, count: usize) -> *mut c_char;
    fn lstmtext_group_gather(
        group: *mut RawGroup,
        own: *const u8,
        count: usize,
        all: *mut u8,
    ) -> *mut c_char;
    fn lstmtext_group_exchange(
        group: *mut RawGroup,
        sent: *const f32,
        sent_counts: *const i64,
        received: *mut f32,
        received_counts: *const i64,
    ) -> *mut c_char;
    fn lstmtext_group_leave(group: *mut RawGroup, is_lost: bool);
}

/// A key-value store that all processes share (TCPStore).
#[derive(Debug)]
pub struct Store {
    raw: NonNull<RawStore>,
}

impl Store {
    /// Connects to the store at an address, and serves it if `serves` is true. Keys are private to the
    /// processes with the same prefix.
    ///
    /// # Errors
    /// Returns an error if nothing answers within `timeout`, or if the port is in use.
    pub fn connect(
        host: &str,
        port: u16,
        serves: bool,
        prefix: &str,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let (host, prefix) = (CString::new(host)?, CString::new(prefix)?);
        let (host, prefix) = (host.as_ptr(), prefix.as_ptr());
        let mut store = ptr::null_mut();
        // SAFETY: the strings outlive the call, which writes `store` unless it fails.
        check(unsafe {
            lstmtext_store_connect(host, port, serves, prefix, milliseconds(timeout), &mut store)
        })?;
        Ok(Self { raw: NonNull::new(store).context("c10d returned no store")? })
    }

    /// Sets a key for all processes.
    ///
    /// # Errors
    /// Returns an error if the store does not respond.
    pub fn set(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let (key, value) = (CString::new(key)?, CString::new(value)?);
        // SAFETY: the store exists until it is dropped, and the strings outlive the call.
        check(unsafe { lstmtext_store_set(self.raw.as_ptr(), key.as_ptr(), value.as_ptr()) })
    }

    /// Waits until a process has set the key, and returns its value.
    ///
    /// # Errors
    /// Returns an error if no process sets the key within `timeout`.
    pub fn get(&self, key: &str, timeout: Duration) -> anyhow::Result<String> {
        let key = CString::new(key)?;
        let (store, timeout) = (self.raw.as_ptr(), milliseconds(timeout));
        let mut value = ptr::null_mut();
        // SAFETY: the store exists until it is dropped, and the key outlives the call, which writes a new
        // C string to `value` unless it fails.
        check(unsafe { lstmtext_store_get(store, key.as_ptr(), timeout, &mut value) })?;
        take_string(value).context("c10d returned no value")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the store was created by `connect` and is freed only here.
        unsafe { lstmtext_store_free(self.raw.as_ptr()) };
    }
}

// SAFETY: c10d does not tie a store to a thread.
unsafe impl Send for Store {}

/// A group of processes: Gloo, and NCCL once it is needed. Every process calls the same methods in the same
/// order. A mismatch of lengths between processes ends them.
#[derive(Debug)]
pub struct Group {
    raw: NonNull<RawGroup>,
    size: usize,
    /// True after a failure, when leaving must not wait for the others.
    pub is_lost: bool,
}

// SAFETY: the group is used by one thread at a time, and c10d does not tie it to a thread.
unsafe impl Send for Group {}

impl Group {
    /// Connects to all other processes. `address` is that of this process; if it is `None`, Gloo uses
    /// GLOO_SOCKET_IFNAME or the address of the host name. A process that does not respond for `timeout`
    /// counts as lost.
    ///
    /// # Errors
    /// Returns an error if a process cannot be reached.
    pub fn connect(
        store: &Store,
        rank: usize,
        size: usize,
        address: Option<&str>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let address = address.map(CString::new).transpose()?;
        let address = address.as_ref().map_or(ptr::null(), |address| address.as_ptr());
        let (c_rank, c_size) = (c_int::try_from(rank)?, c_int::try_from(size)?);
        let timeout = milliseconds(timeout);
        let mut group = ptr::null_mut();
        // SAFETY: the store and the string outlive the call, which writes `group` unless it fails.
        check(unsafe {
            let store = store.raw.as_ptr();
            lstmtext_group_connect(store, c_rank, c_size, address, timeout, &mut group)
        })?;
        let raw = NonNull::new(group).context("c10d returned no group")?;
        Ok(Self { raw, size, is_lost: false })
    }

    /// Replaces the values by their sums.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn sum(&mut self, values: &mut [f32]) -> anyhow::Result<()> {
        // SAFETY: the group exists until it is dropped, and has finished with the values when the function
        // returns.
        check(unsafe { lstmtext_group_sum(self.raw.as_ptr(), values.as_mut_ptr(), values.len()) })
    }

    /// Replaces the values by their sums.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn sum_f64(&mut self, values: &mut [f64]) -> anyhow::Result<()> {
        let (values, count) = (values.as_mut_ptr(), values.len());
        // SAFETY: as in `sum`.
        check(unsafe { lstmtext_group_sum_f64(self.raw.as_ptr(), values, count) })
    }

    /// Prepares sums on CUDA devices, unless they are prepared.
    ///
    /// # Errors
    /// Returns an error if libtorch has no NCCL, or if there is no CUDA device.
    pub fn connect_cuda(&mut self) -> anyhow::Result<()> {
        // SAFETY: the group exists until it is dropped.
        check(unsafe { lstmtext_group_connect_cuda(self.raw.as_ptr()) })
    }

    /// Replaces a contiguous tensor by its sum. On a CUDA device, later operations wait for the result, but
    /// this method does not.
    ///
    /// # Errors
    /// Returns an error if a process is lost, or if the device cannot communicate.
    pub fn sum_tensor(&mut self, tensor: &Tensor) -> anyhow::Result<()> {
        let sum = match tensor.device() {
            Device::Cpu => lstmtext_group_sum_cpu,
            _ => {
                self.connect_cuda()?;
                lstmtext_group_sum_cuda
            }
        };
        // SAFETY: the group exists until it is dropped, and the handle belongs to a tensor.
        check(unsafe { sum(self.raw.as_ptr(), tensor.as_ptr()) })
    }

    /// Replaces the bytes by those of rank 0.
    ///
    /// # Errors
    /// Returns an error if a process is lost.
    pub fn broadcast(&mut self, bytes: &mut [u8]) -> anyhow::Result<()> {
        let (bytes, count) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: as in `sum`.
        check(unsafe { lstmtext_group_broadcast(self.raw.as_ptr(), bytes, count) })
    }

    /// Collects the bytes of all processes, by rank.
    ///
    /// # Errors
    /// Returns an error if a process is lost, or if `all` does not have the length of `own` for each
    /// process.
    pub fn gather(&mut self, own: &[u8], all: &mut [u8]) -> anyhow::Result<()> {
        ensure!(
            all.len() == own.len() * self.size,
            "{} processes with {} bytes each do not fill {} bytes",
            self.size,
            own.len(),
            all.len()
        );
        let group = self.raw.as_ptr();
        // SAFETY: as in `sum`. `all` has room for the bytes of all processes.
        check(unsafe { lstmtext_group_gather(group, own.as_ptr(), own.len(), all.as_mut_ptr()) })
    }

    /// Sends a part of `sent` to each process, and receives a part from each.
    ///
    /// # Errors
    /// Returns an error if a process is lost, or if the counts do not fit the values.
    pub fn exchange(
        &mut self,
        sent: &[f32],
        sent_counts: &[usize],
        received: &mut [f32],
        received_counts: &[usize],
    ) -> anyhow::Result<()> {
        let sent_counts = self.split(sent.len(), sent_counts)?;
        let received_counts = self.split(received.len(), received_counts)?;
        // SAFETY: as in `sum`. There is a count for each process, and their sums are the lengths.
        check(unsafe {
            lstmtext_group_exchange(
                self.raw.as_ptr(),
                sent.as_ptr(),
                sent_counts.as_ptr(),
                received.as_mut_ptr(),
                received_counts.as_ptr(),
            )
        })
    }

    /// Converts the lengths of the parts that a buffer has for each process.
    fn split(&self, length: usize, counts: &[usize]) -> anyhow::Result<Vec<i64>> {
        let sum = counts.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count));
        ensure!(
            counts.len() == self.size && sum == Some(length),
            "{} processes cannot exchange {length} values in parts of {counts:?}",
            self.size
        );
        Ok(counts.iter().map(|count| *count as i64).collect())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the group was created by `connect` and is freed only here.
        unsafe { lstmtext_group_leave(self.raw.as_ptr(), self.is_lost) };
    }
}

/// Returns a time in whole milliseconds, at least 1.
fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_without_places_in_source_code() {
        for (message, expected) in [
            (
                "Gloo connectFullMesh failed with [/gloo/transport/tcp/pair.cc:547] Connection closed by \
                 peer [127.0.0.1]:55460",
                "Gloo connectFullMesh failed with Connection closed by peer [127.0.0.1]:55460",
            ),
            (
                "[../gloo/transport/tcp/buffer.cc:72] Timed out waiting 2000ms for send.\nStack:\n#0 f\n",
                "Timed out waiting 2000ms for send",
            ),
            (
                "NCCL error in: ../NCCLUtils.cpp:77, invalid usage\nncclInvalidUsage: …\nLast error:\n\
                 Duplicate GPU detected\n",
                "NCCL error in: ../NCCLUtils.cpp:77, invalid usage: Duplicate GPU detected",
            ),
            ("", ""),
        ] {
            assert_eq!(C10dError::new(message).to_string(), expected);
        }
    }
}
