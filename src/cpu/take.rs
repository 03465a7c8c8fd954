//! Elements at given positions on the CPU: a batch of labels is too short for threads, and a copy has no arithmetic to vectorise.

/// yᵢ = x at `indices[i]`.
///
/// # Panics
/// When an index is out of range.
pub fn take(x: &[u32], indices: &[u32]) -> Vec<u32> {
    indices.iter().map(|&index| x[index as usize]).collect()
}
