// The QEMU guest agent, which runs in the guest and answers over a virtio-serial port: one JSON object a line, one client at
// a time. Only the guest's clock is its affair here. Facts: QEMU's qga/qapi-schema.json.

import { createConnection, type Socket } from "node:net";
import * as z from "zod/mini";
import type { Clock } from "../../../effects/ports.js";

/** An agent in the middle of somebody else's question drops it at this byte, and begins its next answer with it. */
const sentinel = 0xff;
const newline = 0x0a;
const answerForm = z.looseObject({
  return: z.optional(z.unknown()),
  error: z.optional(z.looseObject({ desc: z.string() })),
});

export interface AgentOptions {
  readonly clock: Clock;
  /** For all of it: an agent that is not there is silent. */
  readonly limitMs: number;
}

/**
 * Sets the guest's system clock by its hardware clock, as `virsh domtime --sync` does. `path` is the unix socket of the
 * agent's port.
 * @throws Error with the agent's own words, or when it does not answer in time.
 */
export async function syncTime(path: string, { clock, limitMs }: AgentOptions): Promise<void> {
  const socket = createConnection(path).on("error", () => {});
  let timer: unknown;
  const late = new Promise<never>((_, reject) => {
    timer = clock.setTimeout(() => {
      socket.destroy();
      reject(new Error(`the guest's agent has not answered within ${limitMs} ms`));
    }, limitMs);
  });
  try {
    await Promise.race([converse(socket, Math.trunc(clock.now())), late]);
  } finally {
    clock.clearTimeout(timer);
    socket.destroy();
  }
}

async function converse(socket: Socket, id: number): Promise<void> {
  const lines = linesOf(socket);
  socket.write(Uint8Array.of(sentinel));
  ask(socket, "guest-sync-delimited", { id });
  // What comes before is an answer to somebody who has gone.
  while ((await answerIn(lines))?.return !== id);
  ask(socket, "guest-set-time");
  const answer = await answerIn(lines);
  if (answer?.error !== undefined) throw new Error(`the guest's agent says: ${answer.error.desc}`);
  if (answer === undefined)
    throw new Error("the guest's agent has answered with something that is no answer");
}

const ask = (socket: Socket, execute: string, args?: object): boolean =>
  socket.write(`${JSON.stringify({ execute, ...(args && { arguments: args }) })}\n`);

/** Undefined when it is none. */
async function answerIn(lines: AsyncIterator<string>): Promise<z.infer<typeof answerForm> | undefined> {
  const { value, done } = await lines.next();
  if (done) throw new Error("the guest's agent has hung up");
  try {
    return answerForm.parse(JSON.parse(value));
  } catch {
    return undefined;
  }
}

/** Each line, or what of it follows a sentinel. */
async function* linesOf(socket: Socket): AsyncGenerator<string, undefined> {
  let pending = Buffer.alloc(0);
  for await (const bytes of socket as AsyncIterable<Buffer>) {
    pending = Buffer.concat([pending, bytes]);
    for (let end = pending.indexOf(newline); end >= 0; end = pending.indexOf(newline)) {
      const line = pending.subarray(0, end);
      pending = pending.subarray(end + 1);
      yield line.subarray(line.lastIndexOf(sentinel) + 1).toString("utf8");
    }
  }
  return undefined;
}
