// A copy of an operand whose rows do not start on vectors, for kernels that load whole ones: rows of the copy do, and zeros follow them, and
// the rows of each matrix where rows are the depth. For software adapters: a product loads each element once for many tiles of C, and from
// rows that start anywhere only one by one, which takes twice as long.
//
// By words (`prelude.native.wgsl`, which stands before this): an invocation makes a vector of the copy from the two in which it lies.

struct Params {
    // Of each matrix, as stored.
    rows: u32,
    columns: u32,
    // Elements from one matrix to the next and from one row to the next.
    batch: u32,
    row: u32,
    // Rows of each matrix of the copy, and vectors of its rows.
    padded_rows: u32,
    vectors: u32,
    // Vectors of the copy.
    items: u32,
}

@group(0) @binding(0) var<storage, read> operand: array<vec2<u64>>;
@group(0) @binding(1) var<storage, read_write> copy: array<vec2<u64>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn padded(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = linear_index(group, groups) * 64u + lane;
    if item >= params.items { return; }
    let column = item % params.vectors * 4u;
    let line = item / params.vectors;
    let row = line % params.padded_rows;
    // Beyond the operand's end WebGPU returns some number: what lies outside its rows is dropped.
    let at = line / params.padded_rows * params.batch + row * params.row + column;
    let low = floats(operand[at / 4u]);
    let high = floats(operand[at / 4u + 1u]);
    let shift = at % 4u;
    let odd = select(vec4(low.yzw, high.x), vec4(low.w, high.xyz), shift == 3u);
    let even = select(low, vec4(low.zw, high.xy), shift == 2u);
    let inside = vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(select(0u, params.columns, row < params.rows));
    copy[item] = words(select(vec4(0.0), select(even, odd, shift % 2u == 1u), inside));
}
