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
//
// Constants: GROUPED (1: the elements belong to several groups, as `owners` says, and each group has its numbers in a table, which stays in
// cache; 4 bytes more an element. 0: one group, its numbers among the parameters), NATIVE (1: `prelude.native.wgsl` stands before this, and
// four floats are loaded and stored as two words).

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

// The numbers of a step, for each of 4 elements.
struct Numbers {
    rate: vec4<f32>,
    l2: vec4<f32>,
    keep: vec4<f32>,
    first_decay: vec4<f32>,
    first_share: vec4<f32>,
    second_decay: vec4<f32>,
    second_share: vec4<f32>,
    correction: vec4<f32>,
    epsilon: vec4<f32>,
}

//! unroll x 0..NATIVE
alias Stored = vec2<u64>;
//! end
//! unroll x NATIVE..1
alias Stored = vec4<f32>;
fn floats(stored: Stored) -> vec4<f32> { return stored; }
fn words(floats: vec4<f32>) -> Stored { return floats; }
//! end

@group(1) @binding(0) var<uniform> params: Params;
//! unroll x GROUPED..1
@group(0) @binding(0) var<storage, read> gradient: array<Stored>;
@group(0) @binding(1) var<storage, read_write> parameter: array<Stored>;
@group(0) @binding(2) var<storage, read_write> first: array<Stored>;
@group(0) @binding(3) var<storage, read_write> second: array<Stored>;

fn numbers_of(i: u32) -> Numbers {
    return Numbers(
        vec4(params.rate),
        vec4(params.l2),
        vec4(params.keep),
        vec4(params.first_decay),
        vec4(params.first_share),
        vec4(params.second_decay),
        vec4(params.second_share),
        vec4(params.correction),
        vec4(params.epsilon),
    );
}
//! end
//! unroll x 0..GROUPED
@group(0) @binding(0) var<storage, read> owners: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> table: array<Scalars>;
@group(0) @binding(2) var<storage, read> gradient: array<Stored>;
@group(0) @binding(3) var<storage, read_write> parameter: array<Stored>;
@group(0) @binding(4) var<storage, read_write> first: array<Stored>;
@group(0) @binding(5) var<storage, read_write> second: array<Stored>;

// The numbers of a group.
struct Scalars {
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

fn numbers_of(i: u32) -> Numbers {
    let owner = owners[i];
    let a = table[owner.x];
    var b = a;
    var c = a;
    var d = a;
    // Few vectors have several owners: only where rows of a net end inside them.
    if any(owner != owner.xxxx) {
        b = table[owner.y];
        c = table[owner.z];
        d = table[owner.w];
    }
    return Numbers(
        vec4(a.rate, b.rate, c.rate, d.rate),
        vec4(a.l2, b.l2, c.l2, d.l2),
        vec4(a.keep, b.keep, c.keep, d.keep),
        vec4(a.first_decay, b.first_decay, c.first_decay, d.first_decay),
        vec4(a.first_share, b.first_share, c.first_share, d.first_share),
        vec4(a.second_decay, b.second_decay, c.second_decay, d.second_decay),
        vec4(a.second_share, b.second_share, c.second_share, d.second_share),
        vec4(a.correction, b.correction, c.correction, d.correction),
        vec4(a.epsilon, b.epsilon, c.epsilon, d.epsilon),
    );
}
//! end

fn is_regularized(i: u32) -> vec4<bool> {
    return vec4(4u * i) + vec4(0u, 1u, 2u, 3u) < vec4(params.regularized);
}

// The gradient with that of the penalty.
fn gradient_at(i: u32, w: vec4<f32>, l2: vec4<f32>) -> vec4<f32> {
    let g = floats(gradient[i]);
    return select(g, fma(l2, w, g), is_regularized(i));
}

@compute @workgroup_size(64)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = floats(parameter[i]);
    let s = numbers_of(i);
    parameter[i] = words(w - s.rate * gradient_at(i, w, s.l2));
}

@compute @workgroup_size(64)
fn momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = floats(parameter[i]);
    let s = numbers_of(i);
    let v = s.first_decay * floats(first[i]) - s.rate * gradient_at(i, w, s.l2);
    first[i] = words(v);
    parameter[i] = words(w + v);
}

@compute @workgroup_size(64)
fn nesterov(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = floats(parameter[i]);
    let s = numbers_of(i);
    let before = floats(first[i]);
    let v = s.first_decay * before - s.rate * gradient_at(i, w, s.l2);
    first[i] = words(v);
    parameter[i] = words(w - s.first_decay * before + s.first_share * v);
}

@compute @workgroup_size(64)
fn rms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = floats(parameter[i]);
    let s = numbers_of(i);
    let g = gradient_at(i, w, s.l2);
    let c = s.second_decay * floats(first[i]) + s.second_share * (g * g);
    first[i] = words(c);
    parameter[i] = words(w - s.rate * g / (sqrt(c) + s.epsilon));
}

@compute @workgroup_size(64)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let w = floats(parameter[i]);
    let s = numbers_of(i);
    let g = gradient_at(i, w, s.l2);
    let m = s.first_decay * floats(first[i]) + s.first_share * g;
    let c = s.second_decay * floats(second[i]) + s.second_share * (g * g);
    first[i] = words(m);
    second[i] = words(c);
    parameter[i] = words(select(w, s.keep * w, is_regularized(i)) - s.rate * m / (sqrt(s.correction * c) + s.epsilon));
}
