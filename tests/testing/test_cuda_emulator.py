"""The emulator of CUDA: it runs what is right, and says what is wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from minirnn.testing import cuda_emulator
from minirnn.testing.cuda_emulator import Emulated, EmulationError, emulated

pytestmark = pytest.mark.skipif(bool(cuda_emulator.why_not()), reason=cuda_emulator.why_not())

CODE = """
extern "C" __global__ void places(
    int *out,
    int n)
{
    int rank = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    int threads = blockDim.x * blockDim.y * blockDim.z;
    if (block * threads + rank < n) out[block * threads + rank] = 1000 * block + rank;
}

extern "C" __global__ void turned(
    const float *x,
    float *y)
{
    extern __shared__ float held[];
    held[threadIdx.x] = x[threadIdx.x];
    __syncthreads();  // sync: all are held
    y[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void turned_by_warps(
    float *x,
    int awaited)
{
    extern __shared__ float held[];
    held[threadIdx.x] = x[threadIdx.x];
    meet(1 + threadIdx.x / 64, awaited);  // sync: two warps have come
    x[threadIdx.x] = held[threadIdx.x / 64 * 64 + 63 - threadIdx.x % 64];
}

extern "C" __global__ void summed(
    float *x)
{
    float sum = x[threadIdx.x];
    for (int half = 16; half; half /= 2) sum += __shfl_xor_sync(~0u, sum, half);
    x[threadIdx.x] = sum + 100 * __shfl_sync(~0u, float(threadIdx.x), 3);
}

extern "C" __global__ void voted(
    const float *x,
    int *first,
    unsigned mask)
{
    const unsigned large = __ballot_sync(mask, x[threadIdx.x] > 2);
    const unsigned odd = __ballot_sync(mask, threadIdx.x % 2);
    first[threadIdx.x] = __ffs(large & odd);
}

extern "C" __global__ void passed_on(
    unsigned *words,
    unsigned *seen)
{
    if (threadIdx.x == 0) {
        store_relaxed(words, 7);
        store_relaxed(words + 1, 1);
        *seen = load_relaxed(words);
    } else {
        while (!load_relaxed(words + 1)) continue;
        seen[1] = load_relaxed(words);
    }
}

extern "C" __global__ void looks_plainly(
    unsigned *words,
    unsigned *seen)
{
    if (blockIdx.x == 0) {
        store_relaxed(words, 7);
        while (!load_relaxed(words + 1)) continue;
    } else {
        while (!load_relaxed(words)) continue;
        *seen = *words;
        store_relaxed(words + 1, 1);
    }
}

extern "C" __global__ void awaits(
    const unsigned *word)
{
    while (!load_relaxed(word)) continue;
}

extern "C" __global__ void at_cross_purposes(
    float *x)
{
    if (threadIdx.x) __syncthreads();
    else *x = __shfl_sync(~0u, *x, 1);
}

extern "C" __global__ void writes_at(
    float *x,
    int place)
{
    extern __shared__ float held[];
    if (place < 100) x[place] = 1;
    else held[place - 100] = 1;
}

extern "C" __global__ void half_a_warp(
    float *x)
{
    *x = __shfl_sync(0xFFFFu, *x, 1);
}
"""


def run(kernel, grid, block, *arguments, **options):
    emulated(CODE).run(kernel, grid, block, arguments, **options)


def test_every_thread_has_its_place():
    out = np.zeros(2 * 3 * 2 * 24, np.int32)
    run("places", (2, 3, 2), (4, 3, 2), out, np.int32(len(out)))
    assert (out == [1000 * block + rank for block in range(12) for rank in range(24)]).all()


def test_a_barrier_makes_what_is_shared_known_to_all():
    x, y = np.arange(70, dtype=np.float32), np.zeros(70, np.float32)
    for seed in range(5):
        run("turned", (1,), (70,), x, y, shared=280, seed=seed)
        assert (y == x[::-1]).all()


def test_a_marked_statement_can_be_left_out_and_shared_memory_is_poisoned():
    assert emulated(CODE).marked == ("all are held", "two warps have come")
    x, y = np.arange(70, dtype=np.float32), np.zeros(70, np.float32)
    run("turned", (1,), (70,), x, y, shared=280, without=0)
    assert np.isnan(y).any()


def test_warps_that_meet_wait_for_each_other_and_for_nobody_else():
    x = np.arange(128, dtype=np.float32)
    for seed in range(5):
        run("turned_by_warps", (1,), (128,), found := x.copy(), np.int32(64), shared=512, seed=seed)
        assert (found == x.reshape(2, 64)[:, ::-1].ravel()).all()
    run("turned_by_warps", (1,), (128,), found := x.copy(), np.int32(64), shared=512, without=1)
    assert np.isnan(found).any()
    with pytest.raises(EmulationError, match="deadlock"):
        run("turned_by_warps", (1,), (128,), x, np.int32(96), shared=512)


def test_lanes_show_each_other_what_they_have():
    x = np.arange(64, dtype=np.float32)
    run("summed", (1,), (64,), x)
    assert (x[:32] == 496 + 300).all() and (x[32:] == 1520 + 3500).all()


def test_lanes_vote():
    x, first = np.zeros(64, np.float32), np.full(64, -1, np.int32)
    x[[4, 13, 15, 36]] = 3
    for seed in range(5):
        run("voted", (1,), (64,), x, first, np.uint32(2**32 - 1), seed=seed)
        assert (first[:32] == 14).all() and (first[32:] == 0).all()  # counted from 1
    with pytest.raises(EmulationError, match="only votes of whole warps"):
        run("voted", (1,), (64,), x, first, np.uint32(1))


def test_relaxed_stores_may_arrive_in_either_order_but_a_seed_gives_one_run():
    found = []
    for seed in [*range(20), *range(20)]:
        words, seen = np.zeros(2, np.uint32), np.zeros(2, np.uint32)
        run("passed_on", (1,), (2,), words, seen, seed=seed)
        assert words.tolist() == [7, 1] and seen[0] == 7  # both arrive in the end, and at once for whoever wrote them
        found.append(int(seen[1]))
    assert set(found) == {0, 7} and found[:20] == found[20:]


def test_a_plain_load_finds_what_a_cache_may_have_kept():
    for seed in range(5):
        words, seen = np.zeros(2, np.uint32), np.full(1, 3, np.uint32)
        run("looks_plainly", (2,), (1,), words, seen, seed=seed)
        assert seen[0] == 0 and words.tolist() == [7, 1]  # in the end it is there for all


@pytest.mark.parametrize(
    ("kernel", "arguments", "threads", "complaint"),
    [
        ("awaits", [np.zeros(1, np.uint32)], 3, "some of them wait for ever"),
        ("at_cross_purposes", [np.zeros(1, np.float32)], 32, "deadlock: every thread waits at a barrier"),
        ("half_a_warp", [np.zeros(1, np.float32)], 32, "only shuffles of whole warps"),
        ("writes_at", [np.zeros(4, np.float32), np.int32(-1)], 1, "argument 0 was written to outside"),
        (
            "writes_at",
            [np.zeros(4, np.float32), np.int32(4)],
            1,
            "argument 0 was written to outside",
        ),
        ("writes_at", [np.zeros(4, np.float32), np.int32(105)], 1, "past the end of its shared memory"),
    ],
)
def test_what_must_not_happen_raises(kernel, arguments, threads, complaint):
    with pytest.raises(EmulationError, match=f"{kernel}, schedule 3: .*{complaint}"):
        run(kernel, (1,), (threads,), *arguments, shared=20, seed=3, switches=1000)


def test_bad_sources_arrays_and_machines(monkeypatch):
    with pytest.raises(EmulationError, match="does not compile the kernels:"):
        Emulated("int x = y;")
    with pytest.raises(TypeError, match="contiguous arrays, got strides"):
        run("summed", (1,), (32,), np.zeros(64, np.float32)[::2])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "needs g++" in cuda_emulator.why_not()


# Clusters

CLUSTERS = """
extern "C" __global__ void __cluster_dims__(1, CLUSTER, 1) handed_on(
    float *x)
{
    extern __shared__ float held[];
    const int block = blockIdx.y * gridDim.x + blockIdx.x, rank = blockIdx.y % CLUSTER;
    meet_cluster();  // sync: all have begun
    store_in_cluster(held + threadIdx.x, (rank + 1) % CLUSTER, x[block * blockDim.x + threadIdx.x]);
    meet_cluster();  // sync: it has come
    x[block * blockDim.x + threadIdx.x] = held[(threadIdx.x + 1) % blockDim.x];
    store_in_cluster(held + blockDim.x + threadIdx.x, (rank + 1) % CLUSTER, 0);
    meet_cluster();  // sync: nobody ends before
}

extern "C" __global__ void to_nobody(
    float *x)
{
    extern __shared__ float held[];
    store_in_cluster(held, 3, *x);
}
"""


def handed_on(seed=0, without=None, grid=(2, 6)):
    x = np.arange(12 * 8, dtype=np.float32)
    emulated(CLUSTERS, ("-DCLUSTER=3",)).run("handed_on", grid, (8,), (x,), shared=64, seed=seed, without=without)
    return x.reshape(2, 3, 2, 8)  # clusters along y, blocks of a cluster, clusters along x, threads


def test_blocks_of_a_cluster_write_into_each_others_memory():
    right = np.roll(np.arange(12 * 8, dtype=np.float32).reshape(2, 3, 2, 8), (1, -1), (1, 3))
    for seed in range(10):
        assert (handed_on(seed) == right).all()


@pytest.mark.parametrize(("statement", "sign"), [(0, "begun"), (1, "wrong"), (2, "ended")])
def test_what_happens_if_they_do_not_meet(statement, sign):
    right, seen = handed_on(), set()
    for seed in range(40):
        try:
            seen.add("right" if (handed_on(seed, statement) == right).all() else "wrong")
        except EmulationError as error:
            seen.add(str(error).rpartition(" that had ")[2])
    assert sign in seen


def test_a_cluster_is_whole_and_has_so_many_blocks():
    with pytest.raises(EmulationError, match="the blocks of the grid along y make no whole clusters"):
        handed_on(grid=(3, 4))
    with pytest.raises(EmulationError, match="there is no such block in the cluster"):
        emulated(CLUSTERS, ("-DCLUSTER=3",)).run("to_nobody", (1, 3), (1,), (np.ones(1, np.float32),), shared=4)


def test_what_is_not_compiled_is_not_marked():
    code = """
    template <class T> void never(T *x) {
        x[0] = 1;  // sync: nobody asks for it
    }
    extern "C" __global__ void ever(
        float *x)
    {
        x[0] = 1;  // sync: first
    #if 0
        x[1] = 1;  // sync: not this time
    #endif
        x[2] = 1;  // sync: last
    }
    """
    kernels, x = emulated(code), np.zeros(3, np.float32)
    assert kernels.marked == ("first", "last")
    kernels.run("ever", (1,), (1,), (x,), without=1)
    assert x.tolist() == [1, 0, 0]
