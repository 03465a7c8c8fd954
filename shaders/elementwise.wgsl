// Elementwise sums, products and maxima, one sweep each. At most two FLOPs an output, so memory decides: an invocation has one vec4, which
// neighbouring invocations load and store as whole lines. The end of the last vector is padding of the buffers, read and written like the rest.
//
// Bytes per output: 8 scale, 12 the others, 10 maxout_backward (20 for its two).
//
// add               out = first + second
// mul               out = first * second
// scale             out = alpha * first
// axpy              out = out + alpha * first, in place: one binding both reads and writes, because a launch may not bind a buffer twice to
//                   write it
// maxout            out = max(first, second)
// maxout_backward   out = dout where first was taken, other = dout where second was; else 0. A tie takes first
//
// NaN in either operand gives NaN.

struct Params {
    vectors: u32,
    alpha: f32,
}

@group(0) @binding(0) var<storage, read> first: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> second: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dout: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> other: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

// By bits where there is a NaN: comparing one may give anything where compilers assume there is none.
fn exceeds(b: f32, a: f32) -> bool {
    return b > a && !is_nan_bits(bitcast<u32>(a)) && !is_nan_bits(bitcast<u32>(b));
}

fn largest(a: f32, b: f32) -> f32 {
    return select(a, b, exceeds(b, a) || is_nan_bits(bitcast<u32>(b)));
}

@compute @workgroup_size(64)
fn add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    out[i] = first[i] + second[i];
}

@compute @workgroup_size(64)
fn mul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    out[i] = first[i] * second[i];
}

@compute @workgroup_size(64)
fn scale(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    out[i] = params.alpha * first[i];
}

@compute @workgroup_size(64)
fn axpy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    out[i] = fma(vec4(params.alpha), first[i], out[i]);
}

@compute @workgroup_size(64)
fn maxout(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let a = first[i];
    let b = second[i];
    out[i] = vec4(largest(a.x, b.x), largest(a.y, b.y), largest(a.z, b.z), largest(a.w, b.w));
}

@compute @workgroup_size(64)
fn maxout_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let a = first[i];
    let b = second[i];
    let gradient = dout[i];
    let takes_b = vec4(exceeds(b.x, a.x), exceeds(b.y, a.y), exceeds(b.z, a.z), exceeds(b.w, a.w));
    out[i] = select(gradient, vec4(0.0), takes_b);
    other[i] = select(vec4(0.0), gradient, takes_b);
}
