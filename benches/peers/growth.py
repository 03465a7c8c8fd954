#!/usr/bin/env python3
"""How time and memory of cs231n-gpu grow: exact search over two decades of training rows, queries and features, training over two of steps.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python3 benches/peers/growth.py [--rounds 5] [--svg assets/growth.svg] [--json FILE]

Random bytes are searched by L1 on the CPU (k = 10), one size at a time varied and the others held. They are no images: every pair is compared by
all features, and linear growth is the honest expectation. (Images are searched coarse to fine from 2^33 products on, which bends the line
downwards.) Seconds are those of the search alone, and of the training with its evaluations; medians of interleaved rounds, each run a
process of its own. The line is a + b·size with the least relative errors; the deviation is the largest of them. Memory is the
process's peak, and what of it is not the data.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve()
# (as shown, sizes): the others are those of BASE.
BASE = {"training rows": 20_000, "queries": 1_000, "features": 640}
SWEEPS = {
    "training rows": [2_000, 6_000, 20_000, 60_000, 200_000],
    "queries": [100, 300, 1_000, 3_000, 10_000],
    "features": [64, 192, 640, 1_920, 6_400],
}
STEPS = [100, 300, 1_000, 3_000, 10_000]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def search(arguments, folder, sizes):
    """Seconds, peak bytes and the bytes of the data."""
    rows, queries, features = (sizes[name] for name in SWEEPS)
    paths = {name: folder / f"{name}-{rows}-{queries}-{features}.npy" for name in ("train-x", "train-y", "test-x")}
    if not paths["train-x"].exists():
        random = np.random.default_rng(231)
        np.save(paths["train-x"], random.integers(0, 256, (rows, features), np.uint8))
        np.save(paths["train-y"], np.arange(rows) % 10)
        np.save(paths["test-x"], random.integers(0, 256, (queries, features), np.uint8))
    files = [part for name, path in paths.items() for part in (f"--{name}", str(path))]
    command = [arguments.binary, "knn", "--device", "cpu", "--threads", str(arguments.threads), "--k", "10", "--metric", "l1"]
    result = run(command + ["--format", "json", *files])
    return result["seconds"]["search"], result["peak_memory_bytes"], (rows + queries) * features + 8 * rows


def train(arguments, folder, steps):
    # 45 steps an epoch of the bundled images.
    command = [arguments.binary, "train", "mlp", "--device", "cpu", "--threads", str(arguments.threads), "--hidden", "128"]
    command += ["--max-steps", str(steps), "--epochs", "1000", "--run-dir", str(folder / "run"), "--format", "json"]
    result = run(command)
    return result["seconds"]["train"], result["peak_memory_bytes"], 5_500 * 784


def line(sizes, seconds):
    """a + b·size with the least squares of relative errors, and the largest of these."""
    weights = 1 / np.array(seconds)
    matrix = np.stack([np.ones(len(sizes)), np.array(sizes)], 1) * weights[:, None]
    found, *_ = np.linalg.lstsq(matrix, np.ones(len(sizes)), rcond=None)
    return found.tolist(), float(np.abs(matrix @ found - 1).max())


def measure(arguments):
    sweeps = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        works = [("search", name, sizes) for name, sizes in SWEEPS.items()] + [("training", "steps", STEPS)]
        for kind, name, sizes in works:
            if arguments.only not in name:
                continue
            found = [[] for _ in sizes]
            for _ in range(arguments.rounds):
                for size, runs in zip(sizes, found):
                    one = train(arguments, folder, size) if name == "steps" else search(arguments, folder, BASE | {name: size})
                    runs.append(one)
            seconds, peaks, data = ([statistics.median(run[i] for run in runs) for runs in found] for i in range(3))
            coefficients, deviation = line(sizes, seconds)
            sweep = {"kind": kind, "name": name, "sizes": sizes, "seconds": seconds, "peaks": peaks, "data": data}
            sweeps.append(sweep | {"line": coefficients, "deviation": deviation})
            print(f"{kind} over {name}: {[f'{s * 1e3:.1f} ms' for s in seconds]}, worst {deviation:.1%}", file=sys.stderr)
            for path in folder.glob("*.npy"):
                path.unlink()
    return {"threads": arguments.threads, "rounds": arguments.rounds, "base": BASE, "sweeps": sweeps}


def table(report):
    """As Markdown."""
    lines = ["| over | sizes | seconds | worst deviation from a line | peak memory, MiB | without the data, MiB |", "|---|---|---|---:|---|---|"]
    mib = lambda values: " · ".join(f"{value / 2**20:.0f}" for value in values)
    for sweep in report["sweeps"]:
        sizes = " · ".join(f"{size:,}" for size in sweep["sizes"])
        seconds = " · ".join(f"{value:.3f}" for value in sweep["seconds"])
        rest = [peak - data for peak, data in zip(sweep["peaks"], sweep["data"])]
        cells = [f"{sweep['kind']}: {sweep['name']}", sizes, seconds, f"{sweep['deviation']:.0%}", mib(sweep["peaks"]), mib(rest)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(report, path):
    """Seconds above, memory below, a column for each sweep; greys that are seen on white and on black."""
    import matplotlib

    matplotlib.use("svg")
    grey, blue, orange = "#808080", "#3b8fd4", "#e07b28"
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "231", "font.size": 9, "font.family": "sans-serif"})
    matplotlib.rcParams.update({f"{part}.color": grey for part in ("text", "xtick", "ytick")})
    matplotlib.rcParams.update({"axes.edgecolor": grey, "axes.labelcolor": grey, "axes.titlesize": 9})
    from matplotlib import pyplot

    sweeps = report["sweeps"]
    figure, axes = pyplot.subplots(2, len(sweeps), figsize=(2.45 * len(sweeps), 4.2), sharex="col", sharey="row", squeeze=False)
    for (upper, lower), sweep in zip(axes.T, sweeps):
        sizes = np.array(sweep["sizes"])
        a, b = sweep["line"]
        along = np.geomspace(sizes[0], sizes[-1], 100)
        upper.plot(along, a + b * along, color=grey, linewidth=1)
        upper.plot(sizes, sweep["seconds"], "o", color=blue, markersize=5)
        upper.set_title(f"{sweep['kind']}: {sweep['name']}\nwithin {sweep['deviation']:.0%} of a line")
        rest = np.array(sweep["peaks"]) - np.array(sweep["data"])
        lower.plot(sizes, np.array(sweep["peaks"]) / 2**20, "o-", color=blue, markersize=4, linewidth=1)
        lower.plot(sizes, rest / 2**20, "s-", color=orange, markersize=4, linewidth=1)
        lower.set_xlabel(sweep["name"])
        for axis in (upper, lower):
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(color=grey, alpha=0.25, linewidth=0.5)
            axis.patch.set_alpha(0)
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
    axes[1][0].set_ylim(5, 1000)
    axes[0][0].set_ylabel("seconds")
    axes[1][0].set_ylabel("MiB")
    axes[1][0].text(0.04, 0.9, "● peak of the process", color=blue, transform=axes[1][0].transAxes)
    axes[1][0].text(0.04, 0.78, "■ without the data", color=orange, transform=axes[1][0].transAxes)
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(HERE.parents[2] / "target/release/cs231n-gpu"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only sweeps whose name contains this")
    parser.add_argument("--svg", help="draw the plot into this file")
    parser.add_argument("--json", help="write all numbers to this file")
    parser.add_argument("--from", dest="earlier", nargs="+", help="draw these results of --json, and measure nothing")
    arguments = parser.parse_args()
    if arguments.earlier:
        reports = [json.loads(pathlib.Path(path).read_text()) for path in arguments.earlier]
        report = reports[0] | {"sweeps": [sweep for report in reports for sweep in report["sweeps"]]}
    else:
        report = measure(arguments)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1))
    if arguments.svg:
        draw(report, arguments.svg)
    print(table(report))


if __name__ == "__main__":
    main()
