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
