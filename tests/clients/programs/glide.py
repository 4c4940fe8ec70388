"""An application that uses valkey-glide, which knows no Sentinels: it is given the addresses of all nodes, or one of a proxy."""

import sys

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


def connect(nodes):
    addresses = [NodeAddress(host, port) for host, port in nodes]
    again = BackoffStrategy(num_of_retries=5, factor=20, exponent_base=1)
    quick = AdvancedGlideClientConfiguration(connection_timeout=300)
    settings = GlideClientConfiguration(
        addresses, request_timeout=500, reconnect_strategy=again, advanced_config=quick
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


def main():
    mode, way, work, name, *addresses = sys.argv[1:]
    nodes = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in addresses)]
    client, number = None, 0
    while True:
        number += 1
        try:
            # It stays with the node that was primary when it was made: a new one looks anew.
            if client is None:
                client = connect(nodes)
            client.set(f"app:{number % 1000}", str(number))
            print("ack", time.monotonic_ns(), flush=True)
            time.sleep(0.001)
        except Exception as error:
            if client is not None:
                client.close()
            client = None
            print("error", time.monotonic_ns(), type(error).__name__, error, flush=True)
            time.sleep(0.005)


main()
