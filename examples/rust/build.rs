//! Asks pkg-config where libinlay is. PKG_CONFIG_PATH names the folder of inlay.pc if it is no system folder.
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    let found = Command::new("pkg-config").args(["--libs", "inlay"]).output().expect("pkg-config cannot be run");
    let message = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{message}");
    for flag in String::from_utf8_lossy(&found.stdout).split_whitespace() {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib=dylib={library}");
        }
    }
}
