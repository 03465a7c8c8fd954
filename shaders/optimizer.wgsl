// One step of gradient descent in place, in one sweep: gradient, parameter and state are read once, parameter and state written once. About
// a dozen FLOPs an element, so memory decides: an invocation has one vec4, which neighbouring invocations load and store as whole lines.
// The end of the last vector is padding of the buffers, read and written like the rest.
//
// Bytes per element: 12 sgd, 20 momentum, nesterov and rms, 28 adam. Unfused, Adam would move 84.
//
// sgd        w -= rate g
// momentum   v = decay v - rate g; w += v
// nesterov   v' = decay v - rate g; w += share v' - decay v, with share = 1 + decay
// rms        c = decay c + share g^2; w -= rate g / (sqrt(c) + epsilon): RMSProp, and Adagrad where decay = share = 1
// adam       m and c as above; w -= rate m / (sqrt(correction c) + epsilon): Adam, corrected by rate and correction, or not, and AdamW by keep
//
// For the first `regularized` elements g includes l2 w, and w is first multiplied by keep.

struct Params {
    vectors: u32,
    regularized: u32,
    rate: f32,
    l2: f32,
    keep: f32,
    first_decay: f32,
    first_share: f32,
    second_decay: f32,
    second_share: f32,
    correction: f32,
    epsilon: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> parameter: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> first: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> second: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn is_regularized(i: u32) -> vec4<bool> {
    return vec4(4u * i) + vec4(0u, 1u, 2u, 3u) < vec4(params.regularized);
}

// The gradient with that of the penalty.
fn gradient_at(i: u32, w: vec4<f32>) -> vec4<f32> {
    let g = gradient[i];
    return select(g, fma(vec4(params.l2), w, g), is_regularized(i));
}

fn decayed(i: u32, w: vec4<f32>) -> vec4<f32> {
    return select(w, params.keep * w, is_regularized(i));
}

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = parameter[i];
    parameter[i] = w - params.rate * gradient_at(i, w);
}

@compute @workgroup_size(64)
fn momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = parameter[i];
    let v = params.first_decay * first[i] - params.rate * gradient_at(i, w);
    first[i] = v;
    parameter[i] = w + v;
}

@compute @workgroup_size(64)
fn nesterov(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = parameter[i];
    let before = first[i];
    let v = params.first_decay * before - params.rate * gradient_at(i, w);
    first[i] = v;
    parameter[i] = w - params.first_decay * before + params.first_share * v;
}

@compute @workgroup_size(64)
fn rms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = parameter[i];
    let g = gradient_at(i, w);
    let c = params.second_decay * first[i] + params.second_share * (g * g);
    first[i] = c;
    parameter[i] = w - params.rate * g / (sqrt(c) + params.epsilon);
}

@compute @workgroup_size(64)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = parameter[i];
    let g = gradient_at(i, w);
    let m = params.first_decay * first[i] + params.first_share * g;
    let c = params.second_decay * second[i] + params.second_share * (g * g);
    first[i] = m;
    second[i] = c;
    parameter[i] = decayed(i, w) - params.rate * m / (sqrt(params.correction * c) + params.epsilon);
}
