//! Files appear whole or not at all.

use std::fs;
use std::path::Path;

use cs231n_gpu::Error;
use cs231n_gpu::data::{self, Limits, Source, write};

/// Names in `folder`, temporaries included.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn bytes_and_text_replace_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write::text(&path, "old").unwrap();
    write::bytes(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn nothing_is_written_into_a_missing_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = write::text(folder.path().join("none/a.txt"), "x").unwrap_err();
    assert!(matches!(&error, Error::Io { action: "create", .. }), "{error}");
    assert_eq!(error.exit_code(), 3);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_folder_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    fs::create_dir(&path).unwrap();
    let error = write::text(&path, "x").unwrap_err();
    assert!(matches!(&error, Error::Io { action: "write", .. }), "{error}");
    assert_eq!(names(folder.path()), ["results"]);
}

#[test]
fn an_unfinished_array_leaves_the_old_file_and_no_temporary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.npy");
    write::text(&path, "old").unwrap();
    {
        let mut writer = write::NpyWriter::<f64>::create(&path, &[2, 2]).unwrap();
        writer.push(&[1.0, 2.0]).unwrap();
        assert!(matches!(writer.push(&[3.0, 4.0, 5.0]), Err(Error::Shape { .. })));
        assert!(matches!(writer.finish(), Err(Error::Shape { .. })));
    }
    drop(write::NpyWriter::<u8>::create(&path, &[9]).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(folder.path()), ["d.npy"]);
    assert!(matches!(write::npy(&path, &[usize::MAX, 2], &[0u8]), Err(Error::Shape { .. })));
    assert!(matches!(write::npy(&path, &[3], &[0u8]), Err(Error::Shape { .. })));
    assert_eq!(names(folder.path()), ["d.npy"]);
}

#[test]
fn blocks_make_the_bytes_that_numpy_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let mut writer = write::NpyWriter::<i64>::create(&path, &[3, 2]).unwrap();
    writer.push(&[1, 2]).unwrap();
    writer.push(&[-3, 4, 5, 6]).unwrap();
    writer.finish().unwrap();
    // numpy.save(path, numpy.array([[1, 2], [-3, 4], [5, 6]])): a header of 118 bytes, data from byte 128 on.
    let mut expected = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    expected
        .extend(format!("{:<117}\n", "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 2), }").bytes());
    expected.extend([1i64, 2, -3, 4, 5, 6].into_iter().flat_map(i64::to_le_bytes));
    assert_eq!(fs::read(&path).unwrap(), expected);
    write::npy(folder.path().join("y.npy"), &[3], &[0i32, 1, 0]).unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = Source::Arrays {
        train_x: at("a.npy"),
        train_y: Some(at("y.npy")),
        test_x: Some(at("a.npy")),
        test_y: Some(at("y.npy")),
    };
    let data = data::load(&source, Limits::default()).unwrap();
    assert_eq!(data.train.view().at(1, 0), -3.0);
    assert_eq!(data.train_labels, [0, 1, 0]);
}

#[cfg(unix)]
#[test]
fn links_and_devices_stay_what_they_are_and_results_are_readable() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    write::text(&real, "old").unwrap();
    symlink(&real, &link).unwrap();
    write::text(&link, "new").unwrap();
    assert!(link.is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    // The mode is what any new file gets here.
    fs::write(folder.path().join("plain"), "x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&real), mode(&folder.path().join("plain")));
    write::text("/dev/null", "gone").unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}
