//! Embeds the built pages (`web/dist`) as a table of files; an empty one where they have not been built.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the server may serve: pages, assets, and a few files at the root.
const ROOT_EXTENSIONS: [&str; 6] = ["html", "svg", "ico", "txt", "webmanifest", "png"];

fn main() {
    let variable = |name: &str| PathBuf::from(std::env::var_os(name).expect("cargo sets it"));
    let dist = variable("CARGO_MANIFEST_DIR").join("../../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    // Where it does not exist, cargo runs us again each time, and so finds it when it does.
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    collect(&dist, &dist, &mut files);
    files.sort();
    let mut table = String::from("static FILES: &[File] = &[\n");
    for (name, path) in files {
        let bytes = std::fs::read(&path).expect("it was there a moment ago");
        let path = path.canonicalize().expect("it was there a moment ago");
        // Debug formatting of a text is a Rust literal.
        let etag = format!("\"{:016x}\"", fnv1a(&bytes));
        writeln!(table, "    File {{ path: {name:?}, bytes: include_bytes!({path:?}), etag: {etag:?} }},")
            .expect("a String takes all");
    }
    table.push_str("];\n");
    std::fs::write(variable("OUT_DIR").join("pages.rs"), table).expect("OUT_DIR can be written");
}

/// Finds files, names relative to `root` with slashes.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
            continue;
        };
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if name.starts_with("assets/") || ROOT_EXTENSIONS.contains(&extension) {
            files.push((name.replace('\\', "/"), path));
        }
    }
}

/// FNV-1a, 64 bits: tells versions of a file apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
