"""As much of curl as the specification's lines use, for machines that have none."""

import argparse
import sys

import httpx2


def main() -> None:
    """`curl [-X METHOD] [-H HEADER]... [-d BODY] URL`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-X", dest="method", default="GET")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="body")
    parser.add_argument("url")
    given = parser.parse_args()
    headers = dict(line.split(": ", 1) for line in given.headers)
    body = None if given.body is None else given.body.encode()
    answer = httpx2.request(given.method, given.url, headers=headers, content=body)
    sys.stdout.write(answer.text)


if __name__ == "__main__":
    main()
