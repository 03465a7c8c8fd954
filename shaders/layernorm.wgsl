// Layer normalisation of x [rows, columns], row by row: out = gamma * (x - mean) / sqrt(variance + epsilon) + beta, and its gradients.
//
// A row is read three times forward and twice backward, from memory once where it fits a cache; x and dout are read again for the sums down
// the columns. At least 8 bytes an element forward and 12 backward, for about 8 and 16 FLOPs: memory decides.
//
// forward           out, and statistics = (mean, 1 / sqrt(variance + epsilon)) of every row
// backward_rows     dx = (g - sum(g) / D - n * sum(g * n) / D) / sqrt(variance + epsilon) with g = dout * gamma, n = (x - mean) / sqrt(..)
// backward_columns  dgamma = sum(dout * n), dbeta = sum(dout), down the rows
//
// Each in two families, which differ in constants alone:
// single  LANES = 1, for software adapters, where workgroup memory and barriers are slow: an invocation has a row (or, in
//         backward_columns, a value's columns) to itself. 8 a workgroup, so that few rows occupy all cores too.
// tree    for GPUs: LANES invocations share a row, 256 or, where it has no more than 256 values, 32, and 8 rows a workgroup; in
//         backward_columns 16 lanes go down 16 values' columns. The lanes' sums meet in 1 KiB (rows) or at most 4 KiB (columns) of workgroup
//         memory, in a fixed order.
// Sums are made in blocks, so that a chain of roundings stays within the bound that tolerance.rs allows, equal terms or not.
// Values and rows come four a round, with addresses held inside the matrix, so that four loads are under way at once.
//
// Paper: forward VECTOR 0, LANES 256: 1024 bytes, 25 registers, 0.08 operations a byte of workgroup memory, 0.33 of storage, 6 groups
// Paper: forward VECTOR 1, LANES 256: 1024 bytes, 82 registers, 0.08 operations a byte of workgroup memory, 0.33 of storage, 2 groups
// Paper: backward_rows VECTOR 0, LANES 256: 1024 bytes, 16 registers, 0.08 operations a byte of workgroup memory, 0.43 of storage, 8 groups
// Paper: backward_rows VECTOR 1, LANES 256: 1024 bytes, 52 registers, 0.08 operations a byte of workgroup memory, 0.43 of storage, 3 groups
// Paper: backward_columns VECTOR 0, LANES 16: 1024 bytes, 27 registers, 0.08 operations a byte of workgroup memory, 0.25 of storage, 5 groups
//
// Constants: VECTOR (1: a value is four neighbouring columns, of a matrix whose rows are whole vectors; 0: it is one column), ITEMS (rows
// or values of a workgroup), LANES (invocations that share one).

struct Params {
    rows: u32,
    // In a row.
    values: u32,
    // Columns to divide by: 1 where there are none.
    // Values, or rows, of a block of a sum, a multiple of those of a round.
    chain: u32,
    n: f32,
    epsilon: f32,
}

//! unroll x 0..VECTOR
alias Value = vec4<f32>;
fn folded(value: Value) -> f32 { return (value.x + value.y) + (value.z + value.w); }
//! end
//! unroll x VECTOR..1
alias Value = f32;
fn folded(value: Value) -> f32 { return value; }
//! end

@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(1) @binding(0) var<uniform> params: Params;
// Forward.
@group(0) @binding(1) var<storage, read> gamma: array<Value>;
@group(0) @binding(2) var<storage, read> beta: array<Value>;
@group(0) @binding(3) var<storage, read_write> out: array<Value>;
@group(0) @binding(4) var<storage, read_write> statistics: array<f32>;
// Backward.
@group(0) @binding(2) var<storage, read> dout: array<Value>;
@group(0) @binding(3) var<storage, read> kept: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<Value>;
// In backward_columns.
@group(0) @binding(1) var<storage, read_write> dgamma: array<Value>;
@group(0) @binding(4) var<storage, read_write> dbeta: array<Value>;

const GROUP: u32 = ITEMS * LANES;
const ZERO: Value = Value(0.0);

// What an invocation works on. Those beyond the last item compute its results again and store nothing: barriers need them.
struct Place {
    // A row, or a value in each row.
    item: u32,
    lane: u32,
    inside: bool,
}

// The lanes of a row are neighbours.
fn row_place(index: u32, local: u32) -> Place {
    let row = index * ITEMS + local / LANES;
    return Place(min(row, params.rows - 1u), local % LANES, row < params.rows);
}

// A term of a sum: nothing past the end.
fn term(inside: bool, value: Value) -> Value { return select(ZERO, value, inside); }

// Where in the matrix a value of a row is; those past the end are the last.
fn address(row: u32, value: u32) -> u32 {
    return min(row, params.rows - 1u) * params.values + min(value, params.values - 1u);
}

var<workgroup> row_partial: array<f32, GROUP>;

// The sum of `value` over the lanes of a row, for all of them, by a tree of fixed order. Uniform control flow.
fn row_total(local: u32, value: f32) -> f32 {
    if LANES == 1u { return value; }
    row_partial[local] = value;
    workgroupBarrier();
    let lane = local % LANES;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half { row_partial[local] += row_partial[local + half]; }
        workgroupBarrier();
    }
    let sum = row_partial[local - lane];
    // The next sum may write.
    workgroupBarrier();
    return sum;
}

fn x_term(at: Place, value: u32) -> Value { return term(value < params.values, x[address(at.item, value)]); }

fn square_term(at: Place, value: u32, mean: f32) -> Value {
    let centred = x[address(at.item, value)] - mean;
    return term(value < params.values, centred * centred);
}

@compute @workgroup_size(GROUP)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = row_place(linear_index(group, groups), local);
    var sum = ZERO;
    for (var start = at.lane; start < params.values; start += params.chain) {
        var part = ZERO;
        for (var i = start; i < min(start + params.chain, params.values); i += 4u * LANES) {
            part += (x_term(at, i) + x_term(at, i + LANES)) + (x_term(at, i + 2u * LANES) + x_term(at, i + 3u * LANES));
        }
        sum += part;
    }
    let mean = row_total(local, folded(sum)) / params.n;
    sum = ZERO;
    for (var start = at.lane; start < params.values; start += params.chain) {
        var part = ZERO;
        for (var i = start; i < min(start + params.chain, params.values); i += 4u * LANES) {
            part += (square_term(at, i, mean) + square_term(at, i + LANES, mean))
                + (square_term(at, i + 2u * LANES, mean) + square_term(at, i + 3u * LANES, mean));
        }
        sum += part;
    }
    let inverse = inverseSqrt(row_total(local, folded(sum)) / params.n + params.epsilon);
    if !at.inside { return; }
    for (var i = at.lane; i < params.values; i += 4u * LANES) {
        //! unroll k 0..4
        let i_$k = i + $k * LANES;
        let out_$k = fma((x[address(at.item, i_$k)] - mean) * inverse, gamma[address(0u, i_$k)], beta[address(0u, i_$k)]);
        //! end
        //! unroll k 0..4
        if i_$k < params.values { out[at.item * params.values + i_$k] = out_$k; }
        //! end
    }
    if at.lane == 0u {
        statistics[at.item] = mean;
        statistics[params.rows + at.item] = inverse;
    }
}

struct Pair {
    first: Value,
    second: Value,
}

fn sum_of(a: Pair, b: Pair) -> Pair { return Pair(a.first + b.first, a.second + b.second); }

// g = dout * gamma and g * n.
fn flow_term(at: Place, value: u32, mean: f32, inverse: f32) -> Pair {
    let i = address(at.item, value);
    let flow = dout[i] * gamma[address(0u, value)];
    let inside = value < params.values;
    return Pair(term(inside, flow), term(inside, flow * ((x[i] - mean) * inverse)));
}

@compute @workgroup_size(GROUP)
fn backward_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = row_place(linear_index(group, groups), local);
    let mean = kept[at.item];
    let inverse = kept[params.rows + at.item];
    var sums = Pair(ZERO, ZERO);
    for (var start = at.lane; start < params.values; start += params.chain) {
        var part = Pair(ZERO, ZERO);
        for (var i = start; i < min(start + params.chain, params.values); i += 2u * LANES) {
            part = sum_of(part, sum_of(flow_term(at, i, mean, inverse), flow_term(at, i + LANES, mean, inverse)));
        }
        sums = sum_of(sums, part);
    }
    let sum = row_total(local, folded(sums.first));
    let along = row_total(local, folded(sums.second));
    let slope = -inverse * inverse * along / params.n;
    let shift = sum / params.n;
    if !at.inside { return; }
    for (var i = at.lane; i < params.values; i += 2u * LANES) {
        //! unroll k 0..2
        let i_$k = i + $k * LANES;
        let at_$k = address(at.item, i_$k);
        let flow_$k = dout[at_$k] * gamma[address(0u, i_$k)];
        let dx_$k = (flow_$k - shift) * inverse + (x[at_$k] - mean) * slope;
        //! end
        //! unroll k 0..2
        if i_$k < params.values { dx[at_$k] = dx_$k; }
        //! end
    }
}

var<workgroup> column_partial: array<Value, GROUP>;

// The sum of `value` over the lanes of a column, as `row_total`. The columns of a row are neighbours.
fn column_total(local: u32, value: Value) -> Value {
    if LANES == 1u { return value; }
    column_partial[local] = value;
    workgroupBarrier();
    for (var half = GROUP / 2u; half >= ITEMS; half /= 2u) {
        if local < half { column_partial[local] += column_partial[local + half]; }
        workgroupBarrier();
    }
    let sum = column_partial[local % ITEMS];
    workgroupBarrier();
    return sum;
}

// dout * n and dout.
fn column_term(row: u32, at: Place) -> Pair {
    let i = address(row, at.item);
    let source = min(row, params.rows - 1u);
    let normalized = (x[i] - kept[source]) * kept[params.rows + source];
    return Pair(term(row < params.rows, dout[i] * normalized), term(row < params.rows, dout[i]));
}

@compute @workgroup_size(GROUP)
fn backward_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let value = linear_index(group, groups) * ITEMS + local % ITEMS;
    let at = Place(min(value, params.values - 1u), local / ITEMS, value < params.values);
    var sums = Pair(ZERO, ZERO);
    for (var start = at.lane; start < params.rows; start += params.chain) {
        var part = Pair(ZERO, ZERO);
        for (var row = start; row < min(start + params.chain, params.rows); row += 4u * LANES) {
            let early = sum_of(column_term(row, at), column_term(row + LANES, at));
            let late = sum_of(column_term(row + 2u * LANES, at), column_term(row + 3u * LANES, at));
            part = sum_of(part, sum_of(early, late));
        }
        sums = sum_of(sums, part);
    }
    let along = column_total(local, sums.first);
    let sum = column_total(local, sums.second);
    if at.inside && at.lane == 0u {
        dgamma[at.item] = along;
        dbeta[at.item] = sum;
    }
}
