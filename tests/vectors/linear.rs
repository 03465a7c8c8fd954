//! Linear classifiers, their losses, and neighbours.

use cs231n_gpu::classify::knn::{KNearestNeighbor, Options};
use cs231n_gpu::classify::linear::{
    Samples, softmax_loss_naive, softmax_loss_vectorized, svm_loss_naive, svm_loss_vectorized,
};
use cs231n_gpu::nn::layers::affine_forward;
use cs231n_gpu::nn::notes::binary_svm_loss;
use cs231n_gpu::ops::cross_entropy::cross_entropy;
use cs231n_gpu::ops::elementwise::mul;
use cs231n_gpu::ops::hinge_loss::hinge_loss;
use cs231n_gpu::ops::matmul::{Transposed, matmul};
use cs231n_gpu::ops::pairwise_l2::{Form, pairwise_l2};
use cs231n_gpu::ops::reduce::{Axis, sum};
use cs231n_gpu::ops::softmax::softmax;
use cs231n_gpu::rng::numpy::RandomState;
use cs231n_gpu::rows::{Rows, Values};
use cs231n_gpu::{Device, Tensor};

use crate::support::{Case, Outcome, host, integers, numbers, shape, text};

pub fn svm_notes_example(case: &Case) -> Outcome {
    let scores = numbers(&case.vector.inputs["scores"]);
    let y = [case.number("y") as u32];
    let delta = case.number("delta");
    let found =
        hinge_loss(&case.real(&[1, scores.len()], &scores)?, &case.labels(&y)?, delta).map_err(text)?;
    case.near_absolutely("loss", host(&found.losses)?[0], case.stated())?;
    // A term for each other class: the loss of the right score and that one.
    let right = scores[y[0] as usize];
    let others: Vec<_> = (0..scores.len()).filter(|&j| j != y[0] as usize).collect();
    let pairs: Vec<_> = others.iter().flat_map(|&j| [right, scores[j]]).collect();
    let labels = case.labels(&vec![0; others.len()])?;
    let terms = hinge_loss(&case.real(&[others.len(), 2], &pairs)?, &labels, delta).map_err(text)?;
    case.near("terms", &host(&terms.losses)?, case.stated())
}

pub fn binary_svm_is_special_case(case: &Case) -> Outcome {
    let y = integers(&case.vector.inputs["y01"]);
    let w = numbers(&case.vector.inputs["w"]);
    let halves: Vec<_> = w.iter().flat_map(|w| [-w / 2.0, w / 2.0]).collect();
    let (x, labels) = (case.input("X")?, case.labels(&y)?);
    let w2 = case.real(&[w.len(), 2], &halves)?;
    let (loss, _) = svm_loss_vectorized(&w2, &x, &labels, 0.0).map_err(text)?;
    let multiclass = loss.value().map_err(text)?;
    case.near("multiclass_loss_with_w0_minus_half_w1_plus_half", &[multiclass], case.stated())?;
    let scores = host(&matmul(&x, &case.real(&[w.len(), 1], &w)?, Transposed::default()).map_err(text)?)?;
    let losses = scores.iter().zip(&y).map(|(&score, &y)| binary_svm_loss(score, y == 1));
    case.near("binary_mean_hinge", &[losses.sum::<f64>() / y.len() as f64], case.stated())
}

pub fn svm_vs_softmax_figure(case: &Case) -> Outcome {
    let inputs = &case.vector.inputs;
    let (w, x, b) = (numbers(&inputs["W"]), numbers(&inputs["x"]), numbers(&inputs["b"]));
    // The figure's W is C × D, for columns; ours is its transpose, for rows.
    let &[classes, features] = shape(&inputs["W"]).as_slice() else { return Err("W is no matrix".into()) };
    let turned: Vec<_> = (0..w.len()).map(|i| w[i % classes * features + i / classes]).collect();
    let (scores, _) = affine_forward(
        &case.real(&[1, features], &x)?,
        &case.real(&[features, classes], &turned)?,
        &case.real(&[classes], &b)?,
    )
    .map_err(text)?;
    let y = case.labels(&[case.number("y") as u32])?;
    case.near("scores", &host(&scores)?, case.stated())?;
    let hinge = hinge_loss(&scores, &y, case.number("delta")).map_err(text)?;
    case.near("hinge_loss", &host(&hinge.losses)?, case.stated())?;
    case.near("probs", &host(&softmax(&scores).map_err(text)?)?, case.stated())?;
    let entropy = host(&cross_entropy(&scores, &y).map_err(text)?.losses)?;
    case.near("cross_entropy_ln", &entropy, case.stated())?;
    // What a logarithm to base 10 would have given is a wrong answer.
    case.near("cross_entropy_log10_WRONG", &[entropy[0] / 10f64.ln()], case.stated())?;
    if case.near("cross_entropy_log10_WRONG", &entropy, case.stated()).is_ok() {
        return Err("the loss takes logarithms to base 10".into());
    }
    Ok(())
}

pub fn softmax_notes(case: &Case) -> Outcome {
    let scores = numbers(&case.vector.inputs["scores"]);
    let probabilities = softmax(&case.real(&[1, scores.len()], &scores)?).map_err(text)?;
    case.near("probs", &host(&probabilities)?, case.stated())
}

pub fn softmax_stability(case: &Case) -> Outcome {
    let scores = numbers(&case.vector.inputs["scores"]);
    let shifted = numbers(&case.vector.expected["shifted"]);
    // The shifted scores have the same probabilities, and neither form overflows.
    for scores in [&scores, &shifted] {
        softmax_notes_of(case, scores)?;
    }
    let label = case.labels(&[0])?;
    let loss = cross_entropy(&case.real(&[1, scores.len()], &scores)?, &label).map_err(text)?;
    case.near_to("loss of the first", &host(&loss.losses)?, &[-shifted[0]], case.stated())
}

fn softmax_notes_of(case: &Case, scores: &[f64]) -> Outcome {
    let probabilities = softmax(&case.real(&[1, scores.len()], scores)?).map_err(text)?;
    case.near("probs", &host(&probabilities)?, case.stated())
}

pub fn l2_regularization_example(case: &Case) -> Outcome {
    let x = numbers(&case.vector.inputs["x"]);
    for (w, dot, r) in [("w1", "dot1", "R1"), ("w2", "dot2", "R2")] {
        let w = numbers(&case.vector.inputs[w]);
        let row = case.real(&[1, w.len()], &w)?;
        let product = matmul(&row, &case.real(&[x.len(), 1], &x)?, Transposed::default()).map_err(text)?;
        case.near(dot, &host(&product)?, case.stated())?;
        let squares = sum(&mul(&row, &row).map_err(text)?, Axis::Rows).map_err(text)?;
        case.near(r, &host(&squares)?, case.stated())?;
    }
    Ok(())
}

pub fn zero_weights_sanity(case: &Case) -> Outcome {
    let (x, y) = (case.input("X")?, case.input_labels("y")?);
    let (features, classes) = (x.shape()[1], case.number("num_classes") as usize);
    let zeros = vec![0.0; features * classes];
    let w = case.real(&[features, classes], &zeros)?;
    let stated = case.vector.stated()[0];
    let (svm, _) = svm_loss_vectorized(&w, &x, &y, 0.0).map_err(text)?;
    case.near("svm_loss", &[svm.value().map_err(text)?], stated)?;
    let (softmax, _) = softmax_loss_vectorized(&w, &x, &y, 0.0).map_err(text)?;
    case.near("softmax_loss", &[softmax.value().map_err(text)?], stated)?;
    let inputs = &case.vector.inputs;
    let samples = Samples { x: &numbers(&inputs["X"]), y: &integers(&inputs["y"]), classes };
    case.near("svm_loss", &[svm_loss_naive(&zeros, samples, 0.0).0], stated)?;
    case.near("softmax_loss", &[softmax_loss_naive(&zeros, samples, 0.0).0], stated)
}

pub fn knn_no_loop_cancellation(case: &Case) -> Outcome {
    let (test, train) = (case.input("X_test")?, case.input("X_train")?);
    let want = numbers(&case.vector.expected["dists"]);
    // "direct form: rel 1e-9 f64, 2e-3 f32; no-loop form: abs 1e-4 f64"
    let [double, single, absolute] = case.vector.stated()[..] else { return Err("three tolerances".into()) };
    let roots = |form| -> Result<Vec<f64>, String> {
        let squares = host(&pairwise_l2(&test, &train, form).map_err(text)?)?;
        Ok(squares.into_iter().map(f64::sqrt).collect())
    };
    let (direct, expanded) = (roots(Form::Direct)?, roots(Form::Expanded)?);
    let allowed = if case.on_reference() { double } else { single };
    for (got, want) in direct.iter().zip(&want) {
        if (got - want).abs() > allowed * want {
            return Err(format!("direct form: got {direct:?}"));
        }
    }
    let near = |(got, want): (&f64, &f64)| (got - want).abs() <= absolute;
    if expanded.iter().any(|d| d.is_nan()) || case.on_reference() && !expanded.iter().zip(&want).all(near) {
        return Err(format!("no-loop form: got {expanded:?}"));
    }
    Ok(())
}

pub fn knn_uint8_exact(case: &Case) -> Outcome {
    // The notebook's draws, and what the file has of them.
    let mut random = RandomState::new(231);
    let train = random.randint(256, 6 * 48).map_err(text)?;
    let test = random.randint(256, 4 * 48).map_err(text)?;
    let labels = random.randint(3, 6).map_err(text)?;
    let inputs = &case.vector.inputs;
    let listed = ["X_train", "X_test", "y_train"].map(|key| integers(&inputs[key]));
    if listed != [train.clone(), test.clone(), labels.clone()] {
        return Err("the generator does not draw the listed inputs".into());
    }
    let bytes = |values: &[u32]| values.iter().map(|&value| value as u8).collect::<Vec<_>>();
    let pixels = |device: &Device, values: &[u32]| {
        Tensor::from_u8(device, &[values.len() / 48, 48], &bytes(values)).map_err(text)
    };
    let distances = pairwise_l2(&pixels(&case.device, &test)?, &pixels(&case.device, &train)?, Form::Direct)
        .map_err(text)?;
    if host(&distances)? != numbers(&case.vector.expected["squared_dists"]) {
        return Err(format!("distances {:?}", host(&distances)?));
    }
    let rows = |values: &[u32]| Rows::new(Values::U8(bytes(values)), 48).map_err(text);
    let (train, test) = (rows(&train)?, rows(&test)?);
    let knn =
        KNearestNeighbor::fit(&case.device, train.view(), &labels, 3, Options::default()).map_err(text)?;
    let found = knn.predict(test.view(), 1).map_err(text)?.classes;
    match found == integers(&case.vector.expected["pred_k1"]) {
        true => Ok(()),
        false => Err(format!("classes {found:?}")),
    }
}
