// The family of matrix products (`matmul.wgsl`, which stands before this) in workgroup memory, for GPUs.
//
// 16 x 16 invocations, each with TILE_M/16 x TILE_N/16 sums and as many totals. On paper, for 128 x 64 and DEPTH = 8: 6,400 bytes of
// workgroup memory; a chunk loads 192 * 8 values from device memory for 128 * 64 * 8 * 2 FLOPs, 21 a byte, and a step 12 values from
// workgroup memory for 64 FLOPs, 1.3 a byte; 32 sums + 32 totals + 12 operands + about 20 registers, so that two workgroups of 256 fill a
// 64 Ki register file to 75 %. (128 x 128 would need 164 registers and leave one.)
// 64 x 64 makes twice the workgroups of a small C and keeps a large GPU occupied. Rows in workgroup memory are 4 values longer than
// needed, or the eight values of a row that neighbouring invocations store would meet in one bank.
//
// Paper: tiles TILE_M 128, SIDE 0, TERMS 0, FINISH 4: 6400 bytes, 86 registers, 1.33 operations a byte of workgroup memory, 21.33 of storage, 2 groups
// Paper: tiles TILE_M 64, SIDE 0, TERMS 0, FINISH 4: 4352 bytes, 50 registers, 1.00 operations a byte of workgroup memory, 16.00 of storage, 3 groups
//
// Constants: TILE_M, TILE_N, DEPTH: the tile, multiples of 64, and how much of k is in workgroup memory; 256 invocations share it.

const A_LINE: u32 = TILE_M + 4u;
const B_LINE: u32 = TILE_N + 4u;

var<workgroup> a_chunk: array<f32, DEPTH * A_LINE>;
var<workgroup> b_chunk: array<f32, DEPTH * B_LINE>;

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
                let across = (tile.row + i) * params.a_row + start + p;
                value = a_value(a_start + select(across, (start + p) * params.a_row + tile.row + i, A_T == 1u));
            }
            a_chunk[p * A_LINE + i] = value;
        }
        for (var e = lane; e < DEPTH * TILE_N; e += 256u) {
            let p = select(e / TILE_N, e % DEPTH, B_T == 1u);
            let j = select(e % TILE_N, e / DEPTH, B_T == 1u);
            var value = 0.0;
            if tile.column + j < params.n && start + p < params.k {
                let across = (start + p) * params.b_row + tile.column + j;
                value = b_value(b_start + select(across, (tile.column + j) * params.b_row + start + p, B_T == 1u));
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
    let terms_$j = column_terms(tile.batch, column_$j);
    //! unroll x 0..SIDE
    if tile.row == 0u && id.y == 0u { store_side(tile.batch, column_$j, side_total_$j + side_$j); }
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
