//! The generated wire code is committed; this test makes it anew and compares. `UPDATE_GEN=1` writes it.

use std::path::Path;

#[test]
fn generated_wire_code_is_what_the_contract_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fds =
        protox::compile(["skynet/v1/agent.proto", "skynet/v1/operator.proto"], [root]).expect("the contract compiles");
    let out = std::env::temp_dir().join(format!("skynet-gen-{}", std::process::id()));
    std::fs::create_dir_all(&out).unwrap();
    tonic_prost_build::configure()
        .btree_map(".")
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .compile_fds(fds)
        .expect("wire code is generated");
    let made = std::fs::read_to_string(out.join("skynet.v1.rs")).unwrap();
    std::fs::remove_dir_all(&out).unwrap();
    let kept_path = root.join("src/gen/skynet.v1.rs");
    if std::env::var_os("UPDATE_GEN").is_some() {
        std::fs::write(&kept_path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&kept_path).unwrap_or_default();
    assert!(
        kept == made,
        "{} is not what skynet/v1/*.proto says; run `UPDATE_GEN=1 cargo test -p skynet-proto`",
        kept_path.display()
    );
}
