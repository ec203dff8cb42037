"""Recipes for images, compositions of containers, Kubernetes objects, and CI workflows."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from sutazai.analysis.findings import RawFinding
from sutazai.analysis.security.raw import found
from sutazai.analysis.security.settings import is_dockerfile
from sutazai.analysis.source import Source

if TYPE_CHECKING:
    import yaml

_LARGEST = 1_000_000
_MOST_NODES = 50_000
_DEEPEST = 60
_FULL_COMMIT = re.compile(r"@[0-9a-f]{40}$")
# What strangers decide: the titles, names and texts of their requests.
_STRANGERS = re.compile(
    r"\$\{\{\s*(github\.(?:event\.(?:issue|pull_request|comment|review|review_comment|discussion"
    r"|head_commit|commits|pages)\b[\w.\[\]*']*?\.(?:title|body|message|email|name|label|ref"
    r"|default_branch|page_name)|head_ref)|inputs\.\w+)\s*\}\}"
)
_DATABASES = re.compile(
    r"(?:^|/)(?:postgres|mysql|mariadb|mongo|redis|valkey|memcached|elasticsearch|opensearch"
    r"|rabbitmq|cassandra|clickhouse)\b",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"passw|secret|token|api_?key|private", re.IGNORECASE)


# --- Dockerfiles


def scan_dockerfile(source: Source) -> Iterator[RawFinding]:
    """What one recipe does; empty for any other file."""
    if not is_dockerfile(source.file):
        return
    stages: set[str] = set()
    last_from, user = 0, ""
    for number, text in _instructions(source):
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        match word.upper():
            case "FROM":
                parts = [part for part in rest.split() if not part.startswith("--")]
                image = parts[0] if parts else ""
                last_from, user = number, ""
                if image.lower() not in stages:
                    yield from _image(number, image)
                if len(parts) == 3 and parts[1].upper() == "AS":
                    stages.add(parts[2].lower())
            case "USER":
                user = rest.split(":")[0]
            case "ADD" if re.search(r"\bhttps?://", rest) and "--checksum" not in rest:
                yield found("piped-installer", number, "`ADD` takes what the address serves today.")
            case "ENV" | "ARG":
                name, _, value = rest.partition("=" if "=" in rest else " ")
                if _SECRET_NAME.search(name) and len(value.strip(" '\"")) > 5 and "$" not in value:
                    message = f"`{name.strip()}` stays readable in the image."
                    yield found("insecure-setting", number, message, severity="high")
            case _:
                pass
    if last_from and user in ("", "root", "0"):
        message = "No `USER` is named, so the image's process runs as root."
        yield found("container-runs-as-root", last_from, message)


def _instructions(source: Source) -> Iterator[tuple[int, str]]:
    held, since = "", 0
    for number, line in enumerate(source.lines, 1):
        text = line.strip()[:4_000]
        if text.startswith("#") or (not text and not held):
            continue
        since = since or number
        if text.endswith("\\"):
            held += text[:-1] + " "
            continue
        yield since, held + text
        held, since = "", 0


def _image(line: int, image: str) -> Iterator[RawFinding]:
    if not image or "$" in image or image == "scratch" or "@sha256:" in image:
        return
    tag = image.rpartition("/")[2].partition(":")[2]
    if tag in ("", "latest"):
        said = "names no version" if not tag else "is whatever was built last"
        yield found("unpinned-image", line, f"The image `{image[:100]}` {said}.")


# --- YAML


class _Value(NamedTuple):
    """A scalar or a container, with the line and column (from 1) where it begins."""

    value: Any
    line: int
    column: int

    def get(self, name: str) -> "_Value | None":
        """What stands under a key; None elsewhere."""
        found: _Value | None = self.value.get(name) if isinstance(self.value, dict) else None
        return found

    @property
    def items(self) -> list[tuple[str, "_Value"]]:
        """Keys with their values; empty for anything else."""
        return list(self.value.items()) if isinstance(self.value, dict) else []

    @property
    def elements(self) -> list["_Value"]:
        """What a list holds; what stands alone counts as a list of one."""
        return self.value if isinstance(self.value, list) else [self]

    @property
    def text(self) -> str:
        """A scalar as it is written."""
        return self.value if isinstance(self.value, str) else ""


class _Reader:
    """Turns YAML's nodes into values; aliases are followed once, and the whole is bounded."""

    def __init__(self) -> None:
        self._left = _MOST_NODES

    def read(self, node: "yaml.Node | None", depth: int = 0) -> _Value:
        import yaml

        self._left -= 1
        if node is None or self._left < 0 or depth > _DEEPEST:
            return _Value(None, 1, 1)
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if isinstance(node, yaml.MappingNode):
            pairs = {
                str(key.value): self.read(value, depth + 1)
                for key, value in node.value
                if isinstance(key, yaml.ScalarNode)
            }
            return _Value(pairs, line, column)
        if isinstance(node, yaml.SequenceNode):
            return _Value([self.read(one, depth + 1) for one in node.value], line, column)
        return _Value(str(node.value), line, column)


def scan_yaml(source: Source) -> Iterator[RawFinding]:
    """What a composition, a Kubernetes object or a CI workflow asks for; empty for other YAML."""
    path = PurePosixPath(source.file.lower())
    if path.suffix not in (".yml", ".yaml") or len(source.text) > _LARGEST:
        return
    import yaml

    try:
        documents = list(yaml.compose_all(source.text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        return  # templates of YAML are none; their lines are still looked at one by one
    in_workflows = "/.github/workflows/" in f"/{path}"
    for node in documents[:200]:
        document = _Reader().read(node)
        if in_workflows:
            yield from _workflow(document)
        elif document.get("services") is not None:
            yield from _composition(document)
        elif document.get("kind") is not None and document.get("apiVersion") is not None:
            yield from _kubernetes(document)


def _composition(document: _Value) -> Iterator[RawFinding]:
    services = document.get("services")
    for name, service in services.items if services else ():
        yield from _privileges(name, service)
        image = service.get("image")
        if image is not None:
            yield from _image(image.line, image.text)
        ports = service.get("ports")
        if image is None or ports is None or not _DATABASES.search(image.text):
            continue
        for port in ports.elements:
            text = port.text
            if text.count(":") == 1 or text.startswith("0.0.0.0:"):  # looked for
                message = f"`{name}` is published on every address of the host."
                yield found("exposed-service", port.line, message, column=port.column)


def _privileges(name: str, service: _Value) -> Iterator[RawFinding]:
    privileged = service.get("privileged")
    if privileged is not None and privileged.text.lower() == "true":
        message = f"`{name}` runs privileged: it can do to the host what root can."
        yield found("privileged-container", privileged.line, message, severity="critical")
    for key in ("network_mode", "pid", "ipc", "userns_mode"):
        shared = service.get(key)
        if shared is not None and shared.text == "host":
            message = f"`{name}` shares `{key}` with the host."
            yield found("privileged-container", shared.line, message, severity="medium")
    for key in ("cap_add", "security_opt", "volumes"):
        asked = service.get(key)
        for one in asked.elements if asked is not None else ():
            text = one.text or getattr(one.get("source"), "text", "")
            if "docker.sock" in text or "containerd.sock" in text:
                message = f"`{name}` gets the engine's socket, and with it the whole host."
                yield found("privileged-container", one.line, message, severity="critical")
            elif key == "cap_add" and text.upper().removeprefix("CAP_") in ("ALL", "SYS_ADMIN"):
                message = f"`{name}` gets the capability {text}."
                yield found("privileged-container", one.line, message)
            elif key == "security_opt" and text.endswith(("unconfined", ":disable")):
                message = f"`{name}` switches a protection off: {text}."
                yield found("privileged-container", one.line, message, severity="medium")
            elif key == "volumes" and text.split(":")[0] in ("/", "/etc", "/root", "/var/run"):
                message = f"`{name}` mounts `{text.split(':')[0]}` of the host."
                yield found("privileged-container", one.line, message)


def _kubernetes(value: _Value, depth: int = 0) -> Iterator[RawFinding]:
    if depth > _DEEPEST:
        return
    for key, inner in value.items:
        text = inner.text.lower()
        if key in ("privileged", "allowPrivilegeEscalation") and text == "true":
            severity = "critical" if key == "privileged" else "medium"
            message = f"`{key}` is true."
            yield found("privileged-container", inner.line, message, severity=severity)
        elif key in ("hostNetwork", "hostPID", "hostIPC") and text == "true":
            message = f"`{key}` is true: the pod sees what the host sees."
            yield found("privileged-container", inner.line, message)
        elif key == "runAsUser" and text == "0":
            message = "`runAsUser` is 0, which is root."
            yield found("container-runs-as-root", inner.line, message)
        elif key == "hostPath":
            path = getattr(inner.get("path"), "text", "")
            message = f"The pod gets `{path[:100]}` of the host."
            yield found("privileged-container", inner.line, message, severity="medium")
        elif key == "image" and inner.text:
            yield from _image(inner.line, inner.text)
        elif key == "add" and {"ALL", "SYS_ADMIN"} & {one.text.upper() for one in inner.elements}:
            message = "A container gets the capability to do nearly anything."
            yield found("privileged-container", inner.line, message)
        if isinstance(inner.value, dict | list):
            for one in inner.elements:
                yield from _kubernetes(one, depth + 1)


def _workflow(document: _Value) -> Iterator[RawFinding]:
    # YAML 1.1 reads a bare `on` as true, but as text it stays what it is.
    events = document.get("on")
    named = {one.text for one in events.elements} if events else set()
    named |= {key for key, _ in events.items} if events else set()
    lends = bool(named & {"pull_request_target", "workflow_run"})
    yield from _rights(document)
    jobs = document.get("jobs")
    for _, job in jobs.items if jobs else ():
        yield from _rights(job)
        steps = job.get("steps")
        for step in steps.elements if steps else ():
            yield from _step(step, lends=lends)


def _rights(value: _Value) -> Iterator[RawFinding]:
    rights = value.get("permissions")
    if rights is not None and rights.text == "write-all":
        message = "Every step may write to everything in the repository."
        yield found("privileged-workflow", rights.line, message, severity="medium")


def _step(step: _Value, *, lends: bool) -> Iterator[RawFinding]:
    script, action = step.get("run"), step.get("uses")
    if script is not None:
        for offset, line in enumerate(script.text.split("\n")):
            if match := _STRANGERS.search(line):
                severity = "medium" if match[1].startswith("inputs") else None
                message = f"`{match[1]}` is whatever somebody wrote, and becomes part of a script."
                # A block's text begins on the line below its mark.
                line_of = script.line + offset + (1 if "\n" in script.text else 0)
                yield found("workflow-injection", line_of, message, severity=severity)
    if action is None:
        return
    owner = action.text.partition("/")[0]
    outside = owner not in ("actions", "github", ".", "..") and "://" not in action.text
    if outside and "@" in action.text and not _FULL_COMMIT.search(action.text):
        message = f"`{action.text[:100]}` can be moved to other code by whoever owns it."
        yield found("unpinned-image", action.line, message)
    given = step.get("with")
    reference = given.get("ref") if given else None
    checks_out = action.text.startswith("actions/checkout@")
    if lends and checks_out and reference is not None and "head" in reference.text:
        message = "Strangers' code is checked out where the repository's secrets are."
        yield found("privileged-workflow", reference.line, message, severity="critical")
