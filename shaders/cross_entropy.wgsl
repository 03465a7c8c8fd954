// The softmax classifier's loss of every row, log(sum of exp(s - max)) - (s_y - max), and the gradient (p - 1_y) / N of their mean.
//
// Bytes per score at least 8 and a dozen FLOPs, so memory decides: one launch, which reads a row three times, the first time from memory
// and then from cache, and writes its gradient once. Never -log(p), which overflows where p underflows. With weights of the classes, that of
// the label multiplies a row's loss and gradient, at one load a row.
//
// losses     TEAM = 1: an invocation has a row: for software adapters, where barriers and workgroup memory are slow, and for rows of a few
//            classes, in which a workgroup would idle. TEAM = GROUP: a workgroup has a row, neighbours load neighbouring vectors, and
//            trees join the maxima and the sums in a fixed order.
// grouped    The same for nets side by side: as many rows in succession have one label. A row then costs a division more.
//
// The maximum is one of keys, in which NaN is the largest. A NaN or an infinite maximum makes loss and gradient NaN, by bits, because
// compilers may assume that there is none. So does a label that is no class: nothing is addressed by it.
//
// Paper: losses TEAM 256: 2048 bytes, 20 registers, 0.04 operations a byte of workgroup memory, 0.50 of storage, 7 groups
// Paper: grouped TEAM 256: 2048 bytes, 20 registers, 0.04 operations a byte of workgroup memory, 0.50 of storage, 7 groups
//
// Constants: ALIGNED (1: rows start on vectors), GROUP (invocations of a workgroup), TEAM (those that share a row).

struct Params {
    rows: u32,
    columns: u32,
    // 1 / N.
    scale: f32,
    // Of other losses.
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
fn within(value: vec4<f32>, at: u32) -> vec4<f32> { return value; }
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
// 0 past the end of the row.
fn within(value: vec4<f32>, at: u32) -> vec4<f32> {
    return select(vec4(0.0), value, vec4(at) + vec4(0u, 1u, 2u, 3u) < vec4(params.columns));
}
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

var<workgroup> keys: array<u32, GROUP>;
var<workgroup> sums: array<f32, GROUP>;

// The largest key of a team, for all of it. Uniform control flow.
fn largest_of(lane: u32, key: u32) -> u32 {
    if TEAM == 1u { return key; }
    keys[lane] = key;
    workgroupBarrier();
    for (var half = TEAM / 2u; half > 0u; half /= 2u) {
        if lane < half { keys[lane] = max(keys[lane], keys[lane + half]); }
        workgroupBarrier();
    }
    return keys[0];
}

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

// The row `index`, of which `nets` in succession have one label. Uniform control flow.
fn loss_of(index: u32, lane: u32, nets: u32) {
    // Surplus invocations do the last row again, into nothing: barriers need them all.
    let row = min(index, params.rows - 1u);
    let start = row * params.columns;
    let mine = lane % TEAM * 4u;
    var best = vec4(0u);
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        best = max(best, keys_of_bits(bitcast<vec4<u32>>(load(start, at))));
    }
    let key = largest_of(lane, max(max(best.x, best.y), max(best.z, best.w)));
    let largest = bitcast<f32>(bits_of_key(key));
    var terms = vec4(0.0);
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        terms += within(exp(load(start, at) - largest), at);
    }
    let total = sum_of(lane, terms);
    if index >= params.rows { return; }
    let label = labels[row / nets];
    // From the key of infinity up, and down to that of minus infinity.
    let bad = key >= 0xff800000u || key <= 0x007fffffu || label >= params.columns;
    let poison = select(0u, 0x7fffffffu, bad);
    let inverse = 1.0 / total;
    let weight = weight_of(label);
    let scale = params.scale * weight;
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        let p = exp(load(start, at) - largest) * inverse;
        let of_label = select(vec4(0.0), vec4(1.0), vec4(at) + vec4(0u, 1u, 2u, 3u) == vec4(label));
        let slope = (p - of_label) * scale;
        store(start, at, bitcast<vec4<f32>>(bitcast<vec4<u32>>(slope) | vec4(poison)));
    }
    if lane % TEAM == 0u {
        let loss = (log(total) - (score(start + min(label, params.columns - 1u)) - largest)) * weight;
        row_losses[row] = bitcast<f32>(bitcast<u32>(loss) | poison);
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
