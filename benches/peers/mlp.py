#!/usr/bin/env python3
"""The same training by JAX, scikit-learn and cs231n-gpu, interleaved: medians and ratios as Markdown.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python3 benches/peers/mlp.py --cifar CIFAR_FOLDER --fashion FASHION_MNIST_FOLDER [--device cpu] [--runs 5]

Speed: steps per second of nets of CIFAR-10's rows under Adam: 3,072-512-10 in batches of 256, and the course's first exercises, 3,072-50-10
and the softmax classifier in batches of 200. JAX: one jitted step, rows on the device, the loss not read; ours: `steps_per_second` of the
JSON, which includes the evaluation after each epoch.
Accuracy: one hidden layer of 128, 10 epochs, batch 100, Adam 1e-3, L2 1e-4, pixels divided by 255, three seeds; scikit-learn's
MLPClassifier in the same configuration (its alpha is divided by the rows of a batch, so it gets a hundred times that).
CIFAR_FOLDER holds data_batch_1.bin and test_batch.bin, FASHION_MNIST_FOLDER the idx files, .gz or plain.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from knn import cifar, idx, peer_environment

HERE = pathlib.Path(__file__).resolve()
# (hidden units or none, rows of a batch, epochs of 10,000 rows).
NETS = ((512, 256, 4), (50, 200, 8), (0, 200, 20))

# In a process of its own: JAX reads its thread settings when it is imported.
JAX = r"""
import json, sys, time
import jax, jax.numpy as jnp, numpy as np
x, y = np.load(sys.argv[1]), np.load(sys.argv[2])
batch, hidden, steps = map(int, sys.argv[3:6])
x = jnp.asarray((x.astype(np.float32) - x.mean(0)) / x.std())
y = jnp.asarray(y.astype(np.int32))
key = jax.random.split(jax.random.PRNGKey(231), 2)
he = lambda key, i, o: jax.random.normal(key, (i, o)) * np.sqrt(2 / i)
sizes = [x.shape[1], *([hidden] if hidden else []), 10]
params = [p for k, i, o in zip(key, sizes, sizes[1:]) for p in (he(k, i, o), jnp.zeros(o))]
zeros = [jnp.zeros_like(p) for p in params]
def loss(params, x, y):
    scores = x @ params[0] + params[1]
    if hidden:
        scores = jnp.maximum(scores, 0) @ params[2] + params[3]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores), y[:, None], 1))
def step(params, m, v, t, rows):
    g = jax.grad(loss)(params, x[rows], y[rows])
    m = [0.9 * m + 0.1 * g for m, g in zip(m, g)]
    v = [0.999 * v + 0.001 * g * g for v, g in zip(v, g)]
    a, b = 1 - 0.9 ** t, 1 - 0.999 ** t
    return [p - 1e-3 * (m / a) / (jnp.sqrt(v / b) + 1e-8) for p, m, v in zip(params, m, v)], m, v
step = jax.jit(step, donate_argnums=(0, 1, 2))
rows = [jnp.asarray(np.random.default_rng(i).integers(0, len(x), batch)) for i in range(steps + 1)]
m, v = zeros, [jnp.zeros_like(p) for p in params]
params, m, v = step(params, m, v, 1.0, rows[0])
jax.block_until_ready(params)
start = time.perf_counter()
for t in range(steps):
    params, m, v = step(params, m, v, t + 2.0, rows[t + 1])
jax.block_until_ready(params)
print(json.dumps(steps / (time.perf_counter() - start)))
"""


def run(command, environment=None):
    done = subprocess.run(command, env=environment, check=True, capture_output=True, cwd=tempfile.gettempdir())
    return json.loads(done.stdout)


def ours(arguments, folder, options):
    command = [arguments.binary, "train", *options, "--device", arguments.device, "--threads", str(arguments.threads)]
    return run(command + ["--format", "json", "--run-dir", folder])


def speed(arguments, folder):
    rows = cifar(arguments.cifar, "data_batch_1.bin")
    labels = np.fromfile(pathlib.Path(arguments.cifar) / "data_batch_1.bin", np.uint8).reshape(-1, 3073)[:, 0]
    x, y = str(pathlib.Path(folder) / "x.npy"), str(pathlib.Path(folder) / "y.npy")
    np.save(x, rows)
    np.save(y, labels)
    data = str(pathlib.Path(arguments.cifar).resolve())
    options = ["--data", data, "--train-limit", str(len(rows)), "--val-fraction", "0", "--l2", "0", "--optimizer", "adam"]
    threads = f"--xla_cpu_multi_thread_eigen={'true' if arguments.threads > 1 else 'false'}"
    environment = peer_environment() | {"XLA_FLAGS": threads, "JAX_PLATFORMS": "cpu"}
    figures, lines = {}, []
    for hidden, batch, epochs in NETS:
        net = f"3,072-{hidden}-10" if hidden else "3,072-10"
        model = ["mlp", "--hidden", str(hidden)] if hidden else ["softmax"]
        model += [*options, "--batch-size", str(batch), "--epochs", str(epochs)]
        steps = str(epochs * (len(rows) // batch))
        found = {"ours": [], "JAX": []}
        for _ in range(arguments.runs):
            found["ours"].append(ours(arguments, folder, model)["steps_per_second"])
            found["JAX"].append(run([sys.executable, "-c", JAX, x, y, str(batch), str(hidden), steps], environment))
            print(net, {who: round(values[-1], 1) for who, values in found.items()}, file=sys.stderr)
        middle = {who: statistics.median(values) for who, values in found.items()}
        ratio = middle["ours"] / middle["JAX"]
        lines += [f"| {net}, batch {batch}, Adam | {middle['ours']:,.1f} | {middle['JAX']:,.1f} | {ratio:.2f}× |"]
        figures[net] = found
    print("| net | ours, steps/s | JAX, steps/s | ratio |\n|---|---:|---:|---:|", *lines, "", sep="\n")
    return {"steps_per_second": figures}


def accuracy(arguments, folder):
    from sklearn.neural_network import MLPClassifier

    data = [idx(arguments.fashion, f"{part}-images-idx3-ubyte").astype(np.float32) / 255 for part in ("train", "t10k")]
    labels = [idx(arguments.fashion, f"{part}-labels-idx1-ubyte").ravel() for part in ("train", "t10k")]
    options = ["mlp", "--data", str(pathlib.Path(arguments.fashion).resolve()), "--hidden", "128", "--preprocess", "unit"]
    options += ["--epochs", "10", "--batch-size", "100", "--lr", "1e-3", "--l2", "1e-4", "--val-fraction", "0"]
    found = {"ours": [], "scikit-learn": []}
    for seed in (1, 2, 3):
        found["ours"].append(ours(arguments, folder, options + ["--seed", str(seed)])["test_accuracy"])
        net = MLPClassifier((128,), batch_size=100, max_iter=10, learning_rate_init=1e-3, alpha=1e-2, random_state=seed)
        found["scikit-learn"].append(net.fit(data[0], labels[0]).score(data[1], labels[1]))
        print({who: round(values[-1], 4) for who, values in found.items()}, file=sys.stderr)
    print("| 784-128-10, 10 epochs of Fashion-MNIST | test accuracy of seeds 1, 2, 3 | mean |\n|---|---|---:|")
    for who, values in found.items():
        print(f"| {who} | {', '.join(f'{value:.4f}' for value in values)} | {statistics.mean(values):.4f} |")
    return {"accuracy": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", help="folder of CIFAR-10's binary files: compares the speed")
    parser.add_argument("--fashion", help="folder of Fashion-MNIST's idx files: compares the accuracy")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--binary", default=str(HERE.parents[2] / "target/release/cs231n-gpu"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", help="write all figures to this file")
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.machine()}, {arguments.threads} threads, device {arguments.device}\n")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.cifar:
            figures |= speed(arguments, folder)
        if arguments.fashion:
            figures |= accuracy(arguments, folder)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
