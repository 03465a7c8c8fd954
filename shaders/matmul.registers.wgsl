// The family of matrix products (`matmul.wgsl`, which stands before this) in registers.
//
// For software adapters, where workgroup memory is slower than storage and loads cost 30 times an FMA. A subgroup holds a tile of C; each
// lane loads its share of the rows of A once and broadcasts it. 32 x 64 by 8 lanes: a step of 4 in k takes 12 loads of four elements a lane
// for 2048 FLOPs a lane. Without subgroups (LANES = 1) each invocation has a tile of its own: also what small and skinny matrices use on any
// adapter, with tiles of 4 x 4, or of 8 x 4 in `matmul.native.wgsl`.
//
// Mesa's driver loads from buffers lane by lane, ten to twenty cycles each and little more for wide loads: half of the time of a large product.
// From an image (`matmul.native.wgsl`) it takes 60 instructions for all lanes, a quarter of the time. The rest are products and sums, which it
// does not fuse, on 256 sums that it spills: three quarters of what `bench` measures such pairs to reach in registers.
//
// Constants: LANES: invocations that share the rows of A, the subgroup's size, or 1 without subgroups. SHARED: 1 where they share through
// broadcasts. GROUP: invocations of a workgroup, LANES where SHARED. ROWS, COLUMNS: the tile, multiples of 4 LANES.

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
    // Where a lane's next vectors lie: of four rows along k, or of one place in the rows as stored, taken one after the other. A lane's row
    // (u, w) is 4u + w rows of lanes down where its vectors lie along k, else component w of its vector u.
    //! unroll u 0..ROWS/LANES/4
    //! unroll x 0..A_T
    var a_at_$u = tile.batch * params.a_batch + min(tile.row + (LANES * $u + lane) * 4u, params.m - 1u);
    //! end
    //! unroll x A_T..1
    //! unroll w 0..4
    var a_at_$u_$w = tile.batch * params.a_batch + min(tile.row + (4u * $u + $w) * LANES + lane, params.m - 1u) * params.a_row;
    //! end
    //! end
    //! end
    //! unroll v 0..COLUMNS/LANES/4
    let column_$v = tile.column + (LANES * $v + lane) * 4u;
    //! unroll x 0..B_T
    //! unroll w 0..4
    var b_at_$v_$w = tile.batch * params.b_batch + min(column_$v + $w, params.n - 1u) * params.b_row;
    //! end
    //! end
    //! unroll x B_T..1
    var b_at_$v = tile.batch * params.b_batch + min(column_$v, params.n - 1u);
    //! end
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
        //! unroll u 0..ROWS/LANES/4
        var a_$u: mat4x4<f32>;
        //! unroll w 0..4
        //! unroll x 0..A_T
        a_$u[$w] = in_depth(a_vector(a_at_$u), p, $w, false);
        a_at_$u += params.a_row;
        //! end
        //! unroll x A_T..1
        a_$u[$w] = in_depth(a_vector(a_at_$u_$w), p, $w, true);
        a_at_$u_$w += 4u;
        //! end
        //! end
        //! unroll x 0..A_T
        a_$u = transpose(a_$u);
        //! end
        //! end
        //! unroll v 0..COLUMNS/LANES/4
        var b_$v: mat4x4<f32>;
        //! unroll w 0..4
        //! unroll x 0..B_T
        b_$v[$w] = in_depth(b_vector(b_at_$v_$w), p, $w, true);
        b_at_$v_$w += 4u;
        //! end
        //! unroll x B_T..1
        b_$v[$w] = in_depth(b_vector(b_at_$v), p, $w, false);
        b_at_$v += params.b_row;
        //! end
        //! end
        //! unroll x 0..B_T
        b_$v = transpose(b_$v);
        //! end
        //! end
        //! unroll v 0..COLUMNS/LANES/4
        //! unroll x 0..SIDE
        side_$v += (b_$v[0] + b_$v[1]) + (b_$v[2] + b_$v[3]);
        //! end
        //! end
        // The four products of a step are added among themselves first: the sum, which a software adapter spills, is then loaded and stored
        // once a step, and takes a quarter of the roundings.
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
            var products_$v = term_0 * b_$v[0];
            //! unroll s 1..4
            products_$v = fma(vec4(term_$s), b_$v[$s], products_$v);
            //! end
            sum_$u_$w_$l_$v += products_$v;
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
