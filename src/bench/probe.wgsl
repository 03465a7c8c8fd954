// What a device can do at most: the ceilings that `bench` holds operations against.
//
// multiply_add  Chains of fused multiply-adds, 12 to an invocation, so that none waits for its predecessor, 8 steps to a round, so that
//               the loop costs nothing: 192 FLOPs a round and no byte. 12 sums and 2 factors fit any register file.
// copy          16 bytes read and 16 written by an invocation, neighbours side by side.
// copy_words    The same by 4 bytes: whichever is faster is the ceiling.

struct Params {
    count: u32,
    rounds: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<u32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.count { return; }
    let factor = bitcast<f32>(x[0].x);
    let summand = bitcast<f32>(x[0].y);
    //! unroll c 0..12
    var sum_$c = f32(i + $c);
    //! end
    for (var round = 0u; round < params.rounds; round++) {
        //! unroll s 0..8
        //! unroll c 0..12
        sum_$c = fma(sum_$c, factor, summand);
        //! end
        //! end
    }
    var sum = 0.0;
    //! unroll c 0..12
    sum += sum_$c;
    //! end
    out[i] = vec4(bitcast<u32>(sum));
}

@group(0) @binding(0) var<storage, read> x_words: array<u32>;
@group(0) @binding(1) var<storage, read_write> out_words: array<u32>;

@compute @workgroup_size(64)
fn copy_words(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.count { return; }
    out_words[i] = x_words[i];
}

@compute @workgroup_size(64)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.count { return; }
    out[i] = x[i];
}
