//! What the tests of kernels and devices share.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod affine;

use std::io::Write;

use cs231n_gpu::gpu::{Choice, Gpu, Options};

/// Opens the best adapter, a software one included. Without one the test is skipped, visibly: `CS231N_GPU=require` makes that a failure,
/// `CS231N_GPU=off` skips on purpose.
pub fn open(options: Options) -> Option<Gpu> {
    let mode = std::env::var("CS231N_GPU").unwrap_or_default();
    if mode == "off" {
        return skip("CS231N_GPU=off");
    }
    match Gpu::open(&Choice::Any, &options) {
        Ok(gpu) => Some(gpu),
        Err(error) if mode == "require" => panic!("CS231N_GPU=require, but {error}"),
        Err(error) => skip(&format!("no adapter ({error})")),
    }
}

/// Says so past the test harness, which hides what passing tests print.
fn skip(why: &str) -> Option<Gpu> {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    None
}

/// Name, type and offset of each field of the struct `Params` in assembled WGSL, as naga lays it out.
pub fn params_layout(wgsl: &str) -> Vec<(String, &'static str, u32)> {
    let module =
        naga::front::wgsl::parse_str(wgsl).unwrap_or_else(|error| panic!("{}", error.emit_to_string(wgsl)));
    let params = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"));
    let Some((_, naga::Type { inner: naga::TypeInner::Struct { members, .. }, .. })) = params else {
        return Vec::new();
    };
    let scalar = |ty| match module.types[ty].inner {
        naga::TypeInner::Scalar(naga::Scalar::U32) => "u32",
        naga::TypeInner::Scalar(naga::Scalar::I32) => "i32",
        naga::TypeInner::Scalar(naga::Scalar::F32) => "f32",
        ref other => panic!("{other:?} in Params: only u32, i32 and f32 are laid out alike in Rust and WGSL"),
    };
    members
        .iter()
        .map(|member| (member.name.clone().unwrap_or_default(), scalar(member.ty), member.offset))
        .collect()
}
