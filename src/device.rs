//! The three executors behind one API, and the choice between them.

use std::str::FromStr;

pub mod auto;

use self::auto::{Measured, Speed, Work};
use crate::cache;
use crate::cpu::simd::Isa;
use crate::error::{Error, Result};
use crate::gpu::{self, Gpu};

/// Where operations run. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Device {
    /// The definitions: 64-bit loops on one thread.
    Reference,
    /// 32-bit SIMD on all cores.
    Cpu,
    /// An adapter.
    Gpu(Gpu),
}

/// What a user asks for with `--device`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Selection {
    /// A hardware GPU if there is one and the [job](Device::open_for) is worth opening it, else the CPU; never a software adapter.
    #[default]
    Auto,
    /// [`Device::Cpu`].
    Cpu,
    /// [`Device::Reference`].
    Reference,
    /// [`Device::Gpu`] on this adapter.
    Gpu(gpu::Choice),
}

impl FromStr for Selection {
    type Err = Error;

    /// `auto`, `cpu`, `reference`, `gpu`, `gpu:N` (position in `devices`) or `gpu:NAME` (part of its name).
    fn from_str(text: &str) -> Result<Self> {
        let (kind, which) = text.split_once(':').map_or((text, None), |(kind, which)| (kind, Some(which)));
        match (kind.to_ascii_lowercase().as_str(), which) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("reference", None) => Ok(Self::Reference),
            ("gpu", None) => Ok(Self::Gpu(gpu::Choice::Any)),
            ("gpu", Some(which)) if !which.is_empty() => Ok(Self::Gpu(match which.parse() {
                Ok(index) => gpu::Choice::Index(index),
                Err(_) => gpu::Choice::Name(which.to_owned()),
            })),
            _ => Err(Error::usage(
                format!("\"{text}\" names no device"),
                "choose auto, cpu, reference, gpu, gpu:N or gpu:NAME (cs231n-gpu devices lists them)",
            )),
        }
    }
}

/// An opened device and, in a few words, why this one.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Why it was chosen.
    pub why: String,
}

impl Device {
    /// Opens what `selection` asks for, an adapter by [`gpu::Options::keeping`].
    ///
    /// # Errors
    /// [`Error::Device`] when an adapter was asked for and there is none, listing what was found. [`Selection::Auto`]
    /// falls back to the CPU instead and says why.
    pub fn open(selection: &Selection) -> Result<Opened> {
        Self::open_with(selection, &gpu::Options::keeping())
    }

    /// [`Self::open`], an adapter by these options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(selection: &Selection, options: &gpu::Options) -> Result<Opened> {
        let open = |choice: &gpu::Choice| Gpu::open(choice, options);
        Ok(match selection {
            Selection::Cpu => Opened { device: Self::Cpu, why: "asked for".into() },
            Selection::Reference => Opened { device: Self::Reference, why: "asked for".into() },
            Selection::Gpu(choice) => {
                let gpu = open(choice)?;
                let why = gpu.why().to_owned();
                Opened { device: Self::Gpu(gpu), why }
            }
            Selection::Auto => match open(&gpu::Choice::Auto) {
                Ok(gpu) => {
                    let why = gpu.why().to_owned();
                    Opened { device: Self::Gpu(gpu), why }
                }
                Err(error) => Self::without_gpu(&error),
            },
        })
    }

    /// [`Self::open`] for a job of this size: [`Selection::Auto`] takes the device that will finish it first, by the measurements that
    /// `tune` has kept, or by careful guesses (see [`auto`]).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for(selection: &Selection, work: &Work) -> Result<Opened> {
        if *selection != Selection::Auto {
            return Self::open(selection);
        }
        let measured: Measured = cache::read(auto::FILE).unwrap_or_default();
        let guessed = || Speed::of_processor(rayon::current_num_threads(), Isa::best());
        let processor = measured.of(&Self::Cpu.describe()).unwrap_or_else(guessed);
        if let Some(why) = auto::too_small(work, &processor, measured.start()) {
            return Ok(Opened { device: Self::Cpu, why });
        }
        let found = match Gpu::find(&gpu::Choice::Auto) {
            Ok(found) => found,
            Err(error) => return Ok(Self::without_gpu(&error)),
        };
        let guessed = || Speed::of_adapter(found.info.kind);
        let adapter = measured.of(&found.info.to_string()).unwrap_or_else(guessed);
        let (quicker, why) = auto::choose(work, &processor, &adapter);
        if !quicker {
            return Ok(Opened { device: Self::Cpu, why });
        }
        let why = format!("{why}; {}", found.why);
        Ok(match Gpu::open_found(found, &gpu::Options::keeping()) {
            Ok(gpu) => Opened { device: Self::Gpu(gpu), why },
            Err(error) => Self::without_gpu(&error),
        })
    }

    /// What is taken where no GPU can be.
    fn without_gpu(error: &Error) -> Opened {
        // The error goes on to list every adapter, as `devices` does; one line has room for the reason.
        let text = error.to_string();
        let reason = text.split(": ").next().unwrap_or(&text);
        Opened { device: Self::Cpu, why: format!("auto: {reason}") }
    }

    /// `"reference"`, `"cpu"` or `"gpu"`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Cpu => "cpu",
            Self::Gpu(_) => "gpu",
        }
    }

    /// The device for people: the adapter with its driver, or the processor's threads and instruction set.
    pub fn describe(&self) -> String {
        match self {
            Self::Reference => "reference (f64, one thread)".into(),
            Self::Cpu => {
                let threads = rayon::current_num_threads();
                format!(
                    "cpu ({threads} thread{}, {})",
                    if threads == 1 { "" } else { "s" },
                    crate::cpu::simd::Isa::best().name()
                )
            }
            Self::Gpu(gpu) => gpu.info().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_parse_and_bad_ones_say_what_would_do() {
        let of = |text: &str| text.parse::<Selection>();
        assert_eq!(of("auto").ok(), Some(Selection::Auto));
        assert_eq!(of("GPU").ok(), Some(Selection::Gpu(gpu::Choice::Any)));
        assert_eq!(of("gpu:1").ok(), Some(Selection::Gpu(gpu::Choice::Index(1))));
        assert_eq!(of("gpu:llvm").ok(), Some(Selection::Gpu(gpu::Choice::Name("llvm".into()))));
        for bad in ["", "cuda", "gpu:", "cpu:0"] {
            assert_eq!(of(bad).expect_err("not a device").exit_code(), 2, "{bad}");
        }
    }
}
