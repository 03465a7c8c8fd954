//! Every operation × variant of the op table at its timed shapes, on the CPU and on the best adapter there is.
//!
//! `cargo bench -- cpu/matmul` runs a part. A GPU is timed with one wait after all iterations of a sample, as programs use
//! it. Figures of a software adapter are no GPU result.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cs231n_gpu::gpu::{Choice, Gpu, Options};
use cs231n_gpu::ops::{Case, OPS};
use cs231n_gpu::{Device, Result};

fn on(criterion: &mut Criterion, device: &Device) {
    for op in OPS {
        for shape in op.timed {
            let dimensions: Vec<String> = shape.iter().map(ToString::to_string).collect();
            let mut group =
                criterion.benchmark_group(format!("{}/{}/{}", device.kind(), op.name, dimensions.join("x")));
            group
                .sample_size(10)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(2));
            for variant in (op.variants)(device) {
                let case = Case { variant, shape: shape.to_vec(), seed: 231 };
                group.throughput(Throughput::Elements((op.flops)(case.form(), shape) as u64));
                group.bench_function(&case.variant, |bencher| {
                    bencher.iter_custom(|rounds| {
                        time(op, device, &case, rounds)
                            .unwrap_or_else(|error| panic!("{} {case:?}: {error}", op.name))
                    });
                });
            }
        }
    }
}

fn time(op: &cs231n_gpu::ops::Op, device: &Device, case: &Case, rounds: u64) -> Result<Duration> {
    let mut work = (op.workload)(device, case)?;
    let wait = || if let Device::Gpu(gpu) = device { gpu.wait() } else { Ok(()) };
    work()?;
    wait()?;
    let start = Instant::now();
    for _ in 0..rounds {
        if let Device::Gpu(gpu) = device {
            gpu.expire_images();
        }
        work()?;
    }
    wait()?;
    Ok(start.elapsed())
}

fn all(criterion: &mut Criterion) {
    on(criterion, &Device::Cpu);
    match Gpu::open(&Choice::Any, &Options::default()) {
        Ok(gpu) => {
            println!("gpu: {}", gpu.info());
            on(criterion, &Device::Gpu(gpu));
        }
        Err(error) => println!("the GPU is left out: {error}"),
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
