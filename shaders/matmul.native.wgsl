// The operands of `matmul.registers.wgsl` by 64-bit words (`prelude.native.wgsl`), wherever their rows start: from an odd place on, four
// floats are in three words.
//
// Constants: A_WHOLE, B_WHOLE: 1 where rows of that operand as stored start on vectors, A_EVEN, B_EVEN: 1 where they start on words. WIDE: 1
// where rows of B are eights and not transposed: eight of its columns are then one load. A_WIDE: 1 where rows of A as stored are eights and
// transposed.

//! unroll x 0..A_WIDE
@group(0) @binding(0) var<storage, read> a: array<vec4<u64>>;
fn a_vectors(at: u32) -> vec4<u64> { return a[at / 8u]; }
//! end
//! unroll x A_WIDE..A_WHOLE
@group(0) @binding(0) var<storage, read> a: array<vec2<u64>>;
fn a_vector(at: u32) -> vec4<f32> { return floats(a[at / 4u]); }
//! end
//! unroll x A_WHOLE..1
@group(0) @binding(0) var<storage, read> a: array<u64>;
fn a_vector(at: u32) -> vec4<f32> {
    let word = at / 2u;
    let even = floats(vec2(a[word], a[word + 1u]));
    //! unroll y 0..A_EVEN
    return even;
    //! end
    //! unroll y A_EVEN..1
    return select(even, vec4(even.yzw, bitcast<f32>(u32(a[word + 2u]))), at % 2u == 1u);
    //! end
}
//! end

//! unroll x 0..WIDE
@group(0) @binding(1) var<storage, read> b: array<vec4<u64>>;
fn b_vectors(at: u32) -> vec4<u64> { return b[at / 8u]; }
//! end
//! unroll x WIDE..B_WHOLE
@group(0) @binding(1) var<storage, read> b: array<vec2<u64>>;
fn b_vector(at: u32) -> vec4<f32> { return floats(b[at / 4u]); }
//! end
//! unroll x B_WHOLE..1
@group(0) @binding(1) var<storage, read> b: array<u64>;
fn b_vector(at: u32) -> vec4<f32> {
    let word = at / 2u;
    let even = floats(vec2(b[word], b[word + 1u]));
    //! unroll y 0..B_EVEN
    return even;
    //! end
    //! unroll y B_EVEN..1
    return select(even, vec4(even.yzw, bitcast<f32>(u32(b[word + 2u]))), at % 2u == 1u);
    //! end
}
//! end
