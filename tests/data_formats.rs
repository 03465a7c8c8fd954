//! Every format is read as it is written, by independent means where numpy's own bytes are given.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cs231n_gpu::data::{self, ImageShape, Limits, Source, TableOptions, TestRows, write};
use cs231n_gpu::rows::ValuesRef;

mod data_common;
use data_common::{cifar, idx, npy_bytes, npz};

fn load(source: &Source) -> data::Dataset {
    data::load(source, Limits::default()).unwrap()
}

fn table(path: PathBuf, label: Option<&str>, test: Option<TestRows>) -> Source {
    Source::Path { path, table: TableOptions { label: label.map(str::to_owned), test } }
}

fn floats(rows: &cs231n_gpu::rows::Rows) -> Vec<f32> {
    match rows.view().values() {
        ValuesRef::F32(values) => values.to_vec(),
        ValuesRef::U8(_) => panic!("u8, not f32"),
    }
}

fn put(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, contents).unwrap();
    path
}

#[test]
fn the_bundled_images_are_those_of_the_package() {
    let data = load(&Source::Bundled);
    assert_eq!((data.train.len(), data.test.len(), data.train.features()), (5000, 500, 784));
    assert_eq!(data.image, Some(ImageShape { channels: 1, height: 28, width: 28 }));
    assert_eq!(data.classes[9], "Ankle boot");
    // First labels as published, and sums computed with numpy from the package's files.
    assert_eq!(data.train_labels[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
    assert_eq!(data.test_labels.as_ref().unwrap()[..10], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]);
    let sum = |rows: &cs231n_gpu::rows::Rows| match rows.view().values() {
        ValuesRef::U8(values) => values.iter().map(|&x| u64::from(x)).sum::<u64>(),
        ValuesRef::F32(_) => panic!("f32, not u8"),
    };
    assert_eq!((sum(&data.train), sum(&data.test)), (TRAIN_SUM, TEST_SUM));
    let short = data::load(&Source::Bundled, Limits { train: Some(7), test: Some(0) }).unwrap();
    assert_eq!(short.train, data.train.gather(&(0..7).collect::<Vec<_>>()));
    assert_eq!((short.train_labels.len(), short.test.len(), short.classes.len()), (7, 0, 10));
}

const TRAIN_SUM: u64 = 286_031_984;
const TEST_SUM: u64 = 29_494_551;

#[test]
fn cifar_batches_of_any_number_and_size_follow_in_numeric_order() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "data_batch_10.bin", cifar(&[3]));
    put(folder.path(), "data_batch_2.bin", cifar(&[1, 2]));
    put(folder.path(), "test_batch.bin", cifar(&[]));
    let data = load(&Source::path(folder.path()));
    assert_eq!(data.train_labels, [1, 2, 3]);
    assert_eq!((data.test.len(), data.test.features()), (0, 3072));
    assert_eq!(data.classes[..2], ["airplane", "automobile"]);
    assert_eq!(data.image, Some(ImageShape { channels: 3, height: 32, width: 32 }));
    assert_eq!(data.train.view().at(2, 1), 4.0);
    let data = data::load(&Source::path(folder.path()), Limits { train: Some(2), test: None }).unwrap();
    assert_eq!(data.train_labels, [1, 2]);
    put(folder.path(), "batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
    assert_eq!(load(&Source::path(folder.path())).classes[9], "j");
}

#[test]
fn cifar_100_takes_the_fine_labels() {
    let folder = tempfile::tempdir().unwrap();
    let record = [&[7u8, 99][..], &[5; 3072]].concat();
    put(folder.path(), "train.bin", &record);
    put(folder.path(), "test.bin", &record);
    let data = load(&Source::path(folder.path()));
    assert_eq!((data.train_labels, data.classes.len()), (vec![99], 100));
}

#[test]
fn idx_files_are_read_plain_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let pack = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let inner = folder.path().join("Fashion_MNIST");
    fs::create_dir(&inner).unwrap();
    put(&inner, "train-images-idx3-ubyte.gz", pack(&idx(&[3, 2, 2], &(0..12).collect::<Vec<_>>())));
    put(&inner, "train-labels-idx1-ubyte.gz", pack(&idx(&[3], &[0, 9, 1])));
    put(&inner, "t10k-images.idx3-ubyte", idx(&[1, 2, 2], &[9; 4]));
    let data = load(&Source::path(&inner));
    assert_eq!((data.train_labels, data.test_labels), (vec![0, 9, 1], None));
    assert_eq!(data.classes[1], "Trouser");
    assert_eq!(data.train.view().values(), ValuesRef::U8(&(0..12).collect::<Vec<u8>>()));
    let limited = data::load(&Source::path(&inner), Limits { train: Some(1), test: None }).unwrap();
    assert_eq!((limited.train.len(), limited.train_labels.len(), limited.classes.len()), (1, 1, 10));
}

/// Loads `bytes` as both training and test rows with two labels.
fn rows_of(bytes: &[u8]) -> cs231n_gpu::Result<data::Dataset> {
    let folder = tempfile::tempdir().unwrap();
    let x = put(folder.path(), "x.npy", bytes);
    let y = folder.path().join("y.npy");
    write::npy(&y, &[2], &[1i64, 0]).unwrap();
    let source = Source::Arrays { train_x: x.clone(), train_y: Some(y), test_x: Some(x), test_y: None };
    data::load(&source, Limits::default())
}

#[test]
fn every_dtype_becomes_f32_and_bytes_stay() {
    let values = [0.0f64, 1.0, 2.0, 100.0, 5.0, 6.0];
    let expected: Vec<f32> = values.map(|x| x as f32).to_vec();
    macro_rules! numbers {
        ($($t:ty, $code:literal);*) => {$(
            let little: Vec<u8> = values.iter().flat_map(|&x| (x as $t).to_le_bytes()).collect();
            let big: Vec<u8> = values.iter().flat_map(|&x| (x as $t).to_be_bytes()).collect();
            for (order, bytes) in [('<', little), ('>', big)] {
                let data = rows_of(&npy_bytes(&format!("{order}{}", $code), "2, 3", false, &bytes)).unwrap();
                if $code == "u1" {
                    assert_eq!(data.train.view().values(), ValuesRef::U8(&bytes));
                } else {
                    assert_eq!(floats(&data.train), expected, "{order}{}", $code);
                }
            }
        )*};
    }
    numbers!(u8, "u1"; u16, "u2"; u32, "u4"; u64, "u8"; i8, "i1"; i16, "i2"; i32, "i4"; i64, "i8"; f32, "f4"; f64, "f8");
    // Halves: 1, -2, 65504 (the largest), 2^-24 (the smallest), -0, 0.333251953125, as numpy gives them.
    let halves: Vec<u8> = [0x3c00u16, 0xc000, 0x7bff, 0x0001, 0x8000, 0x3555].map(u16::to_le_bytes).concat();
    let data = rows_of(&npy_bytes("<f2", "2, 3", false, &halves)).unwrap();
    assert_eq!(floats(&data.train), [1.0, -2.0, 65504.0, 2f32.powi(-24), -0.0, 0.333_251_95]);
    let data = rows_of(&npy_bytes("|b1", "2, 3", false, &[0, 1, 1, 0, 0, 1])).unwrap();
    assert_eq!(floats(&data.train), [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
    let data = rows_of(&npy_bytes("<i4", "2, 1", false, &[0, 0, 0, 1, 1, 0, 0, 255])).unwrap();
    assert_eq!(floats(&data.train), [16_777_216.0, -16_777_215.0]);
}

#[test]
fn fortran_order_is_transposed_and_images_are_flattened() {
    let columns: Vec<u8> = [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let data = rows_of(&npy_bytes("<f4", "2, 3", true, &columns)).unwrap();
    assert_eq!(floats(&data.train), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let data = rows_of(&npy_bytes("|u1", "2, 3", true, &[1, 4, 2, 5, 3, 6])).unwrap();
    assert_eq!(data.train.view().values(), ValuesRef::U8(&[1, 2, 3, 4, 5, 6]));
    let data = rows_of(&npy_bytes("|u1", "2, 3, 1, 2", false, &[7; 12])).unwrap();
    assert_eq!(
        (data.train.features(), data.image),
        (6, Some(ImageShape { channels: 3, height: 1, width: 2 }))
    );
}

#[test]
fn archives_hold_stored_or_deflated_arrays_and_labels_of_strings() {
    for deflated in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.npz");
        let text: Vec<u8> = ["dog", "cat", "dog"]
            .iter()
            .flat_map(|name| name.chars().chain(std::iter::repeat('\0')).take(4))
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        let x = npy_bytes("|u1", "3, 2", false, &[1, 2, 3, 4, 5, 6]);
        let test = npy_bytes("<f4", "0, 2", false, &[]);
        let arrays = [("x_train", x), ("y_train", npy_bytes("<U4", "3,", false, &text)), ("x_test", test)];
        fs::write(&path, npz(&arrays, deflated)).unwrap();
        let data = load(&Source::path(&path));
        assert_eq!((data.classes, data.train_labels), (vec!["cat".into(), "dog".into()], vec![1, 0, 1]));
        // The test rows are f32, so the training rows become f32 too.
        assert_eq!(floats(&data.train), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(data.test.is_empty() && data.test_labels.is_none());
    }
}

#[test]
fn csv_takes_headers_names_positions_and_a_test_file() {
    let folder = tempfile::tempdir().unwrap();
    let named = put(folder.path(), "a.csv", "\u{feff}w,kind,h\n1,b, 2.5\n3,\"a\",4e0\r\n\n5,b,6\n");
    let queries = put(folder.path(), "q.csv", "w,h\n7,8\n");
    let empty = put(folder.path(), "e.csv", "");
    let data = load(&table(named.clone(), Some("kind"), Some(TestRows::File(queries))));
    assert_eq!(floats(&data.train), [1.0, 2.5, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!((data.train_labels, data.classes), (vec![1, 0, 1], vec!["a".into(), "b".into()]));
    assert_eq!((floats(&data.test), data.test_labels), (vec![7.0, 8.0], None));
    let data = load(&table(named.clone(), Some("1"), Some(TestRows::File(empty))));
    assert_eq!((data.train.len(), data.test.len()), (3, 0));
    // No header, the label by position, numeric labels in the order of their values.
    let plain = put(folder.path(), "b.tsv", "1\t10\n2\t9\n3\t10\n4\t9\n5\t10\n");
    let last = TestRows::Fraction { fraction: 0.4, seed: None };
    let data = load(&table(plain.clone(), Some("1"), Some(last)));
    assert_eq!((floats(&data.train), floats(&data.test)), (vec![1.0, 2.0, 3.0], vec![4.0, 5.0]));
    assert_eq!((data.classes, data.test_labels), (vec!["9".into(), "10".into()], Some(vec![0, 1])));
    // The default split is drawn, holds out a fifth and loses nothing.
    let data = load(&table(plain, Some("1"), None));
    let mut all = [floats(&data.train), floats(&data.test)].concat();
    all.sort_by(f32::total_cmp);
    assert_eq!((data.test.len(), all), (1, vec![1.0, 2.0, 3.0, 4.0, 5.0]));
    // The usual names need no option.
    let usual = put(folder.path(), "c.csv", "Label,p\n1,2\n0,3\n");
    assert_eq!(load(&Source::path(usual)).classes, ["0", "1"]);
}

#[test]
fn libsvm_is_made_dense_by_the_widest_row() {
    let folder = tempfile::tempdir().unwrap();
    let train = put(folder.path(), "a.svm", "+1 1:0.5 3:2 # first\n\n-1 2:1\n1.0\n");
    let test = put(folder.path(), "b.svm", "-1 4:7\n");
    let data = load(&table(train, None, Some(TestRows::File(test))));
    assert_eq!(floats(&data.train), [0.5, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!((data.train_labels, data.classes), (vec![1, 0, 1], vec!["-1".into(), "1".into()]));
    assert_eq!((floats(&data.test), data.test_labels), (vec![0.0, 0.0, 0.0, 7.0], Some(vec![0])));
}

#[test]
fn one_class_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "a.csv", "x,y\n1,k\n2,k\n");
    let data = load(&Source::path(path));
    assert_eq!((data.classes, data.train.len()), (vec!["k".into()], 1));
}

#[test]
fn large_arrays_are_mapped_and_equal_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let features = 1 << 14;
    for (name, rows) in [("small.npy", 2usize), ("large.npy", 1025)] {
        let mut writer = write::NpyWriter::<f32>::create(at(name), &[rows, features]).unwrap();
        for row in 0..rows {
            writer.push(&vec![row as f32 + 0.5; features]).unwrap();
        }
        writer.finish().unwrap();
    }
    write::npy(at("y.npy"), &[1025], &vec![0u8; 1025]).unwrap();
    let source = Source::Arrays {
        train_x: at("large.npy"),
        train_y: Some(at("y.npy")),
        test_x: Some(at("small.npy")),
        test_y: None,
    };
    let data = load(&source);
    assert!(data.train.is_mapped() && !data.test.is_mapped());
    assert_eq!((data.train.len(), data.train.view().at(1024, features - 1)), (1025, 1024.5));
    assert_eq!(data.train.gather(&[0, 1]), data.test);
    let mut two = data.train.clone();
    two.truncate(2);
    assert_eq!(two, data.test);
    let limited = data::load(&source, Limits { train: Some(2), test: None }).unwrap();
    assert_eq!(limited.train, data.test);
    assert!(data::info(&data).arrays[0].mapped);
    // A mapped value that is not finite is refused as well.
    let mut bytes = fs::read(at("large.npy")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(at("large.npy"), bytes).unwrap();
    let error = data::load(&source, Limits::default()).unwrap_err().to_string();
    assert!(error.contains("row 1024, column 16383") && error.contains("NaN"), "{error}");
}

#[test]
fn info_tells_shapes_ranges_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "a.csv", "x,y\n1,k\n2,l\n6,k\n");
    let source = table(path, None, Some(TestRows::Fraction { fraction: 0.0, seed: None }));
    let info = data::describe(&source, Limits::default()).unwrap();
    assert_eq!((info.name.as_str(), info.format.as_deref()), ("a.csv", Some("CSV file")));
    assert_eq!(info.arrays[0].shape, [3, 1]);
    let range = info.arrays[0].range.unwrap();
    assert_eq!((range.min, range.max, range.mean, info.arrays[0].bytes), (1.0, 6.0, 3.0, 12));
    assert_eq!(info.arrays[1].range, None);
    assert_eq!((info.classes[0].train, info.classes[1].train, info.classes[1].test), (2, 1, Some(0)));
    assert!(info.text().contains("a.csv, CSV file") && info.text().ends_with('\n'), "{}", info.text());
    let lone = put(folder.path(), "v.npy", npy_bytes("<f8", "2,", false, &[0; 16]));
    let info = data::describe(&Source::path(lone), Limits::default()).unwrap();
    assert_eq!((info.arrays[0].stored.as_str(), info.arrays[0].dtype), ("float64", "f32"));
    assert_eq!(info.arrays[0].shape, [2]);
}
