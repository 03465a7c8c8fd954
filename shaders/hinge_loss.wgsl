// The multiclass support vector machine's loss of every row, the sum of max(0, s_j - s_y + delta) over the other classes j, and the
// gradient of their mean: 1 / N where such a margin is above 0, at y minus their number over N.
//
// Bytes per score 8 and 5 FLOPs, so memory decides: one launch and one sweep, which reads a row and writes its gradient once. The
// coefficient of y is known last; the invocation that has the vector with y writes it over the 0 that it put there. With weights of the
// classes, that of the label multiplies a row's loss and gradient, at one load a row.
//
// losses     TEAM = 1: an invocation has a row: for software adapters, where barriers and workgroup memory are slow, and for rows of a few
//            classes, in which a workgroup would idle. TEAM = GROUP: a workgroup has a row, neighbours load neighbouring vectors, and
//            a tree joins the sums in a fixed order.
// grouped    The same for nets side by side: as many rows in succession have one label. A row then costs a division more.
//
// NaN is found by bits, because compilers may assume that there is none: a NaN score, a difference of equal infinities, or a label that is
// no class (nothing is addressed by it) make the loss and the gradient of the row NaN, in a second sweep that such rows alone take.
//
// Paper: losses TEAM 256: 4096 bytes, 24 registers, 0.08 operations a byte of workgroup memory, 0.42 of storage, 6 groups
// Paper: grouped TEAM 256: 4096 bytes, 24 registers, 0.08 operations a byte of workgroup memory, 0.42 of storage, 6 groups
//
// Constants: ALIGNED (1: rows start on vectors), GROUP (invocations of a workgroup), TEAM (those that share a row).

struct Params {
    rows: u32,
    columns: u32,
    // 1 / N.
    scale: f32,
    delta: f32,
    // 1: each class has a weight, else 1 whatever the buffer holds.
    weighted: u32,
    // Nets side by side, in `grouped`.
    nets: u32,
}

//! unroll x 0..ALIGNED
@group(0) @binding(0) var<storage, read> scores: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> gradient: array<vec4<f32>>;
fn load(start: u32, at: u32) -> vec4<f32> { return scores[(start + at) / 4u]; }
fn score(at: u32) -> f32 { return scores[at / 4u][at % 4u]; }
fn store(start: u32, at: u32, value: vec4<f32>) { gradient[(start + at) / 4u] = value; }
fn store_one(at: u32, value: f32) { gradient[at / 4u][at % 4u] = value; }
//! end
//! unroll x ALIGNED..1
@group(0) @binding(0) var<storage, read> scores: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
// 4 neighbours; past the end of the row, its last element.
fn load(start: u32, at: u32) -> vec4<f32> {
    let i = vec4(start) + min(vec4(at) + vec4(0u, 1u, 2u, 3u), vec4(params.columns - 1u));
    return vec4(scores[i.x], scores[i.y], scores[i.z], scores[i.w]);
}
fn score(at: u32) -> f32 { return scores[at]; }
fn store(start: u32, at: u32, value: vec4<f32>) {
//! unroll i 0..4
    if at + $i < params.columns { gradient[start + at + $i] = value[$i]; }
//! end
}
fn store_one(at: u32, value: f32) { gradient[at] = value; }
//! end
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read_write> row_losses: array<f32>;
@group(0) @binding(4) var<storage, read> weights: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

// What the loss of a row and its gradient are multiplied by. A factor of 1 changes no bit, and the load costs nothing beside a row's.
fn weight_of(label: u32) -> f32 {
    if params.weighted == 0u { return 1.0; }
    return weights[min(label, params.columns - 1u)];
}

// A row's loss, violations and whether there was a NaN (1).
var<workgroup> sums: array<vec3<f32>, GROUP>;

// The sums of a team, for all of it. Uniform control flow.
fn sum_of(lane: u32, terms: vec3<f32>) -> vec3<f32> {
    if TEAM == 1u { return terms; }
    sums[lane] = terms;
    workgroupBarrier();
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        if lane < half { sums[lane] += sums[lane + half]; }
        workgroupBarrier();
    }
    return sums[0];
}

// The row `index`, of which `nets` in succession have one label. Uniform control flow.
fn loss_of(index: u32, lane: u32, nets: u32) {
    // Surplus invocations read the last row again: barriers need them all.
    let row = min(index, params.rows - 1u);
    let real = index < params.rows;
    let start = row * params.columns;
    let mine = lane % TEAM * 4u;
    let label = labels[row / nets];
    let of_label = score(start + min(label, params.columns - 1u));
    let label_bits = bitcast<u32>(of_label);
    let weight = weight_of(label);
    let scale = params.scale * weight;
    // What else makes a margin NaN: the infinity of the label's score.
    let clash = vec4(select(label_bits, 0x7fffffffu, is_finite_bits(label_bits)));
    var excess = vec4(0.0);
    var violations = vec4(0.0);
    var spoilt = vec4(u32(label >= params.columns));
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        let values = load(start, at);
        let bits = bitcast<vec4<u32>>(values);
        let class_of = vec4(at) + vec4(0u, 1u, 2u, 3u);
        let other = (class_of != vec4(label)) & (class_of < vec4(params.columns));
        let margin = (values - of_label) + params.delta;
        let above = other & (margin > vec4(0.0));
        let coefficient = select(vec4(0.0), vec4(1.0), above);
        excess += select(vec4(0.0), margin, above);
        violations += coefficient;
        let wrong = ((bits & vec4(0x7fffffffu)) > vec4(0x7f800000u)) | (other & (bits == clash));
        spoilt |= select(vec4(0u), vec4(1u), wrong);
        if real { store(start, at, coefficient * scale); }
    }
    let flag = (spoilt.x | spoilt.y) | (spoilt.z | spoilt.w);
    let loss = (excess.x + excess.y) + (excess.z + excess.w);
    let count = (violations.x + violations.y) + (violations.z + violations.w);
    let all = sum_of(lane, vec3(loss, count, f32(flag)));
    if !real { return; }
    let poison = select(0u, 0x7fffffffu, all.z > 0.0);
    if lane % TEAM == 0u { row_losses[row] = bitcast<f32>(bitcast<u32>(all.x * weight) | poison); }
    if poison != 0u {
        let nan = vec4(bitcast<f32>(label_bits | poison));
        for (var at = mine; at < params.columns; at += 4u * TEAM) { store(start, at, nan); }
    } else if label / 4u % TEAM == lane % TEAM {
        store_one(start + label, -all.y * scale);
    }
}

@compute @workgroup_size(GROUP)
fn losses(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    loss_of(linear_index(group, groups) * (GROUP / TEAM) + lane / TEAM, lane, 1u);
}

@compute @workgroup_size(GROUP)
fn grouped(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    loss_of(linear_index(group, groups) * (GROUP / TEAM) + lane / TEAM, lane, params.nets);
}
