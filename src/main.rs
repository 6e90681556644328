//! The `otelcontext` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keep_pages_small();
    otelcontext::cli::run()
}

/// Asks the system for pages of ordinary size, of which only what is used is filled. With pages of two mebibytes the first
/// request that unpacks to a few takes several times as long, and the server more memory, for no more speed.
fn keep_pages_small() {
    // Without it the server is right as well.
    #[cfg(target_os = "linux")]
    let _refused = rustix::thread::disable_transparent_huge_pages(true);
}
