// y[i] = x[indices[start + i]]: the labels of a batch, from labels that stay on the device.
//
// Bytes per output: 12, of which the 4 of x are wherever the indices say; no FLOPs. An invocation has one output, so that indices are read
// and outputs written as whole lines; there is nothing else to be had. An index out of range gives the largest u32, which is no label.

struct Params {
    start: u32,
    count: u32,
    elements: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn take(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.count { return; }
    let index = indices[params.start + i];
    var value = LARGEST_KEY;
    if index < params.elements { value = x[index]; }
    out[i] = value;
}
