// Carries the memory stream of one migration from QEMU's unix socket to the destination's port, in a process of its own:
// it outlives the daemon that has started it, and ends with the stream. Its argument is where QEMU connects, its standard
// input says where to, and its standard output what went wrong.

import { connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";

/** For QEMU to connect, once it is known where to. */
const patienceMs = 60_000;

const say = (words: string) => process.stdout.write(`${words}\n`);
// The daemon may have died.
process.stdout.on("error", () => {});

const [path = ""] = process.argv.slice(2);
const target = text(process.stdin);
let carrying = false;

async function carry(from: Socket): Promise<void> {
  const [host = "", port = ""] = (await target).split(" ");
  // Without Nagle's delay, which QEMU does not turn off and which holds back the last small pieces of the guest.
  const to = connect({ host, port: Number(port), noDelay: true, allowHalfOpen: true });
  await Promise.all([pipeline(from, to), pipeline(to, from)]);
}

const server = createServer({ allowHalfOpen: true }, (socket) => {
  server.close();
  carrying = true;
  carry(socket).then(
    () => process.exit(),
    (error: unknown) => {
      say(error instanceof Error ? error.message : String(error));
      process.exit(1);
    },
  );
});
server.listen(path, () => say("ready"));
const words = await target;
// Nobody wants it any more.
if (words === "") process.exit();
setTimeout(() => {
  if (!carrying) process.exit();
}, patienceMs);
