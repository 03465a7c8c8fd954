// A copy of an operand whose rows do not start on vectors, for images: rows of the copy do, and zeros follow them, and the rows of each matrix
// where rows are the depth. For software adapters: a product loads each element once for many tiles of C, and an image must be of whole vectors.
//
// Each row has a workgroup, whose invocations make a share of its vectors each, from the two in which one lies: an index for each vector would
// take divisions, which a software adapter does lane by lane. By words (`prelude.native.wgsl`, which stands before this).

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
    // Rows of the copy.
    lines: u32,
}

@group(0) @binding(0) var<storage, read> operand: array<vec2<u64>>;
@group(0) @binding(1) var<storage, read_write> copy: array<vec2<u64>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(8)
fn padded(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = linear_index(group, groups);
    if line >= params.lines { return; }
    let row = line % params.padded_rows;
    let columns = select(0u, params.columns, row < params.rows);
    let start = line / params.padded_rows * params.batch + row * params.row;
    let shift = start % 4u;
    let share = (params.vectors + 7u) / 8u;
    let first = lane * share;
    var low = floats(operand[start / 4u + first]);
    for (var vector = first; vector < min(first + share, params.vectors); vector++) {
        // Beyond the operand's end WebGPU returns some number: what lies outside its rows is dropped.
        let high = floats(operand[start / 4u + vector + 1u]);
        let odd = select(vec4(low.yzw, high.x), vec4(low.w, high.xyz), shift == 3u);
        let even = select(low, vec4(low.zw, high.xy), shift == 2u);
        let inside = vec4(4u * vector) + vec4(0u, 1u, 2u, 3u) < vec4(columns);
        copy[line * params.vectors + vector] = words(select(vec4(0.0), select(even, odd, shift % 2u == 1u), inside));
        low = high;
    }
}
