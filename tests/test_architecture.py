"""Who may import whom, how long things may grow, and what may never be in the repository.

The table below is the design's. It is checked by parsing, so an import inside a function counts as well: it only may
not cost anything at start-up, which is what the ``lazily`` column is for.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = (ROOT / "src", ROOT / "backends")
BACKENDS = ("streamtrack_onnx", "streamtrack_tensorrt", "streamtrack_coreml")


@dataclass(frozen=True)
class Row:
    """What one part may import, besides itself and the standard library."""

    own: str = ""
    """Parts of streamtrack, anywhere."""
    libraries: str = ""
    lazily: str = ""
    """Parts and libraries allowed only inside functions (or for the type checker): paid for when they are used."""


VALUES = "types errors params api models.spec"
SEAM = "types errors api models.spec models.onnxinput"
"""All that a backend may know."""
MAY_IMPORT = {
    "types": Row("", "numpy"),
    "errors": Row(),
    "params": Row("", "msgspec"),
    "models.spec": Row("", "msgspec"),
    "api": Row("types models.spec", "numpy msgspec"),
    "channel": Row(),
    "allowance": Row(),
    "threads": Row("channel"),
    "pacing": Row(),
    "speed": Row(libraries="msgspec"),
    # Pure computation: no IO, no clock, no logging, no configuration.
    "tracking": Row("types params", "numpy numba"),
    "throttle": Row("types params", "numpy"),
    "scenes": Row("types params", "numpy"),
    # Of the tracker it takes only the way to compile a kernel.
    "quality": Row("types models tracking", "numpy"),
    "lighting": Row("types params", "numpy"),
    "records": Row("types", "numpy msgspec"),
    "fetch": Row("errors"),
    "folder": Row("errors", "msgspec"),
    "models": Row(f"{VALUES} fetch", "numpy numba msgspec", lazily="onnx"),
    # Of the tracker it takes only the way to compile a kernel.
    "models.warping": Row(f"{VALUES} models tracking", "numpy"),
    # For backends that read ONNX, and loaded with a model alone.
    "models.onnxinput": Row("", "numpy onnx"),
    "sources": Row(VALUES, "numpy av"),
    # Of the tracker it takes only the way to compile a kernel.
    "sources._shrinking": Row(f"{VALUES} sources tracking", "numpy av"),
    "sources._still": Row(f"{VALUES} sources", "numpy av PIL"),
    "sources._gst": Row(f"{VALUES} sources", "numpy av", lazily="gi"),
    "sources.gstreamer": Row(f"{VALUES} sources", "msgspec"),
    "sources.replay": Row(f"{VALUES} sources tape", "numpy av"),
    # It is around any other source.
    "sources.chaos": Row(f"{VALUES} sources plugins", "numpy av msgspec"),
    # Text in, text out.
    "pages": Row(),
    "sinks": Row(f"{VALUES} records throttle folder quality packing pages", "numpy msgspec simplejpeg av PIL"),
    "sinks.msgpack": Row(f"{VALUES} sinks records folder tapefile", "msgspec"),
    "sinks.mot": Row(f"{VALUES} sinks motchallenge", "numpy"),
    # It shows settings as people write them.
    "sinks._account": Row("types sinks pages catalogue speed", "msgspec"),
    # It is given the embedder it drives.
    "sinks.embeddings": Row(f"{VALUES} sinks records throttle quality models", "numpy"),
    "sinks.redis": Row(f"{VALUES} sinks", lazily="redis"),
    "sinks.parquet": Row(f"{VALUES} records sinks", "msgspec", lazily="pyarrow"),
    "sinks.nats": Row(f"{VALUES} sinks", lazily="nats"),
    "sinks.mqtt": Row(f"{VALUES} sinks", lazily="paho"),
    "sinks.kafka": Row(f"{VALUES} sinks", lazily="confluent_kafka"),
    "motchallenge": Row("errors", "numpy"),
    "tapefile": Row("types errors records", "numpy msgspec"),
    "packing": Row("errors", lazily="zstandard"),
    "tape": Row("types errors records folder motchallenge packing tapefile", "numpy msgspec"),
    # Of the tracker it takes only the way to compile a kernel.
    "evaluation": Row("errors folder motchallenge tape tracking", "numpy"),
    "pipeline": Row(f"{VALUES} models tracking channel pacing threads"),
    "exposition": Row("types pipeline", lazily="prometheus_client"),
    "endpoint": Row("errors exposition threads", lazily="prometheus_client"),
    "latency": Row(libraries="msgspec"),
    "claim": Row("errors api folder resuming"),
    "resuming": Row("types errors folder records", "numpy msgspec"),
    "metrics": Row(
        "types errors folder resuming channel devices latency lighting models speed threads pipeline records",
        "msgspec",
    ),
    "settings": Row("params", "msgspec"),
    "units": Row("errors"),
    "catalogue": Row("errors settings units", "msgspec"),
    "layers": Row("errors", "yaml"),
    "config": Row("params settings catalogue layers errors", "msgspec"),
    "schema": Row("catalogue units"),
    "consequences": Row("config settings sources.sampling"),
    "linting": Row("config consequences settings", "msgspec"),
    "registry": Row("errors"),
    "address": Row("errors"),
    "plugins": Row("types errors api address config registry", "msgspec"),
    "devices": Row("errors api registry", "msgspec"),
    "quantizing": Row("types errors api params config models plugins registry", "numpy msgspec"),
    "opening": Row("errors api settings devices models registry", "msgspec"),
    "inference": Row("errors api config devices metrics models opening pipeline settings"),
    "build": Row(
        f"{VALUES} allowance config endpoint exposition folder inference latency lighting linting metrics pacing "
        "pipeline plugins registry resuming claim scenes settings speed threads tracking",
        "msgspec",
    ),
    "retracking": Row(
        "types errors params config folder metrics pipeline registry build tape evaluation motchallenge",
        "numpy msgspec",
    ),
    "inspecting": Row("types errors folder registry records tape tapefile", "numpy msgspec"),
    "doctor": Row(
        f"{VALUES} allowance address config devices fetch models opening plugins registry settings sources "
        "sources._avfeed sources._bitstream sources._container sources._losses sources._picture sources._pipe",
        "msgspec av",
    ),
    # The look at the machine works where packages are broken: nothing is imported before it is asked for.
    "doctor.checks": Row(),
    "doctor.hardware": Row("allowance doctor.checks"),
    "doctor.machine": Row(
        "errors doctor.checks doctor.hardware", lazily="config devices fetch models registry tracking av onnxruntime"
    ),
    "explaining": Row("types errors params config build tape tracking", "numpy msgspec"),
    # It is a user that puts cases together itself: below the command line, above everything else.
    "benching": Row(
        f"{VALUES} build config demo doctor.hardware fetch folder models pages pipeline plugins registry testing",
        "msgspec numpy av",
    ),
    "cli": Row(
        "errors",
        lazily="streamtrack allowance benching build catalogue config consequences demo doctor evaluation explaining "
        "fetch folder inspecting linting metrics models params schema quantizing registry retracking sources.sampling "
        "tape tapefile types units msgspec rich",
    ),
    "cli.engines": Row("errors", lazily="cli config models opening registry"),
    "cli._export": Row("errors", lazily="api config fetch models params registry"),
    "cli._terminal": Row("build metrics models.zoo params speed", "rich"),
    "__main__": Row("cli"),
    # The demo is a user and goes through the public interface, save that it writes its clip as the video sink does.
    "demo": Row("streamtrack fetch types errors sinks._files sinks._h264", "numpy msgspec PIL av", lazily="config"),
    "testing": Row(f"{VALUES} sources", "numpy pytest PIL av onnx"),
    # The public names: each home is imported when one of its names is first used.
    "streamtrack": Row(lazily="build errors metrics types"),
    "streamtrack_onnx": Row(SEAM, "numpy onnx onnxruntime"),
    "streamtrack_coreml": Row(SEAM, "numpy msgspec onnx", lazily="onnxruntime"),
    "streamtrack_tensorrt": Row(SEAM, "numpy onnx msgspec", lazily="tensorrt pycuda"),
}


class Import(NamedTuple):
    """One imported module, and where."""

    importer: str
    target: str
    line: int
    lazy: bool


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(roots: Iterable[Path]) -> dict[str, Path]:
    """Every module below ``roots`` by dotted name."""
    return {module_name(path, root): path for root in roots for path in sorted(root.rglob("*.py"))}


def part_of(module: str) -> str:
    """The row of the table that speaks for ``module``: the most specific one."""
    name = module.removeprefix("streamtrack.")
    while name not in MAY_IMPORT and "." in name:
        name = name.rpartition(".")[0]
    return name


def imports(name: str, path: Path, known: Iterable[str]) -> Iterator[Import]:
    """Yield every import of a module; ``from a import b`` is ``a.b`` where that is a module."""
    known = set(known)
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                origin = ".".join([*above, *origin.split(".")]).strip(".")
            targets = {
                f"{origin}.{alias.name}" if f"{origin}.{alias.name}" in known else origin for alias in node.names
            }
            yield from (Import(name, target, node.lineno, lazy) for target in sorted(targets))
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_checker = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy or for_checker)

    yield from walk(tree, False)


def all_imports(roots: Iterable[Path]) -> list[Import]:
    known = modules(roots)
    return [found for name, path in known.items() for found in imports(name, path, known)]


def violation(found: Import) -> str | None:
    """Say what is wrong with an import, or None."""
    where = f"{found.importer}:{found.line}"
    top = found.target.partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    who = part_of(found.importer)
    if who not in MAY_IMPORT:
        return f"{where}: '{who}' has no row in the table of who may import whom"
    row = MAY_IMPORT[who]
    ours = top == "streamtrack" or top in BACKENDS
    what = part_of(found.target) if ours else top
    always, sometimes = {*row.own.split(), *row.libraries.split()}, set(row.lazily.split())
    package, _, leaf = found.target.rpartition(".")
    named = found.target.removeprefix("streamtrack.")
    if ours and leaf.startswith("_") and named not in always and not found.importer.startswith(package):
        return f"{where}: {found.target} is private to {package}"
    # Within one part everybody may import everybody.
    if what == who or what.startswith(f"{who}."):
        return None
    candidates = {named, what, what.partition(".")[0]}
    if candidates & always:
        return None
    if candidates & sometimes:
        return None if found.lazy else f"{where}: {who} may import {what} only inside a function"
    return f"{where}: {who} may not import {what}"


def violations(found: Iterable[Import]) -> list[str]:
    return [text for each in found if (text := violation(each))]


def cycle(found: Iterable[Import]) -> list[str]:
    """Return one cycle among imports that happen at import time, or an empty list."""
    edges: dict[str, set[str]] = {}
    for each in found:
        if not each.lazy and each.target != each.importer:
            edges.setdefault(each.importer, set()).add(each.target)
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(edges.get(module, ())):
            if loop := visit(target, [*path, module]):
                return loop
        done.add(module)
        return []

    return next((loop for module in sorted(edges) if (loop := visit(module, []))), [])


def test_nobody_imports_whom_they_may_not() -> None:
    found = all_imports(SOURCE_ROOTS)
    assert len(found) > 50
    assert violations(found) == []


def test_no_import_cycle() -> None:
    assert cycle(all_imports(SOURCE_ROOTS)) == []


BAD_TREE = {
    "__init__.py": "",
    "types.py": "import numpy\nimport streamtrack.config",
    "tracking/__init__.py": "def f():\n    from streamtrack import registry",
    "throttle.py": "from . import types\nfrom .sinks import _files",
    "sinks/__init__.py": "",
    "sinks/_files.py": "import os\nimport cv2",
    "cli/__init__.py": "import rich",
    "config.py": "from streamtrack.params import P",
    "params.py": "from streamtrack import config",
    "registry.py": "",
    "novelty.py": "import yaml",
}


def test_the_checker_can_fail(tmp_path: Path) -> None:
    for name, text in BAD_TREE.items():
        path = tmp_path / "streamtrack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    found = all_imports([tmp_path])
    assert sorted(violations(found)) == [
        "streamtrack.cli:1: cli may import rich only inside a function",
        "streamtrack.novelty:1: 'novelty' has no row in the table of who may import whom",
        "streamtrack.params:1: params may not import config",
        "streamtrack.sinks._files:2: sinks may not import cv2",
        "streamtrack.throttle:2: streamtrack.sinks._files is private to streamtrack.sinks",
        "streamtrack.tracking:2: tracking may not import registry",
        "streamtrack.types:2: types may not import config",
    ]
    assert cycle(found) == ["streamtrack.config", "streamtrack.params", "streamtrack.config"]


def test_the_table_names_only_parts_that_exist_or_are_designed() -> None:
    parts = {part_of(name) for name in modules(SOURCE_ROOTS)}
    assert parts <= set(MAY_IMPORT)
    assert set(MAY_IMPORT) - parts <= {"streamtrack_tensorrt", "streamtrack_coreml"}


# --- size and names ---

FILE_CAP, FUNCTION_CAP, KERNEL_CAP, USUAL_FUNCTION = 600, 60, 120, 40
SAYS_NOTHING = re.compile(r"_?(core|utils?|common|base|helpers?|manager|misc)")
CODE = ("src", "backends", "tests", "benchmarks")


def code_files() -> list[Path]:
    return [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]


class Length(NamedTuple):
    """A function, its number of lines (docstring included) and how many it may have."""

    name: str
    lines: int
    cap: int


def function_lengths(path: Path) -> list[Length]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [
        # What is compiled cannot call Python's conveniences, and inlines by hand.
        Length(
            f"{path.name}:{node.lineno} {node.name}",
            (node.end_lineno or 0) - node.lineno + 1,
            KERNEL_CAP if any(ast.unparse(d) == "kernel" for d in node.decorator_list) else FUNCTION_CAP,
        )
        for node in functions
    ]


def too_long(path: Path) -> list[str]:
    long = [f"{name}: {lines} lines" for name, lines, cap in function_lengths(path) if lines > cap]
    total = len(path.read_text(encoding="utf-8").splitlines())
    return long + [f"{path.name}: {total} lines"] * (total > FILE_CAP)


def test_functions_and_files_stay_short() -> None:
    assert [text for path in code_files() for text in too_long(path)] == []


def test_most_functions_are_shorter_still() -> None:
    lengths = [length for path in modules(SOURCE_ROOTS).values() for length in function_lengths(path)]
    plain = sorted(length.lines for length in lengths if length.cap == FUNCTION_CAP)
    assert plain[int(0.95 * len(plain))] < USUAL_FUNCTION


def test_the_caps_can_be_hit(tmp_path: Path) -> None:
    body = "\n".join(["    x = 1"] * (FUNCTION_CAP + 1))
    for text, expected in {f"def f():\n{body}\n": ["a.py:1 f: 62 lines"], f"@kernel\ndef f():\n{body}\n": []}.items():
        (tmp_path / "a.py").write_text(text, encoding="utf-8")
        assert too_long(tmp_path / "a.py") == expected
    (tmp_path / "a.py").write_text("x = 1\n" * (FILE_CAP + 1), encoding="utf-8")
    assert too_long(tmp_path / "a.py") == ["a.py: 601 lines"]


def test_every_module_has_a_name_and_a_sentence() -> None:
    for path in code_files():
        assert not SAYS_NOTHING.fullmatch(path.stem), f"{path} says nothing about what is in it"
    for name, path in modules(SOURCE_ROOTS).items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{name} has no docstring"


# Modules without a test file of their own name, and where they are tested instead.
TESTED_ELSEWHERE: dict[str, str] = {
    "streamtrack.doctor.feed": "doctor/test_consultation.py",
    "streamtrack.doctor.report": "doctor/test_observing.py",
    "streamtrack.doctor.wording": "cli/test_doctor.py",
    "streamtrack.sinks._annotate": "sinks/test_video.py",
    "streamtrack.sinks._files": "sinks/test_crops.py",
    "streamtrack.sinks._h264": "sinks/test_video.py",
    "streamtrack.sources._gst": "sources/test_gstreamer.py",
    # The conformance suites are tests; the built-in plug-ins are what they are tried on.
    "streamtrack.testing.models": "test_build.py",
    "streamtrack.testing.results": "sinks/test_jsonl.py",
    "streamtrack.testing.sinks": "sinks/test_frames.py",
    "streamtrack.testing.sources": "sources/test_pyav.py",
}


def mirrors(module: str, path: Path) -> list[Path]:
    """Where the tests of a module may be: ``a/b.py`` in ``tests/a/test_b.py``, a package in ``tests/a/test_a.py``."""
    parts = module.removeprefix("streamtrack.").split(".")
    folder = ROOT / "tests" / Path(*(parts if path.name == "__init__.py" else parts[:-1]))
    names = {parts[-1], parts[-1].lstrip("_")} | ({"init", "__init__"} if path.name == "__init__.py" else set())
    folders = {folder, ROOT / "tests"} if module == "streamtrack" else {folder}
    return [place / f"test_{name}.py" for place in folders for name in names]


def test_tests_mirror_the_source() -> None:
    known = modules(SOURCE_ROOTS)
    with_code = {module: path for module, path in known.items() if function_lengths(path)}
    missing = [m for m, path in with_code.items() if not any(place.is_file() for place in mirrors(m, path))]
    assert sorted(missing) == sorted(TESTED_ELSEWHERE)
    assert all((ROOT / "tests" / place).is_file() for place in TESTED_ELSEWHERE.values())


# --- what may not be there ---


def reads_environment(path: Path) -> list[int]:
    """Lines that touch the process's environment."""
    names = {"environ", "environb", "getenv", "putenv", "unsetenv", "expandvars"}
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        by_attribute = isinstance(node, ast.Attribute) and node.attr in names
        by_name = isinstance(node, ast.ImportFrom) and node.module == "os" and names & {a.name for a in node.names}
        if by_attribute or by_name:
            lines.append(node.lineno)
    return lines


def test_only_the_configuration_reads_the_environment() -> None:
    touched = {name: lines for name, path in modules(SOURCE_ROOTS).items() if (lines := reads_environment(path))}
    # Kernels are declared at import, before there is a configuration that could say where their cache is, and secrets
    # leave the process's title before anything else happens.
    assert set(touched) == {"streamtrack.config", "streamtrack.tracking._jit", "streamtrack.cli._secrets"}


def test_the_environment_check_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nfrom os import getenv\nx = os.environ['A']\n", encoding="utf-8")
    assert reads_environment(bad) == [2, 3]


# Written so that this file does not match itself.
NOT_HERE = re.compile(
    r"py(?:pi)\.org|pythonhosted\.(?:org)|--(?:extra-)?index-(?:url)|[\s'\"(=:]/(?:work|root|home)/\w"
)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        return code_files()
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def leaks(path: Path) -> list[str]:
    """Lines that hold the host of a package index or a path of somebody's machine."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [f"{path.name}:{n}: {line.strip()[:80]}" for n, line in enumerate(lines, 1) if NOT_HERE.search(line)]


def test_no_package_index_and_no_path_of_a_machine_in_the_repository() -> None:
    assert [leak for path in tracked_files() for leak in leaks(path)] == []


def test_the_leak_check_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "requirements.txt"
    slash = "/"
    bad.write_text(f"--index-{'url'} https:{slash}/x\nhttps://{'pypi'}.org/simple\nlog {slash}home/me/x\nfine\n")
    assert [leak.split(":")[1] for leak in leaks(bad)] == ["1", "2", "3"]


# --- what is paid at start-up ---

LOADED = """
import json, sys
before = set(sys.modules)
{code}
tops = {{name.partition(".")[0] for name in set(sys.modules) - before}}
json.dump(sorted(tops - sys.stdlib_module_names - {{"streamtrack"}}), sys.stderr)
"""
HELP = """
from streamtrack.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import streamtrack",
        "import streamtrack.cli",
        *(
            HELP.format(arguments=[*command, "--help"])
            for command in ([], ["run"], ["retrack"], ["explain"], ["eval"], ["demo"], ["models"], ["plugins"])
        ),
    ],
)
def test_starting_costs_no_third_party_import(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]")
