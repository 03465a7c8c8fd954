// Copies matrices to rows that are whole vectors, for products whose own rows are not: beyond their edges stand zeros.
//
// 8 bytes an element, against the product's 2·m or 2·n FLOPs. An invocation writes a vector.

struct Params {
    // Of a matrix as it is, and elements from one of its rows, and from one matrix, to the next.
    rows: u32,
    columns: u32,
    row: u32,
    batch: u32,
    // Of a copy, whose matrices lie one after the other: rows, and vectors of a row.
    padded_rows: u32,
    vectors: u32,
    // Vectors of all copies.
    count: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn pack(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_index(group, groups) * 64u + lane;
    if i >= params.count { return; }
    let line = i / params.vectors;
    let row = line % params.padded_rows;
    let column = i % params.vectors * 4u;
    let at = line / params.padded_rows * params.batch + row * params.row + column;
    // What a vector reads beyond its row, or beyond the buffer what WebGPU returns there, is dropped, be it a NaN.
    let inside = (vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(params.columns)) & vec4(row < params.rows);
    out[i] = select(vec4(0.0), vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]), inside);
}
