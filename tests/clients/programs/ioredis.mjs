// Writes through ioredis, which asks the Sentinel ports of all nodes where the primary is.

import { setTimeout as sleep } from "node:timers/promises";
// docs/clients.md: begin
import Redis from "ioredis";

function connect(sentinels, name) {
  // With the detector it hears of a switch, and does not wait until its connection ends.
  return new Redis({ sentinels, name, failoverDetector: true, sentinelRetryStrategy: () => 20, retryStrategy: () => 20 });
}
// docs/clients.md: end

function defaults(sentinels, name) {
  return new Redis({ sentinels, name });
}

const [mode, name, ...addresses] = process.argv.slice(2);
const sentinels = addresses.map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const say = (...words) => process.stdout.write(`${words.join(" ").replaceAll("\n", " ")}\n`);
const now = () => process.hrtime.bigint();
const client = (mode === "documented" ? connect : defaults)(sentinels, name);
client.on("error", (error) => say("error", now(), error.message));
for (let number = 1; ; number++) {
  try {
    await client.set(`app:${number % 1000}`, number);
    say("ack", now());
    await sleep(1);
  } catch (error) {
    say("error", now(), error.message);
    await sleep(5);
  }
}
