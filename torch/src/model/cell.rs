//! Weights of one direction of one LSTM layer, in one buffer, as cuDNN wants them.

use tch::{Device, Kind, Tensor};

/// Weights of one direction of one layer. Gates are in the order i, f, g, o.
#[derive(Debug)]
pub struct CellWeights {
    /// [4H, inputs]
    pub weight_ih: Tensor,
    /// [4H, H]
    pub weight_hh: Tensor,
    /// `[4H]`
    pub bias_ih: Tensor,
    /// PyTorch's second bias, `[4H]`: zero, not trained.
    pub bias_hh: Tensor,
}

impl CellWeights {
    /// Stores input weights, recurrent weights and both biases in one buffer in cuDNN's order, so that cuDNN need not
    /// copy them in every call.
    pub fn new(weights: [Tensor; 4], device: Device) -> Self {
        let flat: Vec<Tensor> = weights.iter().map(|weight| weight.flatten(0, -1)).collect();
        let buffer = Tensor::cat(&flat, 0).to_device(device);
        let mut start = 0;
        let [weight_ih, weight_hh, bias_ih, bias_hh] = weights.each_ref().map(|weight| {
            let length = weight.numel() as i64;
            let view = buffer.narrow(0, start, length).view_as(weight).detach();
            start += length;
            view
        });
        Self {
            weight_ih: weight_ih.set_requires_grad(true),
            weight_hh: weight_hh.set_requires_grad(true),
            bias_ih: bias_ih.set_requires_grad(true),
            bias_hh,
        }
    }

    /// Returns input weights, recurrent weights and both biases as `kind`, again in one buffer. The recurrent weights
    /// are multiplied with `mask`, [4H, H], if there is one.
    pub fn tensors(&self, kind: Kind, mask: Option<&Tensor>) -> [Tensor; 4] {
        let weights = [&self.weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh];
        if kind == Kind::Float && mask.is_none() {
            return weights.map(Tensor::shallow_clone);
        }
        let lengths = weights.map(|weight| weight.numel() as i64);
        let mut flat = weights.map(|weight| weight.flatten(0, -1));
        if let Some(mask) = mask {
            flat[1] = (&self.weight_hh * mask).flatten(0, -1);
        }
        let buffer = Tensor::cat(&flat, 0).to_kind(kind);
        let mut parts = buffer.split_with_sizes(lengths, 0).into_iter().zip(weights);
        std::array::from_fn(|_| {
            #[expect(clippy::expect_used, reason = "there are as many parts as lengths")]
            let (part, weight) = parts.next().expect("a part for each weight");
            part.view_as(weight)
        })
    }
}
