//! Initial weights, as Keras or PyTorch draw them. Drawn on the CPU, so that every device starts
//! from the same numbers.

use tch::{Device, Kind, Tensor};

use lstmtext::config::{EmbeddingInitialization, Initialization};

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Draws initial weights by one convention.
pub struct Init {
    convention: Initialization,
}

impl Init {
    pub fn new(convention: Initialization) -> Self {
        Self { convention }
    }

    /// Word vectors [V, E], by a convention of their own where the configuration has one.
    pub fn embedding(&self, rows: i64, size: i64, own: EmbeddingInitialization) -> Tensor {
        let convention = match own {
            EmbeddingInitialization::Auto => self.convention,
            EmbeddingInitialization::Keras => Initialization::Keras,
            EmbeddingInitialization::Pytorch => Initialization::Pytorch,
        };
        match convention {
            Initialization::Keras => uniform(&[rows, size], 0.05),
            Initialization::Pytorch => Tensor::randn([rows, size], FLOAT),
        }
    }

    /// A kernel [outputs, inputs]; PyTorch's bound goes by `fan`.
    pub fn kernel(&self, outputs: i64, inputs: i64, fan: i64) -> Tensor {
        match self.convention {
            // Glorot and Bengio 2010.
            Initialization::Keras => {
                uniform(&[outputs, inputs], (6.0 / (outputs + inputs) as f64).sqrt())
            }
            Initialization::Pytorch => uniform(&[outputs, inputs], 1.0 / (fan as f64).sqrt()),
        }
    }

    /// The recurrent kernel of all gates [4H, H].
    pub fn recurrent_kernel(&self, units: i64) -> Tensor {
        match self.convention {
            Initialization::Keras => orthogonal(4 * units, units),
            Initialization::Pytorch => self.kernel(4 * units, units, units),
        }
    }

    /// The bias of all gates `[4H]`, in the order i, f, g, o.
    pub fn gate_bias(&self, units: i64) -> Tensor {
        match self.convention {
            Initialization::Keras => {
                let bias = Tensor::zeros([4 * units], FLOAT);
                let _ = bias.narrow(0, units, units).fill_(1.0);
                bias
            }
            // PyTorch adds two biases; ours is their sum.
            Initialization::Pytorch => self.bias(4 * units, units) + self.bias(4 * units, units),
        }
    }

    /// The bias [outputs] of a dense layer.
    pub fn bias(&self, outputs: i64, fan: i64) -> Tensor {
        match self.convention {
            Initialization::Keras => Tensor::zeros([outputs], FLOAT),
            Initialization::Pytorch => uniform(&[outputs], 1.0 / (fan as f64).sqrt()),
        }
    }
}

fn uniform(shape: &[i64], bound: f64) -> Tensor {
    Tensor::rand(shape, FLOAT) * (2.0 * bound) - bound
}

/// A matrix with orthonormal columns, drawn evenly (Saxe, McClelland and Ganguli 2014).
fn orthogonal(rows: i64, columns: i64) -> Tensor {
    let (q, r) = Tensor::linalg_qr(&Tensor::randn([rows, columns], FLOAT), "reduced");
    (q * r.diagonal(0, 0, 1).sign()).contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(tensor: &Tensor) -> (f64, f64) {
        (tensor.min().double_value(&[]), tensor.max().double_value(&[]))
    }

    #[test]
    fn keras_bounds_hold_and_are_reached() {
        let init = Init::new(Initialization::Keras);
        let (low, high) = spread(&init.embedding(500, 40, EmbeddingInitialization::Auto));
        assert!((-0.05..-0.049).contains(&low) && (0.049..0.05).contains(&high));
        let normal = init.embedding(500, 40, EmbeddingInitialization::Pytorch);
        assert!((normal.std(true).double_value(&[]) - 1.0).abs() < 0.05);
        let bound = (6.0_f64 / 160.0).sqrt();
        let (low, high) = spread(&init.kernel(128, 32, 32));
        assert!(low >= -bound && low < -0.98 * bound && high <= bound && high > 0.98 * bound);
    }

    #[test]
    fn recurrent_kernels_are_orthogonal() {
        let kernel = Init::new(Initialization::Keras).recurrent_kernel(16);
        assert_eq!(kernel.size(), [64, 16]);
        let product = kernel.tr().matmul(&kernel) - Tensor::eye(16, FLOAT);
        assert!(product.abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn the_forget_gate_starts_open() {
        let bias = Init::new(Initialization::Keras).gate_bias(2);
        assert_eq!(Vec::<f32>::try_from(bias).unwrap(), [0., 0., 1., 1., 0., 0., 0., 0.]);
    }
}
