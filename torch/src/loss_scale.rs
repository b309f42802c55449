//! Gradients in fp16, which ends at 65,504 above and 6·10⁻⁸ below.

use anyhow::ensure;
use tch::{Device, Kind, Tensor};

use crate::tensors::Named;
use lstmtext::backend::LOSS_SCALE;

/// A factor of the loss that keeps its gradients in range (Micikevicius et al. 2018): it is halved
/// where they were too large, and doubled after 2,000 steps in which they were not, as
/// `torch.amp.GradScaler` does it. Nothing waits for the device.
#[derive(Debug)]
pub struct LossScale {
    /// A power of 2, float [].
    factor: Tensor,
    /// Steps since it last changed, int32 [].
    steps: Tensor,
}

impl LossScale {
    const FIRST: f32 = 65_536.0;
    const STEPS: i64 = 2_000;

    /// The scale at the beginning of training.
    pub fn new(device: Device) -> Self {
        Self {
            factor: Tensor::from(Self::FIRST).to_device(device),
            steps: Tensor::zeros([0_i64; 0], (Kind::Int, device)),
        }
    }

    /// The factor, [].
    pub fn factor(&self) -> &Tensor {
        &self.factor
    }

    /// Learns whether the last step was `skipped`, a float [] of 1 or 0.
    pub fn update(&mut self, skipped: &Tensor) {
        let _ = self.factor.internal_amp_update_scale_(&self.steps, skipped, 2.0, 0.5, Self::STEPS);
    }

    /// What a run that goes on needs, in fp32.
    pub fn state(&self) -> Vec<Named> {
        let tensors = [self.factor.copy(), self.steps.to_kind(Kind::Float)];
        LOSS_SCALE.map(str::to_owned).into_iter().zip(tensors).collect()
    }

    /// Takes its state out of `tensors`, where it is in them: a run may have begun in another
    /// precision.
    ///
    /// # Errors
    /// Where it is no single number.
    pub fn take(scale: Option<&mut Self>, tensors: &mut Vec<Named>) -> anyhow::Result<()> {
        let mut take = |wanted: &str| {
            let place = tensors.iter().position(|(name, _)| name == wanted)?;
            Some(tensors.swap_remove(place).1)
        };
        let found = LOSS_SCALE.map(&mut take);
        if let (Some(scale), [Some(factor), Some(steps)]) = (scale, found) {
            ensure!(factor.numel() == 1 && steps.numel() == 1, "the loss scale is no number");
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
    fn the_scale_falls_at_once_and_rises_after_many_steps() {
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
        LossScale::take(Some(&mut resumed), &mut state).unwrap();
        assert_eq!(state.len(), 1);
        resumed.update(&fine);
        assert_eq!(factor(&resumed), 32_768.0);
        // A run in fp32 leaves it aside, one that had none begins anew.
        LossScale::take(None, &mut resumed.state()).unwrap();
        LossScale::take(Some(&mut resumed), &mut state).unwrap();
        assert_eq!(factor(&resumed), 32_768.0);
    }
}
