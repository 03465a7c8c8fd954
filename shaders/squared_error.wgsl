// The L2 regression loss of every row, the sum of (f - y)^2, and the gradient 2 (f - y) / N of their mean.
//
// Bytes per output 12 and 4 FLOPs, so memory decides: one launch and one sweep, which reads each operand and writes the gradient once.
//
// losses     TEAM = 1: an invocation has a row: for software adapters, where barriers and workgroup memory are slow, and for rows of a few
//            outputs, in which a workgroup would idle. TEAM = GROUP: a workgroup has a row, neighbours load neighbouring vectors, and
//            a tree joins the sums in a fixed order.
//
// Paper: losses TEAM 256: 1024 bytes, 18 registers, 0.08 operations a byte of workgroup memory, 0.42 of storage, 7 groups
//
// Constants: ALIGNED (1: rows start on vectors), GROUP (invocations of a workgroup), TEAM (those that share a row).

struct Params {
    rows: u32,
    columns: u32,
    // 1 / N.
    scale: f32,
    // Of other losses.
    delta: f32,
    weighted: u32,
    nets: u32,
}

//! unroll x 0..ALIGNED
@group(0) @binding(0) var<storage, read> outputs: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> targets: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4<f32>>;
fn difference(start: u32, at: u32) -> vec4<f32> {
    return outputs[(start + at) / 4u] - targets[(start + at) / 4u];
}
fn store(start: u32, at: u32, value: vec4<f32>) { gradient[(start + at) / 4u] = value; }
//! end
//! unroll x ALIGNED..1
@group(0) @binding(0) var<storage, read> outputs: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
// 4 neighbours; 0 past the end of the row.
fn difference(start: u32, at: u32) -> vec4<f32> {
    let i = vec4(start) + min(vec4(at) + vec4(0u, 1u, 2u, 3u), vec4(params.columns - 1u));
    let apart = vec4(outputs[i.x], outputs[i.y], outputs[i.z], outputs[i.w])
        - vec4(targets[i.x], targets[i.y], targets[i.z], targets[i.w]);
    return select(vec4(0.0), apart, vec4(at) + vec4(0u, 1u, 2u, 3u) < vec4(params.columns));
}
fn store(start: u32, at: u32, value: vec4<f32>) {
//! unroll i 0..4
    if at + $i < params.columns { gradient[start + at + $i] = value[$i]; }
//! end
}
//! end
@group(0) @binding(2) var<storage, read_write> row_losses: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

var<workgroup> sums: array<f32, GROUP>;

// The sum over a team, for all of it. Uniform control flow.
fn sum_of(lane: u32, terms: vec4<f32>) -> f32 {
    let sum = (terms.x + terms.y) + (terms.z + terms.w);
    if TEAM == 1u { return sum; }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        if lane < half { sums[lane] += sums[lane + half]; }
        workgroupBarrier();
    }
    return sums[0];
}

@compute @workgroup_size(GROUP)
fn losses(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups) * (GROUP / TEAM) + lane / TEAM;
    // Surplus invocations read the last row again: barriers need them all.
    let row = min(index, params.rows - 1u);
    let real = index < params.rows;
    let start = row * params.columns;
    let mine = lane % TEAM * 4u;
    var terms = vec4(0.0);
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        let apart = difference(start, at);
        terms = fma(apart, apart, terms);
        if real { store(start, at, 2.0 * apart * params.scale); }
    }
    let loss = sum_of(lane, terms);
    if real && lane % TEAM == 0u { row_losses[row] = loss; }
}
