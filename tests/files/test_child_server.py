"""The process that reads files: it answers even where standard error is closed, as by ``lyapkit … 2>&-``."""

import subprocess
import sys
from pathlib import Path

import pytest

import lyapkit.files.child


@pytest.mark.skipif(sys.platform == "win32", reason="there is no sh")
def test_it_answers_without_a_standard_error(tmp_path):
    (tmp_path / "reader.py").write_text("def answers(number):\n    yield {'twice': 2 * number}\n")
    server = Path(lyapkit.files.child.__file__).with_name("child_server.py")
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -P "$1" "$2" 2>&-', sys.executable, server, tmp_path / "reader.py"],
        input='{"number": 4, "memory": 1000000000, "seconds": 5, "patience": 5}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ['{"ready": true}', '{"twice": 8}']
