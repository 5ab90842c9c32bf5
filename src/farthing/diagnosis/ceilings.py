"""What this machine can do at most: peak FLOP/s per precision and memory bandwidth, measured once and cached."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil

from farthing.errors import BuildError
from farthing.results import Device

PROBE_S, ROUNDS = 0.3, 4  # of each probe, in turns: others on the machine slow down neighbours in time alike
SIDES = (1024, 2048)  # of the square matrices: the first may live in caches, the second fills the cores
LARGEST_ARRAY_BYTES = 2**28

Step = Callable[[], object]
Probe = Callable[[int], Step]  # side n -> one product of two n x n matrices


def load_or_measure(cache: Path, device_kind: str = "cpu") -> Device:
    """`measure_ceilings`, remembered in the JSON file `cache` per processor, number of cores and library versions."""
    key = _key(device_kind)
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):  # absent or cut short: it is only a cache
        known = {}
    if key in known:
        return Device(**known[key])
    device = measure_ceilings(device_kind)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=cache.parent, delete=False) as file:
        json.dump({**known, key: asdict(device)}, file, indent=1)
    os.replace(file.name, cache)
    return device


def measure_ceilings(device_kind: str = "cpu") -> Device:
    """Best of repeated n x n products (2 n^3 FLOP) and of the STREAM sum a = b + c (3 arrays moved), on all cores.

    Call it in a process of its own: it loads whichever of torch, OpenVINO and ONNX Runtime are installed. A precision that
    none of them can run here is left out of `flops_per_s`; `power_w` is left to the meters. STREAM: McCalpin, https://www.cs.virginia.edu/stream/.
    """
    if device_kind == "cuda":
        return _cuda()
    peaks = _peaks()
    return Device(
        name=_processor(),
        kind="cpu",
        num_cores=num_cores(),
        memory_bytes=float(psutil.virtual_memory().total),
        flops_per_s={dtype: flops for dtype, (flops, _) in peaks.items()},
        bytes_per_s=_bandwidth(),
        source="measured: " + ", ".join(f"{dtype} with {package}" for dtype, (_, package) in peaks.items()),
    )


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _peaks() -> dict[str, tuple[float, str]]:
    """(FLOP/s, package) of the fastest installed probe of each precision."""
    steps = {
        (dtype, package, n): probe(n)
        for dtype, probes in CPU_PROBES.items()
        for package, probe in probes.items()
        if find_spec(package)
        for n in SIDES
    }
    rates: dict[str, list[tuple[float, str]]] = {}
    for _ in range(ROUNDS):
        for (dtype, package, n), step in steps.items():
            rates.setdefault(dtype, []).append((2.0 * n**3 / _fastest(step, PROBE_S / ROUNDS), package))
    return {dtype: max(found) for dtype, found in rates.items()}


def _fastest(step: Step, seconds: float = PROBE_S) -> float:
    """Seconds of the fastest of as many steps as fit into `seconds`, at least two: the first one warms up."""
    step()
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        started = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - started)
    return best


def _numpy(n: int) -> Step:
    a, b = np.random.default_rng(0).standard_normal((2, n, n)).astype(np.float32)
    return lambda: a @ b


def _torch_float32(n: int) -> Step:
    import torch

    torch.set_num_threads(num_cores())
    a, b = torch.rand(2, n, n)
    return lambda: torch.mm(a, b)


def _torch_bfloat16(n: int) -> Step:
    import torch

    torch.set_num_threads(num_cores())
    a, b = torch.rand(2, n, n).bfloat16()
    return lambda: torch.mm(a, b)


def _onnxruntime_int8(n: int) -> Step:
    """MatMulInteger of uint8 activations and constant int8 weights."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_cores()
    session = onnxruntime.InferenceSession(_matmul_integer(n), options, providers=["CPUExecutionProvider"])
    feeds = {"a": np.random.default_rng(0).integers(0, 255, (n, n), dtype=np.uint8)}
    return lambda: session.run(None, feeds)


def _matmul_integer(n: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.random.default_rng(0).integers(-127, 127, (n, n), dtype=np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "int8",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [n, n])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [n, n])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _openvino_int8(n: int) -> Step:
    """A fully connected layer between fake quantizers, which OpenVINO executes in int8."""
    import openvino
    from openvino import opset13 as ops

    one = np.float32(1.0)
    weight = ops.constant(np.random.default_rng(0).uniform(-1, 1, (n, n)).astype(np.float32))
    parameter = ops.parameter([n, n], np.float32)
    activation = ops.fake_quantize(parameter, -one, one, -one, one, 256)
    product = ops.matmul(activation, ops.fake_quantize(weight, -one, one, -one, one, 255), False, True)
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": num_cores()}
    request = openvino.Core().compile_model(openvino.Model([product], [parameter]), "CPU", config).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.random.default_rng(1).uniform(-1, 1, (n, n)).astype(np.float32)))
    return lambda: request.infer()


CPU_PROBES: dict[str, dict[str, Probe]] = {
    "float32": {"torch": _torch_float32, "numpy": _numpy},
    "bfloat16": {"torch": _torch_bfloat16},
    "int8": {"openvino": _openvino_int8, "onnxruntime": _onnxruntime_int8},
}


def _bandwidth() -> float:
    """byte/s of a = b + c, each core on its own part, over arrays that together are 8 times the last cache."""
    count = int(min(max(8 * _last_cache_bytes() / 3, 2**25), LARGEST_ARRAY_BYTES) // 8)
    a, b, c = (np.full(count, float(i)) for i in range(3))
    parts = [slice(i * count // num_cores(), (i + 1) * count // num_cores()) for i in range(num_cores())]
    with ThreadPoolExecutor(num_cores()) as pool:
        seconds = _fastest(lambda: list(pool.map(lambda part: np.add(b[part], c[part], out=a[part]), parts)))
    return 3.0 * a.nbytes / seconds


def _last_cache_bytes() -> int:
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().strip().removesuffix("K")) * 1024 for size in sizes), default=2**25)


def _cuda() -> Device:
    """The first CUDA device. Raises BuildError where torch sees none."""
    import torch

    if not torch.cuda.is_available():
        raise BuildError(f'torch {torch.__version__} sees no CUDA device. Install a build that does, or set device = "cpu".')
    facts = torch.cuda.get_device_properties(0)
    n = 8192

    def rate(work: float, step: Step) -> float:
        return work / _fastest(lambda: (step(), torch.cuda.synchronize()))

    def product(dtype: torch.dtype) -> Step:
        a, b = torch.ones(2, n, n, device="cuda", dtype=dtype)
        return lambda: torch._int_mm(a, b.t()) if dtype == torch.int8 else torch.mm(a, b)

    a, b, c = torch.ones(3, 2**27, device="cuda")
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}
    return Device(
        name=facts.name,
        kind="cuda",
        num_cores=facts.multi_processor_count,
        memory_bytes=float(facts.total_memory),
        flops_per_s={name: rate(2.0 * n**3, product(dtype)) for name, dtype in names.items()},
        bytes_per_s=rate(3.0 * a.nbytes, lambda: torch.add(b, c, out=a)),
        source=f"measured: with torch {torch.__version__}",
    )


def _processor() -> str:
    """As /proc/cpuinfo names it; elsewhere as the platform does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _key(device_kind: str) -> str:
    packages = ("numpy", "torch", "openvino", "onnxruntime")
    return " | ".join([device_kind, _processor(), f"{num_cores()} cores", *(f"{p} {_version(p)}" for p in packages)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
