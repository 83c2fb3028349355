"""Starting the server: bound to this machine only, and clear when its port is taken."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from streamlit import config

ROOT = Path(__file__).parents[2]


def test_a_taken_port_is_one_clear_message() -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ended.returncode != 0
    assert f"Port {port} is not available" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_the_shipped_configuration() -> None:
    assert config.get_option("server.address") == "localhost"
    assert config.get_option("browser.gatherUsageStats") is False
    assert config.get_option("server.maxUploadSize") <= 20
    assert config.get_option("client.showErrorDetails") == "none"
