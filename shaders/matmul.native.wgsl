// The operands of `matmul.registers.wgsl` by 64-bit words, for software adapters: Mesa's loads element by element and lane by lane, a dozen
// instructions each, and elements of 64 bits halve their number. Native only, because no browser has 64-bit integers.
//
// Constants: WIDE: 1 where rows of B are eights and not transposed: eight of its columns are then one load.

@group(0) @binding(0) var<storage, read> a: array<vec2<u64>>;
fn a_vector(at: u32) -> vec4<f32> { return floats(a[at / 4u]); }
//! unroll x 0..WIDE
@group(0) @binding(1) var<storage, read> b: array<vec4<u64>>;
fn b_vectors(at: u32) -> vec4<u64> { return b[at / 8u]; }
//! end
//! unroll x WIDE..1
@group(0) @binding(1) var<storage, read> b: array<vec2<u64>>;
fn b_vector(at: u32) -> vec4<f32> { return floats(b[at / 4u]); }
//! end

// Words are little-endian, as WGSL lays them out in memory.
fn floats(words: vec2<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));
}
