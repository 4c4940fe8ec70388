// An application that uses ioredis.

import { setTimeout as sleep } from "node:timers/promises";
// docs/clients.md: begin
import Redis from "ioredis";

const AGAIN = {
  connectTimeout: 300,
  retryStrategy: () => 20,
  maxRetriesPerRequest: 100,
  // A node that does not answer is left: a little later than another one reigns (election_timeout_ms), or it is found again, and waited for
  // again. It must be longer than what a blocking command waits.
  socketTimeout: 1200,
  // What was refused is sent again to the new primary.
  reconnectOnError: (error) => (error.message.startsWith("READONLY") ? 2 : false),
};

function connect(sentinels, name) {
  // Longer than a Sentinel port here takes to say that there is no primary.
  const quick = { sentinelRetryStrategy: () => 20, sentinelCommandTimeout: 400 };
  return new Redis({ sentinels, name, ...quick, ...AGAIN });
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
    return documented ? connect(addresses, name) : new Redis({ sentinels: addresses, name });
  }
  return new Redis({ ...addresses[0], ...(documented ? AGAIN : {}) });
}

const client = open();
client.on("error", (error) => say("note", now(), error.message));
if (work === "subscribe") {
  client.on("message", () => say("ack", now()));
  await client.subscribe("news");
  await new Promise(() => {});
}
for (let number = 1; ; number++) {
  const key = `app:${number % 1000}`;
  try {
    let done = true;
    if (work === "write") {
      await client.set(key, number);
    } else if (work === "transaction") {
      const answers = await client.multi().set(key, number).incr("count").exec();
      const wrong = answers.find(([error]) => error);
      if (wrong) throw wrong[0];
    } else if (work === "script") {
      await client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, key, number);
    } else {
      done = await client.blpop("queue", 0.3);
    }
    if (done) say("ack", now());
    if (work !== "block") await sleep(1);
  } catch (error) {
    say("error", now(), error.message);
    await sleep(5);
  }
}
