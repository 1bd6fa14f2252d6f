// Forwards the memory stream of one migration from QEMU's unix socket to the destination's port, in a process of its own: it
// outlives the daemon that started it, and exits with the stream. Its argument is the path of QEMU's socket; it reads the
// destination from standard input and reports errors on standard output.

import { connect, createServer, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";

/** Time limit for QEMU to connect, once the destination is known. */
const patienceMs = 60_000;

const say = (words: string) => process.stdout.write(`${words}\n`);
// The daemon, which reads the output, may have died.
process.stdout.on("error", () => {});

const [path = ""] = process.argv.slice(2);
const target = text(process.stdin);
let carrying = false;

async function carry(from: Socket): Promise<void> {
  const [host = "", port = ""] = (await target).split(" ");
  // Disables Nagle's algorithm, which QEMU leaves on and which delays the last small writes of the stream.
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
// The daemon closed the input without an address: the relay is not needed.
if (words === "") process.exit();
setTimeout(() => {
  if (!carrying) process.exit();
}, patienceMs);
