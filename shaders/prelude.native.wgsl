// What native-only kernels may use besides the prelude. No browser has 64-bit integers.
//
// Four floats as two 64-bit words, for software adapters: Mesa loads and stores element by element and lane by lane, a dozen instructions
// each, and elements of 64 bits halve their number.

// Words are little-endian, as WGSL lays them out in memory.
fn floats(words: vec2<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(u32(words.x), u32(words.x >> 32u), u32(words.y), u32(words.y >> 32u)));
}

fn words(floats: vec4<f32>) -> vec2<u64> {
    let bits = bitcast<vec4<u32>>(floats);
    return vec2(u64(bits.x) | (u64(bits.y) << 32u), u64(bits.z) | (u64(bits.w) << 32u));
}

