//! What is kept between runs: measurements and compiled kernels, in the user's folder for caches. Nothing here is needed, and nothing here may
//! break a run. The driver loads the kernels as they are, so the folder must be one that nobody else can write.
//!
//! `CS231N_GPU_CACHE` names another folder, or is `off`: then nothing is kept and nothing is found.

use std::path::PathBuf;

use etcetera::BaseStrategy;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::write;
use crate::error::{Error, Result};

/// Names the folder, or is `off`.
const VARIABLE: &str = "CS231N_GPU_CACHE";

/// The folder, if there is to be one. It need not exist.
pub fn folder() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(value) if value == "off" => None,
        Some(value) if !value.is_empty() => Some(value.into()),
        _ => Some(etcetera::choose_base_strategy().ok()?.cache_dir().join(env!("CARGO_PKG_NAME"))),
    }
}

/// What was kept under `name`, by this version. A file that is missing, broken or of another version is none.
pub fn read<T: DeserializeOwned>(name: &str) -> Option<T> {
    let text = std::fs::read(folder()?.join(name)).ok()?;
    let kept: Kept<T> = serde_json::from_slice(&text).ok()?;
    (kept.version == env!("CARGO_PKG_VERSION")).then_some(kept.content)
}

/// Keeps `content` under `name`, whole or not at all; returns where.
///
/// # Errors
/// [`Error::Usage`] where nothing is to be kept; [`Error::Io`] where the folder cannot be written.
pub fn write(name: &str, content: &impl Serialize) -> Result<PathBuf> {
    let folder = folder().ok_or_else(|| {
        Error::usage("there is no folder to keep measurements in", format!("set {VARIABLE} to a folder"))
    })?;
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join(name);
    let kept = Kept { version: env!("CARGO_PKG_VERSION").to_owned(), content };
    let text = serde_json::to_vec_pretty(&kept).map_err(|error| {
        Error::usage(format!("the measurements do not fit JSON: {error}"), "measure again")
    })?;
    write::bytes(&path, &text)?;
    Ok(path)
}

/// Forgets what was kept under `name`; returns whether there was anything.
///
/// # Errors
/// [`Error::Io`] where it is there and cannot be removed.
pub fn remove(name: &str) -> Result<bool> {
    let Some(folder) = folder() else { return Ok(false) };
    let path = folder.join(name);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// A file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept<T> {
    version: String,
    content: T,
}
