// A training batch from resident data: out = (x - shift) * scale, feature by feature, for all rows of x or for those that a range
// of `picks` names, and with them, where wanted, the labels of those rows.
//
// Bytes per output at least: 4 for the output, 1 or 4 for x; 2 FLOPs. One sweep: neighbouring invocations take neighbouring values of a row,
// so every access is to whole lines, whatever rows are picked. An invocation has the same value of ROWS rows, for which it loads shift and
// scale once. A row that x does not have becomes NaN; nothing outside x is read.
//
// deep     ROWS = 8, for software adapters, where a load costs as much as 30 FMAs.
// shallow  ROWS = 2, for GPUs, which need the invocations: 49,152 for 256 rows of 1,536 values.
//
// Constants: LABELS (1: the invocations of a row's first value copy its label too; a row that x does not have gets the largest u32), BYTES (1: x holds pixels, rows padded to 16 bytes), GATHER (1: with picks, else they are not read), VECTOR (1: a value is four
// neighbouring features, where rows of the output are whole vectors; 0: it is one), ROWS.

struct Params {
    // Rows of x, and of the output.
    rows: u32,
    taken: u32,
    // In a row of the output.
    values: u32,
    // From one row of x to the next: words of pixels, or values.
    stride: u32,
    // All that there is to do.
    items: u32,
    // The first of the picks that count.
    start: u32,
    nan: f32,
}

//! unroll x 0..VECTOR
alias Value = vec4<f32>;
//! end
//! unroll x VECTOR..1
alias Value = f32;
//! end

//! unroll x 0..BYTES
@group(0) @binding(0) var<storage, read> x: array<u32>;
//! unroll y 0..VECTOR
fn x_at(row: u32, value: u32) -> Value {
    return vec4<f32>((vec4(x[row * params.stride + value]) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u));
}
//! end
//! unroll y VECTOR..1
fn x_at(row: u32, value: u32) -> Value {
    return f32((x[row * params.stride + value / 4u] >> (value % 4u * 8u)) & 255u);
}
//! end
//! end
//! unroll x BYTES..1
@group(0) @binding(0) var<storage, read> x: array<Value>;
fn x_at(row: u32, value: u32) -> Value { return x[row * params.stride + value]; }
//! end
@group(0) @binding(1) var<storage, read> shift: array<Value>;
@group(0) @binding(2) var<storage, read> scale: array<Value>;
@group(0) @binding(3) var<storage, read> picks: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<Value>;
//! unroll x 0..LABELS
@group(0) @binding(5) var<storage, read> labels: array<u32>;
@group(0) @binding(6) var<storage, read_write> labels_out: array<u32>;
//! end
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn standardize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = linear_index(group, groups) * 64u + lane;
    if item >= params.items { return; }
    let value = item % params.values;
    let first = item / params.values * ROWS;
    let shift_here = shift[value];
    let scale_here = scale[value];
    //! unroll i 0..ROWS
    let row_$i = first + $i;
    if row_$i < params.taken {
        var source_$i = row_$i;
        if GATHER == 1u { source_$i = picks[params.start + row_$i]; }
        var out_$i = Value(params.nan);
        if source_$i < params.rows { out_$i = (x_at(source_$i, value) - shift_here) * scale_here; }
        out[row_$i * params.values + value] = out_$i;
        //! unroll x 0..LABELS
        if value == 0u {
            var label = LARGEST_KEY;
            if source_$i < params.rows { label = labels[source_$i]; }
            labels_out[row_$i] = label;
        }
        //! end
    }
    //! end
}
