// Dropout: out = mask x, with a mask of 0 or `scale` that is a pure function of the element's number and a key of two words, in integers,
// so that it is the same on every device and needs no memory. `src/reference/dropout.rs` defines it and says where the hash comes from.
//
// Bytes per output: 8. About 20 integer operations, so memory decides: an invocation has one vec4, which neighbouring invocations load and
// store as whole lines. The end of the last vector is padding of the buffers, read and written like the rest.

struct Layer {
    threshold: u32,
    scale: f32,
}

struct Params {
    vectors: u32,
    threshold: u32,
    first_word: u32,
    second_word: u32,
    scale: f32,
    // Nets side by side, and the columns of each.
    nets: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
// Threshold and scale of each net.
@group(0) @binding(2) var<storage, read> layers: array<Layer>;
@group(1) @binding(0) var<uniform> params: Params;

fn spread(value: vec4<u32>) -> vec4<u32> {
    var x = value;
    x ^= x >> vec4(16u);
    x *= 0x7feb352du;
    x ^= x >> vec4(15u);
    x *= 0x846ca68bu;
    return x ^ (x >> vec4(16u));
}

// 32 random bits for each unit.
fn bits_of(unit: vec4<u32>) -> vec4<u32> {
    return spread(spread(unit ^ vec4(params.first_word)) + params.second_word);
}

@compute @workgroup_size(64)
fn dropout(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let bits = bits_of(vec4(4u * i) + vec4(0u, 1u, 2u, 3u));
    out[i] = x[i] * select(vec4(0.0), vec4(params.scale), bits >= vec4(params.threshold));
}

// Nets side by side: neighbouring rows of `columns` numbers are the same row of one net after the other, and a net counts its units as if
// it were alone. Two divisions more an element.
@compute @workgroup_size(64)
fn grouped(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let index = vec4(4u * i) + vec4(0u, 1u, 2u, 3u);
    let row = index / params.columns;
    let row_of_net = row / params.nets;
    let net = row - row_of_net * params.nets;
    let bits = bits_of(row_of_net * params.columns + (index - row * params.columns));
    let a = layers[net.x];
    var b = a;
    var c = a;
    var d = a;
    // Few vectors belong to several nets.
    if any(net != net.xxxx) {
        b = layers[net.y];
        c = layers[net.z];
        d = layers[net.w];
    }
    let kept = bits >= vec4(a.threshold, b.threshold, c.threshold, d.threshold);
    out[i] = x[i] * select(vec4(0.0), vec4(a.scale, b.scale, c.scale, d.scale), kept);
}
