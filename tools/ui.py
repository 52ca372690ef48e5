"""``python tools/ui.py DIR [--port N]``: Airflow's pages on this machine, with the demo's history, until Ctrl-C.

Judges the demo's windows below DIR first, unless that has been done. Then starts an API server on 127.0.0.1, in a process
group of its own, and ends that group however this program ends. No scheduler runs: nothing here changes by itself. Everyone who
can reach the port is an administrator of this Airflow, which is why it listens on the loopback interface alone.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import demo_on_airflow

READY_SECONDS = 120


def environment(demo: Path, port: int) -> dict[str, str]:
    """What an API server on the demo's database needs; nothing of the user's own Airflow."""
    home = demo / "airflow"
    return {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__EXPOSE_CONFIG": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "MODEL_QUALITY_DEMO": str(demo),
    }


@contextmanager
def served(demo: Path, port: int) -> Iterator[str]:
    """An API server that answers, and its address; its whole process group is gone afterwards."""
    log = demo / "airflow" / "api-server.log"
    command = [str(Path(sys.executable).parent / "airflow"), "api-server", "--apps", "core"]
    with log.open("wb") as said:
        server = subprocess.Popen(
            command,
            env=environment(demo, port),
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield answering(server, f"http://127.0.0.1:{port}", log)
    finally:
        end(server)


def answering(server: subprocess.Popen[bytes], address: str, log: Path) -> str:
    """Return the address once the server answers there."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(f"the API server ended with {server.returncode}; {log} tells why")
        try:
            with urllib.request.urlopen(f"{address}/api/v2/version", timeout=5):  # noqa: S310 - on 127.0.0.1
                return address
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"the API server did not answer within {READY_SECONDS} s; {log} tells more")


def end(server: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, by its process group."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)


def free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main(arguments: list[str]) -> int:
    """Judge the demo where that has not been done, serve, wait for the end."""
    parser = argparse.ArgumentParser(description="Airflow's pages with the demo's history, on this machine")
    parser.add_argument("demo", type=Path)
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args(arguments)
    demo = given.demo.resolve()
    if not free(given.port):
        sys.stderr.write(f"port {given.port} is taken; make ui ARGS='--port 8081' takes another\n")
        return 1
    judged = demo / "airflow" / "judged"
    if not judged.exists():
        # a process of its own: Airflow reads its settings once, and those of a server are others
        script = str(Path(demo_on_airflow.__file__))
        done = subprocess.run([sys.executable, script, str(demo)], stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            return done.returncode
        judged.touch()
    for sent in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, lambda *_: sys.exit(0))
    try:
        with served(demo, given.port) as address:
            sys.stdout.write(f"{address}/plugin/model-quality\nCtrl-C ends it\n")
            sys.stdout.flush()
            signal.pause()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
