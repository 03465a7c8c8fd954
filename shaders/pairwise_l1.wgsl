// Manhattan distances between all pairs of rows: out[i][j] = sum over p of |x[i][p] - y[j][p]|.
//
// 2 operations per feature and pair; bytes at least: (Q + T) D values, 4 Q T results. Pixels come four to a word, rows
// padded with zeros to whole words, whose differences vanish; their sums are exact integers.
//
// tiles      For GPUs: a workgroup of 16 x 16 makes a tile of 64 x 64 pairs, each invocation 4 x 4 in registers.
//            On paper, DEPTH = 16: workgroup memory 2 * 16 * 68 * 4 = 8,704 bytes; a chunk loads 2 * 64 * 16 words and
//            does 64 * 64 * 16 * 2 operations, 16 a byte from device memory (64 for pixels, four to a word); a step
//            loads 8 words for 16 terms from workgroup memory; 16 sums + 8 operands + about 20 registers, so that
//            five workgroups of 256 fill a 64 Ki register file. Rows of the tiles are 4 words longer than
//            needed, or the words that neighbouring invocations store would meet in one bank.
// registers  For software adapters: an invocation makes 4 x 4 pairs straight from storage, because workgroup memory is
//            slower there than storage is.
//
// Paper: tiles BYTES 0, DEPTH 16: 8704 bytes, 29 registers, 1.00 operations a byte of workgroup memory, 16.00 of storage, 5 groups
// Paper: tiles BYTES 1, DEPTH 16: 8704 bytes, 29 registers, 4.00 operations a byte of workgroup memory, 64.00 of storage, 5 groups
//
// Constants: BYTES (1: pixels), DEPTH (words of a row in workgroup memory).

struct Params {
    queries: u32,
    rows: u32,
    // Words of a row, and tiles along the rows.
    words: u32,
    across: u32,
    tiles: u32,
}

//! unroll x 0..BYTES
alias Sum = u32;
fn term(x: u32, y: u32) -> u32 {
    let d = abs(vec4<i32>(unpack4xU8(x)) - vec4<i32>(unpack4xU8(y)));
    return u32(d.x + d.y + d.z + d.w);
}
//! end
//! unroll x BYTES..1
alias Sum = f32;
fn term(x: u32, y: u32) -> f32 {
    return abs(bitcast<f32>(x) - bitcast<f32>(y));
}
//! end

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> y: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<Sum>;
@group(1) @binding(0) var<uniform> params: Params;

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
            sum_$i_$j += term(x_$i, y_$j);
            //! end
            //! end
        }
        workgroupBarrier();
    }
    if index >= params.tiles { return; }
    //! unroll i 0..4
    //! unroll j 0..4
    if query + 4u * id.y + $i < params.queries && row + 4u * id.x + $j < params.rows {
        out[(query + 4u * id.y + $i) * params.rows + row + 4u * id.x + $j] = sum_$i_$j;
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
        sum_$i_$j += term(x_$i, y_$j);
        //! end
        //! end
    }
    //! unroll i 0..4
    //! unroll j 0..4
    if query + $i < params.queries && row + $j < params.rows {
        out[(query + $i) * params.rows + row + $j] = sum_$i_$j;
    }
    //! end
    //! end
}
