//! ATen's fused optimizer kernels, which tch 0.24 has no binding for.

use tch::Tensor;
use torch_sys::C_tensor;

use super::bindings::check;

/// Hyperparameters of an Adam step.
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay rate of the mean gradient.
    pub beta1: f64,
    /// Decay rate of the mean squared gradient.
    pub beta2: f64,
    /// Constant added to the denominator.
    pub epsilon: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Decoupled weight decay: subtracted from the weights (AdamW), not added to the gradients.
    pub decoupled: bool,
}

/// Hyperparameters of an SGD step.
#[derive(Clone, Copy, Debug)]
pub struct SgdOptions {
    /// Learning rate.
    pub learning_rate: f64,
    /// Momentum factor.
    pub momentum: f64,
    /// Nesterov momentum.
    pub nesterov: bool,
    /// Weight decay.
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
}

/// Applies one step of Adam or AdamW to weights and state in place.
///
/// `steps` has a step counter, a float [], for each weight. If `skipped`, a float [], is 1 instead
/// of 0, nothing changes.
///
/// # Errors
/// Returns libtorch's error if shapes or devices differ.
pub fn adam(
    weights: &[Tensor],
    gradients: &[Tensor],
    means: &[Tensor],
    squares: &[Tensor],
    steps: &[Tensor],
    options: AdamOptions,
    skipped: &Tensor,
) -> anyhow::Result<()> {
    let counts = [gradients.len(), means.len(), squares.len(), steps.len()];
    assert!(
        counts.iter().all(|count| *count == weights.len()),
        "every weight needs a gradient and state"
    );
    let applied = skipped.neg() + 1.0;
    for step in steps {
        let _ = step.shallow_clone().g_add_(&applied);
    }
    // SAFETY: each list has `weights.len()` valid tensors that outlive the call. The kernel changes
    // only the contents of tensors, which tch allows through shared references.
    let message = unsafe {
        lstmtext_fused_adam(
            handles(weights).as_ptr(),
            handles(gradients).as_ptr(),
            handles(means).as_ptr(),
            handles(squares).as_ptr(),
            handles(steps).as_ptr(),
            weights.len(),
            options.learning_rate,
            options.beta1,
            options.beta2,
            options.weight_decay,
            options.epsilon,
            options.decoupled,
            skipped.as_ptr(),
        )
    };
    check(message)
}

/// Applies one step of stochastic gradient descent to weights and momentum buffers in place.
/// `momenta` may be empty if the momentum is 0. If `skipped`, a float [], is 1 instead of 0,
/// nothing changes.
///
/// # Errors
/// Returns libtorch's error if shapes or devices differ.
pub fn sgd(
    weights: &[Tensor],
    gradients: &[Tensor],
    momenta: &[Tensor],
    options: SgdOptions,
    skipped: &Tensor,
) -> anyhow::Result<()> {
    assert_eq!(gradients.len(), weights.len(), "every weight needs a gradient");
    assert!(
        options.momentum == 0.0 || momenta.len() == weights.len(),
        "every weight needs a momentum buffer"
    );
    // SAFETY: as in `adam`. Without momentum the function does not read `momenta`.
    let message = unsafe {
        lstmtext_fused_sgd(
            handles(weights).as_ptr(),
            handles(gradients).as_ptr(),
            handles(momenta).as_ptr(),
            weights.len(),
            options.learning_rate,
            options.momentum,
            options.weight_decay,
            options.nesterov,
            skipped.as_ptr(),
        )
    };
    check(message)
}

fn handles(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    tensors.iter().map(Tensor::as_ptr).collect()
}
