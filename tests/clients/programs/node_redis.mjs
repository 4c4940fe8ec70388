// An application that uses node-redis.

import { setTimeout as sleep } from "node:timers/promises";
// docs/clients.md: begin
import { createClient, createSentinel } from "redis";

function connect(sentinels, name) {
  return createSentinel({
    name,
    sentinelRootNodes: sentinels,
    // How often it looks for the primary before a command fails.
    maxCommandRediscovers: 50,
    // Who does not answer is left: later than another node reigns (election_timeout_ms), and than a look whose first Sentinel is silent
    // (below); a failed command has it look again. It must be longer than what a blocking command waits.
    nodeClientOptions: { socket: { socketTimeout: 1500 } },
    // No command goes out while it looks for the primary, which it does twice, asking one Sentinel after the other each time: one that is
    // silent must cost little. More where the network is slower. Without the pings it would leave each one that has no news to tell.
    sentinelClientOptions: { pingInterval: 50, socket: { connectTimeout: 150, socketTimeout: 150 } },
  });
}
// docs/clients.md: end

const [mode, way, work, name, ...given] = process.argv.slice(2);
const addresses = given.map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const say = (...words) => process.stdout.write(`${words.join(" ").replaceAll("\n", " ")}\n`);
const now = () => process.hrtime.bigint();
const documented = mode === "documented";

function open() {
  if (way === "sentinel") {
    return documented ? connect(addresses, name) : createSentinel({ name, sentinelRootNodes: addresses });
  }
  const socket = documented ? { socketTimeout: 1500, reconnectStrategy: () => 20 } : {};
  return createClient({ socket: { ...addresses[0], ...socket } });
}

const client = open();
client.on("error", (error) => say("note", now(), error?.message ?? error));
await client.connect();
if (work === "subscribe") {
  await client.subscribe("news", () => say("ack", now()));
  await new Promise(() => {});
}
for (let number = 1; ; number++) {
  const key = `app:${number % 1000}`;
  try {
    let done = true;
    if (work === "write") {
      await client.set(key, String(number));
    } else if (work === "transaction") {
      await client.multi().set(key, String(number)).incr("count").exec();
    } else if (work === "script") {
      const script = "return redis.call('SET', KEYS[1], ARGV[1])";
      await client.eval(script, { keys: [key], arguments: [String(number)] });
    } else {
      done = await client.blPop("queue", 0.3);
    }
    if (done) say("ack", now());
    if (work !== "block") await sleep(1);
  } catch (error) {
    say("error", now(), error?.message ?? error);
    await sleep(5);
  }
}
