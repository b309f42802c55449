//! Errors of libtorch, which the plain methods of tch turn into panics.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

/// Text before libtorch's message in the panic of `Result::unwrap`.
const PANIC_PREFIX: &str = "Torch(\"";

/// An error of libtorch.
#[derive(Clone, Debug)]
pub struct LibtorchError {
    /// First line of libtorch's message.
    message: String,
    /// The batch that was being computed.
    batch: Option<BatchContext>,
}

/// Description of a batch for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchContext {
    /// Purpose of the batch.
    pub kind: BatchKind,
    /// Number of examples B.
    pub examples: usize,
    /// Number of time steps T of the longest input.
    pub time_steps: usize,
}

/// Purpose of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    /// Training of a classifier.
    Training,
    /// Predictions of a classifier.
    Inference,
    /// Training or scores of a language model.
    LanguageModel,
}

impl LibtorchError {
    /// Creates an error from libtorch's message.
    pub fn new(message: &str) -> Self {
        let line = message.lines().next().unwrap_or_default();
        Self { message: line.trim().to_owned(), batch: None }
    }

    /// Extracts the error from the payload of a panic; `None` if something else panicked.
    fn from_panic(payload: &(dyn Any + Send)) -> Option<Self> {
        if let Some(error) = payload.downcast_ref::<Self>() {
            return Some(error.clone());
        }
        let (_, rest) = payload.downcast_ref::<String>()?.split_once(PANIC_PREFIX)?;
        let end = rest.find("\\n").or_else(|| rest.rfind('"')).unwrap_or(rest.len());
        Some(Self::new(&rest[..end].replace("\\\"", "\"")))
    }

    /// Returns true if the device, or this machine, ran out of memory.
    pub fn is_out_of_memory(&self) -> bool {
        // Messages of CUDA, the CPU, cuBLAS and cuDNN.
        let parts = ["out of memory", "can't allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED"];
        parts.iter().any(|part| self.message.contains(part))
    }

    /// Returns true if a smaller batch may succeed. cuDNN has limits besides memory.
    fn may_depend_on_batch_size(&self) -> bool {
        self.is_out_of_memory() || self.message.contains("CUDNN_STATUS")
    }

    fn fmt_out_of_memory(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let device = if self.message.contains("CPU") { "this machine" } else { "the device" };
        write!(f, "out of memory on {device}")?;
        if let Some(BatchContext { kind, examples, time_steps }) = self.batch {
            let (batch, rows) = match kind {
                BatchKind::Training => ("a training batch", "examples with up to"),
                BatchKind::Inference => ("a batch", "examples with up to"),
                BatchKind::LanguageModel => ("a batch", "rows of"),
            };
            write!(f, " in {batch} of {examples} {rows} {time_steps} tokens")?;
        }
        // Outside of containers the message also has the memory of the whole process. PyTorch's
        // share is always there.
        let prefixes = [
            "Tried to allocate",
            "total capacity of",
            "of which",
            "allocated memory",
            "PyTorch, and",
        ];
        match prefixes.map(|prefix| Bytes::parse_after(&self.message, prefix)) {
            [Some(requested), Some(total), Some(free), Some(allocated), Some(reserved)] => {
                let ours = allocated.0 + reserved.0;
                let (needed, others) = (ours + requested.0, total.0 - free.0 - ours);
                write!(f, ": at least {} is needed, but the device has {total}", Bytes(needed))?;
                // CUDA itself takes about 500 MB.
                if others > total.0 / 50.0 {
                    write!(f, ", of which other processes use {}", Bytes(others))?;
                }
            }
            _ => match Bytes::parse_after(&self.message, "ried to allocate") {
                Some(requested) => write!(f, ": cannot allocate {requested}")?,
                None => write!(f, ": {}", self.message)?,
            },
        }
        f.write_str(match self.batch.map(|batch| batch.kind) {
            Some(BatchKind::Inference) => {
                "; lower the batch size: --batch-size of predict, otherwise \
                 train.validation_batch_size"
            }
            Some(BatchKind::LanguageModel) => {
                "; lower pretrain.language_model.batch_size or sequence_length, or use a smaller model"
            }
            Some(BatchKind::Training) | None => {
                "; lower train.batch_size or text.max_length, use a smaller model, or set \
                 train.token_budget (on a CUDA device, auto finds the largest that fits)"
            }
        })
    }
}

impl fmt::Display for LibtorchError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { message, .. } = self;
        if self.is_out_of_memory() {
            return self.fmt_out_of_memory(f);
        }
        if let Some((kernel, _)) = message.split_once(" does not have a deterministic") {
            return write!(
                f,
                "libtorch has no deterministic kernel for {kernel}, which deterministic: true requires; \
                 set deterministic: false"
            );
        }
        write!(f, "libtorch: {message}")?;
        if message.contains("no kernel image") {
            f.write_str("; this libtorch has no kernels for the architecture of this GPU")?;
        } else if message.contains("NOT_SUPPORTED") || message.contains("BAD_PARAM") {
            f.write_str(
                "; cuDNN may not support batches of this size: lower text.max_length or the batch size",
            )?;
        } else if message.contains("CUDA error") || message.contains("EXECUTION_FAILED") {
            f.write_str("; the GPU failed or was lost: see nvidia-smi and the system log (dmesg)")?;
        }
        Ok(())
    }
}

impl Error for LibtorchError {}

/// Amount of memory in bytes.
#[derive(Clone, Copy)]
struct Bytes(f64);

impl Bytes {
    /// Parses the first amount after `prefix`, as libtorch writes it: 512.00 MiB or 64 bytes.
    fn parse_after(message: &str, prefix: &str) -> Option<Self> {
        let (_, rest) = message.split_once(prefix)?;
        let mut words = rest.split_whitespace();
        let number: f64 = words.next()?.parse().ok()?;
        let unit = match words.next()?.trim_end_matches(['.', ',', ';']) {
            "bytes" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return None,
        };
        Some(Self(number * unit))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mebibytes = self.0 / (1024.0 * 1024.0);
        if mebibytes >= 1024.0 {
            return write!(f, "{:.2} GiB", mebibytes / 1024.0);
        }
        write!(f, "{mebibytes:.1} MiB")
    }
}

/// Runs `work`, and returns a [`LibtorchError`] if libtorch fails in it, instead of a panic with a
/// backtrace.
///
/// # Errors
/// Returns the error of `work` or of libtorch.
pub fn catch_libtorch_panics<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let default_hook = panic::take_hook();
    panic::set_hook(Box::new(move |info: &PanicHookInfo| {
        if LibtorchError::from_panic(info.payload()).is_none() {
            default_hook(info);
        }
    }));
    catch(work).unwrap_or_else(|error| Err(error.into()))
}

/// Runs `work` on a batch, and adds the batch to errors of libtorch.
pub fn with_batch_context<T>(batch: BatchContext, work: impl FnOnce() -> T) -> T {
    catch(work).unwrap_or_else(|error| {
        let batch = error.batch.or(Some(batch));
        panic::resume_unwind(Box::new(LibtorchError { batch, ..error }))
    })
}

/// Runs `work`. Returns `None` if it runs out of memory or exceeds a limit of cuDNN.
pub fn unless_out_of_memory<T>(work: impl FnOnce() -> T) -> Option<T> {
    match catch(work) {
        Ok(result) => Some(result),
        Err(error) if error.may_depend_on_batch_size() => None,
        Err(error) => panic::resume_unwind(Box::new(error)),
    }
}

/// Runs `work` and catches panics of libtorch, but no others.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, LibtorchError> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        LibtorchError::from_panic(&*payload).unwrap_or_else(|| panic::resume_unwind(payload))
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    const BATCH: BatchContext =
        BatchContext { kind: BatchKind::Training, examples: 64, time_steps: 400 };

    fn allocate_too_much() -> Tensor {
        Tensor::zeros([1 << 20, 1 << 30], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn messages_of_libtorch_become_errors() {
        let work = || Ok(Tensor::from_slice(&[1.0_f32]).view([2, 3]));
        let message = catch_libtorch_panics(work).unwrap_err().to_string();
        assert!(message.starts_with("libtorch: shape '[2, 3]' is invalid"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }

    #[test]
    fn out_of_memory_errors_name_the_batch_and_the_setting() {
        let error = catch_libtorch_panics(|| Ok(with_batch_context(BATCH, allocate_too_much)))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "out of memory on this machine in a training batch of 64 examples with up to 400 tokens: \
             cannot allocate 4194304.00 GiB; lower train.batch_size or text.max_length, use a smaller \
             model, or set train.token_budget (on a CUDA device, auto finds the largest that fits)"
        );
        let mut error = LibtorchError::new(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB \
             of which 512.00 MiB is free. Process 7 has 70.00 GiB memory in use. Of the allocated memory \
             8.00 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but \
             unallocated.\nMore.",
        );
        error.batch = Some(BatchContext { kind: BatchKind::Inference, ..BATCH });
        let expected = "out of memory on the device in a batch of 64 examples with up to 400 tokens: at \
                        least 10.10 GiB is needed, but the device has 79.10 GiB, of which other processes \
                        use 70.50 GiB; lower the batch size: --batch-size of predict, otherwise \
                        train.validation_batch_size";
        assert_eq!(error.to_string(), expected);
        error.batch = Some(BatchContext { kind: BatchKind::LanguageModel, ..BATCH });
        let message = error.to_string();
        assert!(message.contains("in a batch of 64 rows of 400 tokens: "), "{message}");
        assert!(message.contains("lower pretrain.language_model.batch_size"), "{message}");
        for message in [
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "CUBLAS_STATUS_ALLOC_FAILED when",
        ] {
            let error = LibtorchError::new(message);
            let text = error.to_string();
            assert!(error.is_out_of_memory() && text.contains(message), "{text}");
        }
    }

    #[test]
    fn only_out_of_memory_errors_are_ignored() {
        assert!(unless_out_of_memory(allocate_too_much).is_none());
        assert_eq!(unless_out_of_memory(|| 3), Some(3));
        let invalid = || Ok(unless_out_of_memory(|| Tensor::from_slice(&[1_i64]).view([2])));
        let error = catch_libtorch_panics(invalid).unwrap_err();
        assert!(!error.downcast_ref::<LibtorchError>().unwrap().is_out_of_memory());
    }

    #[test]
    fn known_errors_are_explained() {
        for (message, expected) in [
            (
                "put_ does not have a deterministic implementation, but you set",
                "libtorch has no deterministic kernel for put_, which deterministic: true requires; set \
                 deterministic: false",
            ),
            (
                "CUDA error: unspecified launch failure",
                "libtorch: CUDA error: unspecified launch failure; the GPU failed or was lost: see \
                 nvidia-smi and the system log (dmesg)",
            ),
            (
                "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear",
                "libtorch: cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear; cuDNN may not \
                 support batches of this size: lower text.max_length or the batch size",
            ),
            (
                "CUDA error: no kernel image is available for execution on the device",
                "libtorch: CUDA error: no kernel image is available for execution on the device; this \
                 libtorch has no kernels for the architecture of this GPU",
            ),
        ] {
            assert_eq!(LibtorchError::new(message).to_string(), expected);
        }
    }

    /// libtorch's message still has the words that [`LibtorchError`] looks for.
    #[test]
    fn kernels_that_are_not_deterministic_are_refused() {
        let put = || {
            let indices = Tensor::from_slice(&[0_i64, 0]);
            Tensor::zeros([2], (Kind::Float, Device::Cpu)).put(
                &indices,
                &Tensor::from_slice(&[1_f32, 2.0]),
                false,
            )
        };
        let set = |deterministic| {
            let yaml = format!("data: {{train: x}}\ndeterministic: {deterministic}\n");
            let config = lstmtext::config::parse(&yaml, "test", &[]).unwrap().config;
            super::super::Numerics::new(&config).apply().unwrap();
        };
        set(true);
        let error = catch_libtorch_panics(|| Ok(put())).unwrap_err().to_string();
        set(false);
        assert!(
            error.starts_with("libtorch has no deterministic kernel for put_, which"),
            "{error}"
        );
        assert!(catch_libtorch_panics(|| Ok(put())).is_ok());
    }
}
