"""Each rule of ours finds the defect, and leaves alone what only looks like it."""

import pytest

from tests.unit.analysis.support import found, only, review

SECURITY = {
    "a cipher that shows equal blocks": (
        "weak-cipher",
        4,
        """
        from Crypto.Cipher import AES

        def encrypt(key, data):
            return AES.new(key, AES.MODE_ECB).encrypt(data)
        """,
    ),
    "sql by f-string through a variable": (
        "sql-injection",
        2,
        """
        def find(cursor, name):
            query = f"SELECT * FROM users WHERE name = '{name}'"
            cursor.execute(query)
        """,
    ),
    "sql by percent": (
        "sql-injection",
        2,
        """
        def find(cursor, name):
            cursor.execute("SELECT * FROM users WHERE name = '%s'" % name)
        """,
    ),
    "sql by format": (
        "sql-injection",
        2,
        """
        def find(cursor, name):
            cursor.execute("DELETE FROM users WHERE name = '{}'".format(name))
        """,
    ),
    "sql by plus": (
        "sql-injection",
        2,
        """
        def find(cursor, name):
            cursor.execute("SELECT * FROM users WHERE name = '" + name + "'")
        """,
    ),
    "sql in SQLAlchemy's text": (
        "sql-injection",
        4,
        """
        from sqlalchemy import text

        def find(connection, name):
            connection.execute(text(f"SELECT * FROM users WHERE name = '{name}'"))
        """,
    ),
    "a shell command with a parameter": (
        "command-injection",
        4,
        """
        import os

        def show(name):
            os.system("ls " + name)
        """,
    ),
    "an asynchronous shell": (
        "command-injection",
        4,
        """
        import asyncio

        async def show(name):
            await asyncio.create_subprocess_shell(f"ls {name}")
        """,
    ),
    "a request's file name in a path": (
        "path-traversal",
        5,
        """
        import os
        from flask import request

        def show():
            path = os.path.join("uploads", request.args["name"])
            return open(path).read()
        """,
    ),
    "a file name of the caller below a folder": (
        "path-traversal",
        4,
        """
        from pathlib import Path

        def show(filename):
            return (Path("uploads") / filename).read_text()
        """,
    ),
    "a template from the request": (
        "template-injection",
        4,
        """
        from flask import render_template_string, request

        def show():
            return render_template_string(request.form["text"])
        """,
    ),
    "a request to where the request says": (
        "server-side-request-forgery",
        5,
        """
        import requests
        from flask import request

        def show():
            return requests.get(request.args["url"], timeout=3).text
        """,
    ),
    "a redirect to where the request says": (
        "open-redirect",
        4,
        """
        from flask import redirect, request

        def back():
            return redirect(request.args["next"])
        """,
    ),
    "a password under MD5": (
        "weak-password-hash",
        4,
        """
        import hashlib

        def store(password):
            return hashlib.md5(password.encode()).hexdigest()
        """,
    ),
    "an unverified token": (
        "token-not-verified",
        4,
        """
        import jwt

        def read(token):
            return jwt.decode(token, options={"verify_signature": False})
        """,
    ),
    "a signature compared with ==": (
        "timing-unsafe-comparison",
        5,
        """
        import hmac

        def check(key, body, signature):
            expected = hmac.new(key, body, "sha256").hexdigest()
            return signature == expected
        """,
    ),
    "a secret by name": ("hardcoded-secret", 1, 'API_KEY = "9f8a7b6c5d4e3f2a1b0c"\n'),
    "a secret as a default": (
        "hardcoded-secret",
        2,
        """
        import os
        TOKEN = os.environ.get("TOKEN", "9f8a7b6c5d4e3f2a1b0c")
        """,
    ),
    "a secret in a dictionary": (
        "hardcoded-secret",
        2,
        """
        DATABASE = {
            "password": "t9-vellum-41x",
        }
        """,
    ),
    "an invisible direction mark": (
        "bidirectional-text",
        1,
        "access = 'user\u202e \u2066# admin\u2069 \u2066'\n",
    ),
    "a random token": (
        "predictable-random",
        4,
        """
        import random

        def new_token():
            return "".join(random.choice("abc123") for _ in range(20))
        """,
    ),
}

PERFORMANCE = {
    "a string grown by +=": (
        "string-building-in-loop",
        4,
        """
        def text(rows):
            out = ""
            for row in rows:
                out += row.name
            return out
        """,
    ),
    "a string grown by plus": (
        "string-building-in-loop",
        4,
        """
        def text(rows):
            out = ""
            while rows:
                out = out + str(rows.pop())
            return out
        """,
    ),
    "one query for each row": (
        "query-in-loop",
        3,
        """
        def names(cursor, ids):
            for number in ids:
                cursor.execute("SELECT name FROM users WHERE id = ?", (number,))
        """,
    ),
    "one ORM query for each row": (
        "query-in-loop",
        3,
        """
        def names(orders):
            for order in orders:
                print(User.objects.get(id=order.user_id))
        """,
    ),
    "string building by assignment": (
        "string-building-in-loop",
        4,
        """
        def page(rows):
            text = ""
            for row in rows:
                text = text + "<p>" + row + "</p>"
            return text
        """,
    ),
    "string building of who knows what": (
        "string-building-in-loop",
        4,
        """
        def page(rows):
            text = ""
            for row in rows:
                text = text + row
            return text
        """,
    ),
    "a list searched in a loop": (
        "list-membership-in-loop",
        4,
        """
        def missing(wanted, rows):
            names = [row.name for row in rows]
            for name in wanted:
                if name not in names:
                    print(name)
        """,
    ),
    "popping at the front": (
        "front-of-list-in-loop",
        4,
        """
        def run(tasks):
            queue = list(tasks)
            while queue:
                print(queue.pop(0))
        """,
    ),
    "a pattern compiled in a loop": (
        "regex-compiled-in-loop",
        5,
        """
        import re

        def count(lines):
            for line in lines:
                if re.compile("error").search(line):
                    print(line)
        """,
    ),
    "sorting the same in a loop": (
        "sort-in-loop",
        3,
        """
        def rank(values, wanted):
            for value in wanted:
                print(sorted(values).index(value))
        """,
    ),
    "readlines to loop over": (
        "reads-all-lines",
        2,
        """
        def show(file):
            for line in file.readlines():
                print(line)
        """,
    ),
    "sleeping in async": (
        "blocking-call-in-async",
        4,
        """
        import time

        async def wait():
            time.sleep(1)
        """,
    ),
}

MISTAKES = {
    "a coroutine function called without await": (
        "coroutine-not-awaited",
        5,
        """
        async def save(row):
            await row.write()

        async def main(row):
            save(row)
        """,
    ),
    "a coroutine method called without await": (
        "coroutine-not-awaited",
        6,
        """
        class Store:
            async def save(self):
                await self.file.write()

            async def close(self):
                self.save()
        """,
    ),
    "a list that shrinks under its loop": (
        "changed-while-iterated",
        4,
        """
        def clean(rows):
            for row in rows:
                if row.old:
                    rows.remove(row)
        """,
    ),
    "a dictionary that shrinks under its loop": (
        "changed-while-iterated",
        4,
        """
        def clean(rows):
            for name, row in rows.items():
                if row.old:
                    del rows[name]
        """,
    ),
}


@pytest.mark.parametrize("case", SECURITY | PERFORMANCE | MISTAKES)
def test_a_defect_is_found_at_its_line(case: str) -> None:
    rule, line, code = (SECURITY | PERFORMANCE | MISTAKES)[case]
    assert (rule, line) in found(code)


def test_text_from_a_request_weighs_more_than_a_parameter() -> None:
    from_request = only(
        """
        from flask import request

        def find(cursor):
            cursor.execute(f"SELECT * FROM users WHERE name = '{request.args['name']}'")
        """,
        "sql-injection",
    )
    assert from_request.severity == "critical"
    assert from_request.cwe == 89


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\n", 1),
        ("host: a\npassword: 'k8-Quartz-Vellum-19'\n", 2),
        ("DATABASE_URL=postgres://shop:k8Quartz19@db.internal/shop\n", 1),
        ("API_TOKEN=9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c\n", 1),
    ],
)
def test_any_text_file_gets_the_secret_scan(text: str, line: int) -> None:
    assert found(text, "/deploy/settings.yaml") == [("hardcoded-secret", line)]


@pytest.mark.parametrize(
    "text",
    [
        "password: ${DB_PASSWORD}\n",
        "password: changeme\n",
        'integrity: "sha512-9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c"\n',
        "Set the password = something only you know\n",
        "url: https://example.com/path\n",
    ],
)
def test_placeholders_and_prose_are_no_secrets(text: str) -> None:
    assert found(text, "/deploy/settings.yaml") == []


def test_hostile_text_does_not_stall_the_secret_scan() -> None:
    text = "password" * 20_000 + "\n" + "a://" * 20_000 + "\n" + "token=" * 20_000
    assert review(text, "/notes.txt").unparsed is None
