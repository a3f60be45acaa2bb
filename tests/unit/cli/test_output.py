"""What a command prints, and where."""

import io
import json

from headrace.cli.errors import CliError
from headrace.cli.output import Output


def printed(*, as_json: bool) -> tuple[Output, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Output(as_json=as_json, out=out, err=err), out, err


def test_json_is_one_document() -> None:
    """With --json stdout has the document alone; text, tables and notes stay off it."""
    output, out, err = printed(as_json=True)
    output.text("text")
    output.table(["a"], [["1"]])
    output.note("note")
    output.progress("progress")
    output.document({"ä": 1})
    assert json.loads(out.getvalue()) == {"ä": 1}
    assert err.getvalue() == "note\n"


def test_text_has_no_document() -> None:
    """Without --json a person reads text; progress only where a terminal is."""
    output, out, err = printed(as_json=False)
    output.document({"a": 1})
    output.progress("progress")
    output.table(["name", "n"], [["a", "10"], ["bcdef", "9"]])
    assert out.getvalue().splitlines() == ["NAME   N", "a      10", "bcdef   9"]
    assert err.getvalue() == ""


def test_a_command_in_a_text_can_be_pasted() -> None:
    """It is called as this one was; what only looks like it is left alone."""
    out, err = io.StringIO(), io.StringIO()
    output = Output(as_json=False, out=out, err=err, called_as=".venv/bin/headrace")
    output.text("`headrace down` ends it; headrace.yaml, `headrace`")
    output.failed(CliError("it broke", "because", "see `headrace status`"))
    assert out.getvalue() == "`.venv/bin/headrace down` ends it; headrace.yaml, `headrace`\n"
    assert err.getvalue().splitlines()[-1] == "  next: see `.venv/bin/headrace status`"


def test_error() -> None:
    """An error says what, why and what next: on stderr for a person, as a document for a program."""
    output, out, err = printed(as_json=True)
    output.failed(CliError("it broke", "because", "mend it"))
    assert json.loads(out.getvalue()) == {"error": {"what": "it broke", "why": "because", "next": "mend it"}}
    assert err.getvalue().splitlines() == ["error: it broke", "  why:  because", "  next: mend it"]
    assert "\x1b" not in err.getvalue()
