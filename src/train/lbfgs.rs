//! Minimization of smooth convex functions by L-BFGS (Liu and Nocedal 1989).

use std::collections::VecDeque;

/// Number of steps whose curvature is remembered.
const MEMORY: usize = 10;
/// Sufficient decrease of the line search, as a fraction of the one that the slope promises (Armijo).
const DECREASE: f64 = 1e-4;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of steps.
    pub steps: usize,
    /// Largest absolute value of the gradient at which the minimum counts as reached.
    pub gradient: f64,
}

/// Step x' − x, change of the gradient y, and 1 / (y · s).
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f64], scale: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from);
}

/// Returns the product of the gradient with the estimated inverse of the Hessian (Nocedal's two loops).
fn direction(gradient: &[f64], memory: &VecDeque<Pair>) -> Vec<f64> {
    let mut result = gradient.to_vec();
    let mut factors = Vec::with_capacity(memory.len());
    for Pair { step, change, inverse } in memory.iter().rev() {
        let factor = inverse * dot(step, &result);
        add_scaled(&mut result, -factor, change);
        factors.push(factor);
    }
    if let Some(Pair { change, inverse, .. }) = memory.back() {
        let scale = 1.0 / (inverse * dot(change, change));
        result.iter_mut().for_each(|value| *value *= scale);
    }
    for (Pair { step, change, inverse }, factor) in memory.iter().zip(factors.iter().rev()) {
        let other = inverse * dot(change, &result);
        add_scaled(&mut result, factor - other, step);
    }
    result
}

/// Minimizes a function from `start`. `evaluate` returns its value and gradient.
pub fn minimize(
    start: Vec<f64>,
    limits: Limits,
    mut evaluate: impl FnMut(&[f64]) -> (f64, Vec<f64>),
) -> Vec<f64> {
    let mut point = start;
    let (mut value, mut gradient) = evaluate(&point);
    let mut memory: VecDeque<Pair> = VecDeque::new();
    for _ in 0..limits.steps {
        if gradient.iter().all(|slope| slope.abs() <= limits.gradient) {
            break;
        }
        let mut downhill = direction(&gradient, &memory);
        let mut slope = -dot(&downhill, &gradient);
        if slope >= 0.0 {
            // Rounding has spoilt the curvature.
            memory.clear();
            downhill.clone_from(&gradient);
            slope = -dot(&gradient, &gradient);
        }
        let length = dot(&gradient, &gradient).sqrt();
        let mut rate = if memory.is_empty() { 1.0 / length.max(1.0) } else { 1.0 };
        let next = loop {
            let mut next = point.clone();
            add_scaled(&mut next, -rate, &downhill);
            let (new_value, new_gradient) = evaluate(&next);
            if new_value <= value + DECREASE * rate * slope {
                break Some((next, new_value, new_gradient));
            }
            rate *= 0.5;
            if rate < 1e-12 {
                break None;
            }
        };
        // The minimum is reached as nearly as rounding permits.
        let Some((next, new_value, new_gradient)) = next else { break };
        let step: Vec<f64> = next.iter().zip(&point).map(|(new, old)| new - old).collect();
        let change: Vec<f64> =
            new_gradient.iter().zip(&gradient).map(|(new, old)| new - old).collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-12 * dot(&change, &change) {
            memory.push_back(Pair { step, change, inverse: 1.0 / curvature });
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (point, value, gradient) = (next, new_value, new_gradient);
    }
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_of_an_ill_conditioned_bowl_is_found() {
        let target = [3.0, -2.0, 0.5, 10.0];
        let scale = [1.0, 100.0, 1e4, 0.01];
        let evaluate = |x: &[f64]| {
            let offsets: Vec<f64> = x.iter().zip(target).map(|(x, target)| x - target).collect();
            let value = offsets.iter().zip(scale).map(|(d, scale)| 0.5 * scale * d * d).sum();
            (value, offsets.iter().zip(scale).map(|(d, scale)| scale * d).collect())
        };
        let limits = Limits { steps: 200, gradient: 1e-9 };
        let found = minimize(vec![0.0; 4], limits, evaluate);
        for (found, target) in found.iter().zip(target) {
            assert!((found - target).abs() < 1e-6, "{found} {target}");
        }
    }

    #[test]
    fn a_minimum_stays_where_it_is() {
        let evaluate = |x: &[f64]| (x[0] * x[0], vec![2.0 * x[0]]);
        let found = minimize(vec![0.0], Limits { steps: 9, gradient: 1e-9 }, evaluate);
        assert_eq!(found, [0.0]);
    }
}
