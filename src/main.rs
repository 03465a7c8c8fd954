//! The `cs231n-gpu` command: parse, run, print the error and its hint.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: cs231n_gpu::huge_pages::HugePages = cs231n_gpu::huge_pages::HugePages;

fn main() -> ExitCode {
    match cs231n_gpu::cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where even standard error is closed.
            let _ = cs231n_gpu::cli::report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
