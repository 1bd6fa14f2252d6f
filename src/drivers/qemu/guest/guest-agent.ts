// Client of the QEMU guest agent, which runs in the guest and answers over a virtio-serial port: one JSON object per
// line, one client at a time. It only sets the guest's clock. Source: QEMU's qga/qapi-schema.json.

import { createConnection, type Socket } from "node:net";
import * as z from "zod/mini";
import type { Clock } from "../../../effects/ports.js";

/** On this byte the agent discards a partial request of an earlier client, and prefixes its next answer with it. */
const sentinel = 0xff;
const newline = 0x0a;
const answerForm = z.looseObject({
  return: z.optional(z.unknown()),
  error: z.optional(z.looseObject({ desc: z.string() })),
});

export interface AgentOptions {
  readonly clock: Clock;
  /** Limit for the whole exchange: an agent that is not running never answers. */
  readonly limitMs: number;
}

/**
 * Sets the guest's system clock from its hardware clock, like `virsh domtime --sync`. `path` is the unix socket of
 * the agent's port. @throws Error with the agent's own message, or when it does not answer in time.
 */
export async function syncTime(path: string, { clock, limitMs }: AgentOptions): Promise<void> {
  const socket = createConnection(path).on("error", () => {});
  let timer: unknown;
  const late = new Promise<never>((_, reject) => {
    timer = clock.setTimeout(() => {
      socket.destroy();
      reject(new Error(`the guest agent did not answer within ${limitMs} ms`));
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
  // Earlier lines answer a client that has disconnected.
  while ((await answerIn(lines))?.return !== id);
  ask(socket, "guest-set-time");
  const answer = await answerIn(lines);
  if (answer?.error !== undefined) throw new Error(`the guest agent reported an error: ${answer.error.desc}`);
  if (answer === undefined) throw new Error("the guest agent sent a reply that is not valid");
}

const ask = (socket: Socket, execute: string, args?: object): boolean =>
  socket.write(`${JSON.stringify({ execute, ...(args && { arguments: args }) })}\n`);

/** Returns undefined when the line is not a reply. */
async function answerIn(lines: AsyncIterator<string>): Promise<z.infer<typeof answerForm> | undefined> {
  const { value, done } = await lines.next();
  if (done) throw new Error("the guest agent closed the connection");
  try {
    return answerForm.parse(JSON.parse(value));
  } catch {
    return undefined;
  }
}

/** Yields each line, or the part of it after a sentinel. */
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
