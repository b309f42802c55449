//! Loss scaling, which keeps gradients within the range of fp16: 6·10⁻⁸ to 65,504.

use anyhow::ensure;
use tch::{Device, Kind, Tensor};

use lstmtext::backend::LOSS_SCALE;

/// Dynamic loss scale (Micikevicius et al. 2018), with the constants of `torch.amp.GradScaler`:
/// halved when gradients overflow, and doubled after 2,000 steps without overflow. No operation
/// waits for the device.
#[derive(Debug)]
pub struct LossScale {
    /// Power of 2, float [].
    factor: Tensor,
    /// Number of steps since the factor last changed, int32 [].
    steps: Tensor,
}

impl LossScale {
    const INITIAL: f32 = 65_536.0;
    const GROWTH_INTERVAL: i64 = 2_000;

    /// Creates the scale for the start of training.
    pub fn new(device: Device) -> Self {
        Self {
            factor: Tensor::from(Self::INITIAL).to_device(device),
            steps: Tensor::zeros([0_i64; 0], (Kind::Int, device)),
        }
    }

    /// Factor of the loss, [].
    pub fn factor(&self) -> &Tensor {
        &self.factor
    }

    /// Updates the factor after a step. `skipped`, a float [], is 1 after an overflow, else 0.
    pub fn update(&mut self, skipped: &Tensor) {
        let interval = Self::GROWTH_INTERVAL;
        let _ = self.factor.internal_amp_update_scale_(&self.steps, skipped, 2.0, 0.5, interval);
    }

    /// Returns the state that a resumed run needs, in fp32.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let tensors = [self.factor.copy(), self.steps.to_kind(Kind::Float)];
        LOSS_SCALE.map(str::to_owned).into_iter().zip(tensors).collect()
    }

    /// Removes the tensors of a loss scale from `tensors`, and restores `scale` from them. They are
    /// missing if the run started in another precision; `scale` then stays.
    ///
    /// # Errors
    /// Returns an error if one of them is not a scalar.
    pub fn restore(
        scale: Option<&mut Self>,
        tensors: &mut Vec<(String, Tensor)>,
    ) -> anyhow::Result<()> {
        let mut take = |wanted: &str| {
            let index = tensors.iter().position(|(name, _)| name == wanted)?;
            Some(tensors.swap_remove(index).1)
        };
        let saved = LOSS_SCALE.map(&mut take);
        if let (Some(scale), [Some(factor), Some(steps)]) = (scale, saved) {
            ensure!(
                factor.numel() == 1 && steps.numel() == 1,
                "{} and {} in the optimizer state must be scalars",
                LOSS_SCALE[0],
                LOSS_SCALE[1]
            );
            let device = scale.factor.device();
            scale.factor = factor.reshape([0_i64; 0]).to_device(device);
            scale.steps = steps.reshape([0_i64; 0]).to_kind(Kind::Int).to_device(device);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_at_once_and_doubles_after_many_steps() {
        let mut scale = LossScale::new(Device::Cpu);
        let (fine, skipped) = (Tensor::from(0_f32), Tensor::from(1_f32));
        let factor = |scale: &LossScale| scale.factor().double_value(&[]);
        scale.update(&skipped);
        scale.update(&skipped);
        assert_eq!(factor(&scale), 16_384.0);
        for _ in 0..1_999 {
            scale.update(&fine);
        }
        assert_eq!(factor(&scale), 16_384.0);

        let mut state = scale.state();
        state.push(("exp_avg.head.bias".to_owned(), Tensor::from(1_f32)));
        let mut resumed = LossScale::new(Device::Cpu);
        LossScale::restore(Some(&mut resumed), &mut state).unwrap();
        assert_eq!(state.len(), 1);
        resumed.update(&fine);
        assert_eq!(factor(&resumed), 32_768.0);
        // fp32 ignores the state. Without a state, the scale stays.
        LossScale::restore(None, &mut resumed.state()).unwrap();
        LossScale::restore(Some(&mut resumed), &mut state).unwrap();
        assert_eq!(factor(&resumed), 32_768.0);
    }
}
