"""What only looks like a defect is left alone: the rules' precision."""

import pytest

from tests.unit.analysis.support import rules

NEAR_MISSES = {
    "sql with placeholders": (
        "sql-injection",
        """
        def find(cursor, name):
            cursor.execute("SELECT * FROM users WHERE name = ?", (name,))
        """,
    ),
    "sql with a counted list of placeholders": (
        "sql-injection",
        """
        def find(cursor, ids):
            marks = ",".join("?" for _ in ids)
            cursor.execute(f"SELECT * FROM users WHERE id IN ({marks})", ids)
        """,
    ),
    "sql with a constant's name": (
        "sql-injection",
        """
        TABLE = "users"

        def find(cursor):
            cursor.execute(f"SELECT * FROM {TABLE} WHERE id = 1")
        """,
    ),
    "sql ordered by a checked column": (
        "sql-injection",
        """
        def find(cursor, order):
            if order not in ("name", "age"):
                raise ValueError(order)
            cursor.execute(f"SELECT * FROM users ORDER BY {order}")
        """,
    ),
    "sql with a number": (
        "sql-injection",
        """
        def find(cursor, limit):
            cursor.execute(f"SELECT * FROM users LIMIT {int(limit)}")
        """,
    ),
    "english that selects from something": (
        "sql-injection",
        """
        def tell(name):
            return f"Please select {name} from the list"
        """,
    ),
    "a list of arguments": (
        "command-injection",
        """
        import subprocess

        def show(name):
            subprocess.run(["ls", name], check=True)
        """,
    ),
    "an argument called shell": (
        "command-injection",
        """
        def show(template, options):
            print(template.format(shell=options.shell))
        """,
    ),
    "a file closed in finally": (
        "file-left-open",
        """
        import tarfile

        def names(path):
            archive = tarfile.open(path)
            try:
                return archive.getnames()
            finally:
                archive.close()
        """,
    ),
    "a file that an object keeps": (
        "file-left-open",
        """
        class Log:
            def __init__(self, path):
                self._file = open(path, "a")
        """,
    ),
    "a file handed to the caller": (
        "file-left-open",
        """
        def start(path):
            file = open(path, "a")
            file.write("begin")
            return file
        """,
    ),
    "a function that opens its path": (
        "path-traversal",
        """
        def load(path):
            return open(path).read()
        """,
    ),
    "a path checked before it is opened": (
        "path-traversal",
        """
        from pathlib import Path
        from flask import abort, request

        def show():
            base = Path("uploads").resolve()
            path = (base / request.args["name"]).resolve()
            if not path.is_relative_to(base):
                abort(404)
            return path.read_text()
        """,
    ),
    "a cleaned file name": (
        "path-traversal",
        """
        import os
        from flask import request
        from werkzeug.utils import secure_filename

        def show():
            return open(os.path.join("uploads", secure_filename(request.args["name"]))).read()
        """,
    ),
    "a constant template": (
        "template-injection",
        """
        from flask import render_template_string, request

        def show():
            return render_template_string("{{ name }}", name=request.args["name"])
        """,
    ),
    "an address looked up in a table": (
        "server-side-request-forgery",
        """
        import requests
        from flask import request

        HOSTS = {"a": "https://a.example"}

        def show():
            return requests.get(HOSTS[request.args["host"]], timeout=3).text
        """,
    ),
    "a checksum": (
        "weak-password-hash",
        """
        import hashlib

        def etag(content):
            return hashlib.md5(content, usedforsecurity=False).hexdigest()
        """,
    ),
    "a verified token": (
        "token-not-verified",
        """
        import jwt

        def read(token, key):
            return jwt.decode(token, key, algorithms=["HS256"])
        """,
    ),
    "comparing two tokens of a parser": (
        "timing-unsafe-comparison",
        """
        def same(token, other):
            return token == other
        """,
    ),
    "the name of a password field": ("hardcoded-secret", 'PASSWORD_FIELD = "passwd_2"\n'),
    "a placeholder for a secret": ("hardcoded-secret", 'API_KEY = "your-api-key-here"\n'),
    "a secret from the environment": (
        "hardcoded-secret",
        """
        import os
        API_KEY = os.environ["API_KEY"]
        """,
    ),
    "a word as a token": ("hardcoded-secret", 'token = "identifier"\n'),
    "a random choice of no secret": (
        "predictable-random",
        """
        import random

        def pick(colours):
            return random.choice(colours)
        """,
    ),
    "an address that is compared": (
        "binds-all-interfaces",
        """
        def is_open(host):
            return host in ("0.0.0.0", "::")
        """,
    ),
    "a number that grows": (
        "string-building-in-loop",
        """
        def total(rows):
            amount = 0
            for row in rows:
                amount += row.price
            return amount
        """,
    ),
    "a string that starts afresh": (
        "string-building-in-loop",
        """
        def show(rows):
            for row in rows:
                line = ""
                line += row.name
                print(line)
        """,
    ),
    "a string grown over three constants": (
        "string-building-in-loop",
        """
        def show():
            out = ""
            for part in ("a", "b", "c"):
                out += part
            return out
        """,
    ),
    "a list of statements": (
        "query-in-loop",
        """
        def migrate(cursor, statements):
            for statement in statements:
                cursor.execute(statement)
        """,
    ),
    "a query for each batch": (
        "query-in-loop",
        """
        def names(cursor, ids):
            for chunk in chunks(ids, 500):
                marks = ",".join("?" for _ in chunk)
                cursor.execute(f"SELECT name FROM users WHERE id IN ({marks})", chunk)
        """,
    ),
    "a write for each row": (
        "query-in-loop",
        """
        def save(cursor, rows):
            for row in rows:
                cursor.execute("INSERT INTO users (name) VALUES (?)", (row.name,))
        """,
    ),
    "a query repeated until it answers": (
        "query-in-loop",
        """
        def wait(cursor, name):
            while True:
                cursor.execute("SELECT 1 FROM jobs WHERE name = ?", (name,))
        """,
    ),
    "a set searched in a loop": (
        "list-membership-in-loop",
        """
        def missing(wanted, rows):
            names = {row.name for row in rows}
            for name in wanted:
                if name not in names:
                    print(name)
        """,
    ),
    "a short list searched in a loop": (
        "list-membership-in-loop",
        """
        def vowels(text):
            known = ["a", "e", "i", "o", "u"]
            for letter in text:
                if letter in known:
                    print(letter)
        """,
    ),
    "popping the front of a deque": (
        "front-of-list-in-loop",
        """
        from collections import deque

        def run(tasks):
            queue = deque(tasks)
            while queue:
                print(queue.popleft())
        """,
    ),
    "popping a dictionary's zero": (
        "front-of-list-in-loop",
        """
        def run(table):
            for _ in table:
                table.pop(0)
        """,
    ),
    "a pattern made of the loop's value": (
        "regex-compiled-in-loop",
        """
        import re

        def compile_all(patterns):
            return [re.compile(pattern) for pattern in patterns]
        """,
    ),
    "sorting what the loop changes": (
        "sort-in-loop",
        """
        def rank(values, more):
            for value in more:
                values.append(value)
                print(sorted(values))
        """,
    ),
    "an awaited coroutine, and another of the same name": (
        "coroutine-not-awaited",
        """
        class Store:
            async def save(self):
                await self.file.write()

            def close(self, save, other):
                save()
                other.save()

        class Memory:
            def close(self):
                self.save()

        async def main(store):
            await store.save()
        """,
    ),
    "a loop that ends when it has changed its list": (
        "changed-while-iterated",
        """
        def drop(rows, name):
            for row in rows:
                if row.name == name:
                    rows.remove(row)
                    break
        """,
    ),
    "a loop over a copy": (
        "changed-while-iterated",
        """
        def clean(rows):
            for row in list(rows):
                rows.remove(row)
        """,
    ),
    "a list of work that grows under its loop": (
        "changed-while-iterated",
        """
        def walk(nodes):
            for node in nodes:
                nodes.append(node.next)
        """,
    ),
    "a number that grows in a loop": (
        "string-building-in-loop",
        """
        def add(rows):
            total = 0
            for row in rows:
                total = total + row
            return total
        """,
    ),
    "sleeping in a thread": (
        "blocking-call-in-async",
        """
        import time

        def wait():
            time.sleep(1)
        """,
    ),
}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_what_only_looks_like_a_defect_is_left_alone(case: str) -> None:
    rule, code = NEAR_MISSES[case]
    assert rule not in rules(code)
