//! Every bad input is refused with the file, the place and a remedy.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cs231n_gpu::data::{self, Limits, Source, TableOptions, TestRows, write};
use cs231n_gpu::{Error, Result};

mod data_common;
use data_common::{cifar, idx, npy_bytes, npz};

/// A folder of files, and what loading one of them says.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, contents).unwrap();
        path
    }
}

/// Checks that `loaded` is refused, by a message that names `file` and all of `words`, with a remedy and exit code 3.
#[track_caller]
fn refused<T>(loaded: Result<T>, file: &str, words: &[&str]) {
    let Err(error) = loaded else { panic!("accepted, but should be refused for {words:?}") };
    let Error::Data { path, problem, hint } = &error else { panic!("not a data error: {error:?}") };
    assert!(path.to_string_lossy().contains(file), "{error}: does not name {file}");
    for word in words {
        assert!(problem.contains(word) || hint.contains(word), "'{error}' with hint '{hint}' lacks '{word}'");
    }
    assert!(!hint.is_empty(), "{error}: no remedy");
    assert_eq!(error.exit_code(), 3);
}

fn load(path: &Path) -> Result<data::Dataset> {
    data::load(&Source::path(path), Limits::default())
}

/// Loads training rows `x` with labels `y`, and the same rows to test on.
fn arrays(x: &[u8], y: &[u8]) -> Result<data::Dataset> {
    let folder = Folder::new();
    let (x, y) = (folder.put("x.npy", x), folder.put("y.npy", y));
    data::load(
        &Source::Arrays { train_x: x.clone(), train_y: Some(y), test_x: Some(x), test_y: None },
        Limits::default(),
    )
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Labels 0 and 1.
fn two() -> Vec<u8> {
    npy_bytes("|u1", "2,", false, &[0, 1])
}

fn csv(text: &str, label: Option<&str>) -> Result<data::Dataset> {
    let folder = Folder::new();
    let table = TableOptions { label: label.map(str::to_owned), test: None };
    data::load(&Source::Path { path: folder.put("t.csv", text), table }, Limits::default())
}

fn libsvm(text: impl AsRef<[u8]>) -> Result<data::Dataset> {
    let folder = Folder::new();
    load(&folder.put("t.svm", text))
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// An idx folder with these training images and labels.
fn mnist(suffix: &str, images: &[u8], labels: &[u8]) -> Result<data::Dataset> {
    let folder = Folder::new();
    folder.put(&format!("train-images-idx3-ubyte{suffix}"), images);
    folder.put(&format!("train-labels-idx1-ubyte{suffix}"), labels);
    folder.put("t10k-images-idx3-ubyte", idx(&[0, 1, 2], &[]));
    load(folder.0.path())
}

#[test]
fn paths_that_hold_no_data_set() {
    let folder = Folder::new();
    refused(load(&folder.at("none.csv")), "none.csv", &["no such file", "check the path"]);
    refused(load(folder.0.path()), "", &["data_batch_*.bin", "train.bin", "train-images-idx3-ubyte.gz"]);
    for name in ["data.pickle", "data.pkl"] {
        refused(load(&folder.put(name, "x")), name, &["pickle", "runs whatever code", "numpy.savez"]);
    }
    refused(load(&folder.put("a.jpeg", "x")), "a.jpeg", &["'.jpeg'", ".npz"]);
    refused(load(&folder.put("a.tar", "x")), "a.tar", &["unpack"]);
    refused(load(&folder.put("data_batch_1.bin", "x")), "data_batch_1.bin", &["folder"]);
    refused(load(&folder.put("a.npy", two())), "a.npy", &["--train-x"]);
    let all = |name: &str| folder.at(name);
    let source = Source::Arrays {
        train_x: all("n.npy"),
        train_y: Some(all("n")),
        test_x: Some(all("n")),
        test_y: None,
    };
    refused(data::load(&source, Limits::default()), "n.npy", &["no such file"]);
    fs::create_dir(folder.at("d.npy")).unwrap();
    let source = Source::Arrays {
        train_x: all("d.npy"),
        train_y: Some(all("n")),
        test_x: Some(all("n")),
        test_y: None,
    };
    refused(data::load(&source, Limits::default()), "d.npy", &["not a regular file"]);
}

#[test]
fn options_of_tables_mean_nothing_elsewhere() {
    let folder = Folder::new();
    folder.put("test_batch.bin", cifar(&[0]));
    let table = TableOptions { label: Some("y".into()), test: None };
    let source = Source::Path { path: folder.0.path().into(), table: table.clone() };
    assert!(matches!(data::load(&source, Limits::default()), Err(Error::Usage { .. })));
    let source = Source::Path { path: folder.put("a.svm", "1 1:1\n"), table };
    assert!(matches!(data::load(&source, Limits::default()), Err(Error::Usage { .. })));
}

#[test]
fn values_that_are_not_finite() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let x = npy_bytes("<f4", "2, 3", false, &f32s(&[0.0, 0.0, 0.0, 0.0, 0.0, value]));
        refused(arrays(&x, &two()), "x.npy", &["row 1, column 2", word, "remove or fill"]);
        // The same place in column order.
        let x = npy_bytes("<f4", "2, 3", true, &f32s(&[0.0, 0.0, 0.0, value, 0.0, 0.0]));
        refused(arrays(&x, &two()), "x.npy", &["row 1, column 1", word]);
        refused(csv(&format!("a,y\n1,0\n{value},1\n"), None), "t.csv", &["line 3, column 0 ('a')", word]);
        refused(
            libsvm(format!("1 1:2\n0 1:1 2:{value}\n")),
            "t.svm",
            &["line 2", &format!("'2:{value}'"), word],
        );
    }
    let x = npy_bytes("<f8", "2, 1", false, &[0.0f64.to_le_bytes(), 1e39f64.to_le_bytes()].concat());
    refused(arrays(&x, &two()), "x.npy", &["row 1, column 0", "1e39", "32-bit", "rescale"]);
    refused(csv("a,y\n1,0\n-1e39,1\n", None), "t.csv", &["line 3", "-1e39", "rescale"]);
    let half = npy_bytes("<f2", "2, 1", false, &[0x00, 0x7c, 0, 0]);
    refused(arrays(&half, &two()), "x.npy", &["row 0, column 0", "inf"]);
}

#[test]
fn integers_that_would_change_silently() {
    let x =
        npy_bytes("<i8", "2, 1", false, &[16_777_216i64.to_le_bytes(), 16_777_217i64.to_le_bytes()].concat());
    refused(arrays(&x, &two()), "x.npy", &["row 1, column 0", "16777217", "astype('float32')"]);
    let x = npy_bytes("<u8", "2, 1", false, &[0u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
    refused(arrays(&x, &two()), "x.npy", &["row 1", "18446744073709551615"]);
}

#[test]
fn files_that_are_too_short_or_too_long() {
    let x = npy_bytes("|u1", "2, 2", false, &[1, 2, 3, 4]);
    refused(arrays(&x[..x.len() - 1], &two()), "x.npy", &["truncated", "132", "131"]);
    refused(arrays(&x[..20], &two()), "x.npy", &["truncated"]);
    refused(arrays(&[&x[..], &[0]].concat(), &two()), "x.npy", &["trailing"]);
    refused(arrays(&x, &two()[..129]), "y.npy", &["truncated"]);
    let (images, labels) = (idx(&[2, 1, 2], &[1, 2, 3, 4]), idx(&[2], &[0, 1]));
    for (suffix, pack) in [("", None), (".gz", Some(gz as fn(&[u8]) -> Vec<u8>))] {
        let pack = |bytes: &[u8]| pack.map_or(bytes.to_vec(), |pack| pack(bytes));
        let mut long = images.clone();
        long.push(9);
        let cut = &images[..images.len() - 1];
        assert!(mnist(suffix, &pack(&images), &pack(&labels)).is_ok());
        refused(mnist(suffix, &pack(cut), &pack(&labels)), "train-images", &["truncated"]);
        refused(mnist(suffix, &pack(&images[..7]), &pack(&labels)), "train-images", &["truncated"]);
        refused(mnist(suffix, &pack(&long), &pack(&labels)), "train-images", &["trailing"]);
        refused(mnist(suffix, &pack(&images), &pack(&labels[..9])), "train-labels", &["truncated"]);
    }
    let packed = gz(&images);
    refused(mnist(".gz", &packed[..packed.len() - 9], &gz(&labels)), "train-images", &["truncated"]);
    let mut wrong_sum = packed.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    refused(mnist(".gz", &wrong_sum, &gz(&labels)), "train-images", &["damaged"]);
    refused(mnist(".gz", b"no gzip at all", &gz(&labels)), "train-images", &["damaged"]);
    let folder = Folder::new();
    folder.put("test_batch.bin", cifar(&[1]));
    let batch = folder.put("data_batch_1.bin", [cifar(&[1]), vec![0]].concat());
    refused(load(folder.0.path()), "data_batch_1.bin", &["1 records of 3073 bytes and 1 bytes more"]);
    fs::write(batch, &cifar(&[1])[..3000]).unwrap();
    refused(load(folder.0.path()), "data_batch_1.bin", &["0 records"]);
}

#[test]
fn files_that_are_something_else() {
    refused(arrays(b"hello, this is no array at all", &two()), "x.npy", &["\\x93NUMPY", "numpy.save"]);
    refused(arrays(b"", &two()), "x.npy", &["\\x93NUMPY"]);
    let mut version = two();
    version[6] = 9;
    refused(arrays(&version, &two()), "x.npy", &["version 9"]);
    for (descr, words) in [
        ("|O", ["pickle", "astype"]),
        ("<c8", ["'<c8'", "astype"]),
        ("<f16", ["'<f16'", "astype"]),
        ("<U1", ["strings", "astype"]),
    ] {
        refused(arrays(&npy_bytes(descr, "1, 1", false, &[0; 4]), &two()), "x.npy", &words);
    }
    let labels = idx(&[2], &[0, 1]);
    refused(mnist("", b"\x00\x01\x08\x03", &labels), "train-images", &["00, 01, 08, 03", "no idx"]);
    refused(mnist("", &[0, 0, 0x0d, 3, 0, 0, 0, 0], &labels), "train-images", &["0x0d", "savez"]);
    refused(mnist("", &labels, &labels), "train-images", &["1 axes"]);
    let folder = Folder::new();
    refused(load(&folder.put("a.npz", "not a zip")), "a.npz", &["no .npz archive"]);
    refused(csv("a,y\n\u{fffd},1\n", None), "t.csv", &["line 2, column 0", "no number"]);
    refused(libsvm([b'1', b' ', 0xff]), "t.svm", &["line 1", "no text"]);
}

#[test]
fn labels_that_are_no_class() {
    let x = npy_bytes("|u1", "2, 1", false, &[0, 0]);
    let y = |descr: &str, bytes: &[u8]| npy_bytes(descr, "2,", false, bytes);
    refused(
        arrays(&x, &y("|i1", &[0, 255])),
        "y.npy",
        &["row 1", "-1", "out of range", "number the classes from 0"],
    );
    let large = [0u32.to_le_bytes(), 4_000_000_000u32.to_le_bytes()].concat();
    refused(arrays(&x, &y("<u4", &large)), "y.npy", &["row 1", "4000000000", "65535"]);
    refused(arrays(&x, &y("<f4", &[0; 8])), "y.npy", &["float32", "astype('int64')"]);
    refused(arrays(&x, &npy_bytes("|u1", "2, 2", false, &[0; 4])), "y.npy", &["[2, 2]", "argmax"]);
    refused(arrays(&x, &y("|S1", &[b'a', 0xff])), "y.npy", &["row 1", "no text"]);
    let folder = Folder::new();
    folder.put("test_batch.bin", cifar(&[1]));
    folder.put("data_batch_1.bin", cifar(&[3, 10]));
    refused(load(folder.0.path()), "data_batch_1.bin", &["row 1", "10", "0 to 9"]);
    refused(csv("x,y\n1,\n", None), "t.csv", &["line 2, column 1 ('y')", "no label"]);
    let prices: String = (0..=65_536).map(|i| format!("1,{i}\n")).collect();
    refused(csv(&format!("x,y\n{prices}"), None), "t.csv", &["line 65538", "65536", "Real-valued"]);
    refused(libsvm("cat 1:1\n"), "t.svm", &["line 1", "'cat'"]);
    refused(libsvm("1 1:1\n1,2 1:1\n"), "t.svm", &["line 2", "'1,2'"]);
}

#[test]
fn counts_and_widths_that_do_not_match() {
    let x = npy_bytes("|u1", "3, 1", false, &[0, 0, 0]);
    refused(arrays(&x, &two()), "y.npy", &["2 labels", "3 rows", "x.npy"]);
    let folder = Folder::new();
    let put = |name: &str, shape: &str, count: usize| {
        folder.put(name, npy_bytes("|u1", shape, false, &vec![0; count]))
    };
    let (x, y) = (put("x.npy", "2, 3", 6), put("y.npy", "2,", 2));
    let test = put("t.npy", "2, 4", 8);
    let source = |test_x: &PathBuf, test_y: Option<&PathBuf>| Source::Arrays {
        train_x: x.clone(),
        train_y: Some(y.clone()),
        test_x: Some(test_x.clone()),
        test_y: test_y.cloned(),
    };
    refused(
        data::load(&source(&test, None), Limits::default()),
        "t.npy",
        &["4 features", "of 3 in", "x.npy"],
    );
    let short = put("s.npy", "1,", 1);
    // A limit does not hide it.
    let limits = Limits { train: Some(1), test: Some(1) };
    refused(data::load(&source(&x, Some(&short)), limits), "s.npy", &["1 labels", "2 rows"]);
    let names = folder.put("n.npy", npy_bytes("|S1", "2,", false, b"ab"));
    refused(data::load(&source(&x, Some(&names)), Limits::default()), "n.npy", &["mixed", "y.npy"]);
    let images = idx(&[2, 1, 2], &[1, 2, 3, 4]);
    refused(
        mnist("", &images, &idx(&[3], &[0; 3])),
        "train-labels",
        &["3 labels", "2 images", "train-images"],
    );
    let test = TestRows::File(folder.put("test.csv", "1,2,3,4\n"));
    let table = TableOptions { label: None, test: Some(test) };
    let source = Source::Path { path: folder.put("train.csv", "a,y\n1,0\n"), table };
    refused(data::load(&source, Limits::default()), "test.csv", &["4 columns", "2 in", "train.csv"]);
    let table =
        TableOptions { label: None, test: Some(TestRows::File(folder.put("other.csv", "b,y\n1,0\n"))) };
    let source = Source::Path { path: folder.at("train.csv"), table };
    refused(data::load(&source, Limits::default()), "other.csv", &["column 0", "'b'", "'a'", "same order"]);
}

#[test]
fn training_sets_without_rows() {
    let empty = npy_bytes("|u1", "0, 3", false, &[]);
    refused(arrays(&empty, &npy_bytes("|u1", "0,", false, &[])), "x.npy", &["empty", "at least one"]);
    refused(mnist("", &idx(&[0, 1, 2], &[]), &idx(&[0], &[])), "train-images", &["empty"]);
    refused(csv("", Some("0")), "t.csv", &["empty"]);
    refused(csv("a,y\n", None), "t.csv", &["empty"]);
    refused(csv("a,y\n1,1\n", None), "t.csv", &["empty"]);
    refused(libsvm("# nothing\n\n"), "t.svm", &["empty"]);
    refused(libsvm("1\n0\n"), "t.svm", &["no row has a feature"]);
    let folder = Folder::new();
    folder.put("test_batch.bin", cifar(&[1]));
    refused(load(folder.0.path()), "", &["data_batch_*.bin", "empty"]);
    folder.put("data_batch_1.bin", []);
    refused(load(folder.0.path()), "", &["empty"]);
    let none = Limits { train: Some(0), test: None };
    refused(data::load(&Source::Bundled, none), "train-images", &["empty"]);
    refused(arrays(&npy_bytes("|u1", "2, 0", false, &[]), &two()), "x.npy", &["no features"]);
    refused(arrays(&two(), &two()), "x.npy", &["[2]", "reshape"]);
}

#[test]
fn headers_that_announce_absurd_sizes() {
    let max = u64::MAX;
    for shape in [
        format!("{max}, {max}"),
        format!("{}, 2", max / 2),
        "1000000000000, 1".into(),
        "2, 99999999999".into(),
    ] {
        refused(arrays(&npy_bytes("<f4", &shape, false, &[0; 8]), &two()), "x.npy", &[]);
        let folder = Folder::new();
        let bytes = npz(&[("x_train", npy_bytes("<f4", &shape, false, &[0; 8]))], true);
        refused(load(&folder.put("a.npz", bytes)), "x_train.npy", &[]);
    }
    // A long header is announced, not there.
    let mut long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec();
    long.extend([b' '; 100]);
    refused(arrays(&long, &two()), "x.npy", &["4294967295", "10000"]);
    let huge = idx(&[u32::MAX, u32::MAX, u32::MAX, u32::MAX], &[0; 9]);
    refused(mnist("", &huge, &idx(&[2], &[0; 2])), "train-images", &["announces"]);
    refused(mnist(".gz", &gz(&huge), &gz(&idx(&[2], &[0; 2]))), "train-images", &["unpack"]);
    refused(mnist(".gz", &gz(&idx(&[1 << 30, 1, 8], &[0; 9])), b""), "train-images", &["unpack"]);
    refused(libsvm("1 4294967295:1\n0 1:1\n"), "t.svm", &["GiB", "32.0"]);
}

#[test]
fn archives_that_lack_an_array_or_are_damaged() {
    let folder = Folder::new();
    let x = npy_bytes("|u1", "2, 64", false, &[7; 128]);
    let bytes = npz(&[("x_train", x.clone()), ("labels", two())], false);
    refused(load(&folder.put("a.npz", &bytes)), "a.npz", &["x_test"]);
    let bytes = npz(&[("x_train", x.clone()), ("x_test", x.clone()), ("labels", two())], false);
    refused(load(&folder.put("b.npz", &bytes)), "b.npz", &["y_train", "labels", "savez"]);
    let mut bytes = npz(&[("x_train", x.clone()), ("y_train", two()), ("x_test", x)], false);
    assert!(load(&folder.put("c.npz", &bytes)).is_ok());
    let at = bytes.windows(64).position(|window| window == [7; 64]).unwrap();
    bytes[at] = 8;
    refused(load(&folder.put("d.npz", &bytes)), "x_train.npy", &["damaged", "checksum"]);
}

#[test]
fn tables_that_are_ragged_or_have_no_such_column() {
    refused(csv("a,b,y\n1,2,0\n1,2\n", None), "t.csv", &["line 3", "2 columns, not 3"]);
    refused(csv("a,b,y\n1,2,0\n1,2,3,4\n", None), "t.csv", &["line 3", "4 columns"]);
    refused(csv("a,b,y\n1,2,0\n", Some("z")), "t.csv", &["'z'", "0 'a', 1 'b', 2 'y'"]);
    refused(csv("a,b,y\n1,2,0\n", Some("3")), "t.csv", &["'3'", "1 'b'"]);
    refused(csv("a,b,c\n1,2,0\n", None), "t.csv", &["which column", "--label", "2 'c'"]);
    refused(csv("label,y,a\n1,2,0\n", None), "t.csv", &["which column"]);
    refused(csv("y\n1\n", None), "t.csv", &["besides the label"]);
    refused(csv("a,y\n1,0\n,1\n", None), "t.csv", &["line 3, column 0 ('a')", "no value"]);
    refused(csv("1,0\nx,1\n", Some("1")), "t.csv", &["line 2, column 0", "'x' is no number"]);
    // One number in the first line makes it data, so that a typing error is not taken for a header.
    refused(csv("1,O.5,0\n2,3,1\n", Some("2")), "t.csv", &["line 1, column 1", "'O.5'"]);
}

#[test]
fn sparse_rows_that_break_the_rules() {
    refused(libsvm("1 1:1 1:2\n"), "t.svm", &["line 1", "'1:2'", "twice"]);
    refused(libsvm("1 1:1\n0 3:1 2:2\n"), "t.svm", &["line 2", "'2:2'", "descend"]);
    refused(libsvm("1 0:1\n"), "t.svm", &["index 0", "zero_based"]);
    refused(libsvm("1 -1:1\n"), "t.svm", &["'-1:1'", "index"]);
    refused(libsvm("1 99999999999:1\n"), "t.svm", &["32 bits"]);
    refused(libsvm("1 qid:3 1:1\n"), "t.svm", &["'qid:3'"]);
    refused(libsvm("1 5\n"), "t.svm", &["'5'", "index:value"]);
    refused(libsvm("1 1:\n"), "t.svm", &["no value"]);
    refused(libsvm("1 1:x\n"), "t.svm", &["'x' is no number"]);
}

#[test]
fn refused_reads_leave_no_file_behind() {
    let folder = Folder::new();
    let path = folder.put("t.csv", "a,y\nx,1\n");
    assert!(load(&path).is_err());
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
    assert!(write::text(folder.at("t.csv").join("below"), "x").is_err());
}
