// The family of matrix products (`matmul.wgsl`, which stands before this) in registers.
//
// For software adapters, where workgroup memory is slower than storage and loads cost 30 times an FMA. A subgroup holds a tile of C; each
// lane loads its share of the rows of A once and broadcasts it. 32 x 64 by 8 lanes: a step of 4 in k takes 12 loads of four elements a lane
// for 2048 FLOPs a lane, or where `matmul.native.wgsl` has them 4 of four (2 of eight where A is transposed) and 4 of eight. Without subgroups
// (LANES = 1) each invocation has a tile of its own: also what small and skinny matrices use on any adapter, with tiles of 4 x 4, or of 8 x 4
// by words.
//
// Mesa's driver loads lane by lane, ten to twenty cycles each and little more for wide loads, and fuses no multiply-add: half of the time of a large
// product are these loads, a third its products and sums, the rest spilled sums. So neither more columns a tile (which compile twice as long) nor
// prefetching by further loads pays.
//
// Constants: LANES: invocations that share the rows of A, the subgroup's size, or 1 without subgroups. SHARED: 1 where they share through
// broadcasts. GROUP: invocations of a workgroup, LANES where SHARED. ROWS, COLUMNS: the tile, multiples of 4 LANES.
// WIDE, A_WIDE: 1 where B, or A, is loaded by eights, LOADED: elements of a load of B, 4 or 8.

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
    let a_step = select(1u, params.a_row, A_T == 1u);
    let b_step = select(params.b_row, 1u, B_T == 1u);
    //! unroll x 0..A_WIDE
    // The first half of the lanes has rows of A for an even p, the other half for the odd one behind it.
    let a_at = tile.batch * params.a_batch
        + min(tile.row + lane % (LANES / 2u) * 8u, params.m - 1u) + lane / (LANES / 2u) * params.a_row;
    //! end
    //! unroll x A_WIDE..1
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    var a_at_$u_$w = tile.batch * params.a_batch;
    if A_T == 1u {
        a_at_$u_$w += min(tile.row + (LANES * $u + lane) * 4u, params.m - 1u) + $w * params.a_row;
    } else {
        a_at_$u_$w += min(tile.row + (4u * $u + $w) * LANES + lane, params.m - 1u) * params.a_row;
    }
    //! end
    //! end
    //! end
    // Vector v of a lane holds four columns; two vectors lie side by side where a load fetches eight.
    //! unroll v 0..COLUMNS/LANES/4
    let column_$v = tile.column + select((LANES * $v + lane) * 4u, (LANES * ($v / 2u) + lane) * 8u + $v % 2u * 4u, WIDE == 1u);
    //! end
    //! unroll v 0..COLUMNS/LANES/LOADED
    //! unroll w 0..4
    var b_at_$v_$w = tile.batch * params.b_batch;
    if B_T == 1u {
        b_at_$v_$w += min(tile.column + (LANES * $v + lane) * 4u + $w, params.n - 1u) * params.b_row;
    } else {
        b_at_$v_$w += min(tile.column + (LANES * $v + lane) * LOADED, params.n - 1u) + $w * params.b_row;
    }
    //! end
    //! end
    //! unroll v 0..COLUMNS/LANES/4
    //! unroll x 0..SIDE
    var side_total_$v = vec4<f32>();
    var side_$v = vec4<f32>();
    //! end
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    var total_$u_$w_$v = array<vec4<f32>, LANES>();
    //! unroll l 0..LANES
    var sum_$u_$w_$l_$v = vec4<f32>();
    //! end
    //! end
    //! end
    //! end
    // k, for groups.z is 1. Mesa's software driver puts uniforms that loops and branches depend on into the code as numbers, and where that
    // shortens it by half, as for some transposed products, compiles it again at every launch.
    let depth = params.k + (groups.z - 1u);
    for (var start = 0u; start < depth; start += params.block) {
    let stop = min(start + params.block, depth);
    for (var p = start; p < stop; p += 4u) {
        //! unroll x 0..A_WIDE
        // By pairs of p: the rows of two vectors.
        var pairs: array<array<vec4<f32>, 2>, 2>;
        //! unroll h 0..2
        let words_$h = a_vectors(a_at + (p + 2u * $h) * a_step);
        pairs[$h] = array(floats(words_$h.xy), floats(words_$h.zw));
        //! end
        //! end
        //! unroll x A_WIDE..1
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
        //! end
        //! unroll x WIDE..1
        //! unroll v 0..COLUMNS/LANES/4
        var b_$v = mat4x4<f32>(
            //! unroll w 0..4
            in_depth(b_vector(b_at_$v_$w + p * b_step), p, $w, B_T == 1u),
            //! end
        );
        if B_T == 1u {
            b_$v = transpose(b_$v);
        }
        //! end
        //! end
        //! unroll x 0..WIDE
        var halves: array<mat4x4<f32>, COLUMNS / LANES / 4u>;
        //! unroll v 0..COLUMNS/LANES/LOADED
        //! unroll w 0..4
        let words_$v_$w = b_vectors(b_at_$v_$w + p * b_step);
        halves[2u * $v][$w] = in_depth(floats(words_$v_$w.xy), p, $w, false);
        halves[2u * $v + 1u][$w] = in_depth(floats(words_$v_$w.zw), p, $w, false);
        //! end
        //! end
        //! unroll v 0..COLUMNS/LANES/4
        let b_$v = halves[$v];
        //! end
        //! end
        //! unroll v 0..COLUMNS/LANES/4
        //! unroll x 0..SIDE
        side_$v += (b_$v[0] + b_$v[1]) + (b_$v[2] + b_$v[3]);
        //! end
        //! end
        // The four products of a sum stand together: its registers are then loaded and spilled once a step.
        //! unroll u 0..ROWS/LANES/4
        //! unroll w 0..4
        //! unroll l 0..LANES
        {
            //! unroll x 0..A_WIDE
            //! unroll s 0..4
            let term_$s = subgroupBroadcast(pairs[$s / 2u][$l % 2u][$w], $l / 2u + $s % 2u * (LANES / 2u));
            //! end
            //! end
            //! unroll x A_WIDE..SHARED
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
    //! unroll v 0..COLUMNS/LANES/4
    //! unroll x 0..SIDE
    side_total_$v += side_$v;
    side_$v = vec4<f32>();
    //! end
    //! unroll u 0..ROWS/LANES/4
    //! unroll w 0..4
    //! unroll l 0..LANES
    total_$u_$w_$v[$l] += sum_$u_$w_$l_$v;
    sum_$u_$w_$l_$v = vec4<f32>();
    //! end
    //! end
    //! end
    //! end
    }
    //! unroll v 0..COLUMNS/LANES/4
    let terms_$v = column_terms(tile.batch, column_$v);
    //! unroll x 0..SIDE
    if tile.row == 0u { store_side(tile.batch, column_$v, side_total_$v); }
    //! end
    //! end
    // A row of each lane a round, then the next ones move up: a store for each row took a software adapter as long to compile as all sums.
    for (var l = 0u; l < LANES; l++) {
        //! unroll u 0..ROWS/LANES/4
        //! unroll w 0..4
        {
            let row = tile.row + select((4u * $u + $w) * LANES + l, (LANES * $u + l) * 4u + $w, A_T == 1u);
            let term = row_term(row);
            //! unroll v 0..COLUMNS/LANES/4
            store(tile.batch, row, column_$v, total_$u_$w_$v[0], term, terms_$v);
            //! unroll i 1..LANES
            total_$u_$w_$v[$i - 1u] = total_$u_$w_$v[$i];
            //! end
            //! end
        }
        //! end
        //! end
    }
}
