"""The CUDA sources compile for an H100 as CuPy will compile them there, and what is in registers stays there.

Neither a device nor a driver is needed, but the compiler that CuPy loads: ``pip install nvidia-cuda-nvrtc-cu12``.
"""

from __future__ import annotations

import io
import re
import struct

import pytest

from minirnn.kernels.launching import kernels_in, options, source_of
from minirnn.kernels.products import EACH
from minirnn.kernels.sequences import CELLS, PRECISIONS

pytest.importorskip("cupy", reason="CuPy is not installed")
from cupy.cuda import compiler
from cupy_backends.cuda.libs import nvrtc

REGISTERS = {  # of a thread, at most: in float32, in float64. With 32 all the threads run that an H100 can hold
    "rnn_activate": (16, 24),
    "rnn_slopes": (16, 16),
    "rnn_back": (16, 16),
    "lstm_gates": (32, 40),
    "lstm_slopes": (32, 40),
    "lstm_gates_back": (24, 24),
    "gru_gates": (32, 32),
    "gru_reset": (24, 24),
    "gru_candidate": (24, 24),
    "gru_slopes": (24, 32),
    "gru_gates_back": (24, 24),
    "gru_candidate_back": (24, 24),
    "gru_reset_back": (24, 24),
    "matmul": (64, 80),
    "kept": (40, 40),
    "add_rows": (24, 24),
    # those of whole sequences know float32 only, the second figure is for tensor cores, and the third for clusters;
    # with 128 one block of 512 threads fits, and there is but one
    "lstm_sequence": (96, 72, 96),
    "lstm_sequence_back": (104, 80, 112),
    "gru_sequence": (88, 64, 96),
    "gru_sequence_back": (104, 80, 112),
    "rnn_sequence": (88, 64, 96),
    "rnn_sequence_back": (96, 72, 96),
    "lstm_attending": (120,),
    "lstm_attending_back": (112,),
    "gru_attending": (120,),
    "gru_attending_back": (112,),
    "rnn_attending": (120,),
    "rnn_attending_back": (112,),
    "write_texts": (128,),
}
CUPY_TELLS = "-ftz=true", "--device-as-default-execution-space"
# opcodes: a product by tensor cores in floating point, the end of a thread, and the two halves of a cluster's barrier
HMMA, EXIT, COME, AWAIT = 0x23C, 0x94D, 0x9C7, 0xDC7
CLUSTER_OF = 0x3D04  # in the notes on a kernel, before 12 bytes for the blocks of a cluster along each dimension


def why_not() -> str:
    try:
        nvrtc.getVersion()
    except Exception as error:  # of whoever looks for the library
        return f"NVRTC is not installed: {type(error).__name__}"
    return ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it is")


def compiled(name: str, real: str, *macros: str) -> tuple[bytes, str]:
    """Machine code for compute capability 9.0, and what the compiler says of it."""
    log = io.StringIO()
    told = *options(real, *macros), *CUPY_TELLS, "-arch=sm_90", "--ptxas-options=-v"
    program = compiler._NVRTCProgram(source_of(f"{name}.cu"), f"{name}.cu", (), (), method="cubin")
    return program.compile(told, log)[0], log.getvalue()


def instructions(code: bytes) -> dict[str, list[int]]:
    """The opcodes of each kernel in machine code: ELF, instructions of 16 bytes, the opcode in the lowest 12 bits."""
    (start,), (count, names) = struct.unpack_from("<Q", code, 40), struct.unpack_from("<HH", code, 60)
    sections = [struct.unpack_from("<II16xQQ", code, start + 64 * k) for k in range(count)]
    found = {}
    for name, kind, offset, size in sections:
        name = code[sections[names][2] + name :].partition(b"\0")[0].decode()
        if kind == 1 and name.startswith(".text."):
            words = struct.unpack_from(f"<{size // 8}Q", code, offset)
            found[name[6:]] = [word & 0xFFF for word in words[::2]]
    return found


@pytest.mark.parametrize(
    ("name", "cell", "real", "precision", "cluster"),
    [(cell, None, real, "float32", 1) for cell in CELLS for real in ("float", "double")]
    + [(source, cell, "float", "float32", 1) for cell in CELLS for source in ("sequence", "attentive_decoder")]
    + [("sequence", "rnn", "float", precision, 1) for precision in PRECISIONS if precision != "float32"]
    + [("sequence", cell, "float", "3xtf32", 1) for cell in ("lstm", "gru")]  # takes most; products are the same
    + [("sequence", "lstm", "float", "float32", 16), ("sequence", "gru", "float", "float32", 8)]
    + [("sequence", "rnn", "float", "float32", 4), ("sequence", "rnn", "float", "3xtf32", 2)]
    + [("generation", None, "float", "float32", 1)],
)
def test_a_source_compiles_without_a_word_and_spills_nothing(name, cell, real, precision, cluster):
    macros = PRECISIONS[precision].macros + ((f"CLUSTER={cluster}",) if cluster > 1 else ())
    if cell:  # a kernel for every cell
        macros = CELLS[cell].macro, *macros
    code, log = compiled(name, real, *macros)
    assert code.startswith(b"\x7fELF")
    assert "warning" not in log
    used = dict(re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", log, re.DOTALL))
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert set(used) == set(kernels_in(source_of(f"{name}.cu")))
    assert spills == [("0", "0", "0")] * len(used)
    which = 2 if cluster > 1 else real == "double" or precision != "float32"
    for kernel, registers in used.items():
        assert int(registers) <= REGISTERS[f"{cell}_{kernel}" if cell else kernel][which], kernel
    for kernel, opcodes in instructions(code).items():
        assert kernel in used and EXIT in opcodes  # they are read aright
        assert (HMMA in opcodes) == (precision != "float32"), kernel
        assert (COME in opcodes) == (AWAIT in opcodes) == (cluster > 1), kernel
    noted = struct.pack("<HH3I", CLUSTER_OF, 12, 1, cluster, 1)
    assert code.count(noted) == (len(used) if cluster > 1 else 0) and (struct.pack("<HH", CLUSTER_OF, 12) in code) == (
        cluster > 1
    )


@pytest.mark.parametrize(
    ("source", "kernel", "macros"),
    [("masks", "kept", ()), ("lookups", "add_rows", ()), *(("products", "matmul", (f"EACH={each}",)) for each in EACH)],
)
@pytest.mark.parametrize("real", ["float", "double"])
def test_masks_look_ups_and_products_of_both_tiles_compile_without_spills(real, source, kernel, macros):
    code, log = compiled(source, real, *macros)
    (used,) = re.findall(r"Used (\d+) registers", log)
    assert "warning" not in log and "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in log
    assert int(used) <= REGISTERS[kernel][real == "double"]
    assert HMMA not in instructions(code)[kernel]  # IEEE, whatever CuPy is told of TF32


def test_what_the_compiler_refuses_is_an_error():
    program = compiler._NVRTCProgram("__global__ void f(REAL *x) { }", "f.cu", (), (), method="cubin")
    with pytest.raises(compiler.CompileException, match="REAL"):
        program.compile(("-arch=sm_90",), None)
