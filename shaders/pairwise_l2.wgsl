// Squared Euclidean distances between all pairs of rows.
//
// Real rows, directly: out[i][j] = sum over p of (x[i][p] - y[j][p])^2; 2 operations per feature and pair. (The expanded
// form is a matrix product: see `matmul.wgsl`.) Pixels, four to a word in rows padded with zeros to 16 bytes:
// out[i][j] = x_terms[i] + y_terms[j] - scale * (x[i] . y[j]) in integers, which is the distance where the terms are the
// rows' squares (entry `norms`) and scale is 2. Sums may wrap; the result is below 2^32, so it is exact all the same.
// Bytes at least: (Q + T) D of values or pixels, 4 Q T of results.
//
// tiles      For GPUs: a workgroup of 16 x 16 makes a tile of 64 x 64 pairs, each invocation 4 x 4 in registers.
//            On paper, DEPTH = 16: workgroup memory 2 * 16 * 68 * 4 = 8,704 bytes; a chunk loads 2 * 64 * 16 words and
//            does 64 * 64 * 16 * 2 operations (24 a byte of device memory, for a difference is one more; 64 for pixels, four to a word); a step loads 8
//            words for 16 terms from workgroup memory; 16 sums + 8 operands + about 20 registers, so that five
//            workgroups of 256 fill a 64 Ki register file. Rows of the tiles are 4 words longer than needed, or
//            the words that neighbouring invocations store would meet in one bank.
// registers  For software adapters: an invocation makes 4 x 4 pairs straight from storage, because workgroup memory is
//            slower there than storage is.
// subgroup   Pixels on software adapters: a subgroup makes ROWS x (COLUMNS LANES) pairs. A lane loads 16 bytes of each of its
//            COLUMNS rows y, its share of the ROWS rows x reaches the others by broadcast: at 16 x 4 and 8 lanes 6 loads of
//            16 bytes for 64 * 16 products. Loads cost 30 times a product here, but larger tiles spill more than they save.
//
// Paper: tiles BYTES 0, DEPTH 16: 8704 bytes, 29 registers, 1.50 operations a byte of workgroup memory, 24.00 of storage, 5 groups
// Paper: tiles BYTES 1, DEPTH 16: 8704 bytes, 29 registers, 4.00 operations a byte of workgroup memory, 64.00 of storage, 5 groups
//
// Constants: BYTES (1: pixels), DEPTH (words of a row in workgroup memory), SHARED (1: with the entry `subgroup`), LANES (the
// subgroup's size), ROWS and COLUMNS (its tile of x, and of y for each lane).

struct Params {
    queries: u32,
    rows: u32,
    // Words of a row, and tiles along the rows.
    words: u32,
    across: u32,
    tiles: u32,
    scale: u32,
}

//! unroll x 0..BYTES
alias Sum = u32;
fn term(x: u32, y: u32, sum: u32) -> u32 {
    return sum + dot4U8Packed(x, y);
}
fn result(i: u32, j: u32, sum: u32) -> u32 {
    return x_terms[i] + y_terms[j] - params.scale * sum;
}
//! end
//! unroll x BYTES..1
alias Sum = f32;
fn term(x: u32, y: u32, sum: f32) -> f32 {
    let d = bitcast<f32>(x) - bitcast<f32>(y);
    return fma(d, d, sum);
}
fn result(i: u32, j: u32, sum: f32) -> f32 {
    return sum;
}
//! end

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> y: array<u32>;
@group(0) @binding(2) var<storage, read> x_terms: array<Sum>;
@group(0) @binding(3) var<storage, read> y_terms: array<Sum>;
@group(0) @binding(4) var<storage, read_write> out: array<Sum>;
@group(1) @binding(0) var<uniform> params: Params;

//! unroll others SHARED..1
const STRIDE: u32 = 68u;

var<workgroup> x_tile: array<u32, DEPTH * STRIDE>;
var<workgroup> y_tile: array<u32, DEPTH * STRIDE>;

@compute @workgroup_size(16, 16)
fn tiles(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups);
    // Surplus groups do the last tile's work again and store nothing: barriers need all invocations.
    let tile = min(index, params.tiles - 1u);
    let query = tile / params.across * 64u;
    let row = tile % params.across * 64u;
    //! unroll i 0..4
    //! unroll j 0..4
    var sum_$i_$j = Sum();
    //! end
    //! end
    for (var start = 0u; start < params.words; start += DEPTH) {
        for (var e = lane; e < 64u * DEPTH; e += 256u) {
            // Consecutive invocations read consecutive words of a row.
            let word = start + e % DEPTH;
            let place = e / DEPTH;
            var x_word = 0u;
            var y_word = 0u;
            if word < params.words {
                if query + place < params.queries { x_word = x[(query + place) * params.words + word]; }
                if row + place < params.rows { y_word = y[(row + place) * params.words + word]; }
            }
            x_tile[e % DEPTH * STRIDE + place] = x_word;
            y_tile[e % DEPTH * STRIDE + place] = y_word;
        }
        workgroupBarrier();
        for (var word = 0u; word < DEPTH; word++) {
            //! unroll i 0..4
            let x_$i = x_tile[word * STRIDE + 4u * id.y + $i];
            let y_$i = y_tile[word * STRIDE + 4u * id.x + $i];
            //! end
            //! unroll i 0..4
            //! unroll j 0..4
            sum_$i_$j = term(x_$i, y_$j, sum_$i_$j);
            //! end
            //! end
        }
        workgroupBarrier();
    }
    if index >= params.tiles { return; }
    //! unroll i 0..4
    //! unroll j 0..4
    if query + 4u * id.y + $i < params.queries && row + 4u * id.x + $j < params.rows {
        let at_$i_$j = (query + 4u * id.y + $i) * params.rows + row + 4u * id.x + $j;
        out[at_$i_$j] = result(query + 4u * id.y + $i, row + 4u * id.x + $j, sum_$i_$j);
    }
    //! end
    //! end
}

@compute @workgroup_size(8)
fn registers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = linear_index(group, groups) * 8u + lane;
    if tile >= params.tiles { return; }
    let query = tile / params.across * 4u;
    let row = tile % params.across * 4u;
    // Rows beyond the last are read as the last and not stored.
    //! unroll i 0..4
    let x_at_$i = min(query + $i, params.queries - 1u) * params.words;
    let y_at_$i = min(row + $i, params.rows - 1u) * params.words;
    //! end
    //! unroll i 0..4
    //! unroll j 0..4
    var sum_$i_$j = Sum();
    //! end
    //! end
    for (var word = 0u; word < params.words; word++) {
        //! unroll i 0..4
        let x_$i = x[x_at_$i + word];
        let y_$i = y[y_at_$i + word];
        //! end
        //! unroll i 0..4
        //! unroll j 0..4
        sum_$i_$j = term(x_$i, y_$j, sum_$i_$j);
        //! end
        //! end
    }
    //! unroll i 0..4
    //! unroll j 0..4
    if query + $i < params.queries && row + $j < params.rows {
        out[(query + $i) * params.rows + row + $j] = result(query + $i, row + $j, sum_$i_$j);
    }
    //! end
    //! end
}

// out[i] = the sum of the squares of row i of x.
@compute @workgroup_size(64)
fn norms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_index(group, groups) * 64u + lane;
    if row >= params.queries { return; }
    var sum = Sum();
    for (var word = 0u; word < params.words; word++) {
        let value = x[row * params.words + word];
        sum = square(value, sum);
    }
    out[row] = sum;
}

//! unroll x 0..BYTES
fn square(value: u32, sum: u32) -> u32 { return term(value, value, sum); }
//! end
//! unroll x BYTES..1
fn square(value: u32, sum: f32) -> f32 { return fma(bitcast<f32>(value), bitcast<f32>(value), sum); }
//! end
//! end

//! unroll x 0..SHARED
@group(0) @binding(0) var<storage, read> x_quads: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> y_quads: array<vec4<u32>>;

@compute @workgroup_size(LANES)
fn subgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = linear_index(group, groups);
    if tile >= params.tiles { return; }
    // Neighbouring tiles share the rows y, of which a tile reads more.
    let down = params.tiles / params.across;
    let query = tile % down * ROWS;
    let row = tile / down * COLUMNS * LANES;
    let quads = params.words / 4u;
    //! unroll u 0..ROWS/LANES
    let x_at_$u = min(query + $u * LANES + lane, params.queries - 1u) * quads;
    //! end
    //! unroll v 0..COLUMNS
    let y_at_$v = min(row + $v * LANES + lane, params.rows - 1u) * quads;
    //! end
    //! unroll u 0..ROWS/LANES
    //! unroll l 0..LANES
    //! unroll v 0..COLUMNS
    var sum_$u_$l_$v = 0u;
    //! end
    //! end
    //! end
    for (var quad = 0u; quad < quads; quad++) {
        //! unroll u 0..ROWS/LANES
        let x_$u = x_quads[x_at_$u + quad];
        //! end
        //! unroll v 0..COLUMNS
        let y_$v = y_quads[y_at_$v + quad];
        //! end
        //! unroll u 0..ROWS/LANES
        //! unroll l 0..LANES
        {
            //! unroll s 0..4
            let word_$s = subgroupBroadcast(x_$u[$s], u32($l));
            //! end
            //! unroll v 0..COLUMNS
            //! unroll s 0..4
            sum_$u_$l_$v += dot4U8Packed(word_$s, y_$v[$s]);
            //! end
            //! end
        }
        //! end
        //! end
    }
    //! unroll u 0..ROWS/LANES
    //! unroll l 0..LANES
    //! unroll v 0..COLUMNS
    if query + $u * LANES + $l < params.queries && row + $v * LANES + lane < params.rows {
        let at_$u_$l_$v = (query + $u * LANES + $l) * params.rows + row + $v * LANES + lane;
        out[at_$u_$l_$v] = result(query + $u * LANES + $l, row + $v * LANES + lane, sum_$u_$l_$v);
    }
    //! end
    //! end
    //! end
}
//! end
