"""What writing events costs: the same server with its log's `append` taken out, in the same run."""

import statistics

from benchmarks import servers
from benchmarks.throughput import ours_once

_WITHOUT = """
import sys
from sutazai.events import log
log.append = lambda *_, **__: None
from sutazai.__main__ import main
main()
"""


def main(rounds: int = 5, count: int = 4_000) -> None:
    rates: dict[str, list[float]] = {"with": [], "without": []}
    costs: dict[str, list[float]] = {"with": [], "without": []}
    with servers.ours() as ours, servers.ours(script=_WITHOUT) as bare:
        ours_once(ours, 500)
        ours_once(bare, 500)
        for _ in range(rounds):
            for name, server in (("with", ours), ("without", bare)):
                rate, _, cost = ours_once(server, count)
                rates[name].append(rate)
                costs[name].append(cost)
    for name, measured in rates.items():
        rate, cost = statistics.median(measured), statistics.median(costs[name])
        print(f"{name:<8}events {rate:8.0f} tasks/s completed   {cost:5.0f} µs CPU each")
    lost = 1 - statistics.median(rates["with"]) / statistics.median(rates["without"])
    more = statistics.median(costs["with"]) / statistics.median(costs["without"]) - 1
    print(f"events cost {lost:.1%} of the throughput, {more:.1%} more CPU")


if __name__ == "__main__":
    main()
