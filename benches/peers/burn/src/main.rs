//! How long Burn's wgpu backend takes for the workloads that `benches/peers/burn.py` compares: JSON on standard output.
//!
//! `burn-peer [--samples N] [--sample-time MS] [OP:N,N,…]…`; all workloads by default. Tensors are on the device, and one
//! wait ends a sample. The first calls, in which kernels are chosen and compiled, are timed apart.

use std::time::Instant;

use burn::module::Module;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::batch_norm_train;
use burn::tensor::{Device, DeviceKind, Distribution, Int, Tensor, TensorData};

/// Shapes are m,n,k of a product; rows,columns; batch,features,hidden,classes of the net.
const ALL: &[&str] = &[
    "matmul:512,512,512",
    "matmul:1024,1024,1024",
    "matmul:256,512,3072",
    "matmul:500,5000,3072",
    "matmul:257,257,257",
    "matmul:1000,333,777",
    "softmax:4096,1024",
    "batchnorm:4096,1024",
    "batchnorm:256,512",
    "train:256,3072,512,10",
];

/// Single calls and then samples before the clock starts. Kernels are chosen there, some of them only where calls follow each other
/// without a wait.
const WARM_UP: usize = 4;
/// Batches that the training goes through in turn.
const BATCHES: usize = 8;

fn main() {
    let (mut samples, mut sample_time, mut asked) = (7, 0.2, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<f64>().ok()).expect("a number");
        match argument.as_str() {
            "--samples" => samples = number() as usize,
            "--sample-time" => sample_time = number() / 1e3,
            _ => asked.push(argument),
        }
    }
    if asked.is_empty() {
        asked.extend(ALL.iter().map(ToString::to_string));
    }
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let adapter = device.identity().map_or("unknown".to_owned(), |identity| identity.name);
    let mut results = Vec::new();
    for name in &asked {
        let (op, shape) = name.split_once(':').expect("OP:N,N,…");
        let dimensions: Vec<usize> = shape.split(',').map(|n| n.parse().expect("a number")).collect();
        let mut work = Work::new(op, &dimensions, &device);
        let mut sample = |calls: usize| {
            let start = Instant::now();
            (0..calls).for_each(|_| drop((work.round)()));
            device.sync().expect("the device");
            start.elapsed().as_secs_f64()
        };
        let (first, mut calls) = (Instant::now(), 1);
        for round in 0..2 * WARM_UP {
            let seconds = sample(calls) / calls as f64;
            if round + 1 >= WARM_UP {
                calls = (sample_time / seconds).clamp(1.0, 1e4) as usize;
            }
        }
        let first = first.elapsed().as_secs_f64();
        let mut seconds: Vec<f64> = (0..samples).map(|_| sample(calls) / calls as f64).collect();
        work.check(op);
        seconds.sort_unstable_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        eprintln!("{name}: {:.3} ms, until warm {first:.1} s", median * 1e3);
        results.push(format!(
            "{{\"op\": {op:?}, \"shape\": [{shape}], \"seconds\": {median:e}, \"samples\": {seconds:?}, \
             \"calls\": {calls}, \"first_seconds\": {first:.3}}}"
        ));
    }
    println!(
        "{{\"peer\": \"burn\", \"version\": {:?}, \"adapter\": {adapter:?}, \"results\": [{}]}}",
        version(),
        results.join(", ")
    );
}

/// Of Burn, as the lock file has it.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once("name = \"burn\"\nversion = \"").expect("burn in the lock file");
    rest.split('"').next().expect("a version")
}

/// What a round of a work returns.
enum Out {
    Matrix(Tensor<2>),
    Loss(Tensor<1>),
}

struct Work {
    inputs: Vec<Tensor<2>>,
    round: Box<dyn FnMut() -> Out>,
}

impl Work {
    fn new(op: &str, shape: &[usize], device: &Device) -> Self {
        match (op, shape) {
            ("matmul", &[m, n, k]) => {
                let (a, b) = (random([m, k], device), random([k, n], device));
                let inputs = vec![a.clone(), b.clone()];
                Self { inputs, round: Box::new(move || Out::Matrix(a.clone().matmul(b.clone()))) }
            }
            ("softmax", &[rows, columns]) => {
                let scores = random([rows, columns], device);
                let inputs = vec![scores.clone()];
                Self { inputs, round: Box::new(move || Out::Matrix(softmax(scores.clone(), 1))) }
            }
            ("batchnorm", &[rows, columns]) => {
                let x = random([rows, columns], device);
                let (gamma, beta) =
                    (Tensor::<1>::ones([columns], device), Tensor::<1>::zeros([columns], device));
                let (mut mean, mut variance) = (beta.clone(), gamma.clone());
                let inputs = vec![x.clone()];
                // As burn::nn::BatchNorm trains, without a graph for the gradient.
                let round = move || {
                    let out = batch_norm_train(x.clone(), gamma.clone(), beta.clone(), 1e-5);
                    mean = mean.clone().mul_scalar(0.9).add(out.mean.mul_scalar(0.1));
                    variance = variance.clone().mul_scalar(0.9).add(out.variance.mul_scalar(0.1));
                    Out::Matrix(out.output)
                };
                Self { inputs, round: Box::new(round) }
            }
            ("train", &[batch, features, hidden, classes]) => {
                let device = device.clone().autodiff();
                let mut training = Training::new([batch, features, hidden, classes], &device);
                Self { inputs: Vec::new(), round: Box::new(move || Out::Loss(training.step())) }
            }
            _ => panic!("no work {op} of shape {shape:?}"),
        }
    }

    /// Panics where numbers are not what they should be: a time of wrong results says nothing.
    fn check(&mut self, op: &str) {
        let matrix = match (self.round)() {
            Out::Matrix(matrix) => matrix,
            Out::Loss(loss) => {
                let loss = numbers(&loss)[0];
                return assert!(loss < 2.2, "the loss is still {loss}");
            }
        };
        let ([rows, columns], got) = (matrix.dims(), numbers(&matrix));
        let inputs: Vec<_> = self.inputs.iter().map(numbers).collect();
        let (x, last) = (&inputs[0], columns - 1);
        let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-3, "{op}: {got} for {want}");
        match op {
            "matmul" => {
                let inner = x.len() / rows;
                let dot = (0..inner).map(|i| x[(rows - 1) * inner + i] * inputs[1][i * columns + last]).sum();
                near(got[rows * columns - 1], dot);
            }
            "softmax" => {
                let row = &x[(rows - 1) * columns..];
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                near(got[rows * columns - 1] * columns as f64, row[last].exp() / sum * columns as f64);
            }
            _ => {
                let column = || x.iter().skip(last).step_by(columns);
                let mean = column().sum::<f64>() / rows as f64;
                let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
                near(got[last], (x[last] - mean) / (variance + 1e-5).sqrt());
            }
        }
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

fn numbers<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().into_data().iter::<f64>().collect()
}

#[derive(Module, Debug)]
struct Net {
    hidden: Linear,
    output: Linear,
}

struct Training {
    net: Option<Net>,
    adam: ModuleOptimizer,
    loss: CrossEntropyLoss,
    batches: Vec<(Tensor<2>, Tensor<1, Int>)>,
    steps: usize,
}

impl Training {
    fn new([batch, features, hidden, classes]: [usize; 4], device: &Device) -> Self {
        let net = Net {
            hidden: LinearConfig::new(features, hidden).init(device),
            output: LinearConfig::new(hidden, classes).init(device),
        };
        let labels = |i: usize| (0..batch).map(|row| ((row * 7 + i) % classes) as i32).collect::<Vec<_>>();
        let batches = (0..BATCHES)
            .map(|i| {
                let labels = Tensor::<1, Int>::from_data(TensorData::new(labels(i), [batch]), device);
                (random([batch, features], device), labels)
            })
            .collect();
        Self {
            net: Some(net),
            adam: AdamConfig::new().with_epsilon(1e-8).init(),
            loss: CrossEntropyLossConfig::new().init(device),
            batches,
            steps: 0,
        }
    }

    fn step(&mut self) -> Tensor<1> {
        let net = self.net.take().expect("a net");
        let (x, y) = self.batches[self.steps % BATCHES].clone();
        let scores = net.output.forward(relu(net.hidden.forward(x)));
        let loss = self.loss.forward(scores, y);
        let gradients = GradientsParams::from_grads(loss.backward(), &net);
        self.net = Some(self.adam.step(1e-3, net, gradients));
        self.steps += 1;
        loss
    }
}
