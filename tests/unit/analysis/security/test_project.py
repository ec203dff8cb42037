"""What a look at a whole project finds beyond what each file shows by itself."""

from pathlib import Path
from textwrap import dedent

import pytest

from sutazai.analysis.protocol import Place
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.security.project import DeepenRequest, deepen


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), "utf-8")


def told(project: Path, files: dict[str, str]) -> set[tuple[str, str, int]]:
    write(project, files)
    found = deepen(DeepenRequest(what=Reviewable(place=Place(root=str(project)))))
    for one in found.findings:
        line = (project / one.file.lstrip("/")).read_text("utf-8").split("\n")[one.line - 1]
        assert one.code == line
    return {(one.file, one.rule, one.line) for one in found.findings}


DB = """
    def find(connection, name, limit):
        return connection.execute(f"SELECT * FROM users WHERE name = '{name}' LIMIT {int(limit)}")


    class Users:
        def by_name(self, name):
            return self._raw(name)

        def _raw(self, name):
            return find(self.connection, name, 1)
"""


def test_a_request_is_followed_across_files_and_functions(project: Path) -> None:
    write(project, {})
    found = told(
        project,
        {
            "src/shop/db.py": DB,
            "src/shop/app.py": """
                import subprocess

                from flask import Flask, request
                from shop import db
                from shop.db import find

                app = Flask(__name__)


                @app.get("/users/<name>")
                def users(name):
                    return str(db.find(connection, name, 5))


                @app.get("/safe")
                def safe():
                    find(connection, name="x", limit=request.args["limit"])
                    find(connection, str(int(request.args["id"])), 1)
                    checked(request.args["host"])


                @app.get("/ping")
                def ping():
                    helper(request.args["host"])


                def helper(host):
                    run(f"ping {host}")


                def run(command):
                    subprocess.run(command, shell=True)


                def checked(host):
                    if host not in HOSTS:
                        raise ValueError(host)
                    run("ping " + host)
            """,
        },
    )
    assert found == {
        ("/src/shop/app.py", "sql-injection", 12),
        ("/src/shop/app.py", "command-injection", 24),
    }


def test_the_way_is_told_step_by_step(project: Path) -> None:
    write(
        project,
        {
            "db.py": DB,
            "app.py": """
                from db import Users, find


                class View(Users):
                    def show(self, request):
                        return self.look(request.args["name"])

                    def look(self, name):
                        return find(None, name, 1)
            """,
        },
    )
    found = deepen(DeepenRequest(what=Reviewable(place=Place(root=str(project)))))
    [flow] = found.findings
    assert flow.severity == "critical"
    assert flow.description == (
        "`request.args['name']` from the request goes through View.look(name) → find(name) and "
        "does its harm in /db.py, line 2."
    )
    assert flow.cwe == 89


def test_recursion_and_many_ways_come_to_an_end(project: Path) -> None:
    functions = "\n".join(
        f"def f{n}(value):\n    f{(n + 1) % 60}(value)\n    f{(n * 7) % 60}(value)\n"
        for n in range(60)
    )
    code = f"{functions}\ndef sink(value):\n    eval(value)\n"
    code += "def view(request):\n    f0(request.args['x'])\n    sink(request.args['y'])\n"
    found = told(project, {"app.py": code})
    assert {rule for _, rule, _ in found} == {"code-injection"}


def test_a_route_without_the_guard_of_its_neighbours(project: Path) -> None:
    routes = """
        @app.post("/orders")
        @login_required
        def create():
            pass

        @app.delete("/orders/<order_id>")
        def delete(order_id, user=Depends(current_user)):
            pass

        @app.route("/orders/<order_id>", methods=["PUT"])
        def change(order_id):
            pass

        @app.get("/orders")
        def listed():
            pass

        @app.post("/login")
        def login():
            pass
    """
    assert told(project, {"app.py": routes}) == {("/app.py", "missing-authorisation", 11)}


def test_where_nothing_is_guarded_no_route_stands_out(project: Path) -> None:
    routes = """
        @app.post("/a")
        def a():
            pass

        @app.post("/b")
        def b():
            pass
    """
    guarded = f"router = APIRouter(dependencies=[Depends(require_user)])\n{dedent(routes)}"
    assert told(project, {"app.py": routes, "other.py": guarded}) == set()


def test_templates(project: Path) -> None:
    assert told(
        project,
        {
            "templates/page.html": """
                <p>{{ name }}</p>
                <p>{{ text|safe }}</p>
                {% autoescape off %}{{ x }}{% endautoescape %}
                <script>
                  var a = {{ data|tojson }};
                  var b = "{{ name }}";
                </script>
                <a href={{ link }}>x</a>
                <form method="post">
                  {% csrf_token %}
                </form>
                <form action="/buy" method="post">
                  <input name="count">
                </form>
                <form method="get"></form>
            """,
            "static.html": "<form method='post'></form>\n",
            "app.vue": "<div v-html='text'></div>\n",
        },
    ) == {
        ("/templates/page.html", "unescaped-output", 2),
        ("/templates/page.html", "unescaped-output", 3),
        ("/templates/page.html", "unescaped-output", 6),
        ("/templates/page.html", "unescaped-output", 8),
        ("/templates/page.html", "missing-csrf-token", 12),
        ("/app.vue", "unescaped-output", 1),
    }


def test_images_and_compositions(project: Path) -> None:
    assert told(
        project,
        {
            "Dockerfile": """
                FROM python:3.12 AS build
                ENV API_TOKEN=abcdefgh
                RUN curl https://example.com/install.sh | sh
                FROM build
                ADD https://example.com/tool.tgz /opt/
                FROM debian
                CMD ["x"]
            """,
            "fine/Dockerfile": """
                FROM python:3.12@sha256:0000
                RUN curl -o x https://example.com/x && sha256sum -c x.sum
                USER app
            """,
            "docker-compose.yml": """
                services:
                  web:
                    image: shop:1.4
                    privileged: true
                    ports: ["8080:80"]
                    volumes:
                      - /var/run/docker.sock:/var/run/docker.sock
                      - ./data:/data
                  db:
                    image: postgres:16
                    ports:
                      - "5432:5432"
                      - "127.0.0.1:5433:5432"
                    network_mode: host
            """,
        },
    ) == {
        ("/Dockerfile", "insecure-setting", 2),
        ("/Dockerfile", "piped-installer", 3),
        ("/Dockerfile", "piped-installer", 5),
        ("/Dockerfile", "unpinned-image", 6),
        ("/Dockerfile", "container-runs-as-root", 6),
        ("/docker-compose.yml", "privileged-container", 4),
        ("/docker-compose.yml", "privileged-container", 7),
        ("/docker-compose.yml", "exposed-service", 12),
        ("/docker-compose.yml", "privileged-container", 14),
    }


def test_kubernetes_and_workflows(project: Path) -> None:
    assert told(
        project,
        {
            "deploy/pod.yaml": """
                apiVersion: v1
                kind: Pod
                spec:
                  hostNetwork: true
                  containers:
                    - name: web
                      image: shop
                      securityContext:
                        privileged: true
                        runAsUser: 0
                        capabilities:
                          add: ["SYS_ADMIN"]
            """,
            ".github/workflows/ci.yml": """
                on:
                  pull_request_target:
                permissions: write-all
                jobs:
                  test:
                    steps:
                      - uses: actions/checkout@v4
                        with:
                          ref: ${{ github.event.pull_request.head.sha }}
                      - uses: somebody/action@v1
                      - uses: somebody/action@0123456789012345678901234567890123456789
                      - run: |
                          echo fine
                          echo "${{ github.event.issue.title }}"
                      - run: echo "${{ github.sha }}"
            """,
        },
    ) == {
        ("/deploy/pod.yaml", "privileged-container", 4),
        ("/deploy/pod.yaml", "unpinned-image", 7),
        ("/deploy/pod.yaml", "privileged-container", 9),
        ("/deploy/pod.yaml", "container-runs-as-root", 10),
        ("/deploy/pod.yaml", "privileged-container", 12),
        ("/.github/workflows/ci.yml", "privileged-workflow", 3),
        ("/.github/workflows/ci.yml", "privileged-workflow", 9),
        ("/.github/workflows/ci.yml", "unpinned-image", 10),
        ("/.github/workflows/ci.yml", "workflow-injection", 14),
    }


def test_settings(project: Path) -> None:
    settings = """
        DEBUG = True
        ALLOWED_HOSTS = ["*"]
        SESSION_COOKIE_SECURE = False
        CSRF_COOKIE_SECURE = True
    """
    assert told(
        project,
        {
            "shop/settings.py": settings,
            "shop/settings_dev.py": settings,
            "shop/models.py": settings,
            "nginx/site.conf": """
                location /files {
                    alias /srv/files/;
                }
                location /other/ {
                    alias /srv/other/;
                }
                ssl_protocols TLSv1 TLSv1.2;
            """,
            "requirements.txt": "--index-url http://packages.example.com/simple\nflask==3.0\n",
        },
    ) == {
        ("/shop/settings.py", "insecure-setting", 1),
        ("/shop/settings.py", "insecure-setting", 2),
        ("/shop/settings.py", "insecure-setting", 3),
        ("/nginx/site.conf", "insecure-setting", 2),
        ("/nginx/site.conf", "insecure-setting", 7),
        ("/requirements.txt", "cleartext-download", 1),
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]\nservices: *a\n",
        "services: " + "[" * 20_000,
        "services: &x {y: *x}\n",
        "apiVersion: v1\nkind: Pod\nspec:\n" + "".join("  " * n + "a:\n" for n in range(1, 300)),
        "services:\n  ? [1, 2]\n  : 3\n",
        "\t:\x00",
        "!!python/object/apply:os.system ['touch /tmp/no']\n",
    ],
)
def test_hostile_yaml_stops_nothing(project: Path, text: str) -> None:
    assert told(project, {"docker-compose.yml": text}) == set()


def test_long_lines_do_not_hold_it_up(project: Path) -> None:
    long = "<form " + "a " * 500_000 + "{{" * 100_000 + "curl " * 100_000
    assert told(project, {"page.html": long, "run.sh": long}) == set()
