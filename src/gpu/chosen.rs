//! Families of kernels that were quicker on this machine than those that are chosen without measuring. `tune` keeps them.

use std::collections::BTreeMap;

use super::Info;
use crate::cache;

/// The name under which they are [kept](crate::cache).
pub const FILE: &str = "kernels.json";

/// The families of a device, by operation and class of its shapes. Names mean something to the operation alone, which ignores what it does not
/// know or the device cannot run.
pub type Families = BTreeMap<String, BTreeMap<String, String>>;

/// The families of every device that was measured, by its description: with another driver it is another device.
pub type Chosen = BTreeMap<String, Families>;

/// What is kept for an adapter; nothing where no file of this version is there.
pub(crate) fn of(info: &Info) -> Families {
    cache::read::<Chosen>(FILE).and_then(|mut chosen| chosen.remove(&info.to_string())).unwrap_or_default()
}
