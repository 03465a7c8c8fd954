//! Random changes of training images, as `--augment` names them.

use serde::{Deserialize, Serialize};

use crate::data::ImageShape;
use crate::error::{Error, Result};
use crate::nn::solver::Augmentation;
use crate::ops::augment::MOST_SHIFT;

/// Random changes of training images: mirrored, moved by up to so many pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(in crate::cli) struct Changes {
    flip: bool,
    shift: u32,
}

impl Changes {
    /// What is done to the images of each batch; refused where rows are no images, or smaller than the shift.
    pub(super) fn of_images(self, image: Option<ImageShape>) -> Result<Option<Augmentation>> {
        let Self { flip, shift } = self;
        if self == Self::default() {
            return Ok(None);
        }
        let Some(image) = image else {
            return Err(Error::usage(
                "--augment means nothing to rows that are no images",
                "leave it out, or give images: CIFAR or idx files, or arrays of three or four dimensions",
            ));
        };
        if shift as usize >= image.height.min(image.width) || shift > MOST_SHIFT {
            return Err(Error::usage(
                format!("--augment shifts images of {} × {} pixels by {shift}", image.height, image.width),
                "give fewer pixels than an image has, such as shift:2",
            ));
        }
        Ok(Some(Augmentation { image, flip, shift }))
    }
}

impl std::str::FromStr for Changes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Self::default());
        }
        let mut changes = Self::default();
        for change in text.split(',').map(str::trim) {
            match (change, change.strip_prefix("shift:").map(str::parse)) {
                ("flip", _) => changes.flip = true,
                (_, Some(Ok(pixels))) => changes.shift = pixels,
                _ => {
                    return Err(Error::usage(
                        format!("\"{change}\" is no change of images"),
                        "write none, flip, shift:PIXELS or both, like flip,shift:2",
                    ));
                }
            }
        }
        Ok(changes)
    }
}

impl TryFrom<String> for Changes {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Changes> for String {
    fn from(changes: Changes) -> Self {
        match changes {
            Changes { flip: false, shift: 0 } => "none".into(),
            Changes { flip: true, shift: 0 } => "flip".into(),
            Changes { flip: false, shift } => format!("shift:{shift}"),
            Changes { flip: true, shift } => format!("flip,shift:{shift}"),
        }
    }
}
