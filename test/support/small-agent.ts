// A guest agent outside of any guest: what qemu-ga says on its port, on a unix socket instead. A guest with an operating
// system would be needed for a real one.

import { createServer, type Socket } from "node:net";

export interface SmallAgent {
  /** What it was asked, in order. */
  readonly asked: string[];
  close(): Promise<void>;
}

interface Habits {
  /** Sent to whoever comes, before anything is asked: an answer to somebody who has gone. */
  readonly left?: string;
  /** To `guest-set-time`; null: silence. */
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
      // As qemu-ga's parser: at a sentinel it forgets what it has heard of a line.
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
