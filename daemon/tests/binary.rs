//! The binary starts. That this program exists is why `cargo test --workspace` builds `weir` at all, which the system
//! tests in `tests/` then run: Cargo builds a binary for the integration tests of its own package only.

use std::process::Command;

#[test]
fn the_binary_says_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).arg("--version").output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("weir "), "{text}");
}
