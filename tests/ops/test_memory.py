"""The allocator that keeps what large tensors free, each case in a process of its own."""

import os
import subprocess
import sys

import pytest

from sresnet.ops.memory import keep_freed_memory

on_glibc = sys.platform == "linux" and "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
needs_glibc = pytest.mark.skipif(not on_glibc, reason="memory is kept on Linux with glibc")

START = """
import gc, os, resource, threading
from pathlib import Path
import torch
from sresnet.ops.memory import keep_freed_memory

assert keep_freed_memory()
MB = 2**20

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(on_glibc, reason="where it is possible it is not refused")
def test_elsewhere_nothing_is_kept():
    assert not keep_freed_memory()


@needs_glibc
def test_freed_memory_is_kept():
    run("""
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work = lambda: torch.empty(12_000_000).fill_(1)
work()
before = faults()
for _ in range(10):
    work()
assert faults() - before < 1000, faults() - before  # otherwise 11,719 each, or 23 where pages are large
""")


@needs_glibc
def test_a_freed_block_serves_the_next_tensor_of_its_size_and_no_small_one():
    run("""
high = torch.empty(200 * MB, dtype=torch.uint8)
del high
first = torch.empty(40 * MB, dtype=torch.uint8)
place = first.data_ptr()
del first
small = [torch.empty(2 * MB, dtype=torch.uint8) for _ in range(20)]
assert not any(place <= each.data_ptr() < place + 40 * MB for each in small)
del small
again = torch.empty(39 * MB, dtype=torch.uint8)
assert again.data_ptr() == place
other = torch.empty(39 * MB, dtype=torch.uint8)
assert other.data_ptr() != place
""")


@needs_glibc
def test_memory_stays_near_what_tensors_have_taken():
    run("""
import random
random.seed(0)
try:
    torch.empty(2**50, dtype=torch.uint8)  # what could not be had is no height
except RuntimeError:
    pass
before, most, alive = resident(), 0, []
for _ in range(3000):
    if alive and (sum(map(len, alive)) > 150 * MB or random.random() < 0.4):
        alive.pop(random.randrange(len(alive)))
    else:
        alive.append(torch.ones(random.choice([1, 3, 7, 20, 45]) * MB + random.randrange(MB), dtype=torch.uint8))
    most = max(most, sum(map(len, alive)))
assert resident() - before < 1.2 * most, ((resident() - before) / MB, most / MB)
""")


@needs_glibc
def test_contents_of_blocks_are_their_tensors_own():
    run("""
def work(seed):
    generator = torch.Generator().manual_seed(seed)
    alive = []
    for step in range(200):
        size = int(torch.randint(MB // 2, 6 * MB, (), generator=generator))
        value = (7 * seed + step) % 251
        alive.append((value, torch.full((size,), value, dtype=torch.uint8)))
        if len(alive) > 5:
            value, tensor = alive.pop(int(torch.randint(0, 5, (), generator=generator)))
            assert (tensor == value).all()
            done[seed] += 1

done = [0] * 4
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
assert done == [195] * 4, done
""")


@needs_glibc
def test_what_torch_does_with_memory_works():
    run("""
import copy, pickle
before = torch.arange(MB, dtype=torch.int64)
assert torch.equal(copy.deepcopy(before), before)
assert torch.equal(pickle.loads(pickle.dumps(before)), before)
before.resize_(2 * MB)
assert torch.equal(before[:MB], torch.arange(MB))
before.untyped_storage().resize_(0)
shared = torch.ones(MB).share_memory_()
array = torch.ones(MB).numpy()
assert array.sum() == MB
child = os.fork()
if not child:
    os._exit(0 if torch.empty(4 * MB).numel() == 4 * MB else 1)  # and no arithmetic: OpenMP does not outlive a fork
assert os.waitpid(child, 0)[1] == 0
held = torch.ones(64 * MB)  # and it is released where memory is short
del held
have = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (1024 * have + 100 * MB,) * 2)
torch.ones(80 * MB)
try:
    torch.ones(1000 * MB)
except RuntimeError as error:
    assert "can't allocate memory" in str(error), error
else:
    raise AssertionError("no error")
""")
