//! The binary: parses and calls.

fn main() -> std::process::ExitCode {
    pipeline::cli::main()
}
