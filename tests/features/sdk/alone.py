"""A server on port 10010 in a network of its own, and the specification's examples against it.

Run as `alone.py EXAMPLE PORT`, if possible inside `unshare --user --map-root-user --net`, where
10010 is free; 0 takes another port. Prints what the examples print.
"""

import fcntl
import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sutazai_client import SutazAIClient

from sutazai.cli.embedded import embedded_server
from sutazai.settings import Settings
from tests.features.sdk.embedding import DEFECT

HERE = Path(__file__).parent
ADMIN = "the administrator's"
_SET_FLAGS, _UP = 0x8914, 0x1


def bring_loopback_up() -> None:
    """What `ip link set lo up` does, where there is no `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))


def settings(folder: Path, port: int) -> Settings:
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "data_dir": folder / "data",
        "workspace": folder,
        "agents": True,
        "database_url": None,
        "jwt_secret": None,
        "admin_password": SecretStr(ADMIN),
        "analysis_processes": 1,
    }
    return Settings(**values)


def python_example(url: str) -> None:
    """The class and its usage as they stand; elsewhere than on 10010, with that default changed."""
    text = (HERE / "specification_client.txt").read_text()
    run([sys.executable, "-W", "error", "-c", text.replace("http://localhost:10010", url)])


def synchronous_example(url: str) -> None:
    """The function as it stands, with the names that it takes for granted."""
    text = (HERE / "specification_synchronous.txt").read_text()
    with SutazAIClient(url) as client:
        token = client.login("john_doe", "password123")
    before = f"import json, time\ntoken = {token!r}\n"
    after = 'task = {"type": "code_review", "description": "Review"}\n'
    after += "print(json.dumps(execute_task_sync(task)))"
    text = before + text.replace("http://localhost:10010", url) + after
    run([sys.executable, "-W", "error", "-c", text])


def curl_examples(url: str) -> None:
    """Each line as it stands but for the token and the id, which only we can know."""
    text = (HERE / "specification_curl.txt").read_text().replace("http://localhost:10010", url)
    if shutil.which("curl") is None:
        text = text.replace("curl ", f"{sys.executable} {HERE / 'plain_curl.py'} ")
    login, create, get = [part for part in text.split("\n\n") if "http" in part]
    token = json.loads(run(["sh", "-c", login]))["access_token"]
    task = json.loads(run(["sh", "-c", re.sub(r"eyJ[^\"]+", token, create)]))
    get = re.sub(r"eyJ[^\"]+", token, get)
    run(["sh", "-c", get.replace("550e8400-e29b-41d4-a716-446655440000", task["task_id"])])


def typescript_example(url: str, folder: Path) -> None:
    """The class and its usage as they stand but for the types, and its `getTask` at the end."""
    text = (HERE / "specification_client.ts").read_text().replace("http://localhost:10010", url)
    text += "console.log(JSON.stringify(await client.getTask(task.task_id)));\n"
    script = folder / "client.mjs"
    script.write_text(without_types(text))
    run(["node", str(script)])


def websocket_example(url: str, folder: Path) -> None:
    """The connection as it stands but for the token, and the two functions that it calls."""
    text = (HERE / "specification_websocket.js").read_text()
    with SutazAIClient(url) as client:
        token = client.login("john_doe", "password123")
        script = folder / "socket.mjs"
        script.write_text(
            "const handleTaskCompleted = (payload) => {\n"
            "    console.log(JSON.stringify(payload));\n    process.exit(0);\n};\n"
            "const updateAgentStatus = () => {};\n"
            + text.replace("eyJhbGciOiJIUzI1NiIs...", token).replace(
                "ws://localhost:10010", url.replace("http", "ws")
            )
        )
        # Node has had the browsers' WebSocket since 22, and since 20 for who asks for it.
        command = ["node", "--experimental-websocket", str(script)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdout is not None
            for line in node.stdout:
                sys.stdout.write(line)
                if "subscribe.ok" in line:
                    client.create_task("ping", "to be heard of")
            assert node.wait(30) == 0


def stream_example(url: str) -> None:
    """The cURL line for SSE as it stands but for the token, until a task has completed."""
    text = (HERE / "specification_stream.txt").read_text().replace("http://localhost:10010", url)
    if shutil.which("curl") is None:
        text = text.replace("curl ", f"{sys.executable} {HERE / 'plain_curl.py'} ")
    with SutazAIClient(url) as client:
        token = client.login("john_doe", "password123")
        command = ["sh", "-c", "exec " + re.sub(r"eyJ[^\"]+", token, text).strip()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout is not None
            for line in curl.stdout:
                sys.stdout.write(line)
                if "event: ping" in line:
                    client.create_task("ping", "to be heard of")
                if "task.completed" in line:
                    break
            curl.kill()


def without_types(text: str) -> str:
    """What `tsc` would make of the example: every version of Node runs JavaScript, few this."""
    text = re.sub(r"^interface .*?^}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *private .*;\n", "", text, flags=re.MULTILINE)
    return re.sub(r"(?<=[\w)]): (?:string|Promise<\w+>)(?=[,)]| [={])", "", text)


def run(command: list[str]) -> str:
    """What it prints, which is also passed on, one line a command."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    sys.stdout.write(done.stdout.strip() + "\n")
    return done.stdout


def main(example: str, port: int) -> None:
    if port == 10010:
        bring_loopback_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "src").mkdir()
        (folder / "src" / "auth.py").write_text(DEFECT)
        with embedded_server(settings(folder, port)) as url:
            with SutazAIClient(url) as admin:
                admin.login("admin", ADMIN)
                admin.create_user("john_doe", "password123")
            match example:
                case "python":
                    python_example(url)
                case "synchronous":
                    synchronous_example(url)
                case "curl":
                    curl_examples(url)
                case "stream":
                    stream_example(url)
                case "websocket":
                    websocket_example(url, folder)
                case "typescript":
                    typescript_example(url, folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
