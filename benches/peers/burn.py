#!/usr/bin/env python3
"""The same work by Burn's wgpu backend and by cs231n-gpu on one adapter, interleaved: medians and ratios as Markdown.

    cargo build --release
    cargo build --release --manifest-path benches/peers/burn/Cargo.toml
    python3 benches/peers/burn.py --cache FOLDER [--rounds 5] [--only matmul]

A ratio is our time divided by Burn's: below 1 this program is quicker, above 1 it is slower.
Every run is a process of its own, whose first calls are not counted: kernels are compiled there, and Burn chooses its
own. What it chose is kept in FOLDER; an empty one means minutes of tuning, whose seconds the table tells, and --tune stops
after it. Tensors are on the device, results stay there, and one wait ends a sample; a run counts with the median of its
samples. Operations are timed by `bench --chosen`: the kernels that the device would choose. A step of training is ours in
`train mlp` on 40,000 random images: gathering and centring of shuffled pixels included, and the accuracy of 1,000 rows
after each epoch of 157 steps, about 1 %; the first epoch is left out. Burn's takes a prepared batch of floats: forward,
backward, Adam. Needs the standard library only.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve()
# (Burn's name, our operation, form and shape); products are m × n × k.
WORK = [(f"matmul:{m},{n},{k}", "matmul", "nn", f"1,{m},{n},{k}") for m, n, k in (
    (512, 512, 512), (1024, 1024, 1024), (256, 512, 3072), (500, 5000, 3072), (257, 257, 257), (1000, 333, 777))]
WORK += [("softmax:4096,1024", "softmax", "forward", "4096,1024")]
WORK += [(f"batchnorm:{shape}", "batchnorm", "train", shape) for shape in ("4096,1024", "256,512")]
WORK += [("train:256,3072,512,10", "train", "", "")]
NAMES = {"train:256,3072,512,10": "step of a 3,072-512-10 net, batch 256, Adam"}
BATCH, HIDDEN, ROWS = 256, 512, 40_000


def run(command, environment=None):
    # Away from every Cargo.toml: Burn would keep its choices beside that.
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tempfile.gettempdir())
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return json.loads(done.stdout)


def burn(arguments, name, samples):
    milliseconds = arguments.sample_time * (4 if name.startswith("train") else 1)
    command = [arguments.burn, "--samples", str(samples), "--sample-time", str(milliseconds), name]
    return run(command, os.environ | {"XDG_CACHE_HOME": arguments.cache})


def bench(arguments, op, form, shape):
    command = [arguments.binary, "bench", op, "--device", arguments.device, "--chosen", "--variant", form, "--shape", shape]
    command += ["--samples", str(arguments.samples), "--sample-time", str(arguments.sample_time), "--format", "json"]
    result = run(command)
    (line,) = [line for line in result["results"] if line["variant"] == form]
    return line["seconds"], result


def train(arguments, folder):
    """Seconds of a step: the median over the epochs after the first."""
    data, out = folder / "images", folder / "run"
    if not data.exists():
        data.mkdir()
        numbers = random.Random(231)
        for name, rows in (("data_batch_1.bin", ROWS), ("test_batch.bin", 100)):
            images = (bytes([row % 10]) + numbers.randbytes(3072) for row in range(rows))
            (data / name).write_bytes(b"".join(images))
    command = [arguments.binary, "train", "mlp", "--device", arguments.device, "--data", str(data), "--hidden", str(HIDDEN)]
    command += ["--batch-size", str(BATCH), "--epochs", str(arguments.epochs), "--val-fraction", "0", "--l2", "0"]
    result = run(command + ["--run-dir", str(out), "--format", "json"])
    epochs = json.loads((out / "history.json").read_text())["epochs"][1:]
    return statistics.median(epoch["seconds"] for epoch in epochs) / -(-ROWS // BATCH), result


def tune(arguments, names):
    """Has Burn choose its kernels for work that it has not met; returns the seconds that its first calls took."""
    path = pathlib.Path(arguments.cache) / "tuning.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for name in names:
        if name not in known:
            known[name] = burn(arguments, name, 1)["results"][0]["first_seconds"]
            print(f"{name}: tuned in {known[name]:.1f} s", file=sys.stderr)
            path.write_text(json.dumps(known, indent=1))
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True, help="folder that keeps Burn's choices of kernels")
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--binary", default=str(HERE.parents[2] / "target/release/cs231n-gpu"))
    parser.add_argument("--burn", default=str(HERE.parent / "burn/target/release/burn-peer"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=5, help="samples of a run")
    parser.add_argument("--sample-time", type=int, default=200, help="milliseconds of a sample")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", default="", help="only work whose name contains this")
    parser.add_argument("--tune", action="store_true", help="let Burn choose its kernels, and stop")
    parser.add_argument("--json", help="write all times to this file")
    arguments = parser.parse_args()
    arguments.cache = str(pathlib.Path(arguments.cache).resolve())
    pathlib.Path(arguments.cache).mkdir(parents=True, exist_ok=True)

    work = [entry for entry in WORK if arguments.only in entry[0]]
    if not work:
        sys.exit(f"no work has {arguments.only!r} in its name: {', '.join(entry[0] for entry in WORK)}")
    tuning = tune(arguments, [entry[0] for entry in work])
    if arguments.tune:
        return
    times, lines = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, op, form, shape in work:
            found = times[name] = {"ours": [], "burn": []}
            for _ in range(arguments.rounds):
                seconds, us = train(arguments, pathlib.Path(folder)) if op == "train" else bench(arguments, op, form, shape)
                found["ours"].append(seconds)
                peer = burn(arguments, name, arguments.samples)
                found["burn"].append(peer["results"][0]["seconds"])
            # A machine's speed may drift; the two runs of a round meet the same one.
            ratios = sorted(ours / theirs for ours, theirs in zip(found["ours"], found["burn"]))
            cells = [NAMES.get(name, f"{op} {name.split(':')[1].replace(',', ' × ')}")]
            cells += [f"{statistics.median(found[who]) * 1e3:,.2f}" for who in ("ours", "burn")]
            cells += [f"{statistics.median(ratios):.2f}×", f"{ratios[0]:.2f}–{ratios[-1]:.2f}", f"{tuning[name]:.0f}"]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], found, file=sys.stderr)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(times, indent=1))
    device = us["device"]
    print(
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} threads; ours {us['version']} on {device['name']} "
        f"({device['driver']}), Burn {peer['version']} on {peer['adapter']}; medians of {arguments.rounds} interleaved runs "
        "in ms; the ratio, our time / Burn's, is the median of the rounds': below 1 ours is quicker\n"
    )
    print("| work | ours | Burn | ratio | range | Burn's tuning, s |\n|---|---:|---:|---:|---:|---:|\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
