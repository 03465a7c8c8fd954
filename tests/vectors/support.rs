//! The file of vectors, and what a runner compares with.

use cs231n_gpu::tolerance::{Chain, DOUBLE, largest_error, relative_error};
use cs231n_gpu::{Device, Tensor};
use serde_json::Value;

/// Everything that went wrong, as text.
pub type Outcome = Result<(), String>;

/// The whole file.
pub struct File {
    pub vectors: Vec<Vector>,
    /// How many vectors the file says it has.
    pub count: usize,
}

pub struct Vector {
    pub name: String,
    pub group: String,
    pub inputs: Value,
    pub expected: Value,
    /// In words; see [`Vector::stated`].
    pub tolerance: String,
}

impl File {
    pub fn load() -> Self {
        let file: Value = serde_json::from_str(include_str!("cs231n.json")).expect("the vectors are JSON");
        let text = |vector: &Value, key: &str| vector[key].as_str().unwrap_or_default().to_owned();
        let vectors = file["vectors"].as_array().expect("a list of vectors").iter().map(|vector| Vector {
            name: text(vector, "name"),
            group: text(vector, "group"),
            inputs: vector["inputs"].clone(),
            expected: vector["expected"].clone(),
            tolerance: text(vector, "tolerance"),
        });
        Self { vectors: vectors.collect(), count: file["count"].as_u64().unwrap_or(0) as usize }
    }
}

impl Vector {
    /// The tolerances in the vector's words, in their order: every number with an exponent, and the 0 of "abs 0". "~1e-7" is an order of
    /// magnitude: anything below 1e-6.
    pub fn stated(&self) -> Vec<f64> {
        let words = self.tolerance.split(|c: char| c.is_whitespace() || "()|<=/;,".contains(c));
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        let mut stated = Vec::new();
        for (i, word) in words.iter().enumerate() {
            let (number, factor) = word.strip_prefix('~').map_or((*word, 1.0), |number| (number, 10.0));
            let counts = number.contains("e-") || (number == "0" && i > 0 && words[i - 1] == "abs");
            if let (true, Ok(number)) = (counts, number.parse::<f64>()) {
                stated.push(factor * number);
            }
        }
        stated
    }
}

/// Numbers of the file: `{shape, data}`, lists of any depth, or one number.
pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        Value::Object(object) => object.get("data").map(numbers).unwrap_or_default(),
        value => value.as_f64().into_iter().collect(),
    }
}

/// The shape of such numbers.
pub fn shape(value: &Value) -> Vec<usize> {
    match value {
        Value::Array(values) => {
            let inner = values.first().map(shape).unwrap_or_default();
            [vec![values.len()], inner].concat()
        }
        Value::Object(object) => {
            numbers(object.get("shape").unwrap_or(&Value::Null)).into_iter().map(|n| n as usize).collect()
        }
        _ => Vec::new(),
    }
}

/// `np.linspace(from, to, n)`.
pub fn linspace(from: f64, to: f64, n: usize) -> Vec<f64> {
    let step = (to - from) / (n - 1) as f64;
    let values = (0..n).map(|i| if i + 1 == n { to } else { i as f64 * step + from });
    values.collect()
}

/// One vector on one device.
pub struct Case<'a> {
    file: &'a File,
    pub vector: &'a Vector,
    pub device: Device,
}

impl<'a> Case<'a> {
    pub fn new(file: &'a File, index: usize, device: Device) -> Self {
        Self { file, vector: &file.vectors[index], device }
    }

    /// The inputs of another vector, which this one refers to.
    pub fn inputs_of(&self, name: &str) -> &Value {
        let vector = self.file.vectors.iter().find(|vector| vector.name == name);
        &vector.expect("a vector that is referred to").inputs
    }

    pub fn on_reference(&self) -> bool {
        matches!(self.device, Device::Reference)
    }

    pub fn real(&self, shape: &[usize], values: &[f64]) -> Result<Tensor, String> {
        Tensor::from_f64(&self.device, shape, values).map_err(text)
    }

    pub fn labels(&self, values: &[u32]) -> Result<Tensor, String> {
        Tensor::from_u32(&self.device, &[values.len()], values).map_err(text)
    }

    /// The input `key` in its own shape.
    pub fn input(&self, key: &str) -> Result<Tensor, String> {
        let value = &self.vector.inputs[key];
        self.real(&shape(value), &numbers(value))
    }

    pub fn number(&self, key: &str) -> f64 {
        self.vector.inputs[key].as_f64().expect("an input number")
    }

    pub fn input_labels(&self, key: &str) -> Result<Tensor, String> {
        self.labels(&integers(&self.vector.inputs[key]))
    }

    /// The first tolerance that the vector states.
    pub fn stated(&self) -> f64 {
        self.vector.stated().first().copied().unwrap_or(DOUBLE)
    }

    fn chain(&self) -> Chain {
        match self.vector.name.contains("norm") && !self.vector.name.ends_with("norm2") {
            true => Chain::Normalized,
            false => Chain::Plain,
        }
    }

    /// `got` against the expected `key`: relative errors within `stated` on the reference, and the largest error within the policy of
    /// 32 bit elsewhere. `stated` is a number of the vector's tolerance, or `DOUBLE` where it names none for this key.
    pub fn near(&self, key: &str, got: &[f64], stated: f64) -> Outcome {
        self.near_to(key, got, &numbers(&self.vector.expected[key]), stated)
    }

    /// As [`Self::near`], for a value that the vector has elsewhere.
    pub fn near_to(&self, key: &str, got: &[f64], want: &[f64], stated: f64) -> Outcome {
        if got.len() != want.len() || want.is_empty() {
            return Err(format!("{key}: {} values for {} expected", got.len(), want.len()));
        }
        let (error, allowed) = match self.on_reference() {
            true => {
                let errors = got.iter().zip(want).map(|(got, want)| relative_error(*got, *want));
                (
                    errors.fold(
                        0.0,
                        |worst, error| if error > worst || error.is_nan() { error } else { worst },
                    ),
                    stated,
                )
            }
            false => (largest_error(got, want, want), self.chain().tolerance()),
        };
        if error <= allowed {
            return Ok(());
        }
        Err(format!("{key}: error {error:e} above {allowed:e}: got {:?}, want {:?}", head(got), head(want)))
    }

    /// |got − want| ≤ `stated` on the reference; elsewhere as [`Self::near`].
    pub fn near_absolutely(&self, key: &str, got: f64, stated: f64) -> Outcome {
        let want = self.vector.expected[key].as_f64().expect("an expected number");
        match self.on_reference() {
            true if (got - want).abs() <= stated => Ok(()),
            true => Err(format!("{key}: got {got}, want {want}, allowed {stated:e}")),
            false => self.near(key, &[got], stated),
        }
    }
}

/// Whole numbers of the file.
pub fn integers(value: &Value) -> Vec<u32> {
    numbers(value).into_iter().map(|n| n as u32).collect()
}

fn head(values: &[f64]) -> &[f64] {
    &values[..values.len().min(8)]
}

pub fn text(error: impl ToString) -> String {
    error.to_string()
}

/// The values of a tensor.
pub fn host(tensor: &Tensor) -> Result<Vec<f64>, String> {
    tensor.to_f64().map_err(text)
}
