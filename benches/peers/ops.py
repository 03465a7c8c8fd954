#!/usr/bin/env python3
"""Single operations on the CPU by numpy, JAX, PyTorch, faer and cs231n-gpu, interleaved: medians and ratios as Markdown.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    cargo build --release --manifest-path benches/peers/faer/Cargo.toml
    python3 benches/peers/ops.py [--rounds 5] [--only matmul] [--json FILE]

A ratio is a peer's time divided by ours, in the same round; the median of the rounds counts. Above 1 this program is quicker.
Every run is a process of its own: inputs in memory, two calls that are not counted, then the median of 7 samples of 20 ms. All return
new arrays, as their users have them, but for faer, which writes into an old one, and for the optimizer, which works in place (JAX by
donation, numpy by `out=`, PyTorch by its fused step). What is not installed is left out, with a word.
The share is the least time of the operation on this machine (its multiply-adds, or its bytes copied, whichever takes longer, at rates
measured in the same run) of ours.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve()
# (our operation, form, shape, as shown); products are m × n × k, of operands as stored (n) or transposed (t).
WORK = [("matmul", "nn", f"1,{m},{n},{k}", f"{m} × {n} × {k}") for m, n, k in (
    (512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (256, 512, 3072), (500, 5000, 3072))]
WORK += [("matmul", form, f"1,{m},{n},{k}", f"{m} × {n} × {k}") for form, m, n, k in (
    # A layer of ten classes and its gradients; the notes' first layer.
    ("nn", 200, 10, 3072), ("tn", 3072, 10, 200), ("nt", 256, 512, 10), ("nn", 100, 256, 784), ("nn", 1000, 100, 784))]
WORK += [("matmul", "nn", "1000,8,16,8", "1000 of 8 × 16 × 8")]
WORK += [("softmax", form, "50000,10", "50000 × 10") for form in ("forward", "backward")]
WORK += [(op, form, "4096,1024", "4096 × 1024") for op, form in (
    ("softmax", "forward"), ("softmax", "backward"), ("batchnorm", "train"), ("batchnorm", "backward_formula"))]
WORK += [("optimizer", "adam", str(4096 * 1024), "4096 × 1024")]
PEERS = ("numpy", "jax", "torch", "faer")

# A peer's work: from the name of the operation and its dimensions to a function of no arguments.
WORKER = r"""
import json, os, statistics, sys, time
peer, name, shape, sample, threads = sys.argv[1], sys.argv[2], [*map(int, sys.argv[3].split(","))], float(sys.argv[4]) / 1e3, int(sys.argv[5])
import numpy as np
random = np.random.default_rng(231)
draw = lambda *shape: random.uniform(-1, 1, shape).astype(np.float32)
EPSILON, BETA1, BETA2, RATE = 1e-5, 0.9, 0.999, 1e-3
op, form = name.split("/")

if op == "matmul":
    *batch, m, n, k = shape if shape[0] > 1 else shape[1:]
    stored = lambda transposed, *sides: draw(*batch, *(sides[::-1] if transposed == "t" else sides))
    inputs = [stored(form[0], m, k), stored(form[1], k, n)]
elif op == "softmax":
    inputs = [draw(*shape)]
    if form == "backward":
        p = np.exp(inputs[0])
        inputs = [draw(*shape), p / p.sum(1, keepdims=True)]
elif op == "batchnorm":
    x, d = draw(*shape), shape[1]
    inputs = [x, draw(d), draw(d), np.zeros(d, np.float32), np.ones(d, np.float32)]
    if form != "train":
        inputs = [draw(*shape), x, x.mean(0), 1 / np.sqrt(x.var(0) + np.float32(EPSILON)), draw(d)]
else:
    inputs = [draw(*shape), draw(*shape), np.zeros(shape, np.float32), np.zeros(shape, np.float32)]

def softmax(xp, s):
    e = xp.exp(s - s.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)

def softmax_backward(xp, dout, p):
    return p * (dout - (dout * p).sum(1, keepdims=True))

def batchnorm(xp, x, gamma, beta, mean, variance):
    mu, var = x.mean(0), x.var(0)
    inverse = 1 / xp.sqrt(var + EPSILON)
    out = (x - mu) * (gamma * inverse) + beta
    return out, mu, inverse, 0.9 * mean + 0.1 * mu, 0.9 * variance + 0.1 * var

def batchnorm_backward(xp, dout, x, mu, inverse, gamma):
    normalised = (x - mu) * inverse
    dbeta, dgamma = dout.sum(0), (dout * normalised).sum(0)
    dx = gamma * inverse * (dout - (dbeta + normalised * dgamma) / np.float32(len(x)))
    return dx, dgamma, dbeta

def adam(xp, w, g, m, v):
    m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g * g
    return w - RATE * (m / (1 - BETA1)) / (xp.sqrt(v / (1 - BETA2)) + 1e-8), m, v

FORMS = {"matmul/nn": lambda xp, a, b: a @ b, "matmul/tn": lambda xp, a, b: a.T @ b, "matmul/nt": lambda xp, a, b: a @ b.T,
         "softmax/forward": softmax, "softmax/backward": softmax_backward,
         "batchnorm/train": batchnorm, "batchnorm/backward_formula": batchnorm_backward}

if peer == "numpy":
    version = np.__version__
    if op == "optimizer":
        w, g, m, v = inputs
        a, b = np.empty_like(w), np.empty_like(w)
        def call():
            np.multiply(m, BETA1, out=m); np.multiply(g, 1 - BETA1, out=a); np.add(m, a, out=m)
            np.multiply(v, BETA2, out=v); np.multiply(g, g, out=a); np.multiply(a, 1 - BETA2, out=a); np.add(v, a, out=v)
            np.multiply(v, 1 / (1 - BETA2), out=a); np.sqrt(a, out=a); np.add(a, 1e-8, out=a)
            np.multiply(m, RATE / (1 - BETA1), out=b); np.divide(b, a, out=b); np.subtract(w, b, out=w)
    else:
        call = lambda: FORMS[name](np, *inputs)
elif peer == "jax":
    import jax, jax.numpy as jnp
    version = jax.__version__
    inputs = [jnp.asarray(value) for value in inputs]
    if op == "optimizer":
        step = jax.jit(lambda *values: adam(jnp, *values), donate_argnums=(0, 2, 3))
        w, g, m, v = inputs
        def call():
            global w, m, v
            w, m, v = step(w, g, m, v)
            v.block_until_ready()
    else:
        form = FORMS[name] if name != "softmax/forward" else lambda xp, s: jax.nn.softmax(s, axis=1)
        step = jax.jit(lambda *values: form(jnp, *values))
        call = lambda: jax.block_until_ready(step(*inputs))
else:
    import torch
    version = torch.__version__.split("+")[0]
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    inputs = [torch.from_numpy(value) for value in inputs]
    if op == "optimizer":
        w = torch.nn.Parameter(inputs[0])
        w.grad = inputs[1]
        call = torch.optim.Adam([w], lr=RATE, fused=True).step
    elif name == "batchnorm/train":
        x, gamma, beta, mean, variance = inputs
        call = lambda: torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, True, 0.1, EPSILON)
    elif op == "batchnorm":
        dout, x, mu, inverse, gamma = inputs
        call = lambda: torch.ops.aten.native_batch_norm_backward(
            dout, x, gamma, None, None, mu, inverse, True, EPSILON, [True, True, True])
    else:
        torch_forms = {"softmax/forward": lambda s: torch.softmax(s, 1),
                       "softmax/backward": lambda dout, p: torch.ops.aten._softmax_backward_data(dout, p, 1, torch.float32)}
        call = lambda: torch_forms[name](*inputs) if name in torch_forms else FORMS[name](torch, *inputs)

def time_of(calls):
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls

time_of(1)
calls = min(max(int(sample / time_of(1)), 1), 10000)
print(json.dumps({"peer": peer, "version": version, "seconds": statistics.median(time_of(calls) for _ in range(7))}))
"""


def environment(threads):
    """That of the peers: their threads as ours, and no settings of this shell for numpy's BLAS."""
    kept = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS")
    eigen = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    return kept | dict.fromkeys(pools, str(threads)) | {"XLA_FLAGS": eigen, "JAX_PLATFORMS": "cpu"}


def run(command, environment=None):
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def ours(arguments, op, form, shape):
    command = [arguments.binary, "bench", op, "--device", "cpu", "--threads", str(arguments.threads), "--chosen"]
    command += ["--variant", form, "--shape", shape, "--sample-time", str(arguments.sample_time), "--format", "json"]
    result = run(command)
    (line,) = [line for line in result["results"] if line["variant"] == form]
    return line, result


def peer(arguments, who, op, form, shape):
    if who == "faer":
        return run([arguments.faer, str(arguments.sample_time), shape.split(",", 1)[1]], environment(arguments.threads))
    command = [sys.executable, "-c", WORKER, who, f"{op}/{form}", shape, str(arguments.sample_time), str(arguments.threads)]
    return run(command, environment(arguments.threads))


def installed(arguments):
    """The peers that can run; says which cannot."""
    there = lambda who: pathlib.Path(arguments.faer).exists() if who == "faer" else importlib.util.find_spec(who)
    found = [who for who in PEERS if there(who)]
    for who in set(PEERS) - set(found):
        print(f"{who} is not installed: left out", file=sys.stderr)
    return found


def measure(arguments):
    """All work by all: times, shares and versions, ready for JSON."""
    peers, versions, results = installed(arguments), {}, []
    for op, form, shape, shown in WORK:
        if arguments.only not in f"{op} {form} {shown}":
            continue
        seconds = {who: [] for who in ["ours", *peers] if who != "faer" or form == "nn" and shape.startswith("1,")}
        shares = []
        for _ in range(arguments.rounds):
            for who in seconds:
                if who == "ours":
                    line, report = ours(arguments, op, form, shape)
                    seconds[who].append(line["seconds"])
                    shares.append(line["share"])
                    versions["cs231n-gpu"], device = report["version"], report["device"]["name"]
                else:
                    found = peer(arguments, who, op, form, shape)
                    seconds[who].append(found["seconds"])
                    versions[who] = found["version"]
        ratio = lambda who: statistics.median(theirs / us for theirs, us in zip(seconds[who], seconds["ours"]))
        result = {"op": op, "form": form, "shape": shown, "seconds": seconds, "share": statistics.median(shares)}
        result["ratios"] = {who: ratio(who) for who in seconds if who != "ours"}
        results.append(result)
        print(row(result), file=sys.stderr)
    return {"device": device, "threads": arguments.threads, "rounds": arguments.rounds, "versions": versions, "results": results}


NAMES = {"nn": "", "forward": "", "train": " forward", "backward_formula": " backward", "adam": ""}


def row(result):
    op, form = result["op"], result["form"]
    name = f"`{op}` {form}" if op == "optimizer" else f"`{op}`{NAMES.get(form, ' ' + form)}"
    cells = [name, result["shape"], f"{statistics.median(result['seconds']['ours']) * 1e3:,.2f}"]
    cells += [f"{result['ratios'][who]:.2f}×" if who in result["ratios"] else "" for who in PEERS]
    return "| " + " | ".join([*cells, f"{result['share']:.0%}"]) + " |"


def table(report):
    """As Markdown."""
    version = report["versions"].get
    names = {"numpy": "numpy", "jax": "JAX", "torch": "PyTorch", "faer": "faer"}
    heads = ["operation", "shape", "ours, ms", *(f"{names[who]} {version(who, '–')}" for who in PEERS), "share"]
    return "\n".join(["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2), *map(row, report["results"])])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(HERE.parents[2] / "target/release/cs231n-gpu"))
    parser.add_argument("--faer", default=str(HERE.parent / "faer/target/release/faer-peer"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample-time", type=int, default=20, help="milliseconds of a sample")
    parser.add_argument("--only", default="", help="only work whose name contains this, like 'softmax forward'")
    parser.add_argument("--json", help="write all times to this file")
    arguments = parser.parse_args()
    report = measure(arguments)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1))
    print(table(report))


if __name__ == "__main__":
    main()
