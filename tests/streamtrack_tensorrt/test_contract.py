"""The fakes promise nothing that the real TensorRT bindings of 10 and 11 do not keep: every name, and every signature.

The bindings are small and on every package index, the libraries behind them are not: three libraries whose functions
return nothing take their place, so the bindings load and can be asked what they offer. ``.ci/run`` puts unpacked
bindings of both versions below ``build/bindings``, in a folder for each Python; without them these tests are skipped.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import fake_trt
import pytest
from fake_cuda import FakeCuda

ROOT = Path(__file__).resolve().parent.parent.parent
CLASSES = (
    *("Builder", "IBuilderConfig", "INetworkDefinition", "IOptimizationProfile", "ITimingCache", "IHostMemory"),
    *("OnnxParser", "IProgressMonitor", "ILogger", "Runtime", "ICudaEngine", "IExecutionContext"),
)
STUBS = """
void *createInferBuilder_INTERNAL(void) { return 0; }
void *createInferRefitter_INTERNAL(void) { return 0; }
void *createInferRuntime_INTERNAL(void) { return 0; }
void *createNvOnnxParser_INTERNAL(void) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void) { return 0; }
void *getBuilderPluginRegistry(void) { return 0; }
void *getPluginRegistry(void) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
_Bool initLibNvInferPlugins(void *logger, const char *space) { return 1; }
"""
COMPILER = shutil.which("cc") or shutil.which("gcc")
UNPACKED = Path(
    os.environ.get("STREAMTRACK_TENSORRT_BINDINGS") or ROOT / "build" / "bindings" / str(sys.implementation.cache_tag)
)
VERSIONS = [version for version in ("10", "11") if (UNPACKED / version / "tensorrt_bindings" / "tensorrt.so").is_file()]
if not VERSIONS or COMPILER is None:
    reason = f"needs a C compiler and the bindings of TensorRT in {UNPACKED}, where .ci/run puts them"
    pytest.skip(reason, allow_module_level=True)
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")

# What the real module says of itself, as JSON: version, members of enumerations, and of each class the signatures.
ASK = """
import json, sys
import tensorrt_bindings as trt

def about(member):
    if not callable(member):
        return None
    return (getattr(member, "__doc__", None) or "").splitlines()

said = {
    "version": trt.__version__,
    "classes": {n: {m: about(getattr(getattr(trt, n), m)) for m in dir(getattr(trt, n))} for n in sys.argv[1].split()},
    "flags": sorted(trt.BuilderFlag.__members__),
    "modes": sorted(trt.TensorIOMode.__members__),
    "types": sorted(trt.DataType.__members__),
    "severities": sorted(trt.ILogger.Severity.__members__),
    "module": {n: about(getattr(trt, n)) for n in ("nptype", "init_libnvinfer_plugins")},
}
json.dump(said, sys.stdout)
"""

# The package itself on the real module: its logger, its monitor, and a TensorRT that cannot start.
USE = """
import sys, threading
from pathlib import Path
import tensorrt_bindings as trt

class Cuda:
    @staticmethod
    def get_driver_version():
        return 12080

from streamtrack.errors import BackendError
from streamtrack_tensorrt.building import Progress, started
from streamtrack_tensorrt.runtime import Log, Runtime

log = Log()
logger = log.logger(trt)
assert trt.init_libnvinfer_plugins(logger, "") is True
logger.log(trt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
stop = threading.Event()
monitor = Progress(stop).monitor(trt)
monitor.phase_start("Tactics", None, 2)
assert monitor.step_complete("Tactics", 0) is True
stop.set()
assert monitor.step_complete("Tactics", 1) is False
monitor.phase_finish("Tactics")
runtime = Runtime(trt, Cuda)
for make in (lambda: trt.Builder(logger), lambda: trt.Runtime(logger)):
    try:
        started(make, runtime, log)
    except BackendError as error:
        assert "is for CUDA 12.8" in str(error), error
    else:
        raise SystemExit("TensorRT started without a library")
print(runtime.version)
"""


class Bindings(NamedTuple):
    """The real bindings, and what they say of themselves."""

    folder: Path
    said: dict[str, Any]

    def python(self, code: str, *arguments: str) -> str:
        return _python(self.folder, code, *arguments)


def _python(folder: Path, code: str, *arguments: str) -> str:
    path = os.pathsep.join([str(folder), *(entry for entry in sys.path if entry)])
    environment = os.environ | {"PYTHONPATH": path, "LD_LIBRARY_PATH": str(folder / "tensorrt_bindings")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    version = request.param
    folder = tmp_path_factory.mktemp("bindings")
    shutil.copytree(UNPACKED / version / "tensorrt_bindings", folder / "tensorrt_bindings")
    (folder / "stubs.c").write_text(STUBS, encoding="utf-8")
    for library in LIBRARIES:
        name = f"{library}.so.{version}"
        target = folder / "tensorrt_bindings" / name
        command = [str(COMPILER), "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(target), str(folder / "stubs.c")]
        subprocess.run(command, check=True)
    return Bindings(folder, json.loads(_python(folder, ASK, " ".join(CLASSES))))


def parameters(signature: str) -> list[tuple[str, bool]]:
    """Return the names of a signature's parameters as pybind11 prints it, and whether each may be left out."""
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    # Nothing within brackets separates parameters.
    while re.search(r"[\[<(][^\[\]<>()]*[\])>]", inside):
        inside = re.sub(r"[\[<(][^\[\]<>()]*[\])>]", "", inside)
    found = [part.strip() for part in inside.split(",") if part.strip()]
    return [(part.partition(":")[0].strip(), "=" in part) for part in found if not part.startswith("self")]


def test_signatures_are_read() -> None:
    text = "1. f(self: t.A, name: str, shape: list[tuple[int, int]], s: t.E = <E.A: 0>, n: int = 0) -> tuple[int, str]"
    assert parameters(text) == [("name", False), ("shape", False), ("s", True), ("n", True)]
    assert parameters("f(self: t.A) -> None") == []


def fits(real: list[tuple[str, bool]], ours: list[tuple[str, bool]]) -> bool:
    """Whether a call that fits ``ours`` fits ``real`` as well: the same leading names, the rest with defaults."""
    names = [name for name, _ in ours]
    return names == [name for name, _ in real[: len(names)]] and all(optional for _, optional in real[len(names) :])


def members(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize("name", CLASSES)
def test_a_fake_class_has_nothing_that_the_real_one_lacks(bindings: Bindings, name: str) -> None:
    real = bindings.said["classes"][name]
    own = members(getattr(fake_trt, name))
    if name == "IBuilderConfig":
        own["progress_monitor"] = None  # an attribute of its instances
    assert set(own) <= set(real)
    for method, function in own.items():
        if not inspect.isfunction(function):
            continue
        signature = inspect.signature(function).parameters.values()
        ours = [(p.name, p.default is not p.empty) for p in signature if p.name != "self"]
        shown = [line for line in real[method] if re.match(rf"(\d+\. )?{method}\(self.*->", line)]
        assert any(fits(parameters(line), ours) for line in shown), f"{name}.{method}{ours} fits none of {shown}"


def test_the_versions_differ_where_the_fakes_do(bindings: Bindings) -> None:
    fake = fake_trt.FakeTensorRT(FakeCuda(), bindings.said["version"])
    ours = set(fake.BuilderFlag.__members__)
    assert ours <= set(bindings.said["flags"])
    # What is asked for with getattr is there in both, or in neither.
    for flag in ("FP16", "FP32", "INT8", "TF32"):
        assert (flag in ours) == (flag in bindings.said["flags"])


def test_enumerations_and_functions_of_the_module(bindings: Bindings) -> None:
    said = bindings.said
    assert set(fake_trt.TensorIOMode.__members__) <= set(said["modes"])
    assert set(fake_trt.DataType.__members__) <= set(said["types"])
    assert set(fake_trt.ILogger.Severity.__members__) <= set(said["severities"])
    assert set(said["module"]) <= set(dir(fake_trt.FakeTensorRT))


def test_the_package_s_own_objects_are_taken_and_a_tensorrt_that_cannot_start_is_an_error(bindings: Bindings) -> None:
    assert bindings.python(USE).strip() == bindings.said["version"]
