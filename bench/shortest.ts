// The peer: the shortest script that moves a guest safely between two QEMUs. No engine, no checks, no rescue.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

interface Line {
  event?: string;
  data?: { status?: string };
  timestamp?: { seconds: number; microseconds: number };
  return?: unknown;
}

export async function shortest(
  source: Socket,
  destination: Socket,
  uri: string,
  pauses: boolean,
): Promise<number> {
  const capabilities = [
    "events",
    "return-path",
    "late-block-activate",
    ...(pauses ? ["pause-before-switchover"] : []),
  ];
  const arguments_ = { capabilities: capabilities.map((capability) => ({ capability, state: true })) };
  await ask(destination, { execute: "migrate-set-capabilities", arguments: arguments_ });
  await ask(destination, { execute: "migrate-incoming", arguments: { uri } });
  await ask(source, { execute: "migrate-set-capabilities", arguments: arguments_ });
  await ask(source, { execute: "migrate-set-parameters", arguments: { "max-bandwidth": 2 ** 50 } });
  return new Promise((resolve) => {
    let stopped = 0;
    eachLine(source, ({ event, data, timestamp }) => {
      if (event === "STOP" && timestamp) stopped = micros(timestamp);
      if (data?.status === "pre-switchover") {
        source.write('{"execute":"migrate-continue","arguments":{"state":"pre-switchover"}}\n');
      }
      if (data?.status === "completed") destination.write('{"execute":"cont"}\n');
    });
    eachLine(destination, ({ event, timestamp }) => {
      if (event === "RESUME" && timestamp) resolve((micros(timestamp) - stopped) / 1000);
    });
    source.write(`${JSON.stringify({ execute: "migrate", arguments: { uri } })}\n`);
  });
}

/** A QEMU with one monitor, nothing kept, nothing watched. */
export async function bareQemu(args: readonly string[], path: string) {
  const child = spawn("qemu-system-x86_64", [...args, "-qmp", `unix:${path},server=on,wait=off`], {
    stdio: "ignore",
  });
  for (;;) {
    const socket = connect(path);
    const connected = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    if (connected) {
      await ask(socket, { execute: "qmp_capabilities" });
      return { child, socket };
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const micros = ({ seconds, microseconds }: { seconds: number; microseconds: number }) =>
  seconds * 1e6 + microseconds;

function eachLine(socket: Socket, listener: (line: Line) => void): () => void {
  let rest = "";
  const hear = (bytes: Buffer) => {
    const lines = (rest + bytes.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") listener(JSON.parse(line) as Line);
  };
  socket.on("data", hear);
  return () => socket.off("data", hear);
}

const ask = (socket: Socket, command: object): Promise<void> =>
  new Promise((resolve) => {
    const stop = eachLine(socket, (line) => {
      if (line.return === undefined) return;
      stop();
      resolve();
    });
    socket.write(`${JSON.stringify(command)}\n`);
  });
