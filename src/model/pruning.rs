//! Selection of the rows of a tensor that matter most.

use super::named_tensors::NamedTensor;

/// Returns the indices of the `first` first rows and of those with the largest norms, `count` in total, in ascending
/// order. Of equal rows, the earlier one is kept.
pub fn largest_rows(values: &[f32], columns: usize, first: usize, count: usize) -> Vec<usize> {
    let norm = |row: usize| -> f64 {
        let row = &values[row * columns..][..columns];
        row.iter().map(|value| f64::from(*value).powi(2)).sum()
    };
    let rows = values.len() / columns.max(1);
    let mut ranked: Vec<(f64, usize)> = (first..rows).map(|row| (norm(row), row)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let kept = ranked.into_iter().take(count.saturating_sub(first)).map(|(_, row)| row);
    let mut kept: Vec<usize> = (0..first.min(rows)).chain(kept).collect();
    kept.sort_unstable();
    kept
}

/// Keeps these rows of a matrix, in this order.
pub fn select_rows(tensor: &mut NamedTensor, rows: &[usize]) {
    let columns: usize = tensor.shape[1..].iter().product();
    let row = |row: &usize| &tensor.values[row * columns..][..columns];
    tensor.values = rows.iter().flat_map(row).copied().collect();
    tensor.shape[0] = rows.len();
}

/// Replaces a row of a matrix by its mean with other rows, in which it has the weight `weight` and they have the given ones.
pub fn average_rows(
    tensor: &mut NamedTensor,
    row: usize,
    weight: f64,
    others: impl Iterator<Item = (usize, f64)>,
) {
    let columns: usize = tensor.shape[1..].iter().product();
    let (mut sums, mut total) = (vec![0.0; columns], 0.0);
    for (row, weight) in others.chain([(row, weight)]) {
        total += weight;
        let row = &tensor.values[row * columns..][..columns];
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
    }
    for (value, sum) in tensor.values[row * columns..].iter_mut().zip(sums) {
        *value = (sum / total) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_averaged_by_weight() {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut tensor = NamedTensor { name: "a".into(), shape: vec![3, 2], values };
        average_rows(&mut tensor, 1, 3.0, [(0, 1.0)].into_iter());
        assert_eq!(tensor.values, [1.0, 2.0, 2.5, 3.5, 5.0, 6.0]);
    }

    #[test]
    fn the_first_rows_and_the_largest_are_kept() {
        let values = [0.0, 0.0, 3.0, -4.0, 1.0, 0.0, -9.0, 0.0, 0.0, 1.0];
        assert_eq!(largest_rows(&values, 2, 1, 3), [0, 1, 3]);
        assert_eq!(largest_rows(&values, 2, 1, 4), [0, 1, 2, 3], "the earlier of equal rows");
        assert_eq!(largest_rows(&values, 2, 1, 99), [0, 1, 2, 3, 4]);
        let mut tensor =
            NamedTensor { name: "a".into(), shape: vec![5, 2], values: values.to_vec() };
        select_rows(&mut tensor, &[3, 1]);
        assert_eq!((tensor.shape, tensor.values), (vec![2, 2], vec![-9.0, 0.0, 3.0, -4.0]));
    }
}
