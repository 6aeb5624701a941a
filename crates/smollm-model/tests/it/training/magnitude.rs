//! `DoRA`'s magnitudes against the differentiable model.

use super::*;

#[test]
fn magnitudes_match_autograd() {
    check_f32(&Case::new(&[70, 1, 17, 130], &everywhere(), 4, 0.0).with_magnitudes());
    check_f32(&Case::new(&[33, 60], &everywhere(), 3, 0.2).with_magnitudes());
    // The walk back ends in any part of a block.
    for projection in Projection::ALL {
        let case = Case::new(&[9, 20], &[Site::new(1, projection)], 2, 0.1);
        check_f32(&case.with_magnitudes());
    }
    check_f32(&Case::new(&[9, 20], &[Site::Head], 2, 0.1).with_magnitudes());
}

/// A row that is zero, adapter included, has no norm: it gives zero and learns nothing.
#[test]
fn a_magnitude_beside_a_row_of_zeros_is_no_error() {
    let mut case = Case::new(&[9], &[Site::new(0, Projection::V)], 2, 0.0).with_magnitudes();
    let mut model = load(f32s());
    let inputs = model.config().hidden_size;
    // B A takes the first row away: a rank of one is enough for one row.
    let reference = open(&files(), DType::F32);
    let weight = &reference.at(Site::new(0, Projection::V)).weight;
    let row = weight.get(0).unwrap().to_vec1::<f32>().unwrap();
    case.pairs[0].a[..inputs].copy_from_slice(&row);
    case.pairs[0].b[..2].copy_from_slice(&[-1.0 / 1.5, 0.0]);
    let (nll, gradients) = case.packed(&mut model);
    assert!(nll.is_finite());
    let all = [&gradients[0].a, &gradients[0].b, &gradients[0].magnitude];
    assert!(all.into_iter().flatten().all(|g| g.is_finite()));
}
