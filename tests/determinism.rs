//! The same inputs give the same bits: every operation × variant, twice on each executor, and on the CPU with any number of
//! threads.

mod common;

use cs231n_gpu::Device;
use cs231n_gpu::gpu::Options;
use cs231n_gpu::ops::{Case, Effort, OPS, Op};

/// A fingerprint of all outputs of a case.
fn bits(op: &Op, device: &Device, case: &Case) -> u64 {
    (op.check)(device, case).unwrap_or_else(|error| panic!("{} {case:?}: {error}", op.name)).bits
}

fn each_case(device: &Device, mut with: impl FnMut(&Op, &Case)) {
    for op in OPS {
        for variant in (op.variants)(device) {
            for shape in (op.shapes)(Effort::Quick) {
                with(op, &Case { variant: variant.clone(), shape, seed: 5 });
            }
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let pools =
        [1, 2, 5].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool of threads"));
    each_case(&Device::Cpu, |op, case| {
        let [one, two, five] = [0, 1, 2].map(|i| pools[i].install(|| bits(op, &Device::Cpu, case)));
        assert!(one == two && two == five, "{} {case:?}", op.name);
    });
}

#[test]
fn two_runs_on_an_adapter_give_the_same_bits() {
    // Poisoned buffers: what a kernel read without having written it would differ from what it reads the next time.
    let Some(gpu) = common::open(Options { poison: true, ..Options::default() }) else { return };
    let device = Device::Gpu(gpu);
    each_case(&device, |op, case| {
        assert_eq!(bits(op, &device, case), bits(op, &device, case), "{} {case:?}", op.name);
    });
}

#[test]
fn a_fingerprint_tells_results_apart() {
    // Else the tests above could not fail.
    let op = OPS[0];
    let variant = (op.variants)(&Device::Cpu).remove(0);
    let shape = (op.shapes)(Effort::Quick).pop().expect("a shape");
    let of = |seed| bits(op, &Device::Cpu, &Case { variant: variant.clone(), shape: shape.clone(), seed });
    assert_ne!(of(1), of(2));
    assert_eq!(of(1), of(1));
}
