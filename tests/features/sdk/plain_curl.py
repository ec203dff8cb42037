"""As much of curl as the specification's lines and our guides use, for machines that have none."""

import argparse
import sys

import httpx2


def main() -> None:
    """`curl [-N] [-X METHOD] [-H HEADER]... [-d BODY] URL`, and what is long for some of these."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-N", "--silent", action="store_true")
    parser.add_argument("-X", "--request", dest="method", default="GET")
    parser.add_argument("-H", "--header", dest="headers", action="append", default=[])
    parser.add_argument("-d", "--data", dest="body")
    parser.add_argument("--max-time", dest="seconds", type=float, default=60)
    parser.add_argument("--write-out", dest="at_the_end", default="")
    parser.add_argument("url")
    given = parser.parse_args()
    headers = dict(line.split(": ", 1) for line in given.headers)
    body = None if given.body is None else given.body.encode()
    how = {"headers": headers, "content": body, "timeout": given.seconds}
    status = "000"
    try:
        with httpx2.stream(given.method, given.url, **how) as answer:
            status = str(answer.status_code)
            for part in answer.iter_text():
                sys.stdout.write(part)
                sys.stdout.flush()
    except httpx2.RequestError:
        if not given.at_the_end:
            raise
    at_the_end = given.at_the_end.replace("\\n", "\n")
    sys.stdout.write(at_the_end.replace("%{http_code}", status))


if __name__ == "__main__":
    main()
