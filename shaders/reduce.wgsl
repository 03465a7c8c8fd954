// Sums, maxima, positions of maxima and moments along the rows or the columns of a matrix.
//
// 4 bytes and 1 FLOP per element (moments: twice, the second time from cache where a line fits), so memory decides. An invocation has 4
// accumulators side by side: of one row, which it joins at the end, or of 4 columns. Moments take two sweeps, the sum and the squares
// around the mean, because E[x^2] - mean^2 cancels. An accumulator adds in blocks, so that a chain of roundings stays within the bound that
// tolerance.rs allows, equal terms or not. Long lines are cut into chunks, whose results `combine` joins in order, so the same
// input gives the same bits.
//
// rows     TEAM = 1: an invocation has a row: for software adapters, and for rows so short that a workgroup would idle.
//          TEAM = GROUP: a workgroup has a row, neighbours load neighbouring vectors, and a tree joins them.
// columns  TEAM = 1: an invocation has 4 columns: for software adapters.
//          TEAM = 16: 16 x 16 invocations have 64 columns, 16 across, so that a row gives 256 contiguous bytes, and every 16th row
//          each; a tree joins the rows.
// combine  An invocation has a line and joins its chunks: sums and maxima as they are, means and squares by Chan's formula.
//
// Maxima go by keys, in which NaN is the largest; a tie goes to the earlier element.
//
// Paper: rows KIND 0, TEAM 256: 4096 bytes, 33 registers, 0.08 operations a byte of workgroup memory, 0.75 of storage, 5 groups
// Paper: rows KIND 1, TEAM 256: 4096 bytes, 33 registers, 0.08 operations a byte of workgroup memory, 0.75 of storage, 5 groups
// Paper: rows KIND 2, TEAM 256: 8192 bytes, 53 registers, 0.00 operations a byte of workgroup memory, 0.00 of storage, 3 groups
// Paper: rows KIND 3, TEAM 256: 8192 bytes, 53 registers, 0.00 operations a byte of workgroup memory, 0.00 of storage, 3 groups
// Paper: columns KIND 0, TEAM 16: 4096 bytes, 34 registers, 0.08 operations a byte of workgroup memory, 0.75 of storage, 5 groups
// Paper: columns KIND 1, TEAM 16: 4096 bytes, 34 registers, 0.08 operations a byte of workgroup memory, 0.75 of storage, 5 groups
// Paper: columns KIND 2, TEAM 16: 8192 bytes, 54 registers, 0.00 operations a byte of workgroup memory, 0.00 of storage, 3 groups
// Paper: columns KIND 3, TEAM 16: 8192 bytes, 54 registers, 0.00 operations a byte of workgroup memory, 0.00 of storage, 3 groups
//
// Constants: KIND (0 sum, 1 moments, 2 maximum, 3 its position), ALIGNED (1: rows start on vectors), GROUP (invocations of a
// workgroup), TEAM (those that share a line).

struct Params {
    rows: u32,
    columns: u32,
    // Results, and for columns the vectors that hold them.
    lines: u32,
    vectors: u32,
    // Elements of a line, of a chunk (a multiple of 4), and chunks.
    length: u32,
    chunk: u32,
    chunks: u32,
    // Elements that an accumulator takes in one chain, a multiple of 4; in `combine`, chunks.
    block: u32,
}

//! unroll x 0..ALIGNED
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
//! end
//! unroll x ALIGNED..1
@group(0) @binding(0) var<storage, read> x: array<u32>;
//! end
// What the chunks gave: `x` and `others` are read by `combine` alone as the two outputs of the first launch.
@group(0) @binding(1) var<storage, read> others: array<u32>;
@group(0) @binding(2) var<storage, read_write> first: array<u32>;
@group(0) @binding(3) var<storage, read_write> second: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

// The bits of 4 neighbours in a row; past its end, of its last element.
fn load(row: u32, column: u32) -> vec4<u32> {
    let start = row * params.columns;
//! unroll x 0..ALIGNED
    return x[(start + column) / 4u];
//! end
//! unroll x ALIGNED..1
    let last = params.columns - 1u;
    let at = min(vec4(column) + LANES, vec4(last)) + vec4(start);
    return vec4(x[at.x], x[at.y], x[at.z], x[at.w]);
//! end
}

// Four accumulators; how elements enter them, how two become one, how their lanes change places, and what the host gets of lane i.
//! unroll x 0..KIND/2
struct State {
    key: vec4<u32>,
    index: vec4<u32>,
}
fn none() -> State { return State(vec4(0u), vec4(0u)); }
fn take(state: State, bits: vec4<u32>, index: vec4<u32>, shift: vec4<f32>, squares: bool) -> State {
    let keys = keys_of_bits(bits);
    let above = keys > state.key;
    return State(select(state.key, keys, above), select(state.index, index, above));
}
fn merge(a: State, b: State) -> State {
    let above = (b.key > a.key) | ((b.key == a.key) & (b.index < a.index));
    return State(select(a.key, b.key, above), select(a.index, b.index, above));
}
fn turn(a: State) -> State { return State(a.key.zwxy, a.index.zwxy); }
fn swap(a: State) -> State { return State(a.key.yxwz, a.index.yxwz); }
fn keep(a: State, b: State, changed: vec4<bool>) -> State {
    return State(select(a.key, b.key, changed), select(a.index, b.index, changed));
}
fn average(state: State, count: u32) -> vec4<f32> { return vec4(0.0); }
fn outcome(mean: vec4<f32>, state: State, i: u32) -> vec2<u32> { return vec2(state.key[i], state.index[i]); }
//! end
//! unroll x KIND/2..1
struct State {
    sum: vec4<f32>,
}
fn none() -> State { return State(vec4(0.0)); }
fn take(state: State, bits: vec4<u32>, index: vec4<u32>, shift: vec4<f32>, squares: bool) -> State {
    let value = bitcast<vec4<f32>>(bits) - shift;
    return State(state.sum + select(value, value * value, squares));
}
fn merge(a: State, b: State) -> State { return State(a.sum + b.sum); }
fn turn(a: State) -> State { return State(a.sum.zwxy); }
fn swap(a: State) -> State { return State(a.sum.yxwz); }
fn keep(a: State, b: State, changed: vec4<bool>) -> State { return State(select(a.sum, b.sum, changed)); }
fn average(state: State, count: u32) -> vec4<f32> { return state.sum / f32(count); }
fn outcome(mean: vec4<f32>, state: State, i: u32) -> vec2<u32> {
    return bitcast<vec2<u32>>(vec2(select(state.sum[i], mean[i], KIND == 1u), state.sum[i]));
}
//! end

// All four accumulators hold the whole.
fn across(state: State) -> State {
    let pairs = merge(state, turn(state));
    return merge(pairs, swap(pairs));
}

var<workgroup> states: array<State, GROUP>;

// The states of invocations that lie `apart` from each other as one, in a fixed order. Uniform control flow.
fn together(lane: u32, state: State, apart: u32) -> State {
    if TEAM == 1u { return state; }
    states[lane] = state;
    workgroupBarrier();
    for (var half = GROUP / 2u; half >= apart; half /= 2u) {
        if lane < half { states[lane] = merge(states[lane], states[lane + half]); }
        workgroupBarrier();
    }
    let all = states[lane % apart];
    workgroupBarrier();
    return all;
}

const LANES: vec4<u32> = vec4<u32>(0u, 1u, 2u, 3u);

// Columns begin..end of a row, 4 neighbours in every `stride`.
fn sweep_row(row: u32, begin: u32, end: u32, stride: u32, shift: vec4<f32>, squares: bool) -> State {
    var state = none();
    var at = begin;
    while at + 4u <= end {
        let stop = min(end, at + params.block * stride);
        var part = none();
        for (; at + 3u * stride + 4u <= stop; at += 4u * stride) {
//! unroll i 0..4
            part = take(part, load(row, at + $i * stride), vec4(at + $i * stride) + LANES, shift, squares);
//! end
        }
        for (; at + 4u <= stop; at += stride) { part = take(part, load(row, at), vec4(at) + LANES, shift, squares); }
        state = merge(state, part);
    }
    if at < end {
        // The end of a row that is no multiple of 4: an element of its own in each accumulator, or none.
        let values = load(row, at);
        let taken = take(state, values, vec4(at) + LANES, shift, squares);
        state = keep(state, taken, vec4(at) + LANES < vec4(end));
    }
    return state;
}

// Rows begin..end of 4 columns, one in every `stride`.
fn sweep_columns(column: u32, begin: u32, end: u32, stride: u32, shift: vec4<f32>, squares: bool) -> State {
    var state = none();
    var row = begin;
    while row < end {
        let stop = min(end, row + params.block * stride);
        var part = none();
        for (; row + 3u * stride < stop; row += 4u * stride) {
//! unroll i 0..4
            part = take(part, load(row + $i * stride, column), vec4(row + $i * stride), shift, squares);
//! end
        }
        for (; row < stop; row += stride) { part = take(part, load(row, column), vec4(row), shift, squares); }
        state = merge(state, part);
    }
    return state;
}

// The outcome of a line: at once where it is one chunk, else for `combine`.
fn store(line: u32, chunk: u32, outcome: vec2<u32>) {
    if params.chunks == 1u {
        finish(line, outcome);
        return;
    }
    first[chunk * params.lines + line] = outcome.x;
    if KIND % 2u == 1u { second[chunk * params.lines + line] = outcome.y; }
}

fn finish(line: u32, outcome: vec2<u32>) {
    switch KIND {
        case 0u: { first[line] = outcome.x; }
        case 1u: {
            first[line] = outcome.x;
            second[line] = bitcast<u32>(bitcast<f32>(outcome.y) / f32(params.length));
        }
        case 2u: { first[line] = bits_of_key(outcome.x); }
        default: { first[line] = outcome.y; }
    }
}

@compute @workgroup_size(GROUP)
fn rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups) * (GROUP / TEAM) + lane / TEAM;
    let items = params.rows * params.chunks;
    // Surplus invocations do the last item again, into nothing: barriers need them all.
    let item = min(index, items - 1u);
    let row = item % params.rows;
    let begin = item / params.rows * params.chunk;
    let end = min(begin + params.chunk, params.length);
    let mine = begin + lane % TEAM * 4u;
    var state = across(together(lane, sweep_row(row, mine, end, 4u * TEAM, vec4(0.0), false), GROUP / TEAM));
    var mean = vec4(0.0);
    if KIND == 1u {
        mean = average(state, end - begin);
        state = across(together(lane, sweep_row(row, mine, end, 4u * TEAM, mean, true), GROUP / TEAM));
    }
    if lane % TEAM == 0u && index < items { store(row, item / params.rows, outcome(mean, state, 0u)); }
}

@compute @workgroup_size(GROUP)
fn columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let width = GROUP / TEAM;
    let wide = (params.vectors + width - 1u) / width;
    let index = linear_index(group, groups);
    var across_columns = lane % width;
    // A software adapter runs 8 neighbours at once: on lines of cache of their own they wait for memory together. (TEAM = 1: GROUP = 64.)
    if TEAM == 1u && params.vectors >= 64u { across_columns = lane % 8u * 8u + lane / 8u; }
    let vector = index % wide * width + across_columns;
    let column = vector * 4u;
    let chunk = min(index / wide, params.chunks - 1u);
    let begin = chunk * params.chunk;
    let end = min(begin + params.chunk, params.length);
    // Where there are fewer columns, invocations have none.
    let mine = select(end, begin + lane / width, vector < params.vectors);
    var state = together(lane, sweep_columns(column, mine, end, TEAM, vec4(0.0), false), width);
    var mean = vec4(0.0);
    if KIND == 1u {
        mean = average(state, end - begin);
        state = together(lane, sweep_columns(column, mine, end, TEAM, mean, true), width);
    }
    if lane < width && vector < params.vectors && index < wide * params.chunks {
//! unroll i 0..4
        if column + $i < params.columns { store(column + $i, chunk, outcome(mean, state, $i)); }
//! end
    }
}

// The chunks are stored as scalars.
//! unroll x ALIGNED..1
@compute @workgroup_size(GROUP)
fn combine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let line = linear_index(group, groups) * GROUP + lane;
    if line >= params.lines { return; }
    var sum = 0.0;
    var mean = 0.0;
    // Of a block.
    var part = 0.0;
    var best = vec2(0u);
    for (var chunk = 0u; chunk < params.chunks; chunk++) {
        let at = chunk * params.lines + line;
        let count = f32(min(params.chunk, params.length - chunk * params.chunk));
        switch KIND {
            case 0u: { part += bitcast<f32>(x[at]); }
            case 1u: { part += bitcast<f32>(x[at]) * (count / f32(params.length)); }
            // Later chunks have later elements: a tie stays with the earlier.
            case 2u: { best.x = max(best.x, x[at]); }
            default: { if x[at] > best.x { best = vec2(x[at], others[at]); } }
        }
        if (chunk + 1u) % params.block == 0u {
            sum += part;
            part = 0.0;
        }
    }
    sum += part;
    if KIND == 1u {
        mean = sum;
        sum = 0.0;
        part = 0.0;
        for (var chunk = 0u; chunk < params.chunks; chunk++) {
            let at = chunk * params.lines + line;
            let count = f32(min(params.chunk, params.length - chunk * params.chunk));
            let apart = bitcast<f32>(x[at]) - mean;
            part += bitcast<f32>(others[at]) + count * apart * apart;
            if (chunk + 1u) % params.block == 0u {
                sum += part;
                part = 0.0;
            }
        }
        sum += part;
        best = bitcast<vec2<u32>>(vec2(mean, sum));
    }
    if KIND == 0u { best.x = bitcast<u32>(sum); }
    finish(line, best);
}
//! end
