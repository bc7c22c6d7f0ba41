//! Short runs of what proves the promise over restarts, on a bad network and beside hostile
//! clients, so that neither the server nor the generator rots.
//!
//! # Invariants
//!
//! * They run the server of this source, and no other.
//! * Nothing here depends on how fast the machine is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The server, built by the cargo and in the target folder that built the generator. It is the one
/// that `cargo test --workspace` has built already, and a copy of it: whoever builds meanwhile must
/// not change what is run here.
fn tidings() -> &'static Path {
    static TIDINGS: OnceLock<PathBuf> = OnceLock::new();
    TIDINGS.get_or_init(|| {
        let loadtest = Path::new(env!("CARGO_BIN_EXE_loadtest"));
        let target = loadtest.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--workspace", "--no-run", "--test", "crash"]);
        cargo.args(if cfg!(debug_assertions) { None } else { Some("--release") });
        cargo.arg("--target-dir").arg(target.expect("cargo marks its folder"));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        // What cargo said to this build would have it build things again.
        for (variable, _) in std::env::vars_os() {
            let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "OUT_DIR"];
            if told.iter().any(|prefix| variable.to_string_lossy().starts_with(prefix)) {
                cargo.env_remove(variable);
            }
        }
        let built = cargo.output().expect("cargo built this");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tidings-of-smoke");
        std::fs::copy(loadtest.with_file_name("tidings"), &copy).expect("there is room");
        copy
    })
}

/// Runs the generator; all must be proven. Gives what it says.
fn proven(line: &str) -> String {
    let mut loadtest = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    loadtest.args(line.split(' ')).arg("--tidings").arg(tidings());
    let output = loadtest.output().expect("the generator was built before its test");
    let told = [&output.stdout[..], &output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert_eq!(output.status.code(), Some(0), "{line}\n{told}");
    let row = |name: &str| {
        let row = told.lines().find_map(|line| line.trim_start().strip_prefix(name));
        row.unwrap_or_else(|| panic!("no {name}\n{told}")).trim()
    };
    let proof = row("proof ");
    assert!(proof.starts_with("0 lost, 0 duplicated (") && proof.ends_with(", 0 out of order"));
    assert!(!row("messages ").contains(" 0 delivered"), "{told}");
    told
}

#[test]
fn nothing_is_lost_in_a_short_soak() {
    let told = proven(
        "soak --minutes 0.15 --restarts 2 --sessions 12 --group 6 --commuters 3 --rate 20 \
         --group-rate 10 --api-rate 5 --roam 5",
    );
    assert!(told.contains("restarts  ") && told.contains("last process  "), "{told}");
}

#[test]
fn nothing_is_lost_on_a_bad_network() {
    proven(
        "badnet --sessions 8 --rate 40 --loss 10 --reorder 20 --duplicate 5 --rebind 3 --warmup 1 \
         --seconds 4 --gap-max-ms 120000",
    );
}

#[test]
fn hostile_clients_are_borne() {
    let told = proven(
        "hostile --sessions 8 --rate 40 --warmup 1 --seconds 4 --kinds spoof,future \
         --p99-max-ms 120000 --grow-max-mib 100000",
    );
    assert!(told.contains("spoofed flood  ") && told.contains("acks the future  "), "{told}");
}

#[test]
fn nothing_is_lost_before_the_receivers_are_back() {
    let told = proven("restart --sessions 4 --messages 60");
    let restarts = told.lines().filter(|line| line.contains(" sent, 0 lost, 0 dropped, 0 missing"));
    assert_eq!(restarts.count(), 10, "{told}");
}
