"""An application that uses valkey-glide, which knows no Sentinels: it is given the addresses of all nodes, or one of a proxy."""

import sys

from glide_sync import Batch, Script

# docs/clients.md: begin
import time

from glide_sync import (
    AdvancedGlideClientConfiguration,
    BackoffStrategy,
    ClosingError,
    GlideClient,
    GlideClientConfiguration,
    NodeAddress,
)


def connect(nodes, channels=()):
    addresses = [NodeAddress(host, port) for host, port in nodes]
    again = BackoffStrategy(num_of_retries=5, factor=20, exponent_base=1)
    quick = AdvancedGlideClientConfiguration(connection_timeout=300)
    exact = {GlideClientConfiguration.PubSubChannelModes.Exact: set(channels)}
    listens = GlideClientConfiguration.PubSubSubscriptions(exact, None, None) if channels else None
    settings = GlideClientConfiguration(
        addresses,
        request_timeout=500,
        reconnect_strategy=again,
        advanced_config=quick,
        pubsub_subscriptions=listens,
    )
    until = time.monotonic() + 10
    while True:
        # While an election is under way none of the nodes is a primary.
        try:
            return GlideClient.create(settings)
        except ClosingError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
# docs/clients.md: end


# A listener is made anew after a silence that is longer than the application expects: it may stay on a node that takes no writes.
SILENCE = 0.3


def listen(client):
    until = time.monotonic() + SILENCE
    while time.monotonic() < until:
        if client.try_get_pubsub_message():
            return
        time.sleep(0.001)
    raise TimeoutError("no message")


def main():
    mode, way, work, name, *addresses = sys.argv[1:]
    nodes = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
    script = Script("return redis.call('SET', KEYS[1], ARGV[1])")
    client, number = None, 0
    while True:
        number += 1
        key = f"app:{number % 1000}"
        try:
            # It stays with the node that was primary when it was made: a new one looks anew.
            if client is None:
                client = connect(nodes, ["news"] if work == "subscribe" else [])
            done = True
            if work == "write":
                client.set(key, str(number))
            elif work == "transaction":
                batch = Batch(is_atomic=True)
                batch.set(key, str(number))
                batch.incr("count")
                client.exec(batch, raise_on_error=True)
            elif work == "script":
                client.invoke_script(script, keys=[key], args=[str(number)])
            elif work == "block":
                done = client.blpop(["queue"], 0.3)
            else:
                listen(client)
            if done:
                print("ack", time.monotonic_ns(), flush=True)
            if work in ("write", "transaction", "script"):
                time.sleep(0.001)
        except Exception as error:
            if client is not None:
                client.close()
            client = None
            print("error", time.monotonic_ns(), type(error).__name__, error, flush=True)
            time.sleep(0.005)


main()
