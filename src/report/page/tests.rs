use super::super::mistakes::{Confidence, mistakes};
use super::*;
use crate::rows::ValuesRef;

const IMAGE: ImageShape = ImageShape { channels: 1, height: 2, width: 2 };

fn epoch(epoch: usize, val_accuracy: Option<f64>) -> EpochPoint {
    let val_loss = val_accuracy.map(|accuracy| 1.0 - accuracy);
    EpochPoint {
        epoch,
        step: 30 * epoch,
        train_loss: 0.5,
        val_loss,
        train_accuracy: Some(0.75),
        val_accuracy,
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

/// A run of which nothing but its title is known.
fn bare<'a>() -> Run<'a> {
    let test = RowsRef::new(ValuesRef::U8(&[]), 4).expect("no rows");
    Run {
        title: "a <title> & more",
        headline: &[],
        configuration: &[],
        timings: &[],
        epochs: &[],
        losses: &[],
        confusion: None,
        classes: &[],
        filters: None,
        reconstructions: None,
        mistakes: &[],
        test,
        image: None,
    }
}

/// Panics unless every element is closed by its own end, in order.
fn check_nesting(html: &str) {
    let void = ["meta", "img"];
    let mut open: Vec<&str> = Vec::new();
    let (head, styled) = html.split_once("<style>").expect("a style");
    let (_, body) = styled.split_once("</style>").expect("a style");
    for part in [head, body] {
        for tag in part.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("no end of <{tag}"));
            let name = tag.split_whitespace().next().unwrap_or_default();
            match name.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name), "in <{tag}>"),
                None if name.starts_with('!') || void.contains(&name) || tag.ends_with('/') => {}
                None => open.push(name),
            }
        }
    }
    assert!(open.is_empty(), "{open:?} are never closed");
}

fn checked(run: &Run<'_>) -> String {
    let html = page(run).expect("a page");
    check_nesting(&html);
    for outside in ["http:", "https:", "<script", "<link", "url(", "@import"] {
        let found = html.replace("http://www.w3.org/2000/svg", "").contains(outside);
        assert!(!found, "{outside} in the page");
    }
    let ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    html
}

#[test]
fn a_run_of_everything_has_every_section() {
    let classes = ["<b>cat</b>", "dog \"x\""].map(String::from);
    let confusion = Confusion::new(&[0, 0, 1, 1], &[0, 1, 1, 1], &classes);
    let found = mistakes(&[0.9, 0.1, 0.2, 0.8, 0.4, 0.6, 0.1, 0.9], 2, &[0, 0, 1, 1], 9);
    let losses: Vec<f32> = (0..90).map(|step| 2.0 / (1.0 + step as f32)).collect();
    let values: Vec<u8> = (0..16).collect();
    let run = Run {
        headline: &[pair("accuracy", "75 %")],
        configuration: &[pair("data", "<script>alert(1)</script>")],
        timings: &[pair("device", "a & b")],
        epochs: &[epoch(1, Some(0.5)), epoch(2, Some(0.8)), epoch(3, Some(0.7))],
        losses: &losses,
        confusion: Some(&confusion),
        classes: &classes,
        filters: Some(Filters { values: &[0.5; 8], count: 2, what: "Class templates", by_class: true }),
        mistakes: &found,
        test: RowsRef::new(ValuesRef::U8(&values), 4).expect("four rows"),
        image: Some(IMAGE),
        ..bare()
    };
    let html = checked(&run);
    for title in ["Training", "Classes", "Class templates", "The most confident mistakes", "How it was run"] {
        assert!(html.contains(&format!(">{title}</h2>")), "{title}");
    }
    assert_eq!(html.matches("<svg").count(), 2);
    assert_eq!(html.matches("<img src=\"data:image/png;base64,").count(), 2 + 1, "templates and a mistake");
    assert!(html.contains("&lt;b&gt;cat&lt;/b&gt;</bdi> → <b><bdi>dog &quot;x&quot;</bdi></b>"), "{html}");
    assert!(html.contains("80.0\u{a0}% · row 1"));
    assert_eq!(html.matches("<tr class=\"best\">").count(), 1);
    let names: Vec<&str> = pictures(&run).expect("pictures").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["loss.svg", "accuracy.svg", "templates.png"]);
}

#[test]
fn what_is_unknown_is_left_out() {
    let html = checked(&bare());
    assert!(html.contains("<h1>a &lt;title&gt; &amp; more</h1>"));
    assert!(!html.contains("<h2") && !html.contains("<svg") && !html.contains("<img"));
    assert!(pictures(&bare()).expect("none").is_empty());
}

#[test]
fn one_epoch_without_validation_is_enough() {
    let run = Run { epochs: &[epoch(1, None)], losses: &[0.7], ..bare() };
    let html = checked(&run);
    assert_eq!(html.matches("<svg").count(), 2);
    assert!(!html.contains("alidation loss in the end") && !html.contains(">\nvalidation\n"), "{html}");
    assert!(html.contains("<td>–</td>"), "no validation loss");
    let html = checked(&Run { losses: &[], ..run });
    assert!(html.contains("over 1 epoch."), "{html}");
}

#[test]
fn a_run_that_diverged_says_so() {
    let html = checked(&Run { losses: &[1.0, f32::INFINITY, f32::NAN, f32::NAN], ..bare() });
    assert!(html.contains("The loss is not finite in 3 of 4 steps."));
    assert_eq!(html.matches("<svg").count(), 1);
    let html = checked(&Run { losses: &[f32::NAN], ..bare() });
    assert!(html.contains("The loss is not finite in 1 of 1 step.") && !html.contains("<svg"));
}

#[test]
fn rows_that_are_no_images_have_a_table() {
    let values = [0.25f32; 6];
    let mistake = |row| Mistake { row, truth: 0, predicted: 9, confidence: Confidence::Margin(1.5) };
    let run = Run {
        mistakes: &[mistake(1), mistake(700)],
        test: RowsRef::new(ValuesRef::F32(&values), 3).expect("two rows"),
        filters: Some(Filters { values: &[0.5; 6], count: 2, what: "Templates", by_class: true }),
        ..bare()
    };
    // Rows outside the test rows, and shapes that do not fit, are as good as no images.
    for image in [None, Some(ImageShape { channels: 3, height: 1, width: 1 }), Some(IMAGE)] {
        let html = checked(&Run { image, ..run });
        assert!(html.contains("<td>by 1.50</td>"), "{html}");
        assert!(
            html.contains("<td class=\"word\"><bdi>9</bdi></td>"),
            "a class without a name has its number"
        );
        assert_eq!(
            html.contains("<img"),
            image.is_some_and(|image| image.channels == 3),
            "the templates fit"
        );
    }
}

#[test]
fn many_neurons_are_one_picture() {
    let filters = Filters { values: &[0.5; 4 * 512], count: 512, what: "Filters", by_class: false };
    let html = checked(&Run { filters: Some(filters), image: Some(IMAGE), ..bare() });
    assert_eq!(html.matches("<img").count(), 1);
    assert!(html.contains("The first 100 of 512."));
}

#[test]
fn hundreds_of_epochs_are_thinned() {
    let epochs: Vec<EpochPoint> =
        (1..=1000).map(|n| epoch(n, Some(if n == 778 { 0.9 } else { 0.5 }))).collect();
    let html = checked(&Run { epochs: &epochs, ..bare() });
    let listed = html.matches("<th scope=\"row\">").count();
    assert_eq!(listed, 200 + 2, "every fifth, the best and the last");
    assert!(html.contains("<tr class=\"best\"><th scope=\"row\">778</th>"));
}
