// The k smallest of every row by (key, column), streaming over tiles of columns: the whole matrix never exists.
//
// A state of k (key, index) pairs a row goes from tile to tile. Keys are u32; floats are mapped to keys of their order.
// Bytes per row at least: 4 columns + 16 k (the state comes and goes). One comparison per element.
//
// workgroup  Any k. A workgroup of 256 has a row: four histogram passes over the digits of the keys find the k-th
//            smallest key exactly, then a stable compaction keeps what is below it and as many equal ones as there is
//            room for. State and tile are read as one sequence of ascending index, and the compaction keeps positions,
//            so ties go to the smaller index without an index being compared, and the new state ascends again.
//            On paper: 5 reads of a row, the last 4 from cache (a row of 8,192 keys is 32 KiB); 2 KiB + 4 bytes of
//            workgroup memory, about 24 registers: 8 groups of 256 fill a multiprocessor of 2,048 threads. Integer
//            atomics only, whose sums do not depend on order.
// registers  k up to 64, for software adapters, where barriers and workgroup memory are slow: an invocation has a row
//            and keeps its state sorted in named scalars. Nearly every element fails one comparison with the last;
//            the others are inserted. Later elements have larger indices, so equals queue behind.
//
// Paper: workgroup_select FLOATS 0: 2052 bytes, 14 registers, 0.00 operations a byte of workgroup memory, 0.00 of storage, 8 groups
// Paper: workgroup_select FLOATS 1: 2052 bytes, 14 registers, 0.00 operations a byte of workgroup memory, 0.00 of storage, 8 groups
//
// Constants: FLOATS (1: the tile holds f32 bits), K (registers: the size of the state) and LAST = K - 1.

struct Params {
    // Where in the tile the first value is, and from row to row.
    start: u32,
    stride: u32,
    rows: u32,
    columns: u32,
    k: u32,
    // Pairs in the state that comes in, at most k, and its number for the first column.
    seen: u32,
    index: u32,
}

@group(0) @binding(0) var<storage, read> tile: array<u32>;
@group(0) @binding(1) var<storage, read> state: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> chosen: array<vec2<u32>>;
@group(1) @binding(0) var<uniform> params: Params;

// The index of a place in the state that nothing has taken: no row has it.
const NOBODY: u32 = 0xffffffffu;

fn tile_key(row: u32, column: u32) -> u32 {
    let bits = tile[params.start + row * params.stride + column];
    if FLOATS == 1u { return key_of_bits(bits); }
    return bits;
}

// Position p of a row's sequence: first the state, then the tile.
fn pair_at(row: u32, p: u32) -> vec2<u32> {
    if p < params.seen { return state[row * params.k + p]; }
    return vec2<u32>(tile_key(row, p - params.seen), params.index + p - params.seen);
}

const GROUP: u32 = 256u;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> sums: array<u32, 256>;
var<workgroup> digit: u32;

// Sum of `value` over the invocations up to and including this one. Uniform control flow.
fn inclusive_sum(lane: u32, value: u32) -> u32 {
    sums[lane] = value;
    workgroupBarrier();
    for (var reach = 1u; reach < GROUP; reach *= 2u) {
        var sum = sums[lane];
        if lane >= reach { sum += sums[lane - reach]; }
        workgroupBarrier();
        sums[lane] = sum;
        workgroupBarrier();
    }
    return sums[lane];
}

@compute @workgroup_size(256)
fn workgroup_select(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups);
    // Surplus groups do the last row's work again, into nothing: barriers need all invocations.
    let row = min(index, params.rows - 1u);
    let stores = index < params.rows;
    let length = params.seen + params.columns;
    let kept = min(params.k, length);

    // The digits of the kept-th smallest key, from the highest; `left` counts down to its rank among equals so far.
    var prefix = 0u;
    var left = kept;
    for (var digits = 0u; digits < 4u; digits++) {
        let shift = 24u - 8u * digits;
        // The digits above `shift`, where there are any: a shift by 32 would not clear them.
        let above = select(0xffffffffu << (shift + 8u), 0u, digits == 0u);
        atomicStore(&histogram[lane], 0u);
        workgroupBarrier();
        for (var p = lane; p < length; p += GROUP) {
            let key = pair_at(row, p).x;
            if (key & above) == prefix { atomicAdd(&histogram[(key >> shift) & 255u], 1u); }
        }
        workgroupBarrier();
        let count = atomicLoad(&histogram[lane]);
        let upto = inclusive_sum(lane, count);
        // Exactly one digit holds the element of this rank.
        if upto >= left && upto - count < left {
            digit = lane;
        }
        workgroupBarrier();
        let found = workgroupUniformLoad(&digit);
        left -= sums[found] - atomicLoad(&histogram[found]);
        prefix |= found << shift;
        workgroupBarrier();
    }

    // Keys below `prefix` all stay, of the equal ones the first `left`. Both counts fit 16 bits a chunk.
    var below_before = 0u;
    var equal_before = 0u;
    for (var start = 0u; start < length; start += GROUP) {
        let p = start + lane;
        var pair = vec2<u32>(0xffffffffu, NOBODY);
        if p < length { pair = pair_at(row, p); }
        let below = p < length && pair.x < prefix;
        let equal = p < length && pair.x == prefix;
        let flags = select(0u, 1u, below) | select(0u, 0x10000u, equal);
        let upto = inclusive_sum(lane, flags);
        let rank = upto - flags;
        let equal_rank = equal_before + (rank >> 16u);
        if stores && (below || (equal && equal_rank < left)) {
            let place = below_before + (rank & 0xffffu) + min(equal_rank, left);
            chosen[row * params.k + place] = pair;
        }
        let total = sums[GROUP - 1u];
        workgroupBarrier();
        below_before += total & 0xffffu;
        equal_before += total >> 16u;
    }
}

@compute @workgroup_size(64)
fn registers_select(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_index(group, groups) * 64u + lane;
    if row >= params.rows { return; }
    //! unroll j 0..K
    var key_$j = 0xffffffffu;
    var index_$j = NOBODY;
    if $j < params.seen {
        let pair_$j = state[row * K + $j];
        key_$j = pair_$j.x;
        index_$j = pair_$j.y;
    }
    //! end
    for (var column = 0u; column < params.columns; column++) {
        var key = tile_key(row, column);
        var last_key = 0u;
        var last_index = 0u;
        //! unroll j LAST..K
        last_key = key_$j;
        last_index = index_$j;
        //! end
        if key < last_key || last_index == NOBODY {
            var index = params.index + column;
            // From the first larger one on, each makes room for the one before it.
            var moves = false;
            //! unroll j 0..K
            moves = moves || key < key_$j || index_$j == NOBODY;
            let old_key_$j = key_$j;
            let old_index_$j = index_$j;
            key_$j = select(key_$j, key, moves);
            index_$j = select(index_$j, index, moves);
            key = select(key, old_key_$j, moves);
            index = select(index, old_index_$j, moves);
            //! end
        }
    }
    //! unroll j 0..K
    chosen[row * K + $j] = vec2<u32>(key_$j, index_$j);
    //! end
}
