"""`headrace config check`"""

from pathlib import Path

from headrace.cli.output import Output
from headrace.local.config.reading import ConfigError, read


def check(path: Path, output: Output) -> bool:
    """Whether the file is good; prints every mistake, one a line."""
    try:
        read(path)
    except ConfigError as error:
        problems = [
            {"file": p.file, "line": p.line, "key": p.key, "what": p.what, "fix": p.fix}
            for p in error.problems
        ]
        output.document({"file": str(path), "ok": False, "problems": problems})
        for problem in error.problems:
            output.note(str(problem))
        return False
    output.document({"file": str(path), "ok": True, "problems": []})
    output.text(f"{path}: good")
    return True
