#!/usr/bin/env python3
"""The same exact search by faiss, scikit-learn and cs231n-gpu, interleaved: medians and ratios as a Markdown table.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python3 benches/peers/knn.py --data FASHION_MNIST_FOLDER [--cifar CIFAR_FOLDER] [--device cpu] [--quick]

Every run is a process of its own. faiss and scikit-learn hold their rows in memory as they need them (f32) before the
clock starts; ours is `seconds.upload + seconds.search` of the JSON: rows as they were read, until the neighbours are
sorted, proven and back on the host. Neighbours are compared with a brute force in 64-bit integers (pixels) that orders
by (distance, row). FASHION_MNIST_FOLDER holds the idx files, .gz or plain; CIFAR_FOLDER data_batch_1.bin and
test_batch.bin.

faiss brings an OpenBLAS of its own, which takes kernels for Prescott where it does not know the CPU, a quarter as fast: `OPENBLAS_VERBOSE=2
python3 -c 'import faiss'` names them, and `--faiss-core SkylakeX` has it take others.
"""

import argparse
import datetime
import gzip
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

import numpy as np

K = 10
HERE = pathlib.Path(__file__).resolve()

# Run in a process of its own: peers load their own thread pools, and only there can the environment be theirs.
WORKER = r"""
import sys, time, json
import numpy as np
peer, train, test, k, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
train = np.ascontiguousarray(np.load(train), dtype=np.float32)
test = np.ascontiguousarray(np.load(test), dtype=np.float32)
if peer == "faiss":
    import faiss
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatL2(train.shape[1])
    index.add(train)
    search = lambda: index.search(test, k)[1]
else:
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits
    threadpool_limits(threads)
    index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(train)
    search = lambda: index.kneighbors(test, return_distance=True)[1]
index_small = search if len(test) < 100 else (lambda: None)
index_small()
start = time.perf_counter()
rows = search()
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds}))
"""


def idx(folder, stem):
    for name in (stem, stem + ".gz"):
        path = pathlib.Path(folder) / name
        if path.exists():
            data = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
            axes = data[3]
            shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
            return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape[0], -1)
    sys.exit(f"{folder} has no {stem}")


def cifar(folder, name):
    rows = np.fromfile(pathlib.Path(folder) / name, np.uint8).reshape(-1, 3073)
    return np.ascontiguousarray(rows[:, 1:])


def brute_force(train, test, k):
    """The k nearest rows by (squared distance, row), in 64-bit integers."""
    wide = train.astype(np.float64)
    squares = (wide * wide).sum(1).astype(np.int64)
    out = []
    for start in range(0, len(test), 100):
        # Products of pixels are whole numbers below 2^53: exact in float64, and much quicker there.
        block = test[start : start + 100].astype(np.float64)
        distances = (block * block).sum(1).astype(np.int64)[:, None] + squares - 2 * np.rint(block @ wide.T).astype(np.int64)
        keys = distances * len(train) + np.arange(len(train))
        nearest = np.argpartition(keys, k, axis=1)[:, :k] if k < len(train) else np.argsort(keys, axis=1)
        rows = np.arange(len(block))[:, None]
        out.append(nearest[rows, np.argsort(keys[rows, nearest], axis=1)])
    return np.concatenate(out)


def peer_environment():
    environment = dict(os.environ)
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    return environment


def run_peer(peer, train, test, threads, faiss_core):
    command = [sys.executable, "-c", WORKER, peer, train, test, str(K), str(threads)]
    environment = peer_environment() | {"OMP_NUM_THREADS": str(threads)}
    if peer == "faiss" and faiss_core:
        environment["OPENBLAS_CORETYPE"] = faiss_core
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)["seconds"]


def run_ours(arguments, train, labels, test, threads, neighbors, options):
    command = [arguments.binary, "knn", "--train-x", train, "--train-y", labels, "--test-x", test, "--k", str(K)]
    command += ["--device", arguments.device, "--threads", str(threads), "--format", "json"]
    command += ["--save-neighbors", neighbors, *options]
    summary = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    seconds = summary["seconds"]
    return seconds["upload"] + seconds["search"], summary


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--cifar", help="folder of CIFAR-10's binary files")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--binary", default=str(HERE.parents[2] / "target/release/cs231n-gpu"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the queries")
    parser.add_argument("--only", help="only the workloads whose name contains this")
    parser.add_argument("--faiss-core", help="kernels of faiss's OpenBLAS, like SkylakeX")
    parser.add_argument("--json", help="write all times to this file")
    arguments = parser.parse_args()

    train, test = idx(arguments.data, "train-images-idx3-ubyte"), idx(arguments.data, "t10k-images-idx3-ubyte")
    if arguments.quick:
        test = test[:1000]
    # Divided by 255, pixels still lie on 256 equal steps; standardised by column they are numbers like any other.
    mean, deviation = train.mean(0), np.maximum(train.std(0), 1)
    unit = lambda rows: rows.astype(np.float32) / np.float32(255)
    standardised = lambda rows: ((rows - mean) / deviation).astype(np.float32)
    work = [
        ("Fashion-MNIST u8", train, test, None),
        ("Fashion-MNIST u8, ours on AVX2 alone", train, test, None),
        ("Fashion-MNIST / 255 f32", train, test, unit),
        ("Fashion-MNIST standardised f32", train, test, standardised),
        ("one query u8", train, test[:1], None),
        ("one query f32", train, test[:1], unit),
    ]
    if arguments.cifar:
        rows, queries = cifar(arguments.cifar, "data_batch_1.bin"), cifar(arguments.cifar, "test_batch.bin")
        work.append(("CIFAR-10 u8", rows, queries, None))
        work.append(("CIFAR-10 u8, the notebook's size", rows[:5000], queries[:500], None))
        work.append(("CIFAR-10 / 255 f32, the notebook's size", rows[:5000], queries[:500], unit))
    if arguments.only:
        work = [entry for entry in work if arguments.only in entry[0]]

    lines, times = [], {}
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: str(pathlib.Path(folder) / name)
        for name, rows, queries, floats in work:
            convert = floats or np.ascontiguousarray
            np.save(path("train.npy"), convert(rows))
            np.save(path("test.npy"), convert(queries))
            np.save(path("labels.npy"), np.zeros(len(rows), np.int64))
            found = {"ours": [], "faiss": [], "scikit-learn": []}
            for _ in range(arguments.runs):
                files = path("train.npy"), path("labels.npy"), path("test.npy")
                options = ["--instruction-set", "AVX2"] if "AVX2" in name else []
                ours, summary = run_ours(arguments, *files, arguments.threads, path("n.npy"), options)
                found["ours"].append(ours)
                for peer in ("faiss", "scikit-learn"):
                    paths = path("train.npy"), path("test.npy")
                    found[peer].append(run_peer(peer, *paths, arguments.threads, arguments.faiss_core))
            exact = np.array_equal(np.load(path("n.npy")), brute_force(rows, queries, K)) if not floats else None
            times[name] = found
            middle = {who: statistics.median(seconds) for who, seconds in found.items()}
            ratios = [middle["ours"] / middle[peer] for peer in ("faiss", "scikit-learn")]
            proof = summary["certificate"]
            checked = {True: "equal", False: "DIFFERENT", None: f"certificate {proof['at_once']}/{len(queries)}"}[exact]
            shape = f"{len(rows):,} × {len(queries):,} × {rows.shape[1]:,}"
            cells = [name, shape] + [f"{middle[who] * 1e3:,.1f}" for who in found]
            cells += [f"{ratio:.2f}×" for ratio in ratios] + [checked]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(times, indent=1))

    import faiss
    import sklearn

    print(
        f"{datetime.date.today()}, {platform.machine()}, {arguments.threads} threads, device {summary['device']['name']}; "
        f"faiss {faiss.__version__}, scikit-learn {sklearn.__version__}, numpy {np.__version__}; k = {K}, "
        f"medians of {arguments.runs} interleaved runs in ms\n"
    )
    print("| data | rows × queries × features | ours | faiss | scikit-learn | to faiss | to scikit-learn | neighbours |")
    print("|---|---|---:|---:|---:|---:|---:|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
