//! The course's published numbers (`tests/vectors/cs231n.json`), each vector on each device, through the public API.
//!
//! The reference is held to the tolerance that the file states, the 32-bit devices to `tolerance::Chain`. Inputs that the file describes
//! instead of listing are replayed by numpy's legacy generator. A vector without a runner fails, so that none is forgotten;
//! groups whose layers do not exist yet are listed as ignored. `CS231N_GPU` works as in the other tests.

#[path = "vectors/host.rs"]
mod host;
#[path = "vectors/layers.rs"]
mod layers;
#[path = "vectors/linear.rs"]
mod linear;
#[path = "vectors/nets.rs"]
mod nets;
#[path = "vectors/normalization.rs"]
mod normalization;
#[path = "vectors/optim.rs"]
mod optim;
#[path = "vectors/support.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use cs231n_gpu::Device;
use cs231n_gpu::gpu::{Choice, Gpu, Options};
use libtest_mimic::{Arguments, Failed, Trial};
use support::{Case, File, Vector};

/// What runs a vector.
enum Runner {
    /// On every device.
    Devices(fn(&Case) -> support::Outcome),
    /// Nothing in it depends on a device.
    Host(fn(&Case) -> support::Outcome),
}

/// Groups whose layers come later.
const NOT_YET: &[&str] = &["conv", "pool", "spatial_norm", "cnn"];

fn runner(vector: &Vector) -> Option<Runner> {
    use Runner::{Devices, Host};
    Some(match (vector.group.as_str(), vector.name.as_str()) {
        ("rng", "numpy_legacy_rng") => Host(host::numpy_legacy_rng),
        ("svm", "svm_notes_example") => Devices(linear::svm_notes_example),
        ("svm", "binary_svm_is_special_case") => Devices(linear::binary_svm_is_special_case),
        ("softmax", "svm_vs_softmax_figure") => Devices(linear::svm_vs_softmax_figure),
        ("softmax", "softmax_notes_1_-2_0" | "softmax_notes_0.5_-1_0") => Devices(linear::softmax_notes),
        ("softmax", "softmax_stability_123_456_789") => Devices(linear::softmax_stability),
        ("regularization", "l2_regularization_example") => Devices(linear::l2_regularization_example),
        ("linear", "zero_weights_sanity") => Devices(linear::zero_weights_sanity),
        ("knn", "knn_no_loop_cancellation") => Devices(linear::knn_no_loop_cancellation),
        ("knn", "knn_uint8_exact") => Devices(linear::knn_uint8_exact),
        ("two_layer_net", "two_layer_net_toy") => Devices(nets::two_layer_net_toy),
        ("two_layer_net", "two_layer_net_toy_grads") => Devices(nets::two_layer_net_toy_grads),
        ("two_layer_net", "TwoLayerNet_linspace") => Devices(nets::two_layer_net_linspace),
        ("fc_net", "fc_net_plain" | "fc_net_batchnorm" | "fc_net_layernorm") => Devices(nets::fc_net),
        ("layers", "affine_forward") => Devices(layers::affine_forward),
        ("layers", "affine_backward") => Devices(layers::affine_backward),
        ("layers", "relu_forward") => Devices(layers::relu_forward),
        ("layers", "relu_backward") => Devices(layers::relu_backward),
        ("layers", "affine_relu") => Devices(layers::affine_relu),
        ("layers", "svm_loss_softmax_loss_layers") => Devices(layers::losses),
        ("dropout", "dropout_forward_stats") => Devices(layers::dropout_forward_stats),
        ("dropout", "dropout_backward") => Devices(layers::dropout_backward),
        ("dropout", "dropout_vanilla_test_scaling") => Devices(layers::dropout_vanilla_test_scaling),
        ("batchnorm", "batchnorm_forward_train") => Devices(normalization::batchnorm_forward_train),
        ("batchnorm", "batchnorm_forward_test") => Devices(normalization::batchnorm_forward_test),
        ("layernorm", "layernorm_forward") => Devices(normalization::layernorm_forward),
        ("optim", "sgd") => Devices(optim::sgd),
        ("optim", "sgd_momentum") => Devices(optim::sgd_momentum),
        ("optim", "rmsprop") => Devices(optim::rmsprop),
        ("optim", "adam") => Devices(optim::adam),
        ("optim", "adam_without_bias_correction_first_step") => Devices(optim::adam_first_step),
        ("backprop", "backprop_xyz") => Host(host::backprop_xyz),
        ("backprop", "backprop_sigmoid_neuron") => Host(host::backprop_sigmoid_neuron),
        ("backprop", "backprop_staged_xy") => Host(host::backprop_staged_xy),
        ("backprop", "backprop_vectorized_norm2") => Devices(layers::backprop_vectorized_norm2),
        ("neuron", "neuron_forward") => Host(host::neuron_forward),
        ("gradcheck", "numerical_gradient_svm") => Host(host::numerical_gradient_svm),
        ("gradcheck", "f32_gradient_check_by_h") => Host(host::f32_gradient_check_by_h),
        _ => return None,
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let file = Arc::new(File::load());
    let mut devices = vec![("reference", Ok(Device::Reference)), ("cpu", Ok(Device::Cpu))];
    devices.push(("gpu", open().map(Device::Gpu)));
    let mut trials = vec![Trial::test("file/holds_as_many_vectors_as_it_says", {
        let file = file.clone();
        move || if file.vectors.len() == file.count { Ok(()) } else { Err("vectors are missing".into()) }
    })];
    for (index, vector) in file.vectors.iter().enumerate() {
        let title = format!("{}/{}", vector.group, vector.name);
        if NOT_YET.contains(&vector.group.as_str()) {
            let trial = Trial::test(format!("{title} (not yet run)"), || Ok(()));
            trials.push(trial.with_ignored_flag(true));
            continue;
        }
        let on = |device: &Device, run: fn(&Case) -> support::Outcome| {
            let (file, device) = (file.clone(), device.clone());
            move || run(&Case::new(&file, index, device)).map_err(Failed::from)
        };
        match runner(vector) {
            None => {
                let missing = move || Err("no runner: name it in tests/vectors.rs".into());
                trials.push(Trial::test(title, missing));
            }
            Some(Runner::Host(run)) => {
                trials.push(Trial::test(format!("host/{title}"), on(&Device::Reference, run)));
            }
            Some(Runner::Devices(run)) => {
                for (name, device) in &devices {
                    trials.push(match device {
                        Ok(device) => Trial::test(format!("{name}/{title}"), on(device, run)),
                        Err(reason) => skipped(format!("{name}/{title} ({reason})"), reason),
                    });
                }
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn open() -> Result<Gpu, String> {
    if std::env::var("CS231N_GPU").is_ok_and(|mode| mode == "off") {
        return Err("CS231N_GPU=off".into());
    }
    let options = Options { poison: true, ..Options::default() };
    Gpu::open(&Choice::Any, &options).map_err(|error| error.to_string())
}

/// Shown as ignored, or as a failure where an adapter is required.
fn skipped(title: String, reason: &str) -> Trial {
    let required = std::env::var("CS231N_GPU").is_ok_and(|mode| mode == "require");
    let failure = Failed::from(reason);
    Trial::test(title, move || Err(failure)).with_ignored_flag(!required)
}
