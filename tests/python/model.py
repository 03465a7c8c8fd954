"""Is a model file what it says? Reads model.safetensors by PyTorch's names, as anyone would who has only the file, computes the
probabilities of rows in 64 bit with numpy, and compares them with those that `predict --device reference --proba` has written.

    python model.py MODEL.safetensors ROWS.npy PROBABILITIES.npy

The reference computes in 64 bit too, and the file of probabilities holds 32, so they may differ by that rounding, 2**-24 of each, and by
what 64-bit sums in another order leave, far below 1e-12. Exits with 1 where a probability differs by more.
"""

import json
import sys

import numpy
from safetensors import safe_open

EPSILON = 1e-5  # of both normalisations, as PyTorch's default

ACTIVATIONS = {
    "relu": lambda x: numpy.maximum(x, 0.0),
    "leaky_relu": lambda x, slope: numpy.where(x >= 0.0, x, slope * x),
    "sigmoid": lambda x: 1.0 / (1.0 + numpy.exp(-x)),
    "tanh": numpy.tanh,
}


def activation(described):
    """A name, or {name: parameter}; the parameter is a 32-bit number."""
    if isinstance(described, str):
        return ACTIVATIONS[described]
    [(name, parameter)] = described.items()
    return lambda x: ACTIVATIONS[name](x, numpy.float64(numpy.float32(parameter)))


def logits(path, rows):
    with safe_open(path, framework="numpy") as file:
        architecture = json.loads(file.metadata()["cs231n-gpu"])["architecture"]
        state = {name: file.get_tensor(name).astype(numpy.float64) for name in file.keys()}
    x = (rows.astype(numpy.float64) - state.pop("input.shift")) * state.pop("input.scale")
    widths = [architecture["inputs"], *architecture["hidden"], architecture["classes"]]
    normalization, nonlinear = architecture["normalization"], activation(architecture["activation"])
    for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:]), start=1):
        weight, bias = state.pop(f"fc{layer}.weight"), state.pop(f"fc{layer}.bias")
        # torch.nn.Linear: x @ weight.T + bias.
        assert weight.shape == (outputs, inputs) and bias.shape == (outputs,), (layer, weight.shape, bias.shape)
        x = x @ weight.T + bias
        if layer == len(widths) - 1:
            break
        if normalization != "none":
            if normalization == "batch":
                # torch.nn.BatchNorm1d in eval mode.
                name, mean, variance = "bn", state.pop(f"bn{layer}.running_mean"), state.pop(f"bn{layer}.running_var")
            else:
                # torch.nn.LayerNorm.
                name, mean, variance = "ln", x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
            gamma, beta = state.pop(f"{name}{layer}.weight"), state.pop(f"{name}{layer}.bias")
            x = (x - mean) / numpy.sqrt(variance + EPSILON) * gamma + beta
        x = nonlinear(x)
    assert not state, f"tensors that no layer has: {sorted(state)}"
    return x


def main(model, rows, probabilities):
    rows, got = numpy.load(rows), numpy.load(probabilities)
    scores = logits(model, rows.reshape(len(rows), -1))
    exponentials = numpy.exp(scores - scores.max(axis=1, keepdims=True))
    want = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert got.shape == want.shape and got.dtype == numpy.float32, (got.shape, want.shape, got.dtype)
    ratio = numpy.abs(got.astype(numpy.float64) - want) / (2.0**-24 * want + 1e-12)
    worst = numpy.unravel_index(ratio.argmax(), ratio.shape)
    print(f"{got.shape[0]} rows x {got.shape[1]} classes: at most {ratio[worst]:.3f} of what is allowed")
    # A NaN is not at most 1.
    if not ratio[worst] <= 1.0:
        sys.exit(f"row {worst[0]}, class {worst[1]}: {got[worst]:.9g} in the file, {want[worst]:.9g} by numpy")


if __name__ == "__main__":
    main(*sys.argv[1:])
