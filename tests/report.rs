//! The page of a training run in a real browser: everything it holds is parsed, decoded and laid out, in a wide window
//! and in a telephone's, light and dark.
//!
//! Needs Chromium or Chrome; without one the test is listed as ignored. The page and its pictures stay in the build
//! folder's `tmp/report`, to be looked at.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cs231n_gpu::data::{self, Dataset, Limits, Source};
use cs231n_gpu::report::confusion::Confusion;
use cs231n_gpu::report::mistakes::{Mistake, mistakes, mistakes_by_margin};
use cs231n_gpu::report::page::{EpochPoint, Filters, Run, page, pictures};
use cs231n_gpu::rows::{RowsRef, ValuesRef};
use libtest_mimic::{Arguments, Failed, Trial};

/// How long a browser may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Writes what the browser made of the page into attributes of its root, which the dump shows.
const PROBE: &str = "<script>addEventListener('load', () => {
  const all = selector => [...document.querySelectorAll(selector)];
  const seen = element => { const box = element.getBoundingClientRect(); return box.width > 20 && box.height > 20; };
  const root = document.documentElement, facts = {
    headings: all('h1, h2, h3').length,
    images: all('img').length,
    decoded: all('img').filter(img => img.complete && img.naturalWidth > 0 && img.alt && seen(img)).length,
    charts: all('svg').filter(svg => seen(svg) && svg.getAttribute('aria-label')).length,
    bold: all('bdi b, bdi script').length,
    wider: root.scrollWidth - root.clientWidth,
    style: document.styleSheets[0].cssRules.length,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  for (const [name, fact] of Object.entries(facts)) root.setAttribute('data-' + name, fact);
});</script>";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let browser = names.into_iter().find(|name| answers(name));
    let cases: [Case; 4] =
        [("images", images), ("rows", rows), ("classes-20", twenty_classes), ("classes-300", many_classes)];
    let trials = cases.into_iter().map(|(name, page)| match browser {
        Some(browser) => Trial::test(name, move || opened(browser, name, &page())),
        None => Trial::test(format!("{name} (no Chromium)"), || Ok(())).with_ignored_flag(true),
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn answers(browser: &str) -> bool {
    let version = Command::new(browser).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// A page's name, and what makes it.
type Case = (&'static str, fn() -> Page);

/// A page and what a browser must find on it.
struct Page {
    html: String,
    files: Vec<(&'static str, Vec<u8>)>,
    charts: usize,
    images: usize,
    sections: &'static [&'static str],
}

fn opened(browser: &str, name: &str, page: &Page) -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report").join(name);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("index.html"), &page.html)?;
    for (name, bytes) in &page.files {
        fs::write(folder.join(name), bytes)?;
    }
    // The page's policy forbids scripts, so the copy that is probed goes without it.
    let policy =
        page.html.lines().find(|line| line.contains("Content-Security-Policy")).ok_or("no policy")?;
    let probed = page.html.replacen(policy, "", 1).replacen("</body>", &format!("{PROBE}</body>"), 1);
    let copy = folder.join("probed.html");
    fs::write(&copy, probed)?;
    let windows = [("1280,900", "1", "rgb(255, 255, 255)"), ("500,900", "0", "rgb(20, 23, 26)")];
    for (window, scheme, paper) in windows {
        let dom = dump(browser, &copy, window, scheme)?;
        let fact = |name: &str| {
            let (_, rest) =
                dom.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no {name}: {dom}"));
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let number =
            |name: &str| fact(name).parse::<usize>().unwrap_or_else(|_| panic!("{name}: {}", fact(name)));
        assert_eq!(fact("paper"), paper, "light and dark");
        assert_eq!((number("images"), number("decoded")), (page.images, page.images), "{window}");
        assert_eq!(number("charts"), page.charts, "{window}");
        assert_eq!(
            (number("bold"), number("wider")),
            (0, 0),
            "markup in names, wider than the window {window}"
        );
        assert!(number("headings") > page.sections.len() && number("style") > 50);
        for section in page.sections {
            assert!(dom.contains(&format!(">{section}</h2>")), "{section}: {dom}");
        }
    }
    Ok(())
}

/// The document as the browser holds it after loading.
fn dump(browser: &str, page: &Path, window: &str, scheme: &str) -> Result<String, Failed> {
    let folder = tempfile::tempdir()?;
    let (out, err): (PathBuf, PathBuf) = (folder.path().join("dom"), folder.path().join("log"));
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--window-size={window}"))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .args(["--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Err(format!("no answer in {PATIENCE:?}: {}", fs::read_to_string(&err)?).into());
        }
        sleep(Duration::from_millis(50));
    }
    let log = fs::read_to_string(&err)?;
    let complaint = log.lines().find(|line| line.contains("CONSOLE"));
    match complaint {
        Some(complaint) => Err(complaint.into()),
        None => Ok(fs::read_to_string(&out)?),
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn pixels(rows: RowsRef<'_>) -> &[u8] {
    match rows.values() {
        ValuesRef::U8(values) => values,
        ValuesRef::F32(_) => panic!("bytes"),
    }
}

/// The nearest mean of a class as a linear classifier, so that weights, confusions and mistakes are real ones: weights
/// (class × pixel), and scores (row × class).
fn nearest_mean(data: &Dataset) -> (Vec<f32>, Vec<f32>) {
    let (features, classes) = (data.train.features(), data.classes.len());
    let (mut sums, mut counts) = (vec![0.0f32; classes * features], vec![0.0f32; classes]);
    for (row, &label) in pixels(data.train.view()).chunks_exact(features).zip(&data.train_labels) {
        counts[label as usize] += 1.0;
        let sum = &mut sums[label as usize * features..][..features];
        sum.iter_mut().zip(row).for_each(|(sum, &pixel)| *sum += f32::from(pixel) / 255.0);
    }
    for (sum, count) in sums.chunks_exact_mut(features).zip(counts) {
        sum.iter_mut().for_each(|sum| *sum /= count);
    }
    let mut scores = Vec::new();
    for row in pixels(data.test.view()).chunks_exact(features) {
        for mean in sums.chunks_exact(features) {
            let distance =
                row.iter().zip(mean).map(|(&pixel, mean)| (f32::from(pixel) / 255.0 - mean).powi(2));
            scores.push(-0.5 * distance.sum::<f32>());
        }
    }
    let overall: Vec<f32> = (0..features)
        .map(|pixel| sums.iter().skip(pixel).step_by(features).sum::<f32>() / classes as f32)
        .collect();
    let weights = sums.iter().zip(overall.iter().cycle()).map(|(mean, overall)| mean - overall).collect();
    (weights, scores)
}

fn softmax(scores: &[f32], classes: usize, temperature: f32) -> Vec<f32> {
    let mut all = Vec::new();
    for row in scores.chunks_exact(classes) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = row.iter().map(|score| ((score - largest) / temperature).exp()).collect();
        let sum: f32 = powers.iter().sum();
        all.extend(powers.iter().map(|power| power / sum));
    }
    all
}

fn largest(scores: &[f32], classes: usize) -> Vec<u32> {
    let best = |row: &[f32]| (0..classes).reduce(|best, at| if row[at] > row[best] { at } else { best });
    scores.chunks_exact(classes).map(|row| best(row).unwrap_or(0) as u32).collect()
}

/// A loss that falls and scatters as those of mini-batches do.
fn losses(steps: u32) -> Vec<f32> {
    let noise = |step: u32| (step.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.5;
    let loss = |step: u32| 1.85 * (-0.012 * step as f32).exp().max(0.0) + 0.45 / (1.0 + step as f32 / 900.0);
    (0..steps).map(|step| loss(step) * (1.0 + 0.5 * noise(step)) + 0.02).collect()
}

fn epochs(count: usize, steps: usize, validation: bool) -> Vec<EpochPoint> {
    let point = |epoch: usize| {
        let t = epoch as f64;
        let val_accuracy = 0.86 - 0.18 * (-t / 3.0).exp() - 0.0012 * t;
        EpochPoint {
            epoch,
            step: epoch * steps,
            train_loss: 0.62 / (0.6 + t).sqrt(),
            val_loss: validation.then(|| 0.40 + 0.35 * (-t / 2.5).exp() + 0.006 * t),
            train_accuracy: Some(0.97 - 0.28 * (-t / 5.0).exp()),
            val_accuracy: validation.then_some(val_accuracy),
        }
    };
    (1..=count).map(point).collect()
}

fn images() -> Page {
    let mut data = data::load(&Source::Bundled, Limits::default()).unwrap();
    // A name as an attacker would give it.
    data.classes[6] = "Shirt & <b>\"tie\"</b>".into();
    let classes = data.classes.len();
    let truth = data.test_labels.clone().unwrap();
    let (weights, scores) = nearest_mean(&data);
    let probabilities = softmax(&scores, classes, 6.0);
    let confusion = Confusion::new(&truth, &largest(&scores, classes), &data.classes);
    let mistakes = mistakes(&probabilities, classes, &truth, 28);
    let run = Run {
        title: "Softmax on Fashion-MNIST (bundled subset)",
        headline: &[
            pair("Test accuracy", &format!("{:.1} %", 100.0 * confusion.accuracy)),
            pair("Best validation accuracy", "84.4 %"),
            pair("Epochs", "20"),
            pair("Steps per second", "1,912"),
            pair("Time", "0.47 s"),
        ],
        configuration: &[
            pair("data", "Fashion-MNIST (bundled subset): 4,500 training, 500 validation, 500 test rows"),
            pair("model", "linear, 784 → 10"),
            pair("objective", "softmax cross-entropy"),
            pair("optimizer", "momentum 0.9"),
            pair("learning rate", "0.001, cosine over 900 steps"),
            pair("L2", "0.0005 (half form)"),
            pair("batch size", "100"),
            pair("seed", "231"),
        ],
        timings: &[
            pair("device", "gpu: NVIDIA H100 PCIe (Vulkan, driver 570.86)"),
            pair("chosen because", "auto: the first real GPU"),
            pair("load", "0.08 s"),
            pair("train", "0.36 s"),
            pair("evaluate", "0.03 s"),
            pair("dispatches per step", "9"),
            pair("peak memory", "61.2 MiB"),
        ],
        epochs: &epochs(20, 45, true),
        losses: &losses(900),
        confusion: Some(&confusion),
        classes: &data.classes,
        filters: Some(Filters { values: &weights, count: classes, what: "Class templates", by_class: true }),
        reconstructions: None,
        mistakes: &mistakes,
        test: data.test.view(),
        image: data.image,
    };
    Page {
        html: page(&run).unwrap(),
        files: pictures(&run).unwrap(),
        charts: 2,
        images: 10 + mistakes.len(),
        sections: &[
            "Training",
            "Classes",
            "Class templates",
            "The most confident mistakes",
            "How it was run",
        ],
    }
}

/// An SVM on rows that are no images, without validation rows, that diverged in the end.
fn rows() -> Page {
    let classes = ["setosa", "versicolor", "virginica"].map(String::from);
    let values: Vec<f32> = (0..600).map(|i| (i * 7 % 31) as f32).collect();
    let truth: Vec<u32> = (0..150).map(|row| row % 3).collect();
    let scores: Vec<f32> =
        (0..450).map(|i| (i * 29 % 97) as f32 / 10.0 + f32::from(i % 4 == 0) * 9.0).collect();
    let confusion = Confusion::new(&truth, &largest(&scores, 3), &classes);
    let mistakes: Vec<Mistake> = mistakes_by_margin(&scores, 3, &truth, 12);
    let mut losses = losses(46_900);
    losses.extend([3e4, f32::INFINITY, f32::NAN]);
    let run = Run {
        title: "SVM on iris.csv",
        headline: &[pair("Test accuracy", &format!("{:.1} %", 100.0 * confusion.accuracy))],
        configuration: &[pair("data", &"/a/very/long/path/without/any/space".repeat(6)), pair("delta", "1")],
        timings: &[pair("device", "cpu: 8 cores")],
        epochs: &epochs(1, 46_900, false),
        losses: &losses[..46_900],
        confusion: Some(&confusion),
        classes: &classes,
        filters: Some(Filters { values: &[0.5; 12], count: 3, what: "Class templates", by_class: true }),
        reconstructions: None,
        mistakes: &mistakes,
        test: RowsRef::new(ValuesRef::F32(&values), 4).unwrap(),
        image: None,
    };
    let diverged = page(&Run { losses: &losses, ..run }).unwrap();
    assert!(diverged.contains("The loss is not finite in 2 of 46,903 steps."));
    Page {
        html: page(&run).unwrap(),
        files: pictures(&run).unwrap(),
        charts: 2,
        images: 0,
        sections: &["Training", "Classes", "The most confident mistakes", "How it was run"],
    }
}

/// More classes than a matrix can show, names longer than a column, and 512 neurons on coloured images.
fn many_classes() -> Page {
    let names =
        ["apple", "aquarium fish", "a class whose name is longer than any column of a table", "猫猫猫猫猫猫"];
    let classes: Vec<String> = (0..300).map(|class| format!("{} {class}", names[class % 4])).collect();
    let image = data::ImageShape { channels: 3, height: 12, width: 12 };
    let values: Vec<u8> = (0..40 * 432u32).map(|i| (i * i / 11 % 251) as u8).collect();
    let wave = |i: u32| ((i / 432 % 7 + 1) as f32 * (i % 12) as f32 / 4.0 + (i / 144 % 3) as f32).sin();
    let weights: Vec<f32> = (0..512 * 432u32).map(wave).collect();
    let truth: Vec<u32> = (0..9_000).map(|row| row % 300).collect();
    let predicted: Vec<u32> =
        truth.iter().zip(0u32..).map(|(&t, row)| (t + row * row / 7 % 5 % 3) % 300).collect();
    let confusion = Confusion::new(&truth, &predicted, &classes);
    let probabilities: Vec<f32> =
        (0..40 * 300u32).map(|i| (i * 2_654_435 % 1_000) as f32 / 1_000.0).collect();
    let mistakes = mistakes(&probabilities, 300, &truth[..40], 100);
    let run = Run {
        title: "Two layers on 300 classes",
        headline: &[],
        configuration: &[],
        timings: &[],
        epochs: &epochs(300, 50, true),
        losses: &[],
        confusion: Some(&confusion),
        classes: &classes,
        filters: Some(Filters { values: &weights, count: 512, what: "First-layer filters", by_class: false }),
        reconstructions: None,
        mistakes: &mistakes,
        test: RowsRef::new(ValuesRef::U8(&values), 432).unwrap(),
        image: Some(image),
    };
    Page {
        html: page(&run).unwrap(),
        files: pictures(&run).unwrap(),
        charts: 2,
        images: 1 + mistakes.len(),
        sections: &["Training", "Classes", "First-layer filters", "The most confident mistakes"],
    }
}

/// The largest matrix, with large counts, and nothing else.
fn twenty_classes() -> Page {
    let classes: Vec<String> = (0..20).map(|class| format!("superclass number {class}")).collect();
    let truth: Vec<u32> = (0..400_000).map(|row| row % 20).collect();
    let predicted: Vec<u32> =
        truth.iter().zip(0u32..).map(|(&t, row)| (t + row / 20 % 11 % 3 * (row % 7)) % 20).collect();
    let confusion = Confusion::new(&truth, &predicted, &classes);
    let run = Run {
        title: "k = 10 on 20 classes",
        headline: &[],
        configuration: &[],
        timings: &[],
        epochs: &[],
        losses: &[],
        confusion: Some(&confusion),
        classes: &classes,
        filters: None,
        reconstructions: None,
        mistakes: &[],
        test: RowsRef::new(ValuesRef::U8(&[]), 1).unwrap(),
        image: None,
    };
    let files = pictures(&run).unwrap();
    Page { html: page(&run).unwrap(), files, charts: 0, images: 0, sections: &["Classes"] }
}
