//! Files that are cut short or changed at random are read or refused; nothing panics, hangs or takes all memory.

use std::fs;
use std::io::Write;
use std::path::Path;

use cs231n_gpu::Error;
use cs231n_gpu::data::{self, Limits, Source, TableOptions, TestRows};
use proptest::prelude::*;

mod data_common;
use data_common::{cifar, idx, npy_bytes, npz};

/// What happens to a file.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(Vec<(prop::sample::Index, u8)>),
    Insert(prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Damage::Cut),
        prop::collection::vec((at(), 1u8..), 1..6).prop_map(Damage::Flip),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Flip(flips) => flips.iter().for_each(|(at, mask)| {
                let at = at.index(bytes.len());
                bytes[at] ^= mask;
            }),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
}

/// What to load in a folder (the folder itself where empty), and the files to put there.
type Files = (&'static str, Vec<(&'static str, Vec<u8>)>);

/// Every format, valid.
fn formats() -> Vec<Files> {
    let gz = |bytes: Vec<u8>| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&bytes).unwrap();
        packed.finish().unwrap()
    };
    let (images, labels) = (idx(&[2, 2, 2], &[3; 8]), idx(&[2], &[0, 1]));
    let floats: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let (x, y) = (npy_bytes("<f4", "2, 2", false, &floats), npy_bytes("<i8", "2,", false, &[0; 16]));
    let archive = |deflated| {
        npz(
            &[("x_train", x.clone()), ("y_train", y.clone()), ("x_test", x.clone()), ("y_test", y.clone())],
            deflated,
        )
    };
    vec![
        ("", vec![("data_batch_1.bin", cifar(&[1, 2])), ("test_batch.bin", cifar(&[0]))]),
        (
            "",
            vec![
                ("train-images-idx3-ubyte", images.clone()),
                ("train-labels-idx1-ubyte", labels.clone()),
                ("t10k-images-idx3-ubyte", images.clone()),
                ("t10k-labels-idx1-ubyte", labels.clone()),
            ],
        ),
        (
            "",
            vec![
                ("train-images-idx3-ubyte.gz", gz(images.clone())),
                ("train-labels-idx1-ubyte.gz", gz(labels)),
                ("t10k-images-idx3-ubyte.gz", gz(images)),
            ],
        ),
        ("a.npz", vec![("a.npz", archive(false))]),
        ("a.npz", vec![("a.npz", archive(true))]),
        ("x.npy", vec![("x.npy", x), ("y.npy", y)]),
        ("a.csv", vec![("a.csv", b"a,\"b\",label\n1,2.5,x\n3,4e1,y\n5,6,x\n".to_vec())]),
        ("a.svm", vec![("a.svm", b"+1 1:0.5 3:2 # c\n-1 2:1\n1 1:3\n".to_vec())]),
    ]
}

fn source(folder: &Path, main: &str) -> Source {
    let at = |name: &str| folder.join(name);
    if main.ends_with(".npy") {
        return Source::Arrays {
            train_x: at("x.npy"),
            train_y: Some(at("y.npy")),
            test_x: Some(at("x.npy")),
            test_y: None,
        };
    }
    let last = TableOptions { label: None, test: Some(TestRows::Fraction { fraction: 0.3, seed: None }) };
    let table = if main.ends_with("csv") || main.ends_with("svm") { last } else { TableOptions::default() };
    Source::Path { path: at(main), table }
}

#[test]
fn the_undamaged_files_are_read() {
    for (main, files) in formats() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let data = data::load(&source(folder.path(), main), Limits::default()).unwrap();
        assert_eq!(data.train.len(), 2, "{main}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_read_or_refused(
        format in any::<prop::sample::Index>(),
        file in any::<prop::sample::Index>(),
        damage in prop::collection::vec(damage(), 1..3),
        limit in prop::option::of(0usize..3),
    ) {
        let formats = formats();
        let (main, mut files) = formats[format.index(formats.len())].clone();
        let hit = file.index(files.len());
        for damage in &damage {
            if !files[hit].1.is_empty() {
                damage.apply(&mut files[hit].1);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        match data::load(&source(folder.path(), main), Limits { train: limit, test: limit }) {
            Ok(data) => {
                // What is read keeps the promises of a data set.
                prop_assert!(!data.train.is_empty());
                prop_assert_eq!(data.train.len(), data.train_labels.len());
                prop_assert!(data.train_labels.iter().all(|&label| (label as usize) < data.classes.len()));
                prop_assert_eq!(data.train.features(), data.test.features());
                let test = data.test_labels.as_ref().map_or(data.test.len(), Vec::len);
                prop_assert_eq!(test, data.test.len());
                let (view, features) = (data.train.view(), data.train.features());
                prop_assert!((0..view.len()).all(|row| (0..features.min(9)).all(|c| view.at(row, c).is_finite())));
            }
            Err(error) => {
                prop_assert!(matches!(error, Error::Data { .. }), "{error:?}");
                prop_assert!(error.hint().is_some());
            }
        }
    }
}
