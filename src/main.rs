//! The `cs231n-gpu` command.
fn main() {}
