"""Reports for the office."""

import pickle
import re
import subprocess

import yaml


def archive(name):
    """Pack a report's folder."""
    subprocess.run(f"tar czf /var/reports/{name}.tgz {name}", shell=True, check=True)


def list_archives():
    """The names of all archives."""
    listing = subprocess.run(
        ["ls", "/var/reports"], capture_output=True, text=True, check=True
    )
    return listing.stdout.splitlines()


def load_uploaded(upload):
    """Read a report that someone uploaded."""
    return pickle.loads(upload.read())


def load_layout(text):
    """The layout of a report."""
    return yaml.load(text, Loader=yaml.Loader)


def load_columns(text):
    """The columns of a report."""
    return yaml.safe_load(text)


def margin(formula, values):
    """A figure by the office's own formula."""
    return eval(formula, {}, values)


def error_lines(path):
    """Lines of a log that tell of an error, with their numbers."""
    found = []
    with open(path, encoding="utf-8") as log:
        for number, line in enumerate(log, 1):
            pattern = re.compile(r"\b(error|fatal)\b", re.IGNORECASE)
            if pattern.search(line):
                found.append((number, line))
    return found


def line_count(path):
    """How many lines with something on them a file has."""
    count = 0
    with open(path, encoding="utf-8") as file:
        for line in file.readlines():
            if line.strip():
                count += 1
    return count
