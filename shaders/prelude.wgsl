// What every kernel may use; it stands before the constants and the text of each shader file.

// WGSL has no infinities: these are the finite ends of f32.
const LARGEST: f32 = 3.40282346638528859812e38;
const LOWEST: f32 = -3.40282346638528859812e38;
const LARGEST_KEY: u32 = 0xffffffffu;

// The position of a workgroup that the host has spread over two dimensions (`Limits::grid`), because one takes only 65,535.
// The last row may be surplus: callers compare with the count.
fn linear_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// Where a vector of a buffer lies in its image (`Access::Image`), whose lines have 4096 (`IMAGE_WIDTH`).
fn texel(vector: u32) -> vec2<u32> {
    return vec2(vector & 4095u, vector >> 12u);
}

// By bits, because compilers may assume that no NaN or infinity occurs and fold `x != x`. Meaningful on loaded values.
fn is_nan_bits(bits: u32) -> bool {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

fn is_finite_bits(bits: u32) -> bool {
    return (bits & 0x7f800000u) != 0x7f800000u;
}

// f32 bits as u32 keys in the order of the numbers (`order.rs` has the same map): positive numbers get the sign bit, negative ones are
// inverted. The two zeros share a key, and every NaN has the last key of all.
fn key_of_bits(bits: u32) -> u32 {
    if is_nan_bits(bits) {
        return LARGEST_KEY;
    }
    if bits < 0x80000000u || bits == 0x80000000u {
        return bits | 0x80000000u;
    }
    return ~bits;
}

// The same for 4 numbers at once.
fn keys_of_bits(bits: vec4<u32>) -> vec4<u32> {
    let keys = select(~bits, bits | vec4(0x80000000u), bits <= vec4(0x80000000u));
    return select(keys, vec4(LARGEST_KEY), (bits & vec4(0x7fffffffu)) > vec4(0x7f800000u));
}

// The number that has a key, as bits; the last key is a NaN's.
fn bits_of_key(key: u32) -> u32 {
    return select(~key, key & 0x7fffffffu, key >= 0x80000000u);
}

// A loaded number below 0: by bits, because a comparison may take a NaN for anything where compilers assume there is none.
fn is_negative(value: f32) -> bool {
    let bits = bitcast<u32>(value);
    return bits > 0x80000000u && bits <= 0xff800000u;
}

// f(x) for the nonlinearity `kind`: 0 ReLU, 1 leaky ReLU, 2 sigmoid, 3 tanh, 4 none. NaN stays NaN.
fn nonlinear(kind: u32, slope: f32, x: f32) -> f32 {
    switch kind {
        case 0u: { return select(x, 0.0, is_negative(x)); }
        case 1u: { return select(x, slope * x, is_negative(x)); }
        case 2u: { return sigmoid(x); }
        case 3u: { return accurate_tanh(x); }
        default: { return x; }
    }
}

// dout f'(x) for the nonlinearity `kind`, from y = f(x). NaN stays NaN.
fn nonlinear_gradient(kind: u32, slope: f32, dout: f32, y: f32) -> f32 {
    switch kind {
        case 0u: { return select(dout, 0.0, is_negative(y) || y == 0.0); }
        case 1u: { return select(dout, slope * dout, is_negative(y)); }
        case 2u: { return dout * (y * (1.0 - y)); }
        case 3u: { return dout * (1.0 - y * y); }
        default: { return dout; }
    }
}

// 1 / (1 + exp(-x)) by exp(-|x|), which cannot overflow.
fn sigmoid(x: f32) -> f32 {
    let z = exp(-abs(x));
    return select(1.0, z, x < 0.0) / (1.0 + z);
}

// (1 - t) / (1 + t) with t = exp(-2|x|), and below 1/2, where 1 - t cancels, the polynomial of Cephes' tanhf. Drivers' own tanh may be off
// by 1e-5 and is NaN for large x on some (gpuweb issue 4458).
fn accurate_tanh(x: f32) -> f32 {
    let z = x * x;
    if z < 0.25 {
        var p = fma(z, -5.70498872745e-3, 2.06390887954e-2);
        p = fma(z, p, -5.37397155531e-2);
        p = fma(z, p, 1.33314422036e-1);
        p = fma(z, p, -3.33332819422e-1);
        return fma(p * z, x, x);
    }
    let t = exp(-2.0 * abs(x));
    return sign(x) * ((1.0 - t) / (1.0 + t));
}
