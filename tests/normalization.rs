//! Batch and layer normalisation and standardisation beyond parity: what spoils what, degenerate batches, running moments, the two
//! forms of the gradient, the same bits every time.

mod common;

use cs231n_gpu::gpu::Options;
use cs231n_gpu::ops::batchnorm::{
    Backward, Gradients, Running, batchnorm_backward, batchnorm_test, batchnorm_train,
};
use cs231n_gpu::ops::layernorm::{layernorm, layernorm_backward};
use cs231n_gpu::ops::standardize::standardize;
use cs231n_gpu::ops::take::Positions;
use cs231n_gpu::reference::{self, batchnorm::graph};
use cs231n_gpu::tolerance::{Tracked, compare};
use cs231n_gpu::{Device, Tensor, rng};

const EPSILON: f64 = 1e-5f32 as f64;

fn devices() -> Vec<Device> {
    let gpu = common::open(Options { poison: true, ..Options::default() });
    [Device::Reference, Device::Cpu].into_iter().chain(gpu.map(Device::Gpu)).collect()
}

fn reals(seed: u64, n: usize) -> Vec<f64> {
    rng::reals(&mut rng::seeded(seed), n)
}

fn real(device: &Device, shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::from_f64(device, shape, values).expect("values of that shape")
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64().expect("read")
}

/// Whether NaN stands in column (or row, of a transposed question) `spoiled` alone.
fn spoils_only(values: &[f64], columns: usize, spoiled: impl Fn(usize, usize) -> bool) -> bool {
    values.iter().enumerate().all(|(at, value)| value.is_nan() == spoiled(at / columns, at % columns))
}

#[test]
fn nan_spoils_its_own_column_of_a_batch() {
    let (rows, columns, row, column) = (21, 20, 13, 6);
    let mut x = reals(1, rows * columns);
    x[row * columns + column] = f64::NAN;
    for device in devices() {
        let name = device.describe();
        let [gamma, beta] = [2, 3].map(|seed| real(&device, &[columns], &reals(seed, columns)));
        let x = real(&device, &[rows, columns], &x);
        let mut moments = real(&device, &[2, columns], &vec![1.0; 2 * columns]);
        let test = batchnorm_test(&x, &gamma, &beta, &moments, EPSILON).expect("test");
        assert!(spoils_only(&values(&test), columns, |i, j| (i, j) == (row, column)), "{name}");

        let running = Running { moments: &mut moments, momentum: 0.9 };
        let train = batchnorm_train(&x, &gamma, &beta, EPSILON, Some(running)).expect("train");
        for tensor in [&train.out, &train.statistics, &moments] {
            assert!(spoils_only(&values(tensor), columns, |_, j| j == column), "{name}");
        }

        let clean = real(&device, &[2, columns], &vec![1.0; 2 * columns]);
        let dout = real(&device, &[rows, columns], &reals(4, rows * columns));
        for form in [Backward::Formula, Backward::Graph] {
            let Gradients { dx, dgamma, dbeta } =
                batchnorm_backward(&dout, &x, &clean, &gamma, form).expect("backward");
            for tensor in [&dx, &dgamma] {
                assert!(spoils_only(&values(tensor), columns, |_, j| j == column), "{name} {form:?}");
            }
            assert!(spoils_only(&values(&dbeta), columns, |_, _| false), "{name} {form:?}");
        }
    }
}

#[test]
fn nan_spoils_its_own_row_of_a_layer_and_its_own_standardised_value() {
    let (rows, columns, row, column) = (21, 20, 13, 6);
    let mut x = reals(1, rows * columns);
    x[row * columns + column] = f64::NAN;
    for device in devices() {
        let name = device.describe();
        let [gamma, beta] = [2, 3].map(|seed| real(&device, &[columns], &reals(seed, columns)));
        let x = real(&device, &[rows, columns], &x);
        let normalized = layernorm(&x, &gamma, &beta, EPSILON).expect("forward");
        assert!(spoils_only(&values(&normalized.out), columns, |i, _| i == row), "{name}");
        assert!(spoils_only(&values(&normalized.statistics), rows, |_, i| i == row), "{name}");

        let clean = real(&device, &[2, rows], &vec![1.0; 2 * rows]);
        let dout = real(&device, &[rows, columns], &reals(4, rows * columns));
        let Gradients { dx, dgamma, dbeta } =
            layernorm_backward(&dout, &x, &clean, &gamma).expect("backward");
        assert!(spoils_only(&values(&dx), columns, |i, _| i == row), "{name}");
        assert!(spoils_only(&values(&dgamma), columns, |_, j| j == column), "{name}");
        assert!(spoils_only(&values(&dbeta), columns, |_, _| false), "{name}");

        let out = standardize(&x, &gamma, &beta, None).expect("standardize");
        assert!(spoils_only(&values(&out), columns, |i, j| (i, j) == (row, column)), "{name}");
    }
}

#[test]
fn constant_columns_stay_finite_and_one_row_becomes_the_shift() {
    for device in devices() {
        let name = device.describe();
        for rows in [1, 2, 257] {
            let columns = 7;
            // No multiple of 0.1 in 32 bit sums without rounding: the variance is a rounding error, not 0.
            let x: Vec<f64> = (0..rows * columns).map(|at| f64::from((at % columns) as f32 * 0.1)).collect();
            let [ones, shift] = [vec![1.0; columns], reals(5, columns)];
            let [want_x, want_gamma, want_beta] = [&x, &ones, &shift].map(|values| Tracked::inputs(values));
            let want = reference::batchnorm::train(&want_x, &want_gamma, &want_beta, EPSILON);
            let [gamma, beta] = [&ones, &shift].map(|values| real(&device, &[columns], values));
            let dout = real(&device, &[rows, columns], &reals(6, rows * columns));
            let x = real(&device, &[rows, columns], &x);
            let train = batchnorm_train(&x, &gamma, &beta, EPSILON, None).expect("train");
            let worst = compare(&values(&train.out), &want.out);
            assert!(worst.ok(), "{name}: {worst}");
            if rows == 1 {
                assert_eq!(values(&train.out), shift, "{name}");
            }
            for form in [Backward::Formula, Backward::Graph] {
                let Gradients { dx, dgamma, dbeta } =
                    batchnorm_backward(&dout, &x, &train.statistics, &gamma, form).expect("backward");
                let all = [&dx, &dgamma, &dbeta].map(values).concat();
                assert!(all.iter().all(|value| value.is_finite()), "{name} {form:?}");
                if (rows, form) == (1, Backward::Formula) {
                    assert_eq!(values(&dx), vec![0.0; columns], "{name}");
                }
            }
        }
    }
}

#[test]
fn both_forms_of_the_gradient_agree() {
    // The shape and the numbers of the assignment's comparison.
    let (rows, columns) = (100, 500);
    let x: Vec<f64> =
        reals(7, rows * columns).into_iter().map(|x| f64::from((10.0 * x + 12.0) as f32)).collect();
    let dout = reals(8, rows * columns);
    let gamma = reals(9, columns);
    let moments = reference::batchnorm::moments(&x, columns);
    let narrow = |values: Vec<f64>| values.into_iter().map(|v| f64::from(v as f32)).collect::<Vec<_>>();
    let statistics = narrow(reference::batchnorm::statistics(&moments, EPSILON));
    let tracked = [&dout, &x, &statistics, &gamma].map(|values| Tracked::inputs(values));
    let [tracked_dout, tracked_x, tracked_statistics, tracked_gamma] = &tracked;
    let want =
        reference::batchnorm::backward_graph(tracked_dout, tracked_x, tracked_statistics, tracked_gamma);
    for device in devices() {
        let name = device.describe();
        let [dout, x] = [&dout, &x].map(|values| real(&device, &[rows, columns], values));
        let statistics = real(&device, &[2, columns], &statistics);
        let gamma = real(&device, &[columns], &gamma);
        // The bound of the graph holds the formula too.
        let of = |form| batchnorm_backward(&dout, &x, &statistics, &gamma, form).expect("backward");
        let [formula, by_graph] = [of(Backward::Formula), of(Backward::Graph)];
        for got in [&formula, &by_graph] {
            let pairs = [(&got.dx, &want.dx), (&got.dgamma, &want.dgamma), (&got.dbeta, &want.dbeta)];
            for (got, want) in pairs {
                let worst = compare(&values(got), want);
                assert!(worst.ok(), "{name}: {worst}");
            }
        }
    }
    // In 64 bit, with statistics that are not rounded, they agree as they do in the assignment (5e-13).
    let statistics = reference::batchnorm::statistics(&moments, EPSILON);
    let [formula, by_graph] = [reference::batchnorm::backward_formula, reference::batchnorm::backward_graph]
        .map(|back| back(&dout, &x, &statistics, &gamma).dx);
    let error = formula
        .iter()
        .zip(&by_graph)
        .fold(0.0, |worst: f64, (a, b)| worst.max((a - b).abs() / (a.abs() + b.abs()).max(1e-8)));
    assert!(error < 1e-9, "{error}");
}

#[test]
fn the_graph_holds_the_passes_and_names_its_nodes() {
    let (rows, columns) = (4, 5);
    let [x, dout] = [10, 11].map(|seed| reals(seed, rows * columns));
    let [gamma, beta] = [12, 13].map(|seed| reals(seed, columns));
    let graph = graph(&dout, &x, &gamma, &beta, EPSILON);
    let train = reference::batchnorm::train(&x, &gamma, &beta, EPSILON);
    let back = reference::batchnorm::backward_graph(&dout, &x, &train.statistics, &gamma);
    assert_eq!((&graph.out.value, &graph.out.gradient), (&train.out, &dout));
    assert_eq!(graph.mean.value, train.statistics[..columns]);
    assert_eq!(
        (&graph.x.gradient, &graph.gamma.gradient, &graph.beta.gradient),
        (&back.dx, &back.dgamma, &back.dbeta)
    );
    for (name, _, _, node) in graph.nodes() {
        assert_eq!(node.value.len(), node.gradient.len(), "{name}");
    }
    // The path through the mean carries what is left over: with x̂ of mean 0, Σdx̂·(−1/√(σ²+ε)).
    for j in 0..columns {
        let flow: f64 = (0..rows).map(|i| -graph.normalized.gradient[i * columns + j]).sum();
        let want = flow * train.statistics[columns + j];
        approx::assert_relative_eq!(graph.mean.gradient[j], want, max_relative = 1e-9, epsilon = 1e-12);
    }
}

/// The worst relative error of analytic gradients against centred differences of Σ dout·f, as the course measures it.
fn gradient_error(at: &[f64], analytic: &[f64], dout: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    let loss = |at: &[f64]| f(at).iter().zip(dout).map(|(out, dout)| out * dout).sum::<f64>();
    let mut point = at.to_vec();
    let errors = analytic.iter().enumerate().map(|(k, analytic)| {
        let [up, down] = [1e-5, -1e-5].map(|h| {
            point[k] = at[k] + h;
            let loss = loss(&point);
            point[k] = at[k];
            loss
        });
        let numeric = (up - down) / 2e-5;
        (analytic - numeric).abs() / (analytic.abs() + numeric.abs()).max(1e-8)
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn gradients_are_those_of_the_forward_passes() {
    let (rows, columns) = (4, 5);
    let x: Vec<f64> = reals(14, rows * columns).into_iter().map(|x| 5.0 * x + 12.0).collect();
    let dout = reals(15, rows * columns);
    let [gamma, beta] = [16, 17].map(|seed| reals(seed, columns));
    let right = 1e-7;

    let forward =
        |x: &[f64], gamma: &[f64], beta: &[f64]| reference::batchnorm::train(x, gamma, beta, EPSILON);
    let statistics = forward(&x, &gamma, &beta).statistics;
    for back in [reference::batchnorm::backward_formula, reference::batchnorm::backward_graph] {
        let got = back(&dout, &x, &statistics, &gamma);
        assert!(gradient_error(&x, &got.dx, &dout, |x| forward(x, &gamma, &beta).out) < right);
        assert!(gradient_error(&gamma, &got.dgamma, &dout, |gamma| forward(&x, gamma, &beta).out) < right);
        assert!(gradient_error(&beta, &got.dbeta, &dout, |beta| forward(&x, &gamma, beta).out) < right);
    }

    let forward =
        |x: &[f64], gamma: &[f64], beta: &[f64]| reference::layernorm::forward(x, gamma, beta, EPSILON, rows);
    let statistics = forward(&x, &gamma, &beta).statistics;
    let got = reference::layernorm::backward(&dout, &x, &statistics, &gamma, rows);
    assert!(gradient_error(&x, &got.dx, &dout, |x| forward(x, &gamma, &beta).out) < right);
    assert!(gradient_error(&gamma, &got.dgamma, &dout, |gamma| forward(&x, gamma, &beta).out) < right);
    assert!(gradient_error(&beta, &got.dbeta, &dout, |beta| forward(&x, &gamma, beta).out) < right);
}

#[test]
fn running_moments_follow_their_definition_for_50_passes_and_no_clone_sees_it() {
    let (rows, columns, momentum) = (20, 12, f64::from(0.9f32));
    for device in devices() {
        let name = device.describe();
        let [gamma, beta] = [18, 19].map(|seed| real(&device, &[columns], &reals(seed, columns)));
        let zeros = vec![0.0; 2 * columns];
        let mut moments = real(&device, &[2, columns], &zeros);
        let untouched = moments.clone();
        let mut want = Tracked::inputs(&zeros);
        for pass in 0..50 {
            let x = reals(100 + pass, rows * columns);
            let batch = reference::batchnorm::moments(&Tracked::inputs(&x), columns);
            want = reference::batchnorm::running(&want, &batch, momentum);
            let x = real(&device, &[rows, columns], &x);
            let running = Running { moments: &mut moments, momentum };
            batchnorm_train(&x, &gamma, &beta, EPSILON, Some(running)).expect("train");
        }
        let worst = compare(&values(&moments), &want);
        assert!(worst.ok(), "{name}: {worst}");
        assert_eq!(values(&untouched), zeros, "{name}");

        // A batch without rows says nothing about the moments.
        let (empty, before) = (real(&device, &[0, columns], &[]), values(&moments));
        let running = Running { moments: &mut moments, momentum };
        batchnorm_train(&empty, &gamma, &beta, EPSILON, Some(running)).expect("no rows");
        assert_eq!(values(&moments), before, "{name}");
    }
}

/// Every output of every operation on one device.
fn everything(device: &Device) -> Vec<u64> {
    let (rows, columns) = (515, 67);
    let [x, dout] = [20, 21].map(|seed| real(device, &[rows, columns], &reals(seed, rows * columns)));
    let [gamma, beta] = [22, 23].map(|seed| real(device, &[columns], &reals(seed, columns)));
    let train = batchnorm_train(&x, &gamma, &beta, EPSILON, None).expect("train");
    let layer = layernorm(&x, &gamma, &beta, EPSILON).expect("forward");
    let gradients = [
        batchnorm_backward(&dout, &x, &train.statistics, &gamma, Backward::Formula).expect("formula"),
        batchnorm_backward(&dout, &x, &train.statistics, &gamma, Backward::Graph).expect("graph"),
        layernorm_backward(&dout, &x, &layer.statistics, &gamma).expect("backward"),
    ];
    let mut all = vec![train.out, train.statistics, layer.out, layer.statistics];
    all.extend(gradients.into_iter().flat_map(|Gradients { dx, dgamma, dbeta }| [dx, dgamma, dbeta]));
    all.iter().flat_map(values).map(f64::to_bits).collect()
}

#[test]
fn the_bits_are_the_same_every_time_and_for_any_number_of_threads() {
    for device in devices() {
        let first = everything(&device);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            assert!(
                pool.install(|| everything(&device)) == first,
                "{}, {threads} threads",
                device.describe()
            );
        }
    }
}

#[test]
fn a_row_that_is_not_there_is_refused_on_the_host_and_nan_on_an_adapter() {
    let (rows, columns) = (3, 8);
    let pixels: Vec<u8> = (0..24).collect();
    for device in devices() {
        let [zero, one] = [0.0, 1.0].map(|value| real(&device, &[columns], &vec![value; columns]));
        let bytes = Tensor::from_u8(&device, &[rows, columns], &pixels).expect("pixels");
        let floats =
            real(&device, &[rows, columns], &pixels.iter().copied().map(f64::from).collect::<Vec<_>>());
        for x in [bytes, floats] {
            let picks = Tensor::from_u32(&device, &[4], &[2, 3, 0, u32::MAX]).expect("picks");
            match standardize(&x, &zero, &one, Some(&Positions { all: &picks, range: 0..4 })) {
                Err(error) => {
                    assert_ne!(device.kind(), "gpu");
                    assert!(error.to_string().contains("position 3 in 3 rows"), "{error}");
                }
                Ok(out) => {
                    assert_eq!(device.kind(), "gpu");
                    let out = values(&out);
                    assert!(spoils_only(&out, columns, |i, _| i == 1 || i == 3), "{out:?}");
                    assert_eq!(out[..columns], [16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
                    assert_eq!(out[2 * columns..3 * columns], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for device in devices() {
        let x = real(&device, &[2, 3], &[1.0; 6]);
        let [three, two] = [3, 2].map(|n| real(&device, &[n], &vec![1.0; n]));
        let mut moments = real(&device, &[2, 3], &[1.0; 6]);
        let integers = Tensor::from_u32(&device, &[2, 3], &[0; 6]).expect("integers");
        let errors = [
            batchnorm_train(&x, &two, &three, EPSILON, None).map(drop),
            batchnorm_train(&three, &three, &three, EPSILON, None).map(drop),
            batchnorm_train(&x, &three, &three, 0.0, None).map(drop),
            batchnorm_train(&integers, &three, &three, EPSILON, None).map(drop),
            batchnorm_train(
                &x,
                &three,
                &three,
                EPSILON,
                Some(Running { moments: &mut moments, momentum: f64::NAN }),
            )
            .map(drop),
            batchnorm_test(&x, &three, &three, &three, EPSILON).map(drop),
            batchnorm_backward(&x, &x, &x, &two, Backward::Formula).map(drop),
            layernorm(&x, &three, &two, EPSILON).map(drop),
            layernorm_backward(&three, &x, &x, &three).map(drop),
            standardize(&x, &two, &three, None).map(drop),
            standardize(&x, &three, &three, Some(&Positions { all: &two, range: 0..2 })).map(drop),
            standardize(&integers, &three, &three, None).map(drop),
        ];
        for (i, result) in errors.into_iter().enumerate() {
            let error = result.expect_err("does not fit");
            assert_eq!(error.exit_code(), 2, "{i}: {error}");
        }
    }
}
