// Batch normalisation in blocks of rows, for matrices larger than a cache on software adapters: what `batchnorm.wgsl` does in one launch
// with a workgroup going down all rows of its columns, three times, is done in three launches with a workgroup to a block of rows and half a
// page of neighbouring columns. The sums are the same, block by block and in the same order, so the results are too.
//
// sums          part of x's sum over a block
// squares       merges the sums to the mean; part of the sum of (x - mean)^2
// apply         merges both; out, and from the first block's workgroups the statistics
// apply_running the same, and the running moments
// pairs         parts of the gradient's two sums, of dout and of dout times the normalised x
// totals        merges them: dbeta and dgamma
// gradient      dx by the formula
//
// 4 bytes an element each, and apply 8; pairs 8 and gradient 12.
//
// Constants: VECTOR as in `batchnorm.wgsl`, COLUMNS (invocations of a workgroup), WIDTH (values of an invocation, COLUMNS apart).

struct Params {
    rows: u32,
    values: u32,
    block: u32,
    // Rows of a block, a multiple of 4.
    chain: u32,
    n: f32,
    epsilon: f32,
    keep: f32,
    take: f32,
}

//! unroll x 0..VECTOR
alias Value = vec4<f32>;
//! end
//! unroll x VECTOR..1
alias Value = f32;
//! end

@group(0) @binding(0) var<storage, read> x: array<Value>;
// A row for each block; then as many of the second sum.
@group(0) @binding(1) var<storage, read_write> partials: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;
// apply
@group(0) @binding(2) var<storage, read> gamma: array<Value>;
@group(0) @binding(3) var<storage, read> beta: array<Value>;
@group(0) @binding(4) var<storage, read_write> out: array<Value>;
@group(0) @binding(5) var<storage, read_write> statistics: array<Value>;
@group(0) @binding(6) var<storage, read_write> moments: array<Value>;
// pairs and gradient
@group(0) @binding(2) var<storage, read> dout: array<Value>;
@group(0) @binding(3) var<storage, read> kept: array<Value>;
// totals
@group(0) @binding(2) var<storage, read_write> dgamma: array<Value>;
@group(0) @binding(3) var<storage, read_write> dbeta: array<Value>;
// gradient
@group(0) @binding(1) var<storage, read_write> dx: array<Value>;
@group(0) @binding(4) var<storage, read> scale: array<Value>;
@group(0) @binding(5) var<storage, read> along: array<Value>;
@group(0) @binding(6) var<storage, read> flow: array<Value>;

const ZERO: Value = Value(0.0);

// What an invocation works on: rows first..end of its values `column`, `column + COLUMNS`, …
struct Place {
    block: u32,
    first: u32,
    end: u32,
    column: u32,
}

fn place(index: u32, local: u32) -> Place {
    let across = (params.values + COLUMNS * WIDTH - 1u) / (COLUMNS * WIDTH);
    let block = index / across;
    let first = block * params.chain;
    return Place(block, first, min(first + params.chain, params.rows), index % across * (COLUMNS * WIDTH) + local);
}

// The column to work on, for one past the end the last.
fn held(column: u32) -> u32 { return min(column, params.values - 1u); }

// How many blocks there are. Not from uniforms alone (groups.z is 1): see `depth` in `matmul.registers.wgsl`.
fn blocks(groups: vec3<u32>) -> u32 { return (params.rows + params.chain - 1u) / params.chain + (groups.z - 1u); }

// Where in the matrix a row's value is; rows past the end are the last.
fn address(row: u32, column: u32) -> u32 { return min(row, params.rows - 1u) * params.values + column; }

// A term of a sum over rows: nothing past the end.
fn term(row: u32, value: Value) -> Value { return select(ZERO, value, row < params.rows); }

fn merged(first: u32, count: u32, column: u32) -> Value {
    var sum = ZERO;
    for (var block = first; block < first + count; block++) {
        sum += partials[block * params.values + column];
    }
    return sum;
}

@compute @workgroup_size(COLUMNS)
fn sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    if at.first >= params.rows { return; }
    //! unroll v 0..WIDTH
    let column_$v = held(at.column + $v * COLUMNS);
    var sum_$v = ZERO;
    //! end
    for (var row = at.first; row < at.end; row += 4u) {
        //! unroll v 0..WIDTH
        //! unroll i 0..4
        let x_$v_$i = term(row + $i, x[address(row + $i, column_$v)]);
        //! end
        sum_$v += (x_$v_0 + x_$v_1) + (x_$v_2 + x_$v_3);
        //! end
    }
    //! unroll v 0..WIDTH
    if at.column + $v * COLUMNS < params.values { partials[at.block * params.values + column_$v] = sum_$v; }
    //! end
}

@compute @workgroup_size(COLUMNS)
fn squares(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    if at.first >= params.rows { return; }
    let count = blocks(groups);
    //! unroll v 0..WIDTH
    let column_$v = held(at.column + $v * COLUMNS);
    let mean_$v = merged(0u, count, column_$v) / params.n;
    var sum_$v = ZERO;
    //! end
    for (var row = at.first; row < at.end; row += 4u) {
        //! unroll v 0..WIDTH
        //! unroll i 0..4
        let x_$v_$i = x[address(row + $i, column_$v)] - mean_$v;
        let square_$v_$i = term(row + $i, x_$v_$i * x_$v_$i);
        //! end
        sum_$v += (square_$v_0 + square_$v_1) + (square_$v_2 + square_$v_3);
        //! end
    }
    //! unroll v 0..WIDTH
    if at.column + $v * COLUMNS < params.values { partials[(count + at.block) * params.values + column_$v] = sum_$v; }
    //! end
}

struct Moments {
    mean: Value,
    variance: Value,
}

fn moments_of(column: u32, count: u32) -> Moments {
    return Moments(merged(0u, count, column) / params.n, merged(count, count, column) / params.n);
}

fn write_block(at: Place, count: u32) {
    //! unroll v 0..WIDTH
    let column_$v = held(at.column + $v * COLUMNS);
    let inside_$v = at.column + $v * COLUMNS < params.values;
    let batch_$v = moments_of(column_$v, count);
    let inverse_$v = inverseSqrt(batch_$v.variance + params.epsilon);
    let scale_$v = gamma[column_$v] * inverse_$v;
    let shift_$v = beta[column_$v];
    if inside_$v && at.block == 0u {
        statistics[column_$v] = batch_$v.mean;
        statistics[params.values + column_$v] = inverse_$v;
    }
    //! end
    for (var row = at.first; row < at.end; row++) {
        //! unroll v 0..WIDTH
        if inside_$v {
            let i_$v = row * params.values + column_$v;
            out[i_$v] = fma(x[i_$v] - batch_$v.mean, scale_$v, shift_$v);
        }
        //! end
    }
}

@compute @workgroup_size(COLUMNS)
fn apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    if at.first >= params.rows { return; }
    write_block(at, blocks(groups));
}

@compute @workgroup_size(COLUMNS)
fn apply_running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    if at.first >= params.rows { return; }
    let count = blocks(groups);
    write_block(at, count);
    if at.block > 0u { return; }
    for (var column = at.column; column < min(at.column + COLUMNS * WIDTH, params.values); column += COLUMNS) {
        let batch = moments_of(column, count);
        let second = params.values + column;
        moments[column] = params.keep * moments[column] + params.take * batch.mean;
        moments[second] = params.keep * moments[second] + params.take * batch.variance;
    }
}

@compute @workgroup_size(COLUMNS)
fn pairs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    if at.first >= params.rows { return; }
    let count = blocks(groups);
    //! unroll v 0..WIDTH
    let column_$v = held(at.column + $v * COLUMNS);
    let mean_$v = kept[column_$v];
    let inverse_$v = kept[params.values + column_$v];
    var first_$v = ZERO;
    var second_$v = ZERO;
    //! end
    for (var row = at.first; row < at.end; row += 4u) {
        //! unroll v 0..WIDTH
        //! unroll i 0..4
        let at_$v_$i = address(row + $i, column_$v);
        let flow_$v_$i = term(row + $i, dout[at_$v_$i]);
        let along_$v_$i = flow_$v_$i * ((x[at_$v_$i] - mean_$v) * inverse_$v);
        //! end
        first_$v += (flow_$v_0 + flow_$v_1) + (flow_$v_2 + flow_$v_3);
        second_$v += (along_$v_0 + along_$v_1) + (along_$v_2 + along_$v_3);
        //! end
    }
    //! unroll v 0..WIDTH
    if at.column + $v * COLUMNS < params.values {
        partials[at.block * params.values + column_$v] = first_$v;
        partials[(count + at.block) * params.values + column_$v] = second_$v;
    }
    //! end
}

@compute @workgroup_size(COLUMNS)
fn totals(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = linear_index(group, groups) * COLUMNS + local;
    if column >= params.values { return; }
    let count = blocks(groups);
    dbeta[column] = merged(0u, count, column);
    dgamma[column] = merged(count, count, column);
}

@compute @workgroup_size(COLUMNS)
fn gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    if at.first >= params.rows { return; }
    //! unroll v 0..WIDTH
    let column_$v = held(at.column + $v * COLUMNS);
    let inside_$v = at.column + $v * COLUMNS < params.values;
    let mean_$v = kept[column_$v];
    let inverse_$v = kept[params.values + column_$v];
    let factor_$v = scale[column_$v] * inverse_$v;
    let slope_$v = -factor_$v * inverse_$v * along[column_$v] / params.n;
    // For one row the shift is dout, and dx exactly 0.
    let shift_$v = flow[column_$v] / params.n;
    //! end
    for (var row = at.first; row < at.end; row++) {
        //! unroll v 0..WIDTH
        if inside_$v {
            let i_$v = row * params.values + column_$v;
            dx[i_$v] = fma(dout[i_$v] - shift_$v, factor_$v, (x[i_$v] - mean_$v) * slope_$v);
        }
        //! end
    }
}
