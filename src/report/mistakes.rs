//! Wrong predictions that the classifier was surest of: mislabelled rows, and what it has not understood.

/// A wrong prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mistake {
    /// The test row.
    pub row: usize,
    /// Its class.
    pub truth: u32,
    /// The class that was predicted.
    pub predicted: u32,
    /// How sure the prediction was.
    pub confidence: Confidence,
}

/// How sure a prediction is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Confidence {
    /// The probability of the predicted class, 0 to 1.
    Probability(f32),
    /// By how much the score of the predicted class exceeds that of the true one: scores of an SVM are no probabilities.
    Margin(f32),
}

/// The `most` wrong predictions of highest probability, surest first, and among equals in the order of rows.
/// `probabilities` holds a row of `classes` numbers for each of `truth`; the first largest of a row is predicted. Rows
/// with a NaN, which predict nothing, are left out.
pub fn mistakes(probabilities: &[f32], classes: usize, truth: &[u32], most: usize) -> Vec<Mistake> {
    worst(probabilities, classes, truth, most, |row, predicted, _| Confidence::Probability(row[predicted]))
}

/// As [`mistakes`], from scores instead of probabilities: widest margin first.
pub fn mistakes_by_margin(scores: &[f32], classes: usize, truth: &[u32], most: usize) -> Vec<Mistake> {
    worst(scores, classes, truth, most, |row, predicted, truth| {
        Confidence::Margin(row[predicted] - row.get(truth).copied().unwrap_or(f32::NEG_INFINITY))
    })
}

fn worst(
    outputs: &[f32],
    classes: usize,
    truth: &[u32],
    most: usize,
    confidence: impl Fn(&[f32], usize, usize) -> Confidence,
) -> Vec<Mistake> {
    let rows = outputs.chunks_exact(classes.max(1)).zip(truth).enumerate();
    let mut wrong: Vec<Mistake> = rows
        .filter_map(|(row, (outputs, &truth))| {
            let predicted = first_largest(outputs)?;
            (predicted != truth as usize).then(|| Mistake {
                row,
                truth,
                predicted: predicted as u32,
                confidence: confidence(outputs, predicted, truth as usize),
            })
        })
        .collect();
    let size = |mistake: &Mistake| match mistake.confidence {
        Confidence::Probability(size) | Confidence::Margin(size) => size,
    };
    wrong.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.row.cmp(&b.row)));
    wrong.truncate(most);
    wrong
}

fn first_largest(outputs: &[f32]) -> Option<usize> {
    if outputs.iter().any(|value| value.is_nan()) {
        return None;
    }
    let larger = |best: usize, at: usize| if outputs[at] > outputs[best] { at } else { best };
    (0..outputs.len()).reduce(larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_come_first() {
        let probabilities = [0.6, 0.4, 0.1, 0.9, 0.9, 0.1, 0.5, 0.5, f32::NAN, 1.0, 0.4, 0.6];
        let found = mistakes(&probabilities, 2, &[1, 0, 1, 1, 0, 1], 3);
        let brief: Vec<_> = found.iter().map(|m| (m.row, m.truth, m.predicted, m.confidence)).collect();
        let sure = Confidence::Probability;
        assert_eq!(brief, [(1, 0, 1, sure(0.9)), (2, 1, 0, sure(0.9)), (0, 1, 0, sure(0.6))]);
        assert_eq!(mistakes(&probabilities, 2, &[1, 0, 1, 1, 0, 1], 9).len(), 4, "a tie predicts the first");
    }

    #[test]
    fn margins_are_differences_of_scores() {
        let found = mistakes_by_margin(&[3.0, 1.0, 2.0, -1.0, 5.0, 4.0], 3, &[2, 0], 9);
        let margins: Vec<_> = found.iter().map(|m| (m.row, m.confidence)).collect();
        assert_eq!(margins, [(1, Confidence::Margin(6.0)), (0, Confidence::Margin(1.0))]);
    }

    #[test]
    fn odd_sizes_do_no_harm() {
        assert!(mistakes(&[], 0, &[], 5).is_empty() && mistakes(&[1.0], 0, &[0], 5).is_empty());
        assert!(mistakes(&[1.0, 1.0], 1, &[0, 0], 5).is_empty(), "one class is always right");
        assert_eq!(mistakes(&[1.0, 0.0], 2, &[7, 7], 5).len(), 1, "a class that no output knows");
        assert_eq!(mistakes_by_margin(&[1.0], 1, &[7], 5)[0].confidence, Confidence::Margin(f32::INFINITY));
    }
}
