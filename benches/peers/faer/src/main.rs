//! How long faer takes for C = A·B in 32 bit: `faer-peer MS M,N,K` tells the seconds of a product, as the median of 7 samples of MS milliseconds,
//! as JSON on standard output. C is overwritten in place, so faer allocates nothing; RAYON_NUM_THREADS sets its threads.

use std::time::Instant;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [sample, shape] = &arguments[..] else { panic!("MS and M,N,K") };
    let sample: f64 = sample.parse().expect("milliseconds");
    let shape: Vec<usize> = shape.split(',').map(|n| n.parse().expect("a number")).collect();
    let [m, n, k] = shape[..] else { panic!("M,N,K") };
    let number = |i: usize, j: usize| ((i * 31 + j * 17) % 101) as f32 / 101.0 - 0.5;
    let (a, b, mut c) = (Mat::from_fn(m, k, number), Mat::from_fn(k, n, number), Mat::<f32>::zeros(m, n));
    let mut time = |calls: usize| {
        let start = Instant::now();
        for _ in 0..calls {
            matmul(c.as_mut(), Accum::Replace, a.as_ref(), b.as_ref(), 1.0, Par::rayon(0));
        }
        start.elapsed().as_secs_f64() / calls as f64
    };
    time(1);
    let calls = (sample / 1e3 / time(1)).clamp(1.0, 1e4) as usize;
    let mut seconds: Vec<f64> = (0..7).map(|_| time(calls)).collect();
    let want: f32 = (0..k).map(|p| a[(m - 1, p)] * b[(p, n - 1)]).sum();
    assert!((c[(m - 1, n - 1)] - want).abs() < 1e-2, "{} for {want}", c[(m - 1, n - 1)]);
    seconds.sort_unstable_by(f64::total_cmp);
    println!("{{\"peer\": \"faer\", \"version\": {:?}, \"seconds\": {:e}}}", version(), seconds[3]);
}

/// Of faer, as the lock file has it.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once("name = \"faer\"\nversion = \"").expect("faer in the lock file");
    rest.split('"').next().expect("a version")
}
