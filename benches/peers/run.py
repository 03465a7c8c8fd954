#!/usr/bin/env python3
"""All comparisons with other programs by one command: a Markdown report and all times as JSON.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    for peer in burn faer; do cargo build --release --manifest-path benches/peers/$peer/Cargo.toml; done
    python3 benches/peers/run.py --out FOLDER [--cifar CIFAR_FOLDER] [--fashion FASHION_MNIST_FOLDER] [--rounds 5]

Runs ops.py (single operations), knn.py (search), mlp.py (training), burn.py (Burn on an adapter) and growth.py, each as it says of itself.
What lacks its data or its peer is left out, with a word in the report. Writes FOLDER/peers.md and FOLDER/peers.json. Takes about half an
hour; other work on the machine spoils the ratios.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ("numpy", "jax", "torch", "scikit-learn", "faiss-cpu", "matplotlib")


def processor():
    """Its name, where Linux tells."""
    try:
        found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def plan(arguments):
    """(title, script, its options, what it lacks)."""
    installed = lambda *names: [name for name in names if not importlib.util.find_spec(name)]
    lacks = lambda names: f"{' and '.join(names)} not installed" if names else ""
    rounds = str(arguments.rounds)
    threads = ["--threads", str(arguments.threads)]
    knn = ["--data", arguments.fashion or "", "--runs", rounds, *threads]
    mlp = ["--runs", rounds, *threads]
    if arguments.cifar:
        knn += ["--cifar", arguments.cifar]
        mlp += ["--cifar", arguments.cifar]
    if arguments.fashion:
        mlp += ["--fashion", arguments.fashion]
    burn = "" if (HERE / "burn/target/release/burn-peer").exists() else "benches/peers/burn is not built"
    cache = str(arguments.out / "burn-cache")
    return [
        ("Single operations on the CPU", "ops.py", ["--rounds", rounds, *threads], lacks(installed("numpy"))),
        ("Exact search", "knn.py", knn, lacks(installed("faiss", "sklearn")) or ("" if arguments.fashion else "no --fashion")),
        ("Training", "mlp.py", mlp, lacks(installed("jax", "sklearn")) or ("" if arguments.cifar or arguments.fashion else "no --cifar")),
        ("Burn on an adapter", "burn.py", ["--rounds", rounds, "--cache", cache], burn),
        ("Growth", "growth.py", ["--rounds", rounds, *threads], lacks(installed("numpy"))),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the report")
    parser.add_argument("--cifar", help="folder of CIFAR-10's binary files")
    parser.add_argument("--fashion", help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--binary", default=str(HERE.parents[1] / "target/release/cs231n-gpu"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only scripts whose name contains this")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "date": str(datetime.date.today()),
        "machine": f"{processor()}, {os.cpu_count()} logical processors, {platform.system()} {platform.release()}",
        "versions": versions(),
    }
    text = f"# Peers\n\n{facts['date']} · {facts['machine']} · "
    text += ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + "\n"
    for title, script, options, lack in plan(arguments):
        if arguments.only not in script:
            continue
        text += f"\n## {title}\n\n"
        if lack:
            text += f"Left out: {lack}.\n"
            print(f"{script}: left out, {lack}", file=sys.stderr)
            continue
        times = arguments.out / f"{pathlib.Path(script).stem}.json"
        command = [sys.executable, str(HERE / script), "--binary", arguments.binary, "--json", str(times), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            text += f"Failed: {script} ended with {done.returncode}.\n"
            continue
        text += done.stdout
        facts[pathlib.Path(script).stem] = json.loads(times.read_text())
        times.unlink()
    (arguments.out / "peers.md").write_text(text)
    (arguments.out / "peers.json").write_text(json.dumps(facts, indent=1))
    print(text)


if __name__ == "__main__":
    main()
