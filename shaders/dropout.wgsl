// Dropout: out = mask x, with a mask of 0 or `scale` that is a pure function of the element's number and a key of two words, in integers,
// so that it is the same on every device and needs no memory. `src/reference/dropout.rs` defines it and says where the hash comes from.
//
// Bytes per output: 8. About 20 integer operations, so memory decides: an invocation has one vec4, which neighbouring invocations load and
// store as whole lines. The end of the last vector is padding of the buffers, read and written like the rest.

struct Params {
    vectors: u32,
    threshold: u32,
    first_word: u32,
    second_word: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

fn spread(value: vec4<u32>) -> vec4<u32> {
    var x = value;
    x ^= x >> vec4(16u);
    x *= 0x7feb352du;
    x ^= x >> vec4(15u);
    x *= 0x846ca68bu;
    return x ^ (x >> vec4(16u));
}

@compute @workgroup_size(64)
fn dropout(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.vectors { return; }
    let index = vec4(4u * i) + vec4(0u, 1u, 2u, 3u);
    let bits = spread(spread(index ^ vec4(params.first_word)) + params.second_word);
    out[i] = x[i] * select(vec4(0.0), vec4(params.scale), bits >= vec4(params.threshold));
}
