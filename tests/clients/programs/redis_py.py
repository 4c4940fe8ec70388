"""Writes through redis-py, which asks the Sentinel ports of all nodes where the primary is."""

import sys
import time

# docs/clients.md: begin
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

# The next Sentinel is asked at once where one does not answer: redis-py waits a second between attempts otherwise.
QUICK = dict(socket_connect_timeout=0.3, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))


def connect(sentinels, name):
    sentinel = Sentinel(sentinels, sentinel_kwargs=QUICK, **QUICK)
    return sentinel.master_for(name)
# docs/clients.md: end


def defaults(sentinels, name):
    return Sentinel(sentinels).master_for(name)


def main():
    mode, name, *addresses = sys.argv[1:]
    sentinels = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
    client = (connect if mode == "documented" else defaults)(sentinels, name)
    number = 0
    while True:
        number += 1
        try:
            client.set(f"app:{number % 1000}", number)
            print("ack", time.monotonic_ns(), flush=True)
            time.sleep(0.001)
        except Exception as error:
            print("error", time.monotonic_ns(), type(error).__name__, error, flush=True)
            time.sleep(0.005)


main()
