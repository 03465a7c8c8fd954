//! One operation, one name: the four files of every row of the op table, and the README's copy of the table.

use std::path::Path;

use cs231n_gpu::ops::{OPS, markdown};

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `NAME.rs`, or `NAME/mod.rs` where a file has grown into a folder.
fn module(folder: &str, name: &str) -> bool {
    root(&format!("src/{folder}/{name}.rs")).is_file()
        || root(&format!("src/{folder}/{name}/mod.rs")).is_file()
}

#[test]
fn every_operation_has_its_four_files() {
    for op in OPS {
        for folder in ["reference", "cpu", "ops"] {
            assert!(module(folder, op.name), "src/{folder}/{}.rs is missing", op.name);
        }
        // A composed operation has no kernel of its own and says so by listing none.
        let shader = root(&format!("shaders/{}.wgsl", op.name)).is_file();
        assert_eq!(shader, !(op.shaders)().is_empty(), "shaders/{}.wgsl and the table disagree", op.name);
    }
}

#[test]
fn every_shader_and_definition_belongs_to_an_operation() {
    for (folder, ending) in [("shaders", "wgsl"), ("src/reference", "rs")] {
        for entry in std::fs::read_dir(root(folder)).expect("the folder") {
            let path = entry.expect("an entry").path();
            // A family of kernels may have a file of its own, `NAME.FAMILY.wgsl`.
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = name.split('.').next().unwrap_or_default();
            let known = OPS.iter().any(|op| op.name == stem) || ["prelude", "mod"].contains(&stem);
            assert!(
                known && path.extension().is_some_and(|e| e == ending),
                "{} has no operation",
                path.display()
            );
        }
    }
}

#[test]
fn the_readme_shows_the_table_as_it_is() {
    let readme = std::fs::read_to_string(root("README.md")).expect("README.md");
    let table = markdown();
    assert!(readme.contains(&table), "README's op table is out of date; it should be:\n\n{table}");
}
