//! Reductions, softmax and losses on every device where numbers are not ordinary: NaN, infinities, ties, nothing, labels that are no class.

mod common;

use cs231n_gpu::gpu::Options;
use cs231n_gpu::ops::cross_entropy::{cross_entropy, cross_entropy_weighted};
use cs231n_gpu::ops::hinge_loss::{hinge_loss, hinge_loss_weighted};
use cs231n_gpu::ops::reduce::{Axis, argmax, max, moments, sum};
use cs231n_gpu::ops::softmax::{softmax, softmax_backward};
use cs231n_gpu::ops::squared_error::squared_error;
use cs231n_gpu::{Device, Tensor};

const NAN: f64 = f64::NAN;
const INFINITY: f64 = f64::INFINITY;
/// Rows of this many scores take each family of kernels, with and without an end that is no vector.
const WIDTHS: [usize; 6] = [3, 4, 40, 300, 301, 1200];

fn devices() -> Vec<Device> {
    let gpu = common::open(Options { poison: true, ..Options::default() });
    [Device::Reference, Device::Cpu].into_iter().chain(gpu.map(Device::Gpu)).collect()
}

fn matrix(device: &Device, rows: usize, values: &[f64]) -> Tensor {
    let columns = values.len().checked_div(rows).unwrap_or(0);
    Tensor::from_f64(device, &[rows, columns], values).expect("a matrix")
}

fn integers(device: &Device, values: &[u32]) -> Tensor {
    Tensor::from_u32(device, &[values.len()], values).expect("integers")
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64().expect("values")
}

/// Both axes of a matrix of which each row, or each column, is one of `lines`.
fn both_axes(device: &Device, lines: &[Vec<f64>], mut with: impl FnMut(&Tensor, Axis)) {
    let (rows, columns) = (lines.len(), lines[0].len());
    with(&matrix(device, rows, &lines.concat()), Axis::Rows);
    let transposed: Vec<f64> = (0..columns).flat_map(|i| lines.iter().map(move |line| line[i])).collect();
    with(&matrix(device, columns, &transposed), Axis::Columns);
}

#[test]
fn the_first_maximum_wins_and_nan_is_the_maximum() {
    for device in devices() {
        for n in [1, 3, 4, 40, 301, 5000, 70_001] {
            let line = |edit: &dyn Fn(usize) -> f64| (0..n).map(edit).collect::<Vec<_>>();
            let lines = [
                line(&|_| 2.0),
                line(&|_| -INFINITY),
                line(&|i| if i == n - 1 { NAN } else { INFINITY }),
                line(&|i| if i >= n / 2 { NAN } else { 1.0 }),
                line(&|i| if i == n / 3 || i == n - 1 { 7.0 } else { -(i as f64) }),
                line(&|i| if i % 2 == 0 { -0.0 } else { 0.0 }),
            ];
            both_axes(&device, &lines, |x, axis| {
                let [last, half, third] = [n - 1, n / 2, n / 3].map(|i| i as f64);
                let at = values(&argmax(x, axis).expect("argmax"));
                assert_eq!(at, [0.0, 0.0, last, half, third, 0.0], "{n} along {axis:?}");
                let max = values(&max(x, axis).expect("max"));
                assert!(max[2].is_nan() && max[3].is_nan(), "{n} along {axis:?}: {max:?}");
                assert_eq!([max[0], max[1], max[4], max[5]], [2.0, -INFINITY, 7.0, 0.0]);
            });
        }
    }
}

#[test]
fn sums_and_moments_keep_nan_and_lose_no_digits_to_the_mean() {
    for device in devices() {
        for n in [1, 4, 301, 5000] {
            // 10,000 ± 1: the squares lie below the last digit of 10⁸ in 32 bit.
            let far: Vec<f64> = (0..n).map(|i| 1e4 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let spoilt: Vec<f64> = (0..n).map(|i| if i == n - 1 { NAN } else { 1.0 }).collect();
            both_axes(&device, &[far, spoilt], |x, axis| {
                let odd = 1.0 / n as f64 * f64::from(u8::from(n % 2 == 1));
                let (mean, variance) = moments(x, axis).expect("moments");
                let (mean, variance) = (values(&mean), values(&variance));
                assert!((mean[0] - 1e4 - odd).abs() < 1e-2 && mean[1].is_nan(), "{n} {axis:?}: {mean:?}");
                let want = 1.0 - odd * odd;
                assert!(
                    (variance[0] - want).abs() < 1e-3 && variance[1].is_nan(),
                    "{n} {axis:?}: {variance:?}"
                );
                assert!(values(&sum(x, axis).expect("sum"))[1].is_nan());
            });
        }
    }
}

#[test]
fn nothing_sums_to_zero_and_has_no_maximum() {
    for device in devices() {
        let tensor = |shape: [usize; 2]| Tensor::from_f64(&device, &shape, &[]).expect("nothing");
        assert_eq!(values(&sum(&tensor([0, 3]), Axis::Columns).expect("sums")), [0.0; 3]);
        assert_eq!(values(&sum(&tensor([3, 0]), Axis::Rows).expect("sums")), [0.0; 3]);
        assert!(max(&tensor([0, 3]), Axis::Rows).expect("no rows").is_empty());
        for (shape, axis) in [([0, 3], Axis::Columns), ([3, 0], Axis::Rows), ([0, 0], Axis::Rows)] {
            let x = tensor(shape);
            assert!(max(&x, axis).is_err() && argmax(&x, axis).is_err() && moments(&x, axis).is_err());
        }
        assert_eq!(softmax(&tensor([0, 3])).expect("no rows").shape(), [0, 3]);
        assert_eq!(softmax(&tensor([3, 0])).expect("no columns").shape(), [3, 0]);
        let losses = cross_entropy(&tensor([0, 3]), &integers(&device, &[])).expect("no rows");
        assert_eq!((losses.losses.shape(), losses.gradient.shape()), (&[0][..], &[0, 3][..]));
        assert!(cross_entropy(&tensor([0, 0]), &integers(&device, &[])).is_err());
        assert!(squared_error(&tensor([3, 0]), &tensor([3, 0])).is_err());
    }
}

/// Rows that end as they should: ordinary, with a NaN, with an infinity at another class than the label 1, with minus infinity there.
fn odd_rows(device: &Device, classes: usize) -> (Tensor, Tensor) {
    let mut scores = vec![0.5; 4 * classes];
    scores[classes + classes - 1] = NAN;
    scores[2 * classes] = INFINITY;
    scores[3 * classes] = -INFINITY;
    (matrix(device, 4, &scores), integers(device, &[1; 4]))
}

fn rows_of(tensor: &Tensor, classes: usize) -> Vec<Vec<f64>> {
    values(tensor).chunks(classes).map(<[f64]>::to_vec).collect()
}

fn all_nan(row: &[f64]) -> bool {
    row.iter().all(|x| x.is_nan())
}

#[test]
fn nan_spoils_its_row_and_no_other() {
    for device in devices() {
        for classes in WIDTHS {
            let (scores, labels) = odd_rows(&device, classes);
            let p = rows_of(&softmax(&scores).expect("softmax"), classes);
            assert!(all_nan(&p[1]) && all_nan(&p[2]), "{classes}: {p:?}");
            assert!((p[0][0] * classes as f64 - 1.0).abs() < 1e-5 && p[3][0] == 0.0, "{classes}: {p:?}");

            let got = cross_entropy(&scores, &labels).expect("losses");
            let (losses, gradient) = (values(&got.losses), rows_of(&got.gradient, classes));
            assert!(all_nan(&losses[1..3]) && all_nan(&gradient[1]) && all_nan(&gradient[2]), "{losses:?}");
            assert!((losses[0] - (classes as f64).ln()).abs() < 1e-5 && losses[3].is_finite(), "{losses:?}");
            assert!(gradient[0].iter().chain(&gradient[3]).all(|g| g.is_finite()));

            let got = hinge_loss(&scores, &labels, 1.0).expect("losses");
            let (losses, gradient) = (values(&got.losses), rows_of(&got.gradient, classes));
            assert!(losses[1].is_nan() && all_nan(&gradient[1]), "{losses:?} {gradient:?}");
            assert_eq!(
                [losses[0], losses[2], losses[3]],
                [classes as f64 - 1.0, INFINITY, classes as f64 - 2.0]
            );
            assert_eq!((gradient[2][0], gradient[3][0]), (0.25, 0.0));
            assert_eq!(gradient[3][1], -(classes as f64 - 2.0) / 4.0);

            let targets = matrix(&device, 4, &vec![0.0; 4 * classes]);
            let got = squared_error(&scores, &targets).expect("losses");
            let (losses, gradient) = (values(&got.losses), rows_of(&got.gradient, classes));
            assert!(losses[1].is_nan() && losses[0] == classes as f64 / 4.0 && losses[2] == INFINITY);
            assert!(gradient[1][classes - 1].is_nan() && gradient[1][0] == 0.25);

            let dout = softmax_backward(&scores, &targets).expect("gradient");
            assert!(all_nan(&rows_of(&dout, classes)[1]));
        }
    }
}

#[test]
fn equal_infinities_have_no_margin() {
    for device in devices() {
        for classes in WIDTHS {
            for infinity in [INFINITY, -INFINITY] {
                let mut scores = vec![1.0; 2 * classes];
                // One alone is no difference; two are.
                scores[1] = infinity;
                scores[classes + 1] = infinity;
                scores[classes + 2] = infinity;
                let got = hinge_loss(&matrix(&device, 2, &scores), &integers(&device, &[1, 1]), 1.0);
                let got = got.expect("losses");
                let (losses, gradient) = (values(&got.losses), rows_of(&got.gradient, classes));
                assert_eq!(losses[0], if infinity > 0.0 { 0.0 } else { INFINITY }, "{classes} {infinity}");
                assert!(losses[1].is_nan() && all_nan(&gradient[1]), "{classes} {infinity}: {losses:?}");
            }
        }
    }
}

#[test]
fn large_equal_and_single_scores_lose_what_they_should() {
    for device in devices() {
        let (losses, gradient) = {
            let scores = [1e4, -1e4, 0.0, -1e4, 1e4, 0.0, 5.0, 5.0, 5.0];
            let got = cross_entropy(&matrix(&device, 3, &scores), &integers(&device, &[0, 0, 2]));
            let got = got.expect("losses");
            (values(&got.losses), values(&got.gradient))
        };
        assert_eq!(&losses[..2], [0.0, 2e4]);
        assert!((losses[2] - 3f64.ln()).abs() < 1e-6);
        for (got, want) in
            gradient.iter().zip([0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 1.0 / 3.0, 1.0 / 3.0, -2.0 / 3.0])
        {
            assert!((got - want / 3.0).abs() < 1e-6, "{gradient:?}");
        }
        let got = cross_entropy(&matrix(&device, 2, &[-3.0, 1e30]), &integers(&device, &[0, 0]));
        let got = got.expect("one class");
        assert_eq!((values(&got.losses), values(&got.gradient)), (vec![0.0; 2], vec![0.0; 2]));
        let got = hinge_loss(&matrix(&device, 1, &[7.0]), &integers(&device, &[0]), 1.0).expect("one class");
        assert_eq!((values(&got.losses), values(&got.gradient)), (vec![0.0], vec![0.0]));
    }
}

#[test]
fn the_notes_example_and_a_margin_of_zero() {
    for device in devices() {
        let got = hinge_loss(&matrix(&device, 1, &[13.0, -7.0, 11.0]), &integers(&device, &[0]), 10.0);
        let got = got.expect("losses");
        assert_eq!((values(&got.losses), values(&got.gradient)), (vec![8.0], vec![-1.0, 0.0, 1.0]));
        // 1 − 2 + 1 is a margin of 0, and not above it.
        let got = hinge_loss(&matrix(&device, 1, &[2.0, 1.0, 1.5]), &integers(&device, &[0]), 1.0);
        let got = got.expect("losses");
        assert_eq!((values(&got.losses), values(&got.gradient)), (vec![0.5], vec![-1.0, 0.0, 1.0]));
    }
}

#[test]
fn a_label_that_is_no_class_is_refused_or_spoils_its_row() {
    for device in devices() {
        for classes in WIDTHS {
            let scores = matrix(&device, 3, &vec![1.0; 3 * classes]);
            let labels = integers(&device, &[0, classes as u32, u32::MAX]);
            for got in [cross_entropy(&scores, &labels), hinge_loss(&scores, &labels, 1.0)] {
                if !matches!(device, Device::Gpu(_)) {
                    let problem = got.expect_err("a label out of range").to_string();
                    assert!(
                        problem.contains(&format!("label {classes} with {classes} classes")),
                        "{problem}"
                    );
                    continue;
                }
                let got = got.expect("losses");
                let (losses, gradient) = (values(&got.losses), rows_of(&got.gradient, classes));
                assert!(losses[0].is_finite() && gradient[0].iter().all(|g| g.is_finite()));
                assert!(all_nan(&losses[1..]) && all_nan(&gradient[1..].concat()), "{classes}: {losses:?}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let device = Device::Cpu;
    let (scores, labels) = (matrix(&device, 2, &[1.0; 6]), integers(&device, &[0, 1]));
    let elsewhere = integers(&Device::Reference, &[0, 1]);
    assert!(cross_entropy(&scores, &integers(&device, &[0])).is_err());
    assert!(cross_entropy(&scores, &elsewhere).is_err() && cross_entropy(&scores, &scores).is_err());
    assert!(cross_entropy(&labels, &labels).is_err());
    assert!(hinge_loss(&scores, &labels, NAN).is_err() && hinge_loss(&scores, &labels, 1e39).is_err());
    assert!(squared_error(&scores, &labels).is_err() && squared_error(&scores, &elsewhere).is_err());
    assert!(softmax(&labels).is_err() && softmax_backward(&labels, &scores).is_err());
    assert!(sum(&labels, Axis::Rows).is_err());
    let flat = scores.reshape(&[6]).expect("flat");
    assert!(sum(&flat, Axis::Rows).is_err() && softmax(&flat).is_err());
}

#[test]
fn weights_of_classes_multiply_the_rows_of_their_class() {
    for device in devices() {
        for classes in WIDTHS {
            let scores: Vec<f64> = (0..4 * classes).map(|i| (i * 7 % 11) as f64 / 4.0).collect();
            let (scores, labels) = (matrix(&device, 4, &scores), integers(&device, &[0, 1, 2, 1]));
            let losses = |weights: Option<[f32; 3]>| {
                let weights = weights.map(|[zero, one, others]| {
                    let mut all = vec![others; classes];
                    (all[0], all[1]) = (zero, one);
                    Tensor::from_f32(&device, &[classes], &all).expect("weights")
                });
                let both = match &weights {
                    None => [cross_entropy(&scores, &labels), hinge_loss(&scores, &labels, 1.0)],
                    Some(weights) => [
                        cross_entropy_weighted(&scores, &labels, weights),
                        hinge_loss_weighted(&scores, &labels, weights, 1.0),
                    ],
                };
                both.map(|got| {
                    let got = got.expect("losses");
                    [values(&got.losses), values(&got.gradient)]
                })
            };
            let plain = losses(None);
            assert_eq!(losses(Some([1.0; 3])), plain, "weights of 1 change no bit");
            // Powers of two, and 0, multiply without rounding; the mean stays one over 4 rows.
            for (got, plain) in losses(Some([0.0, 2.0, 0.5])).iter().zip(&plain) {
                for (got, plain) in got.iter().zip(plain) {
                    let of_row = plain.len() / 4;
                    for (i, (got, plain)) in got.iter().zip(plain).enumerate() {
                        assert_eq!(*got, plain * [0.0, 2.0, 0.5, 2.0][i / of_row], "{}", device.kind());
                    }
                }
            }
            let few = Tensor::from_f32(&device, &[2], &[1.0; 2]).expect("weights");
            assert!(cross_entropy_weighted(&scores, &labels, &few).is_err());
            let ids = integers(&device, &vec![1; classes]);
            assert!(hinge_loss_weighted(&scores, &labels, &ids, 1.0).is_err());
        }
    }
}
