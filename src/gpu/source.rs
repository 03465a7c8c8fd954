//! Assembles the text of a kernel.

/// The prelude, the constants, the kernel's file.
///
/// # Errors
/// None yet.
pub fn assemble(source: &str, constants: &[(&str, u32)]) -> Result<String, String> {
    let constants: String =
        constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
    Ok(constants + source)
}
