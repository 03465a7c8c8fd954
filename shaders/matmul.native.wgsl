// The operands of `matmul.registers.wgsl` for software adapters: from an image (`Access::Image`), whose rows start on vectors, or by 64-bit words
// (`prelude.native.wgsl`) from a buffer, wherever its rows start: from an odd place on, four floats are in three words.
//
// Constants: A_IMAGE, B_IMAGE: 1 where that operand is an image. A_WHOLE, B_WHOLE: 1 where its rows as stored start on vectors; A_EVEN,
// B_EVEN: 1 where they start on words.

//! unroll x 0..A_IMAGE
@group(0) @binding(0) var a: texture_storage_2d<rgba32uint, read>;
fn a_vector(at: u32) -> vec4<f32> { return bitcast<vec4<f32>>(textureLoad(a, texel(at / 4u))); }
//! end
//! unroll x A_IMAGE..A_WHOLE
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

//! unroll x 0..B_IMAGE
@group(0) @binding(1) var b: texture_storage_2d<rgba32uint, read>;
fn b_vector(at: u32) -> vec4<f32> { return bitcast<vec4<f32>>(textureLoad(b, texel(at / 4u))); }
//! end
//! unroll x B_IMAGE..B_WHOLE
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
