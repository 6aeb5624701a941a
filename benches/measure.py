"""What the scripts of this folder share: running a program with its time and peak memory, bandwidth, tables."""
import json
import os
import platform
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np


class Ran(NamedTuple):
    """A finished program: its output, wall-clock seconds from start to exit, and peak resident memory in MB."""

    stdout: str
    seconds: float
    peak_mb: float


def run(command, env=None):
    """Runs a program to its end. Raises `RuntimeError` with the tail of its errors if it fails."""
    command = [str(part) for part in command]
    # Output goes to files, so that a full pipe never stalls the program that is measured.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env)
        # wait4 gives the memory of this one child; getrusage would give the largest of all so far.
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text, errors = out.read(), err.read()
    if child.returncode:
        tail = (errors.strip() or text.strip() or "it printed nothing")[-800:]
        # A negative code is a signal: -4 for an instruction that the processor refuses.
        raise RuntimeError(f"{' '.join(command)} ends with code {child.returncode}:\n{tail}")
    # Kilobytes on Linux, bytes on macOS.
    unit = 1e6 if platform.system() == "Darwin" else 1e3 / 1.024
    return Ran(text, seconds, usage.ru_maxrss / unit)


def last_object(text):
    """The JSON object at the end of a program's output, which may hold other lines before it."""
    lines = text.strip().splitlines()
    for first in reversed(range(len(lines))):
        if lines[first].startswith("{"):
            return json.loads("\n".join(lines[first:]))
    raise RuntimeError(f"no JSON object in the output:\n{text[-800:]}")


def read_bandwidth(megabytes, threads, seconds=1.0):
    """Bytes read from memory in a second, in GB/s: the best pass of several threads, each over its own array.

    The maximum of an f32 array is a loop of wide loads and compares; NumPy lets go of its lock meanwhile.
    Arrays of the size of a model show what that model's weights can be read at: a large cache counts.
    """
    arrays = [np.ones(megabytes * 1_000_000 // threads // 4, np.float32) for _ in range(threads)]
    size, best, end = sum(a.nbytes for a in arrays), 0.0, time.perf_counter() + seconds
    passes = max(1, 1_000_000_000 // size)

    def work(array):
        for _ in range(passes):
            array.max()

    while best == 0.0 or time.perf_counter() < end:
        workers = [threading.Thread(target=work, args=(a,)) for a in arrays]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, size * passes / (time.perf_counter() - start) / 1e9)
    return best


def ratio(ours, theirs):
    """The median of the rounds' ratios: the two of a round ran one after the other, in like conditions."""
    return median(a / b for a, b in zip(ours, theirs))


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine():
    """Processor and number of cores, for the line above a table."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
