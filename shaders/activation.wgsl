// Elementwise nonlinearities y = f(x), and their gradients dx = dy * f'(x) in terms of y.
//
// Bytes per output: 8 forward, 12 backward; at most a dozen FLOPs, so memory decides. An invocation has one vec4, which neighbouring
// invocations load and store as whole lines. The end of the last vector is padding of the buffers, read and written like the rest.
//
// forward    y = f(x)
// backward   dx = dy * f'(x), with y = f(x)
//
// Constant: KIND (0 ReLU, 1 leaky ReLU, 2 sigmoid, 3 tanh), as in the prelude's `nonlinear`. NaN stays NaN.

struct Params {
    vectors: u32,
    slope: f32,
}

@group(0) @binding(0) var<storage, read> first: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> second: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn gradient(dout: f32, y: f32) -> f32 {
    return nonlinear_gradient(KIND, params.slope, dout, y);
}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let x = first[i];
    let slope = params.slope;
    out[i] = vec4(
        nonlinear(KIND, slope, x.x),
        nonlinear(KIND, slope, x.y),
        nonlinear(KIND, slope, x.z),
        nonlinear(KIND, slope, x.w),
    );
}

@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let dout = first[i];
    let y = second[i];
    out[i] = vec4(gradient(dout.x, y.x), gradient(dout.y, y.y), gradient(dout.z, y.z), gradient(dout.w, y.w));
}
