// Batch normalisation of x [rows, columns], column by column: out = gamma * (x - mean) / sqrt(variance + epsilon) + beta, and its gradients.
//
// Training reads x three times (mean, variance, output) and the formula's gradient reads x and dout twice, from memory once where the
// columns of a workgroup fit a cache: 256 rows of 16 columns are 16 KiB. At least 8 bytes an element forward and 12 backward, for about 8
// and 12 FLOPs: memory decides, and after it the number of launches, so every form is one launch.
//
// train             out, and statistics = (mean, 1 / sqrt(variance + epsilon))
// train_running     the same, and moments = keep * moments + take * (mean, variance) in place
// test              out with given moments (mean, variance)
// backward_formula  dx = gamma / sqrt(variance + epsilon) * (dout - sum(dout) / N - n * sum(dout * n) / N) with n = (x - mean) / sqrt(..),
//                   which is made again from x; dgamma = sum(dout * n), dbeta = sum(dout)
// backward_graph    the same node by node, with the gradients of n, variance and mean: more sums, to compare with.
//
// Each in two families, which differ in constants alone:
// columns  LANES = 1, for software adapters, where loads are dear and workgroup memory is slow: an invocation has a value's columns to
//          itself and goes down all rows. 8 values a workgroup, so that narrow matrices occupy all cores too; in `test`, which has no
//          sums, 64 values of 8 rows.
// tree     COLUMNS = LANES = 16, for GPUs: 16 columns of a row are 64 bytes, whole sectors of a cache line; the 16 sums of a column meet in
//          1 KiB of workgroup memory, in a fixed order.
// Sums are made in blocks of rows, so that a chain of roundings stays within the bound that tolerance.rs allows, equal terms or not.
// Rows come four a round, with addresses held inside the matrix, so that four loads are under way at once.
//
// Paper: train LANES 16: 1024 bytes, 17 registers, 0.08 operations a byte of workgroup memory, 0.44 of storage, 7 groups
// Paper: train_running LANES 16: 1024 bytes, 17 registers, 0.08 operations a byte of workgroup memory, 0.44 of storage, 7 groups
// Paper: backward_formula LANES 16: 1024 bytes, 19 registers, 0.08 operations a byte of workgroup memory, 0.55 of storage, 7 groups
// Paper: backward_graph LANES 16: 1024 bytes, 27 registers, 0.08 operations a byte of workgroup memory, 0.54 of storage, 5 groups
//
// Constants: VECTOR (1: a value is four neighbouring columns, of a matrix whose rows are whole vectors; 0: it is one column), COLUMNS
// (values of a workgroup), LANES (rows at a time).

struct Params {
    rows: u32,
    // In a row.
    values: u32,
    // Rows of a workgroup of `test`.
    block: u32,
    // Rows of a block of a sum, a multiple of the rows of a round.
    chain: u32,
    // Rows to divide by: 1 where there are none.
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
@group(0) @binding(1) var<storage, read> gamma: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;
// Forward.
@group(0) @binding(2) var<storage, read> beta: array<Value>;
@group(0) @binding(3) var<storage, read_write> out: array<Value>;
@group(0) @binding(4) var<storage, read_write> statistics: array<Value>;
@group(0) @binding(5) var<storage, read_write> moments: array<Value>;
// In `test`.
@group(0) @binding(4) var<storage, read> given: array<Value>;
// Backward.
@group(0) @binding(2) var<storage, read> dout: array<Value>;
@group(0) @binding(3) var<storage, read> kept: array<Value>;
@group(0) @binding(4) var<storage, read_write> dx: array<Value>;
@group(0) @binding(5) var<storage, read_write> dgamma: array<Value>;
@group(0) @binding(6) var<storage, read_write> dbeta: array<Value>;

const GROUP: u32 = COLUMNS * LANES;
const ZERO: Value = Value(0.0);

// What an invocation works on. Those beyond the last column compute its results again and store nothing: barriers need them.
struct Place {
    column: u32,
    lane: u32,
    inside: bool,
}

fn place(index: u32, local: u32) -> Place {
    let column = index * COLUMNS + local % COLUMNS;
    return Place(min(column, params.values - 1u), local / COLUMNS, column < params.values);
}

// Where in the matrix a row's value is; rows past the end are the last.
fn address(row: u32, column: u32) -> u32 {
    return min(row, params.rows - 1u) * params.values + column;
}

// A term of a sum over rows: nothing past the end.
fn term(row: u32, value: Value) -> Value {
    return select(ZERO, value, row < params.rows);
}

// Where the block of a sum ends whose first row is `start`.
fn block_end(start: u32) -> u32 { return min(start + params.chain, params.rows); }

var<workgroup> partial: array<Value, GROUP>;

// The sum of `value` over the lanes of a column, for all of them, by a tree of fixed order. Uniform control flow.
fn total(local: u32, value: Value) -> Value {
    if LANES == 1u { return value; }
    partial[local] = value;
    workgroupBarrier();
    for (var half = GROUP / 2u; half >= COLUMNS; half /= 2u) {
        if local < half { partial[local] += partial[local + half]; }
        workgroupBarrier();
    }
    let sum = partial[local % COLUMNS];
    // The next sum may write.
    workgroupBarrier();
    return sum;
}

fn x_term(row: u32, at: Place) -> Value { return term(row, x[address(row, at.column)]); }

fn square_term(row: u32, at: Place, mean: Value) -> Value {
    let centred = x[address(row, at.column)] - mean;
    return term(row, centred * centred);
}

struct Moments {
    mean: Value,
    variance: Value,
}

// Normalises a column by its own moments and returns them.
fn normalize(at: Place, local: u32) -> Moments {
    var sum = ZERO;
    for (var start = at.lane; start < params.rows; start += params.chain) {
        var part = ZERO;
        for (var row = start; row < block_end(start); row += 4u * LANES) {
            part += (x_term(row, at) + x_term(row + LANES, at))
                + (x_term(row + 2u * LANES, at) + x_term(row + 3u * LANES, at));
        }
        sum += part;
    }
    let mean = total(local, sum) / params.n;
    sum = ZERO;
    for (var start = at.lane; start < params.rows; start += params.chain) {
        var part = ZERO;
        for (var row = start; row < block_end(start); row += 4u * LANES) {
            part += (square_term(row, at, mean) + square_term(row + LANES, at, mean))
                + (square_term(row + 2u * LANES, at, mean) + square_term(row + 3u * LANES, at, mean));
        }
        sum += part;
    }
    let variance = total(local, sum) / params.n;
    let inverse = inverseSqrt(variance + params.epsilon);
    if at.inside {
        let scale = gamma[at.column] * inverse;
        let shift = beta[at.column];
        for (var row = at.lane; row < params.rows; row += 4u * LANES) {
            //! unroll i 0..4
            let row_$i = row + $i * LANES;
            let x_$i = x[address(row_$i, at.column)];
            //! end
            //! unroll i 0..4
            if row_$i < params.rows {
                out[row_$i * params.values + at.column] = fma(x_$i - mean, scale, shift);
            }
            //! end
        }
        if at.lane == 0u {
            statistics[at.column] = mean;
            statistics[params.values + at.column] = inverse;
        }
    }
    return Moments(mean, variance);
}

@compute @workgroup_size(GROUP)
fn train(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    normalize(place(linear_index(group, groups), local), local);
}

@compute @workgroup_size(GROUP)
fn train_running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    let batch = normalize(at, local);
    if at.inside && at.lane == 0u {
        let second = params.values + at.column;
        moments[at.column] = params.keep * moments[at.column] + params.take * batch.mean;
        moments[second] = params.keep * moments[second] + params.take * batch.variance;
    }
}

// A workgroup has a block of rows, so that few columns occupy a device too.
@compute @workgroup_size(GROUP)
fn test(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(group, groups);
    let across = (params.values + COLUMNS - 1u) / COLUMNS;
    let at = place(index % across, local);
    let first = index / across * params.block;
    if !at.inside || first >= params.rows { return; }
    let mean = given[at.column];
    let scale = gamma[at.column] * inverseSqrt(given[params.values + at.column] + params.epsilon);
    let shift = beta[at.column];
    let end = min(first + params.block, params.rows);
    for (var row = first + at.lane; row < end; row += LANES) {
        let i = row * params.values + at.column;
        out[i] = fma(x[i] - mean, scale, shift);
    }
}

// Both sums of the formula: dout, and dout times the normalised x.
struct Pair {
    first: Value,
    second: Value,
}

fn pair_term(row: u32, at: Place, mean: Value, inverse: Value) -> Pair {
    let i = address(row, at.column);
    let flow = dout[i];
    return Pair(term(row, flow), term(row, flow * ((x[i] - mean) * inverse)));
}

fn pair_sum(at: Place, local: u32, mean: Value, inverse: Value) -> Pair {
    var sum = Pair(ZERO, ZERO);
    for (var start = at.lane; start < params.rows; start += params.chain) {
        var part = Pair(ZERO, ZERO);
        for (var row = start; row < block_end(start); row += 4u * LANES) {
            //! unroll i 0..4
            let pair_$i = pair_term(row + $i * LANES, at, mean, inverse);
            //! end
            part.first += (pair_0.first + pair_1.first) + (pair_2.first + pair_3.first);
            part.second += (pair_0.second + pair_1.second) + (pair_2.second + pair_3.second);
        }
        sum.first += part.first;
        sum.second += part.second;
    }
    return Pair(total(local, sum.first), total(local, sum.second));
}

// dx = (dout - shift) * factor + (x - mean) * slope + constant.
struct Line {
    shift: Value,
    factor: Value,
    slope: Value,
    constant: Value,
}

// Stores dx and the gradients of gamma and beta.
fn store(at: Place, mean: Value, line: Line, sums: Pair) {
    if !at.inside { return; }
    for (var row = at.lane; row < params.rows; row += 4u * LANES) {
        //! unroll i 0..4
        let row_$i = row + $i * LANES;
        let at_$i = address(row_$i, at.column);
        let dx_$i = fma(dout[at_$i] - line.shift, line.factor, fma(x[at_$i] - mean, line.slope, line.constant));
        //! end
        //! unroll i 0..4
        if row_$i < params.rows { dx[at_$i] = dx_$i; }
        //! end
    }
    if at.lane == 0u {
        dbeta[at.column] = sums.first;
        dgamma[at.column] = sums.second;
    }
}

@compute @workgroup_size(GROUP)
fn backward_formula(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    let mean = kept[at.column];
    let inverse = kept[params.values + at.column];
    let sums = pair_sum(at, local, mean, inverse);
    let factor = gamma[at.column] * inverse;
    // For one row the shift is dout, and dx exactly 0.
    store(at, mean, Line(sums.first / params.n, factor, -factor * inverse * sums.second / params.n, ZERO), sums);
}

@compute @workgroup_size(GROUP)
fn backward_graph(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = place(linear_index(group, groups), local);
    let mean = kept[at.column];
    let inverse = kept[params.values + at.column];
    let sums = pair_sum(at, local, mean, inverse);
    // The gradient of the normalised x is dout * gamma; its sums go to the variance and the mean.
    var along = ZERO;
    var flow = ZERO;
    var centred = ZERO;
    for (var start = at.lane; start < params.rows; start += params.chain) {
        var part_along = ZERO;
        var part_flow = ZERO;
        var part_centred = ZERO;
        for (var row = start; row < block_end(start); row += 2u * LANES) {
            //! unroll i 0..2
            let row_$i = row + $i * LANES;
            let centred_$i = x[address(row_$i, at.column)] - mean;
            let flow_$i = dout[address(row_$i, at.column)] * gamma[at.column];
            //! end
            part_along += term(row_0, flow_0 * centred_0) + term(row_1, flow_1 * centred_1);
            part_flow += term(row_0, flow_0) + term(row_1, flow_1);
            part_centred += term(row_0, centred_0) + term(row_1, centred_1);
        }
        along += part_along;
        flow += part_flow;
        centred += part_centred;
    }
    along = total(local, along);
    flow = total(local, flow);
    centred = total(local, centred);
    let dvariance = -0.5 * inverse * inverse * inverse * along;
    let dmean = -inverse * flow + dvariance * (-2.0 * centred) / params.n;
    store(at, mean, Line(ZERO, gamma[at.column] * inverse, 2.0 * dvariance / params.n, dmean / params.n), sums);
}
