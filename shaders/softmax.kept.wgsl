// The softmax (`softmax.wgsl`, which stands before this) of rows of up to a thousand scores or two, for software adapters: a subgroup has a
// row and keeps it in registers, so that a score is loaded once, where loads are dear, and has one exponential. Neighbours load neighbouring
// vectors; where each has a row of its own, rows of 4 KiB meet in one set of the cache.
//
// Constants besides those: GROUP and TEAM are the size of a subgroup. An invocation has VECTORS vectors of its row, the first WHOLE of them
// inside it for all invocations.

@compute @workgroup_size(GROUP)
fn kept(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_index(group, groups);
    if row >= params.rows { return; }
    let start = row * params.columns;
    var best = vec4(0u);
    //! unroll i 0..VECTORS
    let at_$i = (TEAM * $i + lane) * 4u;
    //! end
    //! unroll i 0..WHOLE
    let x_$i = load_first(start, at_$i);
    //! end
    // Past the end of the row, once more its end.
    //! unroll i WHOLE..VECTORS
    let x_$i = load_first(start, min(at_$i, (params.columns - 1u) / 4u * 4u));
    //! end
    //! unroll i 0..VECTORS
    best = max(best, keys_of_bits(bitcast<vec4<u32>>(x_$i)));
    //! end
    let key = subgroupMax(max(max(best.x, best.y), max(best.z, best.w)));
    let largest = vec4(bitcast<f32>(bits_of_key(key)));
    let poison = vec4(select(0u, 0x7fffffffu, key >= 0xff800000u || key <= 0x007fffffu));
    var terms = vec4(0.0);
    //! unroll i 0..VECTORS
    let e_$i = exp(x_$i - largest);
    //! end
    //! unroll i 0..WHOLE
    terms += e_$i;
    //! end
    //! unroll i WHOLE..VECTORS
    terms += select(vec4(0.0), within(e_$i, at_$i), at_$i < params.columns);
    //! end
    let scale = 1.0 / subgroupAdd((terms.x + terms.y) + (terms.z + terms.w));
    //! unroll i 0..WHOLE
    store(start, at_$i, bitcast<vec4<f32>>(bitcast<vec4<u32>>(e_$i * scale) | poison));
    //! end
    //! unroll i WHOLE..VECTORS
    if at_$i < params.columns {
        store(start, at_$i, bitcast<vec4<f32>>(bitcast<vec4<u32>>(e_$i * scale) | poison));
    }
    //! end
}
