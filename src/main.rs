//! The `topichub` command: the server, and a client for the terminal. What it does is in `cli`; the broker is the library.

mod cli;
mod demo;
mod pages;

/// A message's life is many small allocations on one thread and frees on another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
