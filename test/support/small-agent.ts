// A minimal guest agent outside of any guest: it answers on a unix socket as qemu-ga does on its port. A real one would need
// a guest with an operating system.

import { createServer, type Socket } from "node:net";

export interface SmallAgent {
  /** The commands that it received, in order. */
  readonly asked: string[];
  close(): Promise<void>;
}

interface Habits {
  /** Sent to each client on connect: an answer to an earlier client that has disconnected. */
  readonly left?: string;
  /** The answer to `guest-set-time`; null means silence. */
  readonly setTime?: object | null;
  readonly isDeaf?: boolean;
}

const sentinel = "\xff";

export async function smallAgent(path: string, habits: Habits = {}): Promise<SmallAgent> {
  const { left = "", setTime = { return: {} }, isDeaf = false } = habits;
  const asked: string[] = [];
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.write(left, "latin1");
    let pending = "";
    socket.on("data", (bytes) => {
      if (isDeaf) return;
      // As qemu-ga's parser: a sentinel discards the line that was received so far.
      pending = (pending + bytes.toString("latin1")).replace(/^[^\n]*\xff/, "");
      for (let end = pending.indexOf("\n"); end >= 0; end = pending.indexOf("\n")) {
        const question = JSON.parse(pending.slice(0, end)) as { execute: string; arguments?: { id: number } };
        pending = pending.slice(end + 1);
        asked.push(question.execute);
        const say = (answer: object) => `${JSON.stringify(answer)}\n`;
        if (question.execute === "guest-sync-delimited")
          socket.write(sentinel + say({ return: question.arguments?.id }), "latin1");
        else if (setTime !== null) socket.write(say(setTime));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    asked,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
