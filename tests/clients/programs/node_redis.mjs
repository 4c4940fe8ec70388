// Writes through node-redis, which asks the Sentinel ports of all nodes where the primary is.

import { setTimeout as sleep } from "node:timers/promises";
// docs/clients.md: begin
import { createSentinel } from "redis";

function connect(sentinels, name) {
  // How often it looks whether another node is primary, and how long it waits between attempts.
  return createSentinel({ name, sentinelRootNodes: sentinels, scanInterval: 100, maxCommandRediscovers: 50 });
}
// docs/clients.md: end

function defaults(sentinels, name) {
  return createSentinel({ name, sentinelRootNodes: sentinels });
}

const [mode, name, ...addresses] = process.argv.slice(2);
const sentinels = addresses.map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const say = (...words) => process.stdout.write(`${words.join(" ").replaceAll("\n", " ")}\n`);
const now = () => process.hrtime.bigint();
const client = (mode === "documented" ? connect : defaults)(sentinels, name);
client.on("error", (error) => say("error", now(), error?.message ?? error));
await client.connect();
for (let number = 1; ; number++) {
  try {
    await client.set(`app:${number % 1000}`, String(number));
    say("ack", now());
    await sleep(1);
  } catch (error) {
    say("error", now(), error?.message ?? error);
    await sleep(5);
  }
}
