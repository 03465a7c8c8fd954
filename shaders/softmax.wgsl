// The softmax of every row, p = exp(s - max) / sum, and its gradient dx = p * (dout - sum of dout * p).
//
// Bytes per element at least 8 forward, 12 backward; 10 and 4 FLOPs, so memory decides. A row is read three times (backward: twice), the
// first time from memory and then from cache: storing the exponentials to read them again would cost more than to compute them twice.
//
// forward    TEAM = 1: an invocation has a row: for software adapters, where barriers and workgroup memory are slow, and for rows of a few
//            classes, in which a workgroup would idle. TEAM = GROUP: a workgroup has a row, neighbours load neighbouring vectors, and
//            trees join the maxima and the sums in a fixed order.
// backward   likewise.
//
// A row of 4,096 scores takes 4 rounds of a vector each.
//
// `softmax.kept.wgsl` has a third way forward, for software adapters.
//
// The maximum is one of keys, in which NaN is the largest. A NaN or an infinite maximum makes the row NaN, by bits, because compilers
// may assume that there is none.
//
// Paper: forward TEAM 256: 2048 bytes, 20 registers, 0.04 operations a byte of workgroup memory, 0.38 of storage, 7 groups
// Paper: backward TEAM 256: 1024 bytes, 19 registers, 0.08 operations a byte of workgroup memory, 0.20 of storage, 7 groups
//
// Constants: ALIGNED (1: rows start on vectors), GROUP (invocations of a workgroup), TEAM (those that share a row).

struct Params {
    rows: u32,
    columns: u32,
}

//! unroll x 0..ALIGNED
@group(0) @binding(0) var<storage, read> first: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> second: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
fn load_first(start: u32, at: u32) -> vec4<f32> { return first[(start + at) / 4u]; }
fn load_second(start: u32, at: u32) -> vec4<f32> { return second[(start + at) / 4u]; }
fn store(start: u32, at: u32, value: vec4<f32>) { out[(start + at) / 4u] = value; }
fn within(value: vec4<f32>, at: u32) -> vec4<f32> { return value; }
//! end
//! unroll x ALIGNED..1
@group(0) @binding(0) var<storage, read> first: array<f32>;
@group(0) @binding(1) var<storage, read> second: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
// Places of 4 neighbours; past the end of the row, of its last element.
fn places(start: u32, at: u32) -> vec4<u32> {
    return vec4(start) + min(vec4(at) + vec4(0u, 1u, 2u, 3u), vec4(params.columns - 1u));
}
fn load_first(start: u32, at: u32) -> vec4<f32> {
    let i = places(start, at);
    return vec4(first[i.x], first[i.y], first[i.z], first[i.w]);
}
fn load_second(start: u32, at: u32) -> vec4<f32> {
    let i = places(start, at);
    return vec4(second[i.x], second[i.y], second[i.z], second[i.w]);
}
fn store(start: u32, at: u32, value: vec4<f32>) {
//! unroll i 0..4
    if at + $i < params.columns { out[start + at + $i] = value[$i]; }
//! end
}
// 0 past the end of the row.
fn within(value: vec4<f32>, at: u32) -> vec4<f32> {
    return select(vec4(0.0), value, vec4(at) + vec4(0u, 1u, 2u, 3u) < vec4(params.columns));
}
//! end
@group(1) @binding(0) var<uniform> params: Params;

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

@compute @workgroup_size(GROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups) * (GROUP / TEAM) + lane / TEAM;
    // Surplus invocations do the last row again, into nothing: barriers need them all.
    let start = min(index, params.rows - 1u) * params.columns;
    let mine = lane % TEAM * 4u;
    var best = vec4(0u);
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        best = max(best, keys_of_bits(bitcast<vec4<u32>>(load_first(start, at))));
    }
    let key = largest_of(lane, max(max(best.x, best.y), max(best.z, best.w)));
    let largest = vec4(bitcast<f32>(bits_of_key(key)));
    // From the key of infinity up, and down to that of minus infinity.
    let poison = vec4(select(0u, 0x7fffffffu, key >= 0xff800000u || key <= 0x007fffffu));
    var terms = vec4(0.0);
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        terms += within(exp(load_first(start, at) - largest), at);
    }
    let scale = 1.0 / sum_of(lane, terms);
    if index >= params.rows { return; }
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        let p = exp(load_first(start, at) - largest) * scale;
        store(start, at, bitcast<vec4<f32>>(bitcast<vec4<u32>>(p) | poison));
    }
}

@compute @workgroup_size(GROUP)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups) * (GROUP / TEAM) + lane / TEAM;
    let start = min(index, params.rows - 1u) * params.columns;
    let mine = lane % TEAM * 4u;
    var terms = vec4(0.0);
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        terms = fma(within(load_first(start, at), at), load_second(start, at), terms);
    }
    let dot = vec4(sum_of(lane, terms));
    if index >= params.rows { return; }
    for (var at = mine; at < params.columns; at += 4u * TEAM) {
        store(start, at, load_second(start, at) * (load_first(start, at) - dot));
    }
}
