"""What streamtrack finds on this machine. Every probe is on its own: one that breaks is reported like the others.

Nothing but the standard library is imported before a probe asks for it, so that a broken package cannot hide itself.
"""

from __future__ import annotations

import contextlib
import importlib
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any, Final, NamedTuple

from streamtrack.doctor import hardware
from streamtrack.doctor.checks import Check, Mark
from streamtrack.errors import PluginError, StreamtrackError

_PYTHONS: Final = ((3, 11), (3, 14))
_DEBIAN_PACKAGES: Final = Path("/usr/lib/python3/dist-packages")
_GSTREAMER: Final = (
    "apt-get install --no-install-recommends python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav"
)
_SRT_IN_GSTREAMER: Final = "srtsrc"
_GST_ELEMENTS: Final = ("appsink", "videoconvert", "rtspsrc", "h264parse", "avdec_h264", "v4l2src", _SRT_IN_GSTREAMER)
_GST_PROBE: Final = """
import sys
sys.path.append(sys.argv[1])
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
print(Gst.version_string())
print(" ".join(name for name in sys.argv[2:] if Gst.ElementFactory.find(name)))
"""
_PATIENCE_S = 10
_NO_PORT = "127.0.0.1:0"
"""An address that is refused before anything is sent: only whether FFmpeg knows the protocol shows."""
# Where FFmpeg speaks a protocol as part of a format, or in two layers, the URL says the lot.
_PROTOCOLS: Final = {
    "rtsp": f"rtsp://{_NO_PORT}/",
    "rtmp": f"rtmp://{_NO_PORT}/",
    "rtmps": f"rtmps://{_NO_PORT}/",
    "http": f"http://{_NO_PORT}/",
    "https": f"https://{_NO_PORT}/",
    "srt": f"srt://{_NO_PORT}",
}
_FORMATS: Final = ("hls", "flv", "mpegts", "mpjpeg", "sdp")
_DECODERS: Final = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg")
_EXTRAS: Final = {"nvidia": "tensorrt", "apple": "coreml"}
_ESSENTIAL: Final = {("sources", "pyav"), ("backends", "onnx"), ("sinks", "jsonl")}


class Probe(NamedTuple):
    """One look at the machine."""

    section: str
    name: str
    look: Callable[[], Check]
    essential: bool = False
    """Whether nothing runs where it fails."""
    remedy: str = ""


def examine(probes: tuple[Probe, ...] | None = None) -> list[Check]:
    """Return what each probe found; one that raises is a check of its own."""
    return [_guarded(probe) for probe in (PROBES if probes is None else probes)]


def _guarded(probe: Probe) -> Check:
    try:
        return probe.look()
    except Exception as error:  # a broken package may raise anything
        told = str(error) if isinstance(error, StreamtrackError) else f"{type(error).__name__}: {error}"
        text = " ".join(told.split())
        mark: Mark = "problem" if probe.essential else "note"
        code = getattr(error, "exit_code", PluginError.exit_code) if probe.essential else 0
        return Check(probe.section, probe.name, mark, text, probe.remedy, {"error": text}, code)


def _python() -> Check:
    found = f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}"
    facts = {"version": platform.python_version(), "executable": sys.executable, "system": platform.platform()}
    least, below = _PYTHONS
    if not least <= sys.version_info[:2] < below:
        text = f"{found}: streamtrack is tested on 3.11 to 3.13"
        return Check("streamtrack", "python", "note", text, facts=facts)
    return Check("streamtrack", "python", "ok", found, facts=facts)


def _streamtrack() -> Check:
    folder = Path(__file__).parent.parent
    try:
        version = metadata.version("streamtrack")
    except metadata.PackageNotFoundError:
        text = f"lies in {folder}, but is not installed: none of its plug-ins can be found"
        code = PluginError.exit_code
        return Check("streamtrack", "streamtrack", "problem", text, "pip install streamtrack", exit_code=code)
    facts = {"version": version, "folder": str(folder)}
    return Check("streamtrack", "streamtrack", "ok", f"{version}, in {folder}", facts=facts)


def _settings() -> Check:
    from streamtrack import config

    resolved = config.resolve(None, {})
    changed = [key for key, layer in resolved.origins.items() if layer.startswith("environment ")]
    text = f"profiles {', '.join(sorted(config.profiles()))}; folder {config.config_dir()}"
    text += f"; set by the environment: {', '.join(changed)}" if changed else ""
    facts = {"folder": str(config.config_dir()), "profiles": sorted(config.profiles()), "from_environment": changed}
    return Check("streamtrack", "settings", "ok", text, facts=facts)


def _plugins() -> Check:
    from streamtrack import registry

    found = registry.plugins()
    broken = [plugin for plugin in found if plugin.error]
    fatal = [plugin for plugin in broken if (plugin.kind, plugin.name) in _ESSENTIAL]
    working = ", ".join(f"{kind} {_names(found, kind)}" for kind in registry.KINDS)
    text = "; ".join([working, *(str(plugin.error) for plugin in broken)])
    facts = {"broken": {f"{plugin.kind}.{plugin.name}": plugin.error for plugin in broken}}
    if fatal:
        return Check("streamtrack", "plugins", "problem", text, facts=facts, exit_code=PluginError.exit_code)
    return Check("streamtrack", "plugins", "note" if broken else "ok", text, facts=facts)


def _names(found: list[Any], kind: str) -> str:
    return " ".join(plugin.name for plugin in found if plugin.kind == kind and not plugin.error) or "none"


def _ffmpeg() -> Check:
    import av

    version = av.ffmpeg_version_info
    facts = {"pyav": av.__version__, "ffmpeg": version}
    return Check("video", "ffmpeg", "ok", f"FFmpeg {version} inside PyAV {av.__version__}", facts=facts)


def _protocols() -> Check:
    import av

    spoken = {name: _speaks(url) for name, url in _PROTOCOLS.items()}
    spoken |= {name: name in av.formats_available for name in _FORMATS}
    absent = [name for name, there in spoken.items() if not there]
    text = " ".join(name for name, there in spoken.items() if there)
    if not absent:
        return Check("video", "protocols", "ok", text, facts=spoken)
    text += f"; not {' '.join(absent)} (this FFmpeg was built without)"
    if "srt" in absent:
        text += "; GStreamer speaks srt: streamtrack run 'gst:srtsrc uri=srt://HOST:PORT ! decodebin'"
    return Check("video", "protocols", "note", text, facts=spoken)


def _speaks(url: str) -> bool:
    import av

    try:
        av.open(url, timeout=(1, 1)).close()
    except av.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, ValueError):
        return True
    return True


def _decoders() -> Check:
    import av
    from av.codec.hwaccel import hwdevices_available

    there = {name: name in av.codecs_available for name in _DECODERS}
    absent = [name for name, found in there.items() if not found]
    hardware_kinds = list(hwdevices_available())
    text = " ".join(name for name, found in there.items() if found)
    text += f"; not {' '.join(absent)}" if absent else ""
    text += f"; hardware this FFmpeg could use: {' '.join(hardware_kinds) or 'none'} (streamtrack decodes on the CPU)"
    facts = {"decoders": there, "hardware": hardware_kinds}
    return Check("video", "decoders", "note" if absent else "ok", text, facts=facts)


def _gstreamer() -> Check:
    command = [sys.executable, "-c", _GST_PROBE, str(_DEBIAN_PACKAGES), *_GST_ELEMENTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    if done.returncode:
        why = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        text = f"not there ({why}): needed for sources that begin with gst:, and for nothing else"
        return Check("video", "gstreamer", "note", text, _GSTREAMER, {"version": None, "elements": []})
    version, _, elements = done.stdout.strip().partition("\n")
    absent = [name for name in _GST_ELEMENTS if name not in elements.split()]
    text = version + (f", without the elements {' '.join(absent)}" if absent else "")
    facts = {"version": version.removeprefix("GStreamer "), "elements": elements.split()}
    return Check("video", "gstreamer", "note" if absent else "ok", text, _GSTREAMER if absent else "", facts)


def _onnxruntime() -> Check:
    import onnxruntime

    providers = list(onnxruntime.get_available_providers())
    facts = {"version": onnxruntime.__version__, "providers": providers}
    text = (
        f"{onnxruntime.__version__}, providers {' '.join(name.removesuffix('ExecutionProvider') for name in providers)}"
    )
    has_nvidia = any(each["kind"] == "nvidia" for each in hardware.accelerators().facts["accelerators"])
    if has_nvidia and "CUDAExecutionProvider" not in providers:
        text += "; there is an NVIDIA GPU that it cannot use"
        remedy = "pip uninstall onnxruntime && pip install onnxruntime-gpu"
        return Check("inference", "onnxruntime", "note", text, remedy, facts)
    return Check("inference", "onnxruntime", "ok", text, facts=facts)


def _runtimes() -> Check:
    kinds = {each["kind"] for each in hardware.accelerators().facts["accelerators"]}
    wanted = {"tensorrt": "nvidia", "pycuda": "nvidia", "coremltools": "apple"}
    found = {name: _version(name) for name in wanted}
    absent = [name for name, version in found.items() if version is None]
    useful = [name for name in absent if wanted[name] in kinds]
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    text += ("; " if text else "") + f"not installed: {', '.join(absent)}" if absent else ""
    if absent and not useful:
        text += " (of no use without an NVIDIA GPU or a Mac)"
    extras = sorted({_EXTRAS[wanted[name]] for name in useful})
    remedy = f"pip install 'streamtrack[{','.join(extras)}]'" if useful else ""
    return Check("inference", "runtimes", "note" if useful else "ok", text, remedy, found)


def _device() -> Check:
    from streamtrack import devices

    found = [(str(candidate), candidate.device, reason) for candidate, reason in devices.survey()]
    able = [(name, device) for name, device, reason in found if reason is None]
    facts = {name: reason for name, _, reason in found}
    if not able:
        return Check("inference", "device", "problem", "nothing here can run a model", facts=facts)
    name, device = able[0]
    text = f"--device auto takes {name}"
    text += "" if device == devices.CPU else ", if the model loads, agrees with the CPU and is not slower than it"
    return Check("inference", "device", "ok", text, facts=facts)


def _version(package: str) -> str | None:
    # Not imported: coremltools takes seconds and warns of everything off macOS. What is broken is told by the device.
    if util.find_spec(package) is None:
        return None
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return "of an unknown version"


def _packages() -> Check:
    names = ("numpy", "numba", "msgspec", "onnx", "PIL", "yaml", "rich", "simplejpeg")
    found, broken = {}, {}
    for name in names:
        try:
            found[name] = str(getattr(importlib.import_module(name), "__version__", "") or "there")
        except Exception as error:  # one that is built for another machine may raise anything
            broken[name] = f"{type(error).__name__}: {error}"
    facts = {"versions": found, "broken": broken}
    if broken:
        text = "; ".join(f"{name} cannot be imported ({why})" for name, why in broken.items())
        distributions = {"PIL": "pillow", "yaml": "pyyaml"}
        remedy = f"pip install --force-reinstall {' '.join(distributions.get(name, name) for name in broken)}"
        return Check("streamtrack", "packages", "problem", text, remedy, facts, PluginError.exit_code)
    versions = (f"{name} {version}" for name, version in found.items() if version != "there")
    return Check("streamtrack", "packages", "ok", ", ".join(versions), facts=facts)


def _threads() -> Check:
    from streamtrack import config

    found = config.thread_variables()
    text = " ".join(f"{name}={value}" for name, value in found.items())
    if not text:
        return Check("machine", "threads", "ok", "no variable such as OMP_NUM_THREADS limits them", facts={})
    resolved = config.resolve(None, {})
    if resolved.origins.get("runtime.threads", "").startswith("environment "):
        text += f": decoding and inference keep to {resolved.config.runtime.threads} each; --threads says otherwise"
    return Check("machine", "threads", "note", text, facts=found)


def _models() -> Check:
    from streamtrack import config
    from streamtrack.fetch import state
    from streamtrack.models.zoo import AUTO_ORDER, ZOO, names_of

    folder = config.model_dir()
    states = {name: state(entry.asset, folder) for name, entry in ZOO.items()}
    facts: Mapping[str, Any] = {"folder": str(folder), "models": states}
    cached = [name for name, found in states.items() if found == "ok"]
    damaged = [name for name, found in states.items() if found == "mismatch"]
    text = f"{' '.join(cached) or 'none'} in {folder}"
    if damaged:
        text += f"; {' '.join(damaged)} there is not the file it should be, and will be fetched again"
        return Check("caches", "models", "note", text, f"streamtrack models pull {' '.join(damaged)}", facts)
    if not set(cached) & set(names_of("detector")):
        remedy = f"streamtrack models pull {AUTO_ORDER[0]}"
        return Check("caches", "models", "note", f"{text}: the first run fetches a detector", remedy, facts)
    return Check("caches", "models", "ok", text, facts=facts)


def _kernels() -> Check:
    from streamtrack import tracking

    folder, note = tracking.cache_folder(), tracking.cache_note()
    kept = len(list(folder.rglob("*.nbi"))) if folder and folder.is_dir() else 0
    facts = {"folder": str(folder) if folder else None, "kernels": kept}
    if folder is None:
        return Check("caches", "kernels", "note", str(note), "export NUMBA_CACHE_DIR=DIR", facts)
    text = f"{kept} kept in {folder}" if kept else f"{folder} is empty: the first run compiles them, for half a minute"
    text += f" ({note})" if note else ""
    return Check("caches", "kernels", "ok" if kept and not note else "note", text, facts=facts)


PROBES: Final = (
    Probe("streamtrack", "python", _python),
    Probe("streamtrack", "streamtrack", _streamtrack, essential=True),
    Probe("streamtrack", "packages", _packages, essential=True),
    Probe("streamtrack", "settings", _settings, essential=True),
    Probe("streamtrack", "plugins", _plugins, essential=True),
    Probe("video", "ffmpeg", _ffmpeg, essential=True, remedy="pip install --force-reinstall 'av>=18,<19'"),
    Probe("video", "protocols", _protocols),
    Probe("video", "decoders", _decoders),
    Probe("video", "gstreamer", _gstreamer, remedy=_GSTREAMER),
    Probe("inference", "onnxruntime", _onnxruntime, essential=True, remedy="pip install --force-reinstall onnxruntime"),
    Probe("inference", "runtimes", _runtimes),
    Probe("inference", "accelerators", hardware.accelerators),
    Probe("inference", "device", _device),
    Probe("machine", "cpu", hardware.processor),
    Probe("machine", "memory", hardware.memory),
    Probe("machine", "threads", _threads),
    Probe("machine", "disk", hardware.disk),
    Probe("caches", "models", _models),
    Probe("caches", "kernels", _kernels, essential=True, remedy="pip install --force-reinstall numba"),
)
"""Everything that is looked at, in the order it is told in."""
