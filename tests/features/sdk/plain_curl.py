"""As much of curl as the specification's lines use, for machines that have none."""

import argparse
import sys

import httpx2


def main() -> None:
    """`curl [-N] [-X METHOD] [-H HEADER]... [-d BODY] URL`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-N", action="store_true")
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    parser.add_argument("url")
    given = parser.parse_args()
    headers = dict(line.split(": ", 1) for line in given.headers)
    body = None if given.body is None else given.body.encode()
    with httpx2.stream(given.method, given.url, headers=headers, content=body) as answer:
        for part in answer.iter_text():
            sys.stdout.write(part)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
