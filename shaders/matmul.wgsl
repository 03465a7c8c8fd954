// C[b] = alpha·op(A[b])·op(B[b]) for a batch of matrices, each operand as stored (N) or transposed (T). What follows the sum is done before
// the only write: C = f(C + rows[i] + columns[j]), which makes a layer (a bias along the columns, a nonlinearity f) or distances (norms on
// both sides, f = max(lowest, ·)), or C = C f'(y[i, j]), the gradient of a layer's input before the nonlinearity that made y. Beside C the
// sums of B's columns can be had: with the gradient of a layer's weights, X^T dZ, that of its bias.
//
// 2·m·n·k FLOPs over 4·(m·k + k·n + m·n) bytes: how often an operand is read again decides the speed.
//
// Constants: A_T, B_T: 1 where that operand is stored transposed. ALIGNED: 1 where all contiguous dimensions are multiples of 4, so that
// rows start on vectors. WHOLE: 1 where n is one, so that rows of C do; C_EVEN: 1 where they are stored by words, n being a multiple of 2
// only. TAIL: 1 where k is no multiple of 4. TERMS: what joins the sum: 0 nothing, 1 columns, 2 rows and columns, 3 the factor f'(y), with
// y in the place of rows. What does not join is not read. FINISH: f, as the prelude's `nonlinear` numbers it, or 5 for max(lowest, ·).
// RECTIFIED, CURVED, SLOPED: 1 where results pass through a ReLU or leaky ReLU, through another nonlinearity, or through the gradient of
// one; KINKED: 1 where that has a kink.
// SIDE: 1 where the sums of B's columns are wanted. NATIVE: 1 where `matmul.native.wgsl` says how A and B are bound and loaded.
//
// Sums are made in blocks of params.block along k, and the blocks added one after the other: a chain of k roundings would pass the bound
// that tolerance.rs allows where terms are equal, and a chain of block + k / block cannot, nor one of 4 + block / 4 + k / block.
//
// Two families, each with what is here: `matmul.registers.wgsl` for software adapters and small matrices, `matmul.tiles.wgsl` for GPUs.
// `matmul.native.wgsl` loads operands of the first by 64-bit words, and `matmul.padded.wgsl` makes copies for it whose rows start on vectors.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    // Tiles down, across, and in all matrices of the batch.
    tiles_m: u32,
    tiles_n: u32,
    tiles: u32,
    // Elements from one matrix of the batch to the next, and from one row as stored to the next: the matrices of a batch lie one after the
    // other, or side by side.
    a_batch: u32,
    b_batch: u32,
    c_batch: u32,
    a_row: u32,
    b_row: u32,
    c_row: u32,
    // Terms of a block: a multiple of 4, and of DEPTH in `tiles`.
    block: u32,
    alpha: f32,
    lowest: f32,
    slope: f32,
}

//! unroll y NATIVE..1
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
//! end
@group(0) @binding(3) var<storage, read> columns: array<f32>;
// Whole vectors are stored at once, by words (`prelude.native.wgsl`) where that can be: four stores for each of hundreds of results took a
// software adapter's compiler twice as long as all sums, and words halve what is left.
//! unroll x 0..WHOLE
//! unroll y 0..NATIVE
@group(0) @binding(4) var<storage, read_write> c: array<vec2<u64>>;
fn store_vector(at: u32, values: vec4<f32>) { c[at / 4u] = words(values); }
//! end
//! unroll y NATIVE..1
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>;
fn store_vector(at: u32, values: vec4<f32>) { c[at / 4u] = values; }
//! end
//! end
//! unroll x WHOLE..1
//! unroll y 0..C_EVEN
@group(0) @binding(4) var<storage, read_write> c: array<u64>;
//! end
//! unroll y C_EVEN..1
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
//! end
//! end
//! unroll x 0..SLOPED
//! unroll y 0..WHOLE
//! unroll z 0..NATIVE
@group(0) @binding(2) var<storage, read> rows: array<vec2<u64>>;
fn output_at(at: u32) -> vec4<f32> { return floats(rows[at / 4u]); }
//! end
//! unroll z NATIVE..1
@group(0) @binding(2) var<storage, read> rows: array<vec4<f32>>;
fn output_at(at: u32) -> vec4<f32> { return rows[at / 4u]; }
//! end
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
fn store_side(batch: u32, column: u32, sums: vec4<f32>) {
    //! unroll s 0..4
    if column + $s < params.n {
        sides[batch * params.n + column + $s] = sums[$s];
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

// Neighbouring tiles share rows of A, while B stays in the cache; where it is too large for that (8 MiB), columns of B while A stays.
fn tile_at(index: u32, height: u32, width: u32) -> Tile {
    let in_matrix = params.tiles_m * params.tiles_n;
    let rest = index % in_matrix;
    let down = params.m <= params.n && params.k * params.n > 0x200000u;
    let row = select(rest / params.tiles_n, rest % params.tiles_m, down);
    let column = select(rest % params.tiles_n, rest / params.tiles_m, down);
    return Tile(row * height, column * width, index / in_matrix);
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

fn column_terms(batch: u32, column: u32) -> vec4<f32> {
    if TERMS == 0u || TERMS == 3u {
        return vec4<f32>();
    }
    let at = vec4(batch * params.n) + min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u));
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
    store_vector(at, values);
    //! end
    //! unroll x WHOLE..1
    //! unroll y 0..C_EVEN
    let pairs = words(values);
    c[at / 2u] = pairs.x;
    if column + 2u < params.n {
        c[at / 2u + 1u] = pairs.y;
    }
    //! end
    //! unroll y C_EVEN..1
    //! unroll s 0..4
    if column + $s < params.n {
        c[at + $s] = values[$s];
    }
    //! end
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
