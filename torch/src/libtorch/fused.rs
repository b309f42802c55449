//! ATen's fused optimizer kernels, which tch 0.24 has no binding for.

use std::ffi::CStr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::LibtorchError;

/// The constants of a fused Adam step.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Size of the step.
    pub learning_rate: f64,
    /// Memory of the mean gradient.
    pub beta1: f64,
    /// Memory of the mean squared gradient.
    pub beta2: f64,
    /// Keeps the step finite.
    pub epsilon: f64,
    /// Pull of the weights towards zero.
    pub weight_decay: f64,
    /// Whether the decay is taken off the weights directly (AdamW) or added to the gradients.
    pub decoupled: bool,
}

/// The constants of a fused SGD step.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// Size of the step.
    pub learning_rate: f64,
    /// Share of the last step that is kept.
    pub momentum: f64,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
    /// Pull of the weights towards zero.
    pub weight_decay: f64,
}

unsafe extern "C" {
    fn lstmtext_fused_adam(
        weights: *const *const C_tensor,
        gradients: *const *const C_tensor,
        means: *const *const C_tensor,
        squares: *const *const C_tensor,
        steps: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        decoupled: bool,
        skipped: *const C_tensor,
    ) -> *mut libc::c_char;
    fn lstmtext_fused_sgd(
        weights: *const *const C_tensor,
        gradients: *const *const C_tensor,
        momenta: *const *const C_tensor,
        count: usize,
        learning_rate: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
        skipped: *const C_tensor,
    ) -> *mut libc::c_char;
    fn lstmtext_free(message: *mut libc::c_char);
}

/// One step of Adam or AdamW: weights, means, squares and steps change in place.
///
/// `steps` holds a 0-dimensional float for each weight, raised by 1 here. Where `skipped`, a float [],
/// is 1 and not 0, nothing changes.
///
/// # Errors
/// libtorch's own, where shapes or devices disagree.
pub fn adam(
    weights: &[Tensor],
    gradients: &[Tensor],
    means: &[Tensor],
    squares: &[Tensor],
    steps: &[Tensor],
    adam: Adam,
    skipped: &Tensor,
) -> anyhow::Result<()> {
    let same = [gradients.len(), means.len(), squares.len(), steps.len()];
    assert!(same.iter().all(|length| *length == weights.len()), "one of each for every weight");
    let made = skipped.neg() + 1.0;
    for step in steps {
        let _ = step.shallow_clone().g_add_(&made);
    }
    // SAFETY: the lists hold valid tensors that outlive the call, all of the count given; the
    // kernel changes tensor contents only, which tch's handles allow through shared references.
    let message = unsafe {
        lstmtext_fused_adam(
            handles(weights).as_ptr(),
            handles(gradients).as_ptr(),
            handles(means).as_ptr(),
            handles(squares).as_ptr(),
            handles(steps).as_ptr(),
            weights.len(),
            adam.learning_rate,
            adam.beta1,
            adam.beta2,
            adam.weight_decay,
            adam.epsilon,
            adam.decoupled,
            skipped.as_ptr(),
        )
    };
    result_of(message)
}

/// One step of stochastic gradient descent: weights and momenta change in place. `momenta` may be
/// empty where the momentum is 0. Where `skipped`, a float [], is 1 and not 0, nothing changes.
///
/// # Errors
/// libtorch's own, where shapes or devices disagree.
pub fn sgd(
    weights: &[Tensor],
    gradients: &[Tensor],
    momenta: &[Tensor],
    sgd: Sgd,
    skipped: &Tensor,
) -> anyhow::Result<()> {
    assert_eq!(gradients.len(), weights.len(), "a gradient for every weight");
    assert!(sgd.momentum == 0.0 || momenta.len() == weights.len(), "a momentum for every weight");
    // SAFETY: as in `adam`; without momentum the kernel does not look at `momenta`.
    let message = unsafe {
        lstmtext_fused_sgd(
            handles(weights).as_ptr(),
            handles(gradients).as_ptr(),
            handles(momenta).as_ptr(),
            weights.len(),
            sgd.learning_rate,
            sgd.momentum,
            sgd.weight_decay,
            sgd.nesterov,
            skipped.as_ptr(),
        )
    };
    result_of(message)
}

fn handles(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}

/// What a function of bindings.cpp answered.
pub(super) fn result_of(message: *mut libc::c_char) -> anyhow::Result<()> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message is a C string of which we are the owner; it is freed once, here.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        lstmtext_free(message);
        text
    };
    Err(LibtorchError::new(&text).into())
}
