//! What the weights look like, and the rows that were got wrong.

use std::fmt::Write;

use super::html::{escape, head, name, percent, section, source, table};
use super::{Filters, Run};
use crate::data::ImageShape;
use crate::error::Result;
use crate::report::mistakes::{Confidence, Mistake};
use crate::report::picture;
use crate::report::table::{shorten, thousands};
use crate::report::templates::{MOST, templates};

/// Mistakes that the page shows at most.
const MOST_MISTAKES: usize = 60;
/// Classes whose templates stand one by one, each over its name.
const MOST_NAMED: usize = 20;
/// Columns of a class name under a picture.
const NAME: usize = 22;

/// Templates in one picture; `None` where rows are no images.
pub(super) fn grid(run: &Run<'_>) -> Result<Option<Vec<u8>>> {
    let Some((filters, image)) = drawable(run) else { return Ok(None) };
    let columns = if filters.count <= 10 { 5 } else { 10 };
    templates(filters.values, filters.count, image, columns).map(Some)
}

fn drawable<'a>(run: &Run<'a>) -> Option<(Filters<'a>, ImageShape)> {
    let (filters, image) = (run.filters?, run.image?);
    let features = filters.values.len().checked_div(filters.count)?;
    (features * filters.count == filters.values.len() && picture::fits(image, features))
        .then_some((filters, image))
}

/// The section of the templates, empty where rows are no images.
pub(super) fn weights(run: &Run<'_>) -> Result<String> {
    let Some((filters, image)) = drawable(run) else { return Ok(String::new()) };
    let meaning = match filters.by_class {
        true => {
            "of one class, on a scale of its own: where it is bright, bright pixels speak for the class; where it \
                 is dark, against it"
        }
        false => {
            "of one neuron, on a scale of its own: where it is bright, bright pixels raise what the neuron puts \
                  out; where it is dark, they lower it"
        }
    };
    let mut body = format!("<p>Each picture is the weights {meaning}.</p>\n");
    if filters.by_class && filters.count == run.classes.len() && filters.count <= MOST_NAMED {
        body += "<ul class=\"pictures templates\">\n";
        let features = filters.values.len() / filters.count;
        for (values, class) in filters.values.chunks_exact(features).zip(run.classes) {
            let png = picture::png(&picture::stretched(values, image), image)?;
            let alt = format!("weights of {}", shorten(class, NAME));
            let (source, name) = (source(&png, &alt), name(class, NAME));
            let _ = writeln!(body, "<li><figure><img {source}><figcaption>{name}</figcaption></figure></li>");
        }
        body += "</ul>\n";
    } else if let Some(png) = grid(run)? {
        let (count, shown) = (filters.count, filters.count.min(MOST));
        let note = match count > shown {
            true => format!("The first {shown} of {}.", thousands(count)),
            false => format!("All {count}."),
        };
        let source = source(&png, &format!("a grid of {shown} pictures of weights"));
        let _ =
            writeln!(body, "<figure><img class=\"grid\" {source}><figcaption>{note}</figcaption></figure>");
    }
    Ok(section("weights", filters.what, &body))
}

/// The section of the mistakes, empty without one.
pub(super) fn mistakes(run: &Run<'_>) -> Result<String> {
    if run.mistakes.is_empty() {
        return Ok(String::new());
    }
    let shown = &run.mistakes[..run.mistakes.len().min(MOST_MISTAKES)];
    let image = run.image.filter(|&image| picture::fits(image, run.test.features()));
    let pictured = image.filter(|_| shown.iter().all(|mistake| mistake.row < run.test.len()));
    let sure = match shown[0].confidence {
        Confidence::Probability(_) => "the probability it was given",
        Confidence::Margin(_) => "by how much its score exceeds that of the true class",
    };
    let mut body = format!(
        "<p>Wrong predictions of test rows, the surest first: the true class, the predicted one, and {sure}. Some of \
         these rows may be labelled wrongly; the others show what the model has not understood.</p>\n"
    );
    body += &match pictured {
        Some(image) => pictures(run, shown, image)?,
        None => list(run, shown),
    };
    Ok(section("mistakes", "The most confident mistakes", &body))
}

fn pictures(run: &Run<'_>, shown: &[Mistake], image: ImageShape) -> Result<String> {
    let mut list = String::from("<ul class=\"pictures\">\n");
    for mistake in shown {
        let png = picture::of_row(run.test, mistake.row, image)?;
        let (truth, predicted) = names(run, mistake);
        let _ = writeln!(
            list,
            "<li><figure><img {}><figcaption>{} → <b>{}</b><span>{} · row {}</span></figcaption></figure></li>",
            source(&png, &format!("test row {}", mistake.row)),
            name(&truth, NAME),
            name(&predicted, NAME),
            confidence(mistake),
            thousands(mistake.row)
        );
    }
    Ok(list + "</ul>\n")
}

fn list(run: &Run<'_>, shown: &[Mistake]) -> String {
    let mut rows = String::new();
    for mistake in shown {
        let (truth, predicted) = names(run, mistake);
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{}</th><td class=\"word\">{}</td><td class=\"word\">{}</td><td>{}</td></tr>",
            thousands(mistake.row),
            name(&truth, 40),
            name(&predicted, 40),
            confidence(mistake)
        );
    }
    let sure = match shown[0].confidence {
        Confidence::Probability(_) => "probability",
        Confidence::Margin(_) => "margin",
    };
    let head = head("row", &["true class", "predicted"], &[sure]);
    table("confused", "most confident mistakes", &head, &rows, "Test rows are numbered from 0.")
}

/// Names of the true and of the predicted class; numbers where the caller knows none.
fn names(run: &Run<'_>, mistake: &Mistake) -> (String, String) {
    let name = |class: u32| run.classes.get(class as usize).cloned().unwrap_or_else(|| class.to_string());
    (name(mistake.truth), name(mistake.predicted))
}

fn confidence(mistake: &Mistake) -> String {
    match mistake.confidence {
        Confidence::Probability(share) => percent(f64::from(share)),
        Confidence::Margin(margin) => escape(&format!("by {margin:.2}")),
    }
}
