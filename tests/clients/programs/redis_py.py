"""An application that uses redis-py."""

import sys
import time

import redis

# docs/clients.md: begin
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

# The next Sentinel is asked at once where one does not answer: redis-py waits a second between attempts otherwise. A node that is
# gone is not tried again either: redis-py would go on with its address, and ask nobody whether another one is primary by now.
QUICK = dict(socket_connect_timeout=0.3, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))


def connect(sentinels, name):
    sentinel = Sentinel(sentinels, sentinel_kwargs=QUICK, **QUICK)
    return sentinel.master_for(name)
# docs/clients.md: end


def main():
    mode, way, work, name, *addresses = sys.argv[1:]
    addresses = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
    documented = mode == "documented"
    if way == "sentinel":
        client = connect(addresses, name) if documented else Sentinel(addresses).master_for(name)
    else:
        host, port = addresses[0]
        client = redis.Redis(host, port, **(QUICK if documented else {}))
    number, listener = 0, None
    while True:
        number += 1
        key = f"app:{number % 1000}"
        try:
            done = True
            if work == "write":
                client.set(key, number)
            elif work == "transaction":
                client.pipeline().set(key, number).incr("count").execute()
            elif work == "script":
                client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, key, number)
            elif work == "block":
                done = client.blpop("queue", 0.3)
            else:
                if listener is None:
                    listener = client.pubsub(ignore_subscribe_messages=True)
                    listener.subscribe("news")
                done = listener.get_message(timeout=0.3)
            if done:
                print("ack", time.monotonic_ns(), flush=True)
            if work in ("write", "transaction", "script"):
                time.sleep(0.001)
        except Exception as error:
            listener = None
            print("error", time.monotonic_ns(), type(error).__name__, error, flush=True)
            time.sleep(0.005)


main()
