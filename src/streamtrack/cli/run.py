"""``streamtrack run SOURCE``: the main job."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from streamtrack.cli._settings import add_settings, given
from streamtrack.errors import redact

if TYPE_CHECKING:
    from streamtrack.build import Pipeline

_LONGEST_NAME = 40

_EXAMPLES = """\
examples:
  streamtrack run video.mp4                       tracks and detections into out/video/
  streamtrack run video.mp4 --stride 1 --save-crops --sink video
  streamtrack run video.mp4 --resume              go on where an interrupted run has stopped
  streamtrack run - --out - < video.mp4 | jq .    read a pipe, write a pipe
  streamtrack run rtsp://camera/live?transport=udp --out out/door     until Ctrl-C
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "run",
        help="turn a video into tracks",
        description="Turn a video into tracks.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    what = parser.add_argument_group("what to look at, and with what")
    _add_what(what)
    _add_runtime(what)
    _add_output(parser)
    parser.set_defaults(run=run)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add what says where pictures come from."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help="a video file, a URL (rtsp:// rtmp:// http:// udp:// ...), a camera (/dev/video0), a folder of pictures, "
        "gst:PIPELINE, replay:FOLDER, chaos:SOURCE?FAULTS, file:PATH of a file that holds one of these, or - for "
        "standard input",
    )
    parser.add_argument("--source-from-env", metavar="NAME", help="take SOURCE from this environment variable")
    parser.add_argument(
        "--source-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the source, such as transport=udp; may also follow SOURCE after a ?",
    )


def _add_what(group: argparse._ArgumentGroup) -> None:
    add_settings(group)
    group.add_argument(
        "--max-staleness",
        dest="source.max_staleness_s",
        metavar="T",
        help="give up frames of a live feed that are older than T, such as 300ms",
    )
    group.add_argument(
        "--model", dest="detector.model", metavar="MODEL", help="a zoo name, an ONNX file, or auto (default)"
    )
    group.add_argument(
        "--head",
        dest="detector.head",
        metavar="HEAD",
        help="how to read an ONNX file's outputs, where it cannot be told",
    )
    group.add_argument(
        "--classes",
        dest="detector.classes",
        metavar="NAMES",
        help="what the model's classes are called: a,b,c or a file",
    )
    group.add_argument(
        "--embedder",
        dest="embedder.model",
        metavar="MODEL",
        help="embed faces with this model: a zoo name or an ONNX file",
    )
    group.add_argument(
        "--embedder-head", dest="embedder.head", metavar="HEAD", help="how to feed it, where it cannot be told"
    )
    group.add_argument(
        "--embed-batch-size",
        dest="embedder.batch_size",
        metavar="N",
        help="faces in one call (0: 1 on the CPU, else 8)",
    )


def _add_runtime(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--device",
        dest="runtime.device",
        choices=("auto", "cpu", "cuda", "mps"),
        help="where to run the model (default auto)",
    )
    group.add_argument(
        "--backend",
        dest="runtime.backend",
        metavar="NAME",
        help="with which runtime; default: what suits the device",
    )
    group.add_argument(
        "--allow-drift",
        dest="runtime.allow_drift",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="go on where an accelerator's boxes are not those of the CPU",
    )
    group.add_argument(
        "--coreml-det-size",
        dest="detector.coreml_det_size",
        metavar="PX",
        help="which size of a Core ML package that takes several",
    )
    group.add_argument(
        "--warm-start",
        dest="runtime.warm_start",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="where an engine must be built first, begin on the CPU and change over when it is ready",
    )
    group.add_argument(
        "--threads",
        dest="runtime.threads",
        metavar="N",
        help="threads for inference and decoding (0: all cores)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to write")
    group.add_argument("--out", metavar="FOLDER", help="folder for the results; - streams track records to stdout")
    again = group.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace an earlier run in the folder")
    again.add_argument(
        "--resume", action="store_true", help="go on with a run of a file that was interrupted; without one, begin it"
    )
    group.add_argument(
        "--save-frames",
        dest="output.save_frames",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write every processed frame",
    )
    group.add_argument(
        "--save-crops",
        dest="output.save_crops",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write crops of every track",
    )
    group.add_argument(
        "--metrics-port",
        dest="output.metrics_port",
        metavar="N",
        help="serve metrics for Prometheus there, and /healthz (0: any port)",
    )
    group.add_argument(
        "--metrics-host",
        dest="output.metrics_host",
        metavar="HOST",
        help="interface to serve them at (default 127.0.0.1)",
    )
    group.add_argument("--jpeg-quality", dest="output.jpeg_quality", metavar="Q", help="1 to 100 (default 90)")
    group.add_argument(
        "--sink",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help="a further sink, such as video; of every sink, when_full=wait|drop says what happens while it is "
        "behind, and queue=N how far it may be",
    )


def run(args: argparse.Namespace) -> int:
    """Run the pipeline with a progress line, then print what was found and where it lies."""
    from streamtrack.config import limit_library_threads, parse_assignments, resolve

    settings = given(args)
    limit_library_threads(resolve(args.profile, settings).config.runtime.threads)
    from streamtrack.build import Pipeline
    from streamtrack.cli import _terminal

    source = chosen_source(args)
    pipeline = Pipeline(
        source,
        profile=args.profile,
        out=args.out or default_folder(source),
        overwrite=args.overwrite,
        resume=args.resume,
        source_options=parse_assignments(args.source_option),
        sinks=args.sink,
        set=settings,
        say=_terminal.say,
    )
    try:
        _follow(pipeline)
    except KeyboardInterrupt:
        go_on = " Go on with --resume." if pipeline.resumable else ""
        _terminal.say(f"Interrupted; what was written is complete.{go_on}")
        _terminal.show_summary(pipeline.summary())
        raise
    _terminal.show_summary(pipeline.summary())
    return 0


def chosen_source(args: argparse.Namespace) -> str:
    """Return the source that the arguments of ``add_source`` say.

    Raises:
        ConfigError: there is none, or there are two.
    """
    from streamtrack.config import environment_value
    from streamtrack.errors import ConfigError

    if (args.source is None) == (args.source_from_env is None):
        raise ConfigError("Name one source: as SOURCE, or with --source-from-env; see streamtrack run --help.")
    return str(args.source or environment_value(args.source_from_env))


def _follow(pipeline: Pipeline) -> None:
    from streamtrack.cli._terminal import ProgressLine

    with pipeline, ProgressLine() as line:
        for _ in pipeline:
            line.update(pipeline.progress)


def default_folder(source: str) -> str:
    """Return the folder for the results of ``source``: its name without suffix, below ``out``."""
    # Redacted first: what follows the last slash of a URL may be a password.
    written = redact(source).partition("?")[0].rstrip("/")
    _, is_url, place = written.partition("://")
    if source == "-":
        name = "stdin"
    elif is_url:
        host, _, path = place.partition("/")
        name = _plain(Path(path).stem or host.rpartition("@")[2])
    elif ":" in written:
        name = _plain(Path(written).stem)
    else:
        # Of a pattern of pictures, the folder tells more.
        name = Path(written).stem if not re.search(r"[*%\[]", Path(written).name) else Path(written).parent.name
    return str(Path("out") / (name or "stream"))


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)[:_LONGEST_NAME].strip("_.")
