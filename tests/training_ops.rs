//! What the operations of a training step promise beyond their values: launches, clones that keep their values, NaN that is not lost, masks
//! that are the same on every device.

mod common;

use cs231n_gpu::gpu::Options;
use cs231n_gpu::ops::activation::Activation;
use cs231n_gpu::ops::affine::affine;
use cs231n_gpu::ops::augment::{Augment, MOST_SHIFT, augment};
use cs231n_gpu::ops::dropout::{Dropout, MaskKey, dropout};
use cs231n_gpu::ops::elementwise::{add, axpy, maxout, maxout_backward, mul, scale};
use cs231n_gpu::ops::matmul::{Transposed, matmul};
use cs231n_gpu::ops::optimizer::{Rule, Step, update};
use cs231n_gpu::{Device, Error, Tensor};

fn devices() -> Vec<Device> {
    let gpu = common::open(Options::default()).map(Device::Gpu);
    [Device::Reference, Device::Cpu].into_iter().chain(gpu).collect()
}

fn tensor(device: &Device, values: &[f32]) -> Tensor {
    Tensor::from_f32(device, &[values.len()], values).expect("a tensor")
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64().expect("readable")
}

const NAN: f32 = f32::NAN;
const INFINITY: f32 = f32::INFINITY;

const RULES: [Rule; 7] = [
    Rule::Sgd,
    Rule::Momentum { momentum: 0.9 },
    Rule::Nesterov { momentum: 0.9 },
    Rule::Adagrad { epsilon: 1e-8 },
    Rule::RmsProp { decay: 0.99, epsilon: 1e-8 },
    Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, corrected: true },
    Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 },
];

const FIRST: Step = Step { learning_rate: 0.1, l2: 0.0, regularized: 0, count: 1 };

const LAYERS: [Option<Activation>; 5] = [
    None,
    Some(Activation::Relu),
    Some(Activation::LeakyRelu(0.01)),
    Some(Activation::Sigmoid),
    Some(Activation::Tanh),
];

#[test]
fn more_elements_than_one_grid_dimension_holds() {
    let Some(gpu) = common::open(Options::default()) else { return };
    // One vector more than 65,535 workgroups of 64 invocations have.
    let ramp: Vec<f32> = (0..65_535 * 256 + 1).map(|i| (i % 4093) as f32).collect();
    let x = tensor(&Device::Gpu(gpu), &ramp);
    let sum = values(&add(&x, &x).expect("add"));
    assert!(sum.iter().zip(&ramp).all(|(sum, x)| *sum == f64::from(2.0 * x)));
}

#[test]
fn a_batch_a_layer_and_a_step_are_one_launch_each() {
    let Some(gpu) = common::open(Options::default()) else { return };
    let device = Device::Gpu(gpu.clone());
    let reals = |shape: &[usize]| {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
        Tensor::from_f32(&device, shape, &values).expect("a tensor")
    };
    let launches = |work: &mut dyn FnMut()| {
        gpu.flush().expect("flush");
        let before = gpu.counters().dispatches;
        work();
        gpu.flush().expect("flush");
        gpu.counters().dispatches - before
    };
    let (a, b) = (reals(&[1000, 8, 8]), reals(&[1000, 8, 16]));
    assert_eq!(launches(&mut || drop(matmul(&a, &b, Transposed::default()).expect("a batch"))), 1);
    let (x, w, bias) = (reals(&[70, 33]), reals(&[33, 8]), reals(&[8]));
    for activation in LAYERS {
        assert_eq!(launches(&mut || drop(affine(&x, &w, Some(&bias), activation).expect("a layer"))), 1);
    }
    let (mut w, g) = (reals(&[1000]), reals(&[1000]));
    for rule in RULES {
        let mut state: Vec<_> = (0..rule.states()).map(|_| reals(&[1000])).collect();
        let step = Step { regularized: 900, l2: 0.1, ..FIRST };
        assert_eq!(launches(&mut || update(&rule, &step, &mut w, &g, &mut state).expect("a step")), 1);
    }
}

#[test]
fn clones_keep_their_values_when_a_tensor_is_changed_in_place() {
    for device in devices() {
        let mut y = tensor(&device, &[1.0, 2.0, 3.0]);
        // The operand may be a clone too.
        let clone = y.clone();
        axpy(2.0, &clone, &mut y).expect("axpy");
        assert_eq!((values(&y), values(&clone)), (vec![3.0, 6.0, 9.0], vec![1.0, 2.0, 3.0]));
        for rule in RULES {
            let zero = tensor(&device, &[0.0; 3]);
            // All of them share one storage.
            let mut w = zero.clone();
            let mut state = vec![zero.clone(); rule.states()];
            let gradient = tensor(&device, &[1.0, -1.0, 1.0]);
            update(&rule, &FIRST, &mut w, &gradient, &mut state).expect("a step");
            let moved = values(&w);
            assert!(
                moved.iter().zip([-1.0, 1.0, -1.0]).all(|(w, sign)| w * sign > 0.0),
                "{rule:?}: {moved:?}"
            );
            assert!(state.iter().all(|state| values(state) != values(&zero)), "{rule:?}");
            assert_eq!(values(&zero), [0.0; 3], "{rule:?} on {}", device.kind());
            let before = (values(&w), w.clone());
            update(&rule, &FIRST, &mut w, &gradient, &mut state).expect("a step");
            assert_eq!(values(&before.1), before.0);
            assert_ne!(values(&w), before.0);
        }
    }
}

#[test]
fn numbers_that_are_not_finite_go_through_elementwise_operations() {
    for device in devices() {
        let a = tensor(&device, &[NAN, 1.0, INFINITY, -INFINITY, INFINITY, -INFINITY, 2.0]);
        let b = tensor(&device, &[1.0, NAN, -INFINITY, -INFINITY, 0.0, 5.0, 2.0]);
        let show = |tensor: cs231n_gpu::Result<Tensor>| format!("{:?}", values(&tensor.expect("computed")));
        assert_eq!(show(add(&a, &b)), "[NaN, NaN, NaN, -inf, inf, -inf, 4.0]");
        assert_eq!(show(mul(&a, &b)), "[NaN, NaN, -inf, inf, NaN, -inf, 4.0]");
        assert_eq!(show(maxout(&a, &b)), "[NaN, NaN, inf, -inf, inf, 5.0, 2.0]");
        assert_eq!(show(scale(-1.0, &a)), "[NaN, -1.0, -inf, inf, -inf, inf, -2.0]");
        let mut y = b.clone();
        axpy(1.0, &a, &mut y).expect("axpy");
        assert_eq!(show(Ok(y)), "[NaN, NaN, NaN, -inf, inf, -inf, 4.0]");
        let (da, db) =
            maxout_backward(&a, &tensor(&device, &[1.0; 7]), &tensor(&device, &[0.0; 7])).expect("maxout");
        assert_eq!(show(Ok(da)), show(Ok(a)));
        assert!(values(&db).iter().all(|db| *db == 0.0 || db.is_nan()));
        let kept = Dropout { drop: 0.5, inverted: true, key: MaskKey { seed: 1, step: 2, layer: 3 } };
        assert!(
            values(&dropout(&tensor(&device, &[NAN; 64]), &kept).expect("dropout"))
                .iter()
                .all(|y| y.is_nan())
        );
    }
}

#[test]
fn numbers_that_are_not_finite_go_through_layers() {
    for device in devices() {
        // Small layers and large ones have kernels of their own; those of large ones take long to compile, so one function must do.
        for ([rows, columns, depth], layers) in [([3, 5, 6], &LAYERS[..]), ([70, 66, 33], &LAYERS[1..2])] {
            let of =
                |shape: &[usize], values: &[f32]| Tensor::from_f32(&device, shape, values).expect("a tensor");
            let mut x = vec![0.5; rows * depth];
            x[0] = NAN;
            x[2 * depth] = INFINITY;
            let x = of(&[rows, depth], &x);
            let w = of(&[depth, columns], &vec![1.0; depth * columns]);
            let mut bias = vec![0.0; columns];
            bias[columns - 1] = NAN;
            let bias = of(&[columns], &bias);
            for &activation in layers {
                for bias in [None, Some(&bias)] {
                    let y = values(&affine(&x, &w, bias, activation).expect("a layer"));
                    for (i, y) in y.iter().enumerate() {
                        let (row, column) = (i / columns, i % columns);
                        let lost = row == 0 || bias.is_some() && column == columns - 1;
                        assert_eq!(y.is_nan(), lost, "{activation:?} on {}: {row}, {column}", device.kind());
                        let saturated = matches!(activation, Some(Activation::Sigmoid | Activation::Tanh));
                        assert!(lost || row != 2 || *y == if saturated { 1.0 } else { f64::INFINITY });
                    }
                }
            }
        }
    }
}

#[test]
fn a_gradient_that_is_nan_spoils_its_parameter_alone() {
    for device in devices() {
        for rule in RULES {
            let mut w = tensor(&device, &[1.0; 9]);
            let mut state = vec![tensor(&device, &[0.0; 9]); rule.states()];
            let mut gradient = [1.0; 9];
            gradient[5] = NAN;
            update(&rule, &FIRST, &mut w, &tensor(&device, &gradient), &mut state).expect("a step");
            for (i, w) in values(&w).iter().enumerate() {
                assert_eq!(w.is_nan(), i == 5, "{rule:?} on {}: element {i} is {w}", device.kind());
            }
        }
    }
}

/// Which of `n` units a key keeps.
fn mask(device: &Device, n: usize, drop: f64, key: MaskKey) -> Vec<bool> {
    let ones = tensor(device, &vec![1.0; n]);
    let vanilla = Dropout { drop, inverted: false, key };
    values(&dropout(&ones, &vanilla).expect("dropout")).iter().map(|y| *y == 1.0).collect()
}

const KEY: MaskKey = MaskKey { seed: 231, step: 5, layer: 2 };

#[test]
fn masks_are_the_same_on_every_device_and_drop_what_they_should() {
    let n = 200_003;
    for drop in [0.0, 0.1, 0.5, 0.9, 1.0 - f64::EPSILON] {
        let on_cpu = mask(&Device::Cpu, n, drop, KEY);
        let dropped = on_cpu.iter().filter(|kept| !**kept).count() as f64;
        let (mean, deviation) = (n as f64 * drop, (n as f64 * drop * (1.0 - drop)).sqrt());
        assert!((dropped - mean).abs() <= 4.0 * deviation + 1e-3, "{drop}: {dropped} of {n}");
        for device in devices() {
            assert!(mask(&device, n, drop, KEY) == on_cpu, "{drop} on {}", device.kind());
            // The scale is the same too, to the last bit.
            let layer = Dropout { drop: drop.min(0.9), inverted: true, key: KEY };
            let got = values(&dropout(&tensor(&device, &[1.0; 64]), &layer).expect("dropout"));
            assert!(got.iter().all(|y| *y == 0.0 || *y == f64::from((1.0 / (1.0 - layer.drop)) as f32)));
        }
    }
}

#[test]
fn masks_of_different_keys_and_neighbours_are_unrelated() {
    let n = 1 << 17;
    let agree = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
    let unrelated = |what: &str, a: &[bool], b: &[bool]| {
        let pairs = a.len().min(b.len()) as f64;
        let off = (agree(a, b) - pairs / 2.0).abs() / (pairs.sqrt() / 2.0);
        assert!(off <= 4.5, "{what}: {off} standard deviations from chance");
    };
    let first = mask(&Device::Cpu, n, 0.5, KEY);
    let others = [
        MaskKey { seed: 230, ..KEY },
        MaskKey { seed: 231 + (1 << 32), ..KEY },
        MaskKey { seed: 231 << 32, ..KEY },
        MaskKey { step: 4, ..KEY },
        MaskKey { step: 6, ..KEY },
        MaskKey { layer: 3, ..KEY },
        // Parts that change places are another key.
        MaskKey { step: 2, layer: 5, ..KEY },
        MaskKey { seed: 5, step: 231, layer: 2 },
    ];
    for key in others {
        unrelated(&format!("{key:?}"), &first, &mask(&Device::Cpu, n, 0.5, key));
    }
    for lag in [1, 2, 3, 4, 7, 64, 512, 3072, 1 << 16] {
        unrelated(&format!("{lag} apart"), &first, &first[lag..]);
    }
    // Steps of one layer that follow each other, as a training run has them, agree by chance in every pair.
    let steps: Vec<_> = (1..=20).map(|step| mask(&Device::Cpu, 4096, 0.5, MaskKey { step, ..KEY })).collect();
    for (i, a) in steps.iter().enumerate() {
        steps[..i].iter().for_each(|b| unrelated("two steps", a, b));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_changes() {
    let refused = |result: cs231n_gpu::Result<()>, text: &str| {
        let error = result.expect_err(text);
        assert!(matches!(error, Error::Shape { .. }) && error.to_string().contains(text), "{error}");
    };
    for device in devices() {
        let (two, three) = (tensor(&device, &[1.0; 2]), tensor(&device, &[1.0; 3]));
        let integers = Tensor::from_u32(&device, &[2], &[1, 2]).expect("integers");
        refused(add(&two, &three).map(drop), "[2] and [3]");
        refused(mul(&two, &integers).map(drop), "real and u32");
        refused(scale(1.0, &integers).map(drop), "u32");
        refused(maxout_backward(&three, &two, &two).map(drop), "[2] and [3]");
        refused(axpy(1.0, &integers, &mut two.clone()), "u32");

        let row = two.reshape(&[1, 2]).expect("a row");
        let column = two.reshape(&[2, 1]).expect("a column");
        refused(affine(&row, &row, None, None).map(drop), "x has 2 columns and w 1 rows");
        refused(affine(&two, &column, None, None).map(drop), "x is [2]");
        refused(affine(&row, &column, Some(&two), None).map(drop), "a bias of shape [2] for 1 columns");

        for drop in [1.0, 1.5, -0.1, f64::NAN] {
            let layer = Dropout { drop, inverted: true, key: KEY };
            refused(dropout(&two, &layer).map(|_| ()), "a probability to drop of");
        }
        let layer = Dropout { drop: 0.0, inverted: true, key: KEY };
        refused(dropout(&integers, &layer).map(drop), "u32");
        assert_eq!(values(&dropout(&two, &layer).expect("the identity")), values(&two));

        let adam = |beta1| Rule::Adam { beta1, beta2: 0.999, epsilon: 1e-8, corrected: true };
        let mut w = two.clone();
        let mut state = vec![two.clone(); 2];
        let mut step = |rule: Rule, step: Step, gradient: &Tensor, states: usize| {
            update(&rule, &step, &mut w, gradient, &mut state[..states])
        };
        refused(step(adam(0.9), FIRST, &two, 1), "1 tensors of state");
        refused(step(adam(0.9), FIRST, &three, 2), "of shape [3]");
        refused(step(Rule::Sgd, FIRST, &integers, 0), "u32");
        refused(step(adam(1.0), FIRST, &two, 2), "a decay of 1");
        refused(step(adam(0.9), Step { count: 0, ..FIRST }, &two, 2), "step number 0");
        refused(step(adam(0.9), Step { regularized: 3, ..FIRST }, &two, 2), "3 regularized elements of 2");
        refused(step(Rule::Sgd, Step { learning_rate: f64::NAN, ..FIRST }, &two, 0), "NaN");
        assert_eq!(
            (values(&w), values(&state[0]), values(&state[1])),
            (vec![1.0; 2], vec![1.0; 2], vec![1.0; 2])
        );
    }
}

#[test]
fn augmented_images_keep_every_bit_that_they_keep() {
    let key = MaskKey { seed: 5, step: 9, layer: 0 };
    for device in devices() {
        // A NaN, infinities, the smallest number and −0 among the pixels of 16 images of 2 × 4.
        let mut pixels = vec![1.0; 128];
        for image in pixels.chunks_exact_mut(8) {
            image[..5].copy_from_slice(&[NAN, INFINITY, -INFINITY, f32::from_bits(1), -0.0]);
        }
        let x = Tensor::from_f32(&device, &[16, 8], &pixels).expect("images");
        let flips = Augment { image: [1, 2, 4], flip: true, shift: 0, key };
        let bits = |values: &[f64]| values.iter().map(|&v| (v as f32).to_bits()).collect::<Vec<_>>();
        let got = values(&augment(&x, &flips).expect("flips"));
        let mut flipped = 0;
        for (got, image) in got.chunks_exact(8).zip(pixels.chunks_exact(8)) {
            let image: Vec<f64> = image.iter().map(|&pixel| f64::from(pixel)).collect();
            let mirrored: Vec<f64> =
                image.chunks_exact(4).flat_map(|line| line.iter().rev().copied()).collect();
            flipped += usize::from(bits(got) == bits(&mirrored));
            assert!(bits(got) == bits(&image) || bits(got) == bits(&mirrored), "{}: {got:?}", device.kind());
        }
        assert!((1..16).contains(&flipped), "{flipped} of 16");
        // Nothing to do is done by nothing.
        let none = Augment { flip: false, ..flips };
        assert_eq!(bits(&values(&augment(&x, &none).expect("nothing"))), bits(&values(&x)));
        for wrong in [Augment { image: [1, 2, 3], ..flips }, Augment { shift: MOST_SHIFT + 1, ..flips }] {
            assert!(matches!(augment(&x, &wrong), Err(Error::Shape { .. })), "{wrong:?}");
        }
        let labels = Tensor::from_u32(&device, &[16, 8], &[0; 128]).expect("integers");
        assert!(augment(&labels, &flips).is_err());
    }
}
