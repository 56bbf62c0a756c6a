"""What went wrong on a device, in words: its driver gives a code, and says neither what it means nor what helps."""

from __future__ import annotations

from typing import Any

LIBRARIES = "cupy", "cupy_backends"  # whose classes the errors of a device have

_OLD = "the device is too old for this CuPy: one for an older CUDA may still serve it (cuda12 in place of cuda13)"
_MIXED = "the libraries and the kernel module of the NVIDIA driver are of different versions: reboot, or reinstall it"
_BROKEN = "a kernel failed, and the device is lost to this process: start it anew"
_MEMORY = "the device has no memory left: a smaller batch, shorter sequences or a smaller model need less"
REASONS = {  # how the message begins, or what it says -> what it means, and what helps
    "cudaErrorNoDevice": "the driver finds no CUDA device: nvidia-smi lists those there are",
    "cudaErrorInvalidDevice": "there is no device of this number: nvidia-smi lists those there are",
    "cudaErrorDevicesUnavailable": "the device is taken: another process keeps it for itself",
    "cudaErrorSystemDriverMismatch": _MIXED,
    "cudaErrorCompatNotSupportedOnDevice": "the driver is too old for the CUDA of CuPy on this device: update it",
    "cudaErrorUnsupportedPtxVersion": "the driver is too old for the CUDA of CuPy: update it",
    "cudaErrorNoKernelImageForDevice": _OLD,
    "invalid value for --gpu-architecture": _OLD,  # the compiler's words for the same
    "cudaErrorMemoryAllocation": _MEMORY,
    "CUDA_ERROR_OUT_OF_MEMORY": _MEMORY,
    "CUBLAS_STATUS_ALLOC_FAILED": _MEMORY,
    "Out of memory allocating": _MEMORY,
    "Failure finding": "a library of CUDA is missing: the extra ctk of CuPy's package (cupy-cuda12x[ctk]) brings all",
    "cudaErrorIllegalAddress": _BROKEN,
    "cudaErrorLaunchFailure": _BROKEN,
    "cudaErrorMisalignedAddress": _BROKEN,
    "CUDA_ERROR_ILLEGAL_ADDRESS": _BROKEN,  # the driver's names for the same: it is what launches
    "CUDA_ERROR_LAUNCH_FAILED": _BROKEN,
    "CUDA_ERROR_MISALIGNED_ADDRESS": _BROKEN,
}


def comes_from_a_device(error: BaseException) -> bool:
    """Whether CuPy raised it; its errors share no base class."""
    return type(error).__module__.partition(".")[0] in LIBRARIES


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that the memory of the device is used up."""
    return comes_from_a_device(error) and _meaning(error) == _MEMORY


def in_words(error: BaseException, cupy: Any = None) -> str:
    """One line on what an error means, what helps, and what CuPy said.

    Parameters
    ----------
    error : exception
        Whatever was raised where a device was to compute.
    cupy : module, optional
        CuPy, to be asked for versions where these are the trouble.

    Examples
    --------
    >>> in_words(RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected"))
    'the driver finds no CUDA device: nvidia-smi lists those there are (cudaErrorNoDevice: no CUDA-capable device is \
detected)'
    """
    said = next((line.strip() for line in str(error).splitlines() if line.strip(" =")), type(error).__name__)
    meaning = _of_versions(cupy) if "cudaErrorInsufficientDriver" in said and cupy is not None else _meaning(error)
    return f"{meaning} ({said})" if meaning else said


def _meaning(error: BaseException) -> str:
    return next((meaning for words, meaning in REASONS.items() if words in str(error)), "")


def _of_versions(cupy: Any) -> str:
    """Which CUDA the driver can serve, and which CuPy needs; CuPy says the same of a machine without a driver."""
    driver, needed = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    if not driver:
        return "there is no NVIDIA driver here"
    return f"the driver is too old: it serves CUDA {version(driver)}, and CuPy needs {version(needed)}: update it"


def version(number: int) -> str:
    """The version that CUDA writes as one number, 12090 for 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"
