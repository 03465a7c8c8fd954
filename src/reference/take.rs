//! Elements at given positions.

/// yᵢ = x at `indices[i]` (numpy's `take`).
pub fn take<T: Copy>(x: &[T], indices: &[u32]) -> Vec<T> {
    indices.iter().map(|&index| x[index as usize]).collect()
}
