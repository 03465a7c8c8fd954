// C[b] = alpha·op(A[b])·op(B[b]) for a batch of matrices, each operand as stored (N) or transposed (T). What follows the sum is done before
// the only write: C = f(C + rows[i] + columns[j]), which makes a layer (a bias along the columns, a nonlinearity f) or distances (norms on
// both sides, f = max(lowest, ·)), or C = C f'(y[i, j]), the gradient of a layer's input before the nonlinearity that made y. Beside C the
// sums of B's columns can be had: with the gradient of a layer's weights, X^T dZ, that of its bias.
//
// 2·m·n·k FLOPs over 4·(m·k + k·n + m·n) bytes: how often an operand is read again decides the speed.
//
// Constants: A_T, B_T: 1 where that operand is stored transposed. ALIGNED: 1 where all contiguous dimensions are multiples of 4, so that
// rows start on vectors. WHOLE: 1 where n is one, so that rows of C do. TAIL: 1 where k is no multiple of 4. TERMS: what joins the sum: 0
// nothing, 1 columns, 2 rows and columns, 3 the factor f'(y), with y in the place of rows. What does not join is not read. FINISH: f, as the
// prelude's `nonlinear` numbers it, or 5 for max(lowest, ·). RECTIFIED, CURVED, SLOPED: 1 where results pass through a ReLU or leaky ReLU,
// through another nonlinearity, or through the gradient of one; KINKED: 1 where that has a kink.
// SIDE: 1 where the sums of B's columns are wanted. TILED: 1 for the entry `tiles`, 0 for `registers`. LANES: invocations that share the rows
// of A in `registers`, the subgroup's size, or 1 without subgroups. SHARED: 1 where they share through broadcasts. GROUP: invocations of a
// workgroup of `registers`, LANES where SHARED. ROWS, COLUMNS: the tile of `registers`, multiples of 4 LANES. TILE_M, TILE_N, DEPTH: the tile
// of `tiles`, multiples of 64, and how much of k is in workgroup memory.
//
// Sums are made in blocks of params.block along k, and the blocks added one after the other: a chain of k roundings would pass the bound
// that tolerance.rs allows where terms are equal, and a chain of block + k / block cannot.
//
// registers: for software adapters, where workgroup memory is slower than storage and loads cost 30 times an FMA. A subgroup holds a
//   tile of C; each lane loads its share of the rows of A once and broadcasts it. 32 x 64 by 8 lanes: a step of 4 in k takes 12 vector
//   loads a lane for 4096 FLOPs a lane. Without subgroups (LANES = 1) each invocation has a tile of its own: also what small and
//   skinny matrices use on any adapter, with tiles of 4 x 4.
// tiles: for GPUs, 256 invocations share a tile in workgroup memory. See there.
struct Params {
    m: u32,
    n: u32,
    k: u32,
    // Tiles down, across, and in all matrices of the batch.
    tiles_m: u32,
    tiles_n: u32,
    tiles: u32,
    // Elements from one matrix of the batch to the next; 0 where all share one.
    a_batch: u32,
    b_batch: u32,
    c_batch: u32,
    // Elements from one row of C to the next.
    c_row: u32,
    // Terms of a block: a multiple of 4, and of DEPTH in `tiles`.
    block: u32,
    alpha: f32,
    lowest: f32,
    slope: f32,
}

//! unroll x 0..ALIGNED
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
fn a_vector(at: u32) -> vec4<f32> { return a[at / 4u]; }
fn b_vector(at: u32) -> vec4<f32> { return b[at / 4u]; }
fn a_value(at: u32) -> f32 { return a[at / 4u][at % 4u]; }
fn b_value(at: u32) -> f32 { return b[at / 4u][at % 4u]; }
//! end
//! unroll x ALIGNED..1
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
fn a_vector(at: u32) -> vec4<f32> { return vec4(a[at], a[at + 1u], a[at + 2u], a[at + 3u]); }
fn b_vector(at: u32) -> vec4<f32> { return vec4(b[at], b[at + 1u], b[at + 2u], b[at + 3u]); }
fn a_value(at: u32) -> f32 { return a[at]; }
fn b_value(at: u32) -> f32 { return b[at]; }
//! end
@group(0) @binding(3) var<storage, read> columns: array<f32>;
// Whole vectors are stored at once: four stores for each of hundreds of results took a software adapter's compiler twice as long as all sums.
//! unroll x 0..WHOLE
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>;
//! end
//! unroll x WHOLE..1
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
//! end
//! unroll x 0..SLOPED
//! unroll y 0..WHOLE
@group(0) @binding(2) var<storage, read> rows: array<vec4<f32>>;
fn output_at(at: u32) -> vec4<f32> { return rows[at / 4u]; }
//! end
//! unroll y WHOLE..1
@group(0) @binding(2) var<storage, read> rows: array<f32>;
fn output_at(at: u32) -> vec4<f32> { return vec4(rows[at], rows[at + 1u], rows[at + 2u], rows[at + 3u]); }
//! end
//! end
//! unroll x SLOPED..1
@group(0) @binding(2) var<storage, read> rows: array<f32>;
//! end
//! unroll x 0..SIDE
@group(0) @binding(5) var<storage, read_write> sides: array<f32>;

// Four sums of columns of B: tiles of the first row store theirs.
fn store_side(column: u32, sums: vec4<f32>) {
    //! unroll s 0..4
    if column + $s < params.n {
        sides[column + $s] = sums[$s];
    }
    //! end
}
//! end
@group(1) @binding(0) var<uniform> params: Params;

struct Tile {
    row: u32,
    column: u32,
    batch: u32,
}

// Neighbouring tiles share the larger operand, so that it is read once while the smaller one stays in the cache.
fn tile_at(index: u32, height: u32, width: u32) -> Tile {
    let in_matrix = params.tiles_m * params.tiles_n;
    let rest = index % in_matrix;
    if params.m <= params.n {
        return Tile(rest % params.tiles_m * height, rest / params.tiles_m * width, index / in_matrix);
    }
    return Tile(rest / params.tiles_n * height, rest % params.tiles_n * width, index / in_matrix);
}

// What is added to the sums of a row, and of four columns. Loaded once for many sums: on a software adapter a load for each of hundreds took
// the compiler longer than all the rest.
fn row_term(row: u32) -> f32 {
    //! unroll x SLOPED..1
    if TERMS == 2u {
        return rows[min(row, params.m - 1u)];
    }
    //! end
    return 0.0;
}

fn column_terms(column: u32) -> vec4<f32> {
    if TERMS == 0u || TERMS == 3u {
        return vec4<f32>();
    }
    let at = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u));
    return vec4(columns[at.x], columns[at.y], columns[at.z], columns[at.w]);
}

// Four values with those of a ReLU's (FINISH = 0) or leaky ReLU's (1) inactive side shrunk, by the signs of its input or output. As vectors:
// one by one they take a software adapter's compiler longer.
fn rectified(values: vec4<f32>, signs: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(signs);
    if FINISH == 0u {
        // The two zeros are on the inactive side; a NaN passes.
        let inactive = ((bits >= vec4(0x80000000u)) & (bits <= vec4(0xff800000u))) | (bits == vec4(0u));
        return select(values, vec4(0.0), inactive);
    }
    return select(values, params.slope * values, (bits > vec4(0x80000000u)) & (bits <= vec4(0xff800000u)));
}

// Stores four results of a row, as far as C has that row and those columns.
fn store(batch: u32, row: u32, column: u32, sums: vec4<f32>, row_term: f32, column_terms: vec4<f32>) {
    if row >= params.m || column >= params.n {
        return;
    }
    var values = params.alpha * sums;
    if TERMS == 1u || TERMS == 2u {
        values += row_term + column_terms;
    }
    if FINISH == 5u {
        values = max(vec4(params.lowest), values);
    }
    let at = batch * params.c_batch + row * params.c_row + column;
    //! unroll x 0..RECTIFIED
    values = rectified(values, values);
    //! end
    //! unroll x 0..CURVED
    values = vec4(
        //! unroll s 0..4
        nonlinear(FINISH, params.slope, values[$s]),
        //! end
    );
    //! end
    //! unroll x 0..SLOPED
    let y = output_at(at);
    //! unroll y 0..SLOPED*KINKED
    values = rectified(values, y);
    //! end
    //! unroll y SLOPED*KINKED..1
    values = vec4(
        //! unroll s 0..4
        nonlinear_gradient(FINISH, params.slope, values[$s], y[$s]),
        //! end
    );
    //! end
    //! end
    //! unroll x 0..WHOLE
    c[at / 4u] = values;
    //! end
    //! unroll x WHOLE..1
    //! unroll s 0..4
    if column + $s < params.n {
        c[at + $s] = values[$s];
    }
    //! end
    //! end
}

// A vector that reaches beyond k must contribute nothing: zero, on both sides, because the neighbours it has read may be infinite.
fn in_depth(vector: vec4<f32>, p: u32, step: u32, along_k: bool) -> vec4<f32> {
    if TAIL == 0u {
        return vector;
    }
    if along_k {
        return select(vec4(0.0), vector, vec4(p) + vec4(0u, 1u, 2u, 3u) < vec4(params.k));
    }
    return select(vec4(0.0), vector, p + step < params.k);
}

//! unroll z TILED..1
// Rows and columns beyond the edge repeat the last one, and `store` drops what they give. Where a vector crosses the edge it reads
// elements of the next row, or beyond the buffer what WebGPU returns there: both only reach sums that are dropped.
@compute @workgroup_size(GROUP)
fn registers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lane = select(0u, local, SHARED == 1u);
    let index = linear_index(group, groups) * (GROUP / LANES) + local / LANES;
    if index >= params.tiles {
        return;
    }
    let tile = tile_at(index, ROWS, COLUMNS);
    // A lane's row (u, w) is 4u + w rows of lanes down where its vectors lie along k, else component w of its vector u.
    let a_step = select(1u, params.m, A_T == 1u);
    let b_step = select(params.n, 1u, B_T == 1u);
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    var a_at_$u_$w = tile.batch * params.a_batch;
    if A_T == 1u {
        a_at_$u_$w += min(tile.row + (LANES * $u + lane) * 4u, params.m - 1u) + $w * params.m;
    } else {
        a_at_$u_$w += min(tile.row + (4u * $u + $w) * LANES + lane, params.m - 1u) * params.k;
    }
    //! end
    //! end
    //! unroll v 0..COLUMNS/LANES/4
    //! unroll w 0..4
    var b_at_$v_$w = tile.batch * params.b_batch;
    if B_T == 1u {
        b_at_$v_$w += min(tile.column + (LANES * $v + lane) * 4u + $w, params.n - 1u) * params.k;
    } else {
        b_at_$v_$w += min(tile.column + (LANES * $v + lane) * 4u, params.n - 1u) + $w * params.n;
    }
    //! end
    //! unroll x 0..SIDE
    var side_total_$v = vec4<f32>();
    var side_$v = vec4<f32>();
    //! end
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    //! unroll l 0..LANES
    var total_$u_$w_$l_$v = vec4<f32>();
    var sum_$u_$w_$l_$v = vec4<f32>();
    //! end
    //! end
    //! end
    //! end
    for (var start = 0u; start < params.k; start += params.block) {
    let stop = min(start + params.block, params.k);
    for (var p = start; p < stop; p += 4u) {
        //! unroll u 0..ROWS/LANES/4
        var a_$u = mat4x4<f32>(
            //! unroll w 0..4
            in_depth(a_vector(a_at_$u_$w + p * a_step), p, $w, A_T == 0u),
            //! end
        );
        if A_T == 1u {
            a_$u = transpose(a_$u);
        }
        //! end
        //! unroll v 0..COLUMNS/LANES/4
        var b_$v = mat4x4<f32>(
            //! unroll w 0..4
            in_depth(b_vector(b_at_$v_$w + p * b_step), p, $w, B_T == 1u),
            //! end
        );
        if B_T == 1u {
            b_$v = transpose(b_$v);
        }
        //! unroll x 0..SIDE
        side_$v += (b_$v[0] + b_$v[1]) + (b_$v[2] + b_$v[3]);
        //! end
        //! end
        // The four products of a sum stand together: its registers are then loaded and spilled once a step.
        //! unroll u 0..ROWS/LANES/4
        //! unroll w 0..4
        //! unroll l 0..LANES
        {
            //! unroll x 0..SHARED
            //! unroll s 0..4
            let term_$s = subgroupBroadcast(a_$u[$w][$s], u32($l));
            //! end
            //! end
            //! unroll x SHARED..1
            //! unroll s 0..4
            let term_$s = a_$u[$w][$s];
            //! end
            //! end
            //! unroll v 0..COLUMNS/LANES/4
            //! unroll s 0..4
            sum_$u_$w_$l_$v = fma(vec4(term_$s), b_$v[$s], sum_$u_$w_$l_$v);
            //! end
            //! end
        }
        //! end
        //! end
        //! end
    }
    //! unroll x 0..SIDE
    //! unroll v 0..COLUMNS/LANES/4
    side_total_$v += side_$v;
    side_$v = vec4<f32>();
    //! end
    //! end
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    //! unroll l 0..LANES
    //! unroll v 0..COLUMNS/LANES/4
    total_$u_$w_$l_$v += sum_$u_$w_$l_$v;
    sum_$u_$w_$l_$v = vec4<f32>();
    //! end
    //! end
    //! end
    //! end
    }
    //! unroll v 0..COLUMNS/LANES/4
    let column_$v = tile.column + (LANES * $v + lane) * 4u;
    let terms_$v = column_terms(column_$v);
    //! unroll x 0..SIDE
    if tile.row == 0u { store_side(column_$v, side_total_$v); }
    //! end
    //! end
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    //! unroll l 0..LANES
    {
        let row = tile.row + select((4u * $u + $w) * LANES + $l, (LANES * $u + $l) * 4u + $w, A_T == 1u);
        let term = row_term(row);
        //! unroll v 0..COLUMNS/LANES/4
        store(tile.batch, row, column_$v, total_$u_$w_$l_$v, term, terms_$v);
        //! end
    }
    //! end
    //! end
    //! end
}
//! end

//! unroll z 0..TILED
const A_LINE: u32 = TILE_M + 4u;
const B_LINE: u32 = TILE_N + 4u;

var<workgroup> a_chunk: array<f32, DEPTH * A_LINE>;
var<workgroup> b_chunk: array<f32, DEPTH * B_LINE>;

// 16 x 16 invocations, each with TILE_M/16 x TILE_N/16 sums and as many totals. On paper, for 128 x 64 and DEPTH = 8: 6,400 bytes of
// workgroup memory; a chunk loads 192 * 8 values from device memory for 128 * 64 * 8 * 2 FLOPs, 21 a byte, and a step 12 values from
// workgroup memory for 64 FLOPs, 1.3 a byte; 32 sums + 32 totals + 12 operands + about 20 registers, so that two workgroups of 256 fill a
// 64 Ki register file to 75 %. (128 x 128 would need 164 registers and leave one.)
// 64 x 64 makes twice the workgroups of a small C and keeps a large GPU occupied. Rows in workgroup memory are 4 values longer than
// needed, or the eight values of a row that neighbouring invocations store would meet in one bank.
@compute @workgroup_size(16, 16)
fn tiles(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups);
    // Surplus groups do the last tile's work again and store nothing: barriers need all invocations.
    let tile = tile_at(min(index, params.tiles - 1u), TILE_M, TILE_N);
    let a_start = tile.batch * params.a_batch;
    let b_start = tile.batch * params.b_batch;
    //! unroll x 0..SIDE
    //! unroll j 0..TILE_N/64
    var side_total_$j = vec4<f32>();
    var side_$j = vec4<f32>();
    //! end
    //! end
    //! unroll i 0..TILE_M/64
    //! unroll r 0..4
    //! unroll j 0..TILE_N/64
    var total_$i_$r_$j = vec4<f32>();
    var sum_$i_$r_$j = vec4<f32>();
    //! end
    //! end
    //! end
    for (var start = 0u; start < params.k; start += DEPTH) {
        for (var e = lane; e < DEPTH * TILE_M; e += 256u) {
            // Consecutive invocations read consecutive addresses, along k or along m.
            let p = select(e % DEPTH, e / TILE_M, A_T == 1u);
            let i = select(e / DEPTH, e % TILE_M, A_T == 1u);
            var value = 0.0;
            if tile.row + i < params.m && start + p < params.k {
                let across = (tile.row + i) * params.k + start + p;
                value = a_value(a_start + select(across, (start + p) * params.m + tile.row + i, A_T == 1u));
            }
            a_chunk[p * A_LINE + i] = value;
        }
        for (var e = lane; e < DEPTH * TILE_N; e += 256u) {
            let p = select(e / TILE_N, e % DEPTH, B_T == 1u);
            let j = select(e % TILE_N, e / DEPTH, B_T == 1u);
            var value = 0.0;
            if tile.column + j < params.n && start + p < params.k {
                let across = (start + p) * params.n + tile.column + j;
                value = b_value(b_start + select(across, (tile.column + j) * params.k + start + p, B_T == 1u));
            }
            b_chunk[p * B_LINE + j] = value;
        }
        workgroupBarrier();
        for (var p = 0u; p < DEPTH; p++) {
            //! unroll j 0..TILE_N/64
            let b_at_$j = p * B_LINE + 64u * $j + 4u * id.x;
            let b_$j = vec4<f32>(b_chunk[b_at_$j], b_chunk[b_at_$j + 1u], b_chunk[b_at_$j + 2u], b_chunk[b_at_$j + 3u]);
            //! end
            //! unroll x 0..SIDE
            // One branch for the whole workgroup.
            if tile.row == 0u {
                //! unroll j 0..TILE_N/64
                side_$j += b_$j;
                //! end
            }
            //! end
            //! unroll i 0..TILE_M/64
            //! unroll r 0..4
            let a_$i_$r = vec4<f32>(a_chunk[p * A_LINE + 64u * $i + 4u * id.y + $r]);
            //! unroll j 0..TILE_N/64
            sum_$i_$r_$j = fma(a_$i_$r, b_$j, sum_$i_$r_$j);
            //! end
            //! end
            //! end
        }
        workgroupBarrier();
        if (start + DEPTH) % params.block == 0u {
            //! unroll x 0..SIDE
            //! unroll j 0..TILE_N/64
            side_total_$j += side_$j;
            side_$j = vec4<f32>();
            //! end
            //! end
            //! unroll i 0..TILE_M/64
            //! unroll r 0..4
            //! unroll j 0..TILE_N/64
            total_$i_$r_$j += sum_$i_$r_$j;
            sum_$i_$r_$j = vec4<f32>();
            //! end
            //! end
            //! end
        }
    }
    if index >= params.tiles { return; }
    //! unroll j 0..TILE_N/64
    let column_$j = tile.column + 64u * $j + 4u * id.x;
    let terms_$j = column_terms(column_$j);
    //! unroll x 0..SIDE
    if tile.row == 0u && id.y == 0u { store_side(column_$j, side_total_$j + side_$j); }
    //! end
    //! end
    //! unroll i 0..TILE_M/64
    //! unroll r 0..4
    {
        let row = tile.row + 64u * $i + 4u * id.y + $r;
        let term = row_term(row);
        //! unroll j 0..TILE_N/64
        store(tile.batch, row, column_$j, total_$i_$r_$j + sum_$i_$r_$j, term, terms_$j);
        //! end
    }
    //! end
    //! end
}
//! end
