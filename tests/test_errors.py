"""The error tree is the one its docstring draws, and no password survives redaction."""

from __future__ import annotations

import re
import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtrack import errors
from streamtrack.errors import StreamtrackError, did_you_mean, redact

TREE_ROW = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +\((?P<builtin>\w+)\))?(?: +(?P<code>\d+)\b)?")


def drawn_tree() -> dict[str, tuple[str, str | None, int | None]]:
    """Read name -> (parent, builtin, exit code) from the module's docstring."""
    drawing = (errors.__doc__ or "").split("```")[1]
    rows, parents = {}, {0: "Exception"}
    for line in drawing.strip().splitlines():
        row = TREE_ROW.match(line)
        assert row, f"not a row of the tree: {line!r}"
        depth = len(row["indent"]) // 4
        parents[depth + 1] = row["name"]
        rows[row["name"]] = (parents[depth], row["builtin"], int(row["code"]) if row["code"] else None)
    return rows


def test_the_docstring_draws_every_error() -> None:
    classes = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, StreamtrackError)}
    assert classes == set(drawn_tree()) - {"KeyboardInterrupt"}


@pytest.mark.parametrize("name", sorted(set(drawn_tree()) - {"KeyboardInterrupt"}))
def test_an_error_is_where_the_docstring_draws_it(name: str) -> None:
    parent, builtin, code = drawn_tree()[name]
    error = getattr(errors, name)
    assert error.__bases__[0].__name__ == parent
    assert builtin is None or builtin in {base.__name__ for base in error.__bases__}
    assert error.exit_code == (code if code is not None else getattr(error.__bases__[0], "exit_code", 1))
    assert str(error("camera.mp4: no such file")) == "camera.mp4: no such file"


def test_an_exit_code_tells_a_script_whose_fault_it_was() -> None:
    codes = {code for _, _, code in drawn_tree().values() if code is not None}
    assert codes == {2, 3, 4, 5, 6, 70, 130}
    assert drawn_tree()["KeyboardInterrupt"][2] == errors.EXIT_INTERRUPTED
    assert StreamtrackError.exit_code not in codes


@pytest.mark.parametrize("error", [errors.SourceOpenError, errors.SinkError, errors.PluginError])
def test_a_message_of_two_parts_is_printed_as_one_sentence(error: type[StreamtrackError]) -> None:
    # OSError prints "[Errno a] b" for two arguments, KeyError-like errors print their repr.
    assert str(error("Cannot open", "'a.mp4'.")) == "Cannot open 'a.mp4'."


def test_did_you_mean_names_the_closest_word_or_nothing() -> None:
    assert did_you_mean("centreface", ["yunet", "centerface"]) == " Did you mean 'centerface'?"
    assert did_you_mean("qqqq", ["yunet", "centerface"]) == ""
    assert did_you_mean("yunet", []) == ""


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("rtsp://user:p@ss@host/live", "rtsp://***@host/live"),
        ("rtsp://user:p/ss@host/live", "rtsp://***@host/live"),
        ("rtsp://user:p?s#s@host:554/live", "rtsp://***@host:554/live"),
        ("rtsp://user:p%40ss@[::1]:554/live", "rtsp://***@[::1]:554/live"),
        ("rtsp://me@mail.example:p/ss@host/live", "rtsp://***@host/live"),
        ("https://ghp_token@host/x", "https://***@host/x"),
        ("http://host/x?a=1&token=t0p#s3&b=2", "http://host/x?a=1&token=***&b=2"),
        ("http://host/x?X-Amz-Signature=abc&api_key=def", "http://host/x?X-Amz-Signature=***&api_key=***"),
        ("rtsp://host:554/user=admin_password=tlJw_channel=1", "rtsp://host:554/user=admin_password=***"),
        ("http://proxy/?u=rtsp://a:b@host", "http://proxy/?u=rtsp://***@host"),
        ("webhook:secret=abc,url=http://host", "webhook:secret=***"),
        ("webhook:url=http://host,authorization=Bearer", "webhook:url=http://host,authorization=***"),
        (
            "cannot open 'rtsp://a:b@host/1' or 'rtsp://c:d@host/2'",
            "cannot open 'rtsp://***@host/1' or 'rtsp://***@host/2'",
        ),
    ],
)
def test_redact_keeps_what_helps_and_drops_what_must_not_be_seen(url: str, printed: str) -> None:
    assert redact(url) == printed


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://host:554/live",
        "https://host/image@2x.png",
        "file:///media/a@b.mp4",
        "mail a@b.example about clip.mp4",
        "https://github.com/opencv/opencv_zoo",
        "write section.key=value, such as tracker.max_gap_s=2",
        "",
    ],
)
def test_redact_leaves_alone_what_holds_no_secret(text: str) -> None:
    assert redact(text) == text


# Upper case and digits only in the secret, lower case around it: then finding it means that it leaked.
printable = st.sampled_from([c for c in string.printable if not c.isspace()])
secrets = st.tuples(st.text(printable, max_size=8), st.text(string.ascii_uppercase, min_size=4, max_size=8)).map(
    lambda parts: parts[0] + parts[1] + parts[0]
)
lower = st.text(string.ascii_lowercase, min_size=1, max_size=8)
hosts = st.one_of(lower, lower.map(lambda h: f"{h}:8554"), st.just("[fe80::1]:554"))


def marker_of(secret: str) -> str:
    """The longest run of upper case letters: no part of the URL around it has any."""
    return max(re.findall(r"[A-Z]+", secret), key=len)


@given(
    scheme=st.sampled_from(["rtsp", "rtsps", "http", "https", "rtmp", "srt", "udp"]),
    user=lower,
    secret=secrets,
    host=hosts,
    path=lower,
    around=lower,
)
def test_a_password_never_survives(scheme: str, user: str, secret: str, host: str, path: str, around: str) -> None:
    for password in (secret, quote(secret, safe="")):
        text = redact(f"{around} {scheme}://{user}:{password}@{host}/{path} {around}")
        assert marker_of(secret) not in text
        assert f"***@{host}/{path} {around}" in text


@given(
    name=st.sampled_from(
        ["password", "passwd", "pwd", "token", "access_token", "api_key", "signature", "secret", "auth"]
    ),
    secret=secrets.map(lambda s: s.replace("&", "")),
    before=lower,
)
def test_a_secret_parameter_never_survives(name: str, secret: str, before: str) -> None:
    assert marker_of(secret) not in redact(f"https://host/live?{before}=1&{name}={secret}&{before}=2")


pieces = st.sampled_from(["://", "@", ":", "/", "?", "&", "=", "#", "_", "token", "pass", "host", " ", "***", "é"])


@given(st.lists(pieces, max_size=30).map("".join))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)
