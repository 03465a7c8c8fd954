//! Candidates as single integers whose order is the order of neighbours.
//!
//! A candidate is `key << 32 | row`: the key orders like the distance, and equal distances order by training row. So
//! "the k smallest integers" is the total order of the specification, with one comparison and no special case for ties.

/// Packs a key and a training row.
pub fn pack(key: u32, row: u32) -> u64 {
    u64::from(key) << 32 | u64::from(row)
}

/// The key of a candidate.
pub fn key(candidate: u64) -> u32 {
    (candidate >> 32) as u32
}

/// The training row of a candidate.
pub fn row(candidate: u64) -> u32 {
    candidate as u32
}

/// Maps a float that is not NaN to an integer of the same order; −0 and +0 stay neighbours, not equals.
pub fn encode_f32(value: f32) -> u32 {
    let bits = value.to_bits();
    // Negative floats order backwards by their bits; positive ones belong above them.
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The inverse of [`encode_f32`].
pub fn decode_f32(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Maps a signed integer to an unsigned one of the same order.
pub fn encode_i32(value: i32) -> u32 {
    value as u32 ^ 1 << 31
}

/// The inverse of [`encode_i32`].
pub fn decode_i32(key: u32) -> i32 {
    (key ^ 1 << 31) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_and_come_back() {
        let floats = [f32::MIN, -2.5, -f32::MIN_POSITIVE, -1e-45, 0.0, 1e-45, 1.0, 1.0 + f32::EPSILON, f32::MAX];
        assert!(floats.windows(2).all(|w| encode_f32(w[0]) < encode_f32(w[1])));
        assert!(floats.iter().all(|&v| decode_f32(encode_f32(v)) == v));
        let integers = [i32::MIN, -1, 0, 1, i32::MAX];
        assert!(integers.windows(2).all(|w| encode_i32(w[0]) < encode_i32(w[1])));
        assert!(integers.iter().all(|&v| decode_i32(encode_i32(v)) == v));
        assert!(pack(1, 9) < pack(2, 0) && pack(2, 0) < pack(2, 1));
        assert_eq!((key(pack(7, 9)), row(pack(7, 9))), (7, 9));
    }
}
