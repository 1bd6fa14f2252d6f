// The baseline: the shortest script that safely migrates a guest between two QEMUs. No engine, no checks, no recovery.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

interface Line {
  event?: string;
  data?: { status?: string; device?: string };
  timestamp?: { seconds: number; microseconds: number };
  return?: unknown;
  error?: { desc: string };
}

/** Additional actions of a script besides the transfer of memory. */
export interface Feature {
  readonly capabilities?: readonly string[];
  /** Capabilities of both sides, and additional ones of the source. */
  readonly parameters?: object;
  readonly sourceParameters?: object;
  prepare?(source: Socket, destination: Socket): Promise<void>;
  /** Called between the guest's stop and the switchover, with `pause-before-switchover`. */
  atTheGate?(source: Socket): Promise<void>;
  /** Commands at the destination right before `cont`. */
  readonly beforeCont?: readonly string[];
  /** Switches to post-copy after this time of memory transfer. */
  readonly postcopyAfterMs?: number;
}

/** Migrates the guest and returns the downtime in ms. @throws Error with QEMU's message. */
export async function shortest(
  source: Socket,
  destination: Socket,
  uri: string,
  feature: Feature = {},
): Promise<number> {
  const names = ["events", "return-path", "late-block-activate", ...(feature.capabilities ?? [])];
  const capabilities = names.map((capability) => ({ capability, state: true }));
  await feature.prepare?.(source, destination);
  for (const side of [source, destination]) {
    await ask(side, "migrate-set-capabilities", { capabilities });
    if (feature.parameters !== undefined) await ask(side, "migrate-set-parameters", feature.parameters);
  }
  await ask(source, "migrate-set-parameters", { "max-bandwidth": 2 ** 50, ...feature.sourceParameters });
  await ask(destination, "migrate-incoming", { uri });
  const run = [...(feature.beforeCont ?? []), "cont"].map((execute) => `{"execute":"${execute}"}\n`).join("");
  return new Promise((resolve, reject) => {
    let stopped = 0;
    const hearSource = async ({ event, data, timestamp }: Line) => {
      if (event === "STOP" && timestamp) stopped = micros(timestamp);
      switch (data?.status) {
        case "active":
          if (feature.postcopyAfterMs === undefined) break;
          await new Promise((later) => setTimeout(later, feature.postcopyAfterMs));
          await ask(source, "migrate-start-postcopy");
          break;
        case "pre-switchover":
          await feature.atTheGate?.(source);
          source.write('{"execute":"migrate-continue","arguments":{"state":"pre-switchover"}}\n');
          break;
        case "postcopy-active":
          while ((await ask<{ status: string }>(destination, "query-status")).status !== "paused");
          destination.write(run);
          break;
        case "completed":
          if (feature.postcopyAfterMs === undefined) destination.write(run);
          break;
        case "failed":
          throw new Error("QEMU's migration failed");
      }
    };
    eachLine(source, (line) => void hearSource(line).catch(reject));
    eachLine(destination, ({ event, timestamp }) => {
      if (event === "RESUME" && timestamp) resolve((micros(timestamp) - stopped) / 1000);
    });
    ask(source, "migrate", { uri }).catch(reject);
  });
}

/** Resolves when QEMU emits the event. */
export const told = (socket: Socket, event: string): Promise<void> =>
  new Promise((resolve) => {
    const stop = eachLine(socket, (line) => {
      if (line.event !== event) return;
      stop();
      resolve();
    });
  });

/** A QEMU with one monitor, without journal and supervision. */
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
      await ask(socket, "qmp_capabilities");
      return { child, socket };
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const micros = ({ seconds, microseconds }: { seconds: number; microseconds: number }) =>
  seconds * 1e6 + microseconds;

function eachLine(socket: Socket, listener: (line: Line) => void): () => void {
  let rest = "";
  const onData = (bytes: Buffer) => {
    const lines = (rest + bytes.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") listener(JSON.parse(line) as Line);
  };
  socket.on("data", onData);
  return () => socket.off("data", onData);
}

/** Executes one command at a time. @throws Error with QEMU's message. */
export const ask = <T = unknown>(socket: Socket, execute: string, arguments_?: object): Promise<T> =>
  new Promise((resolve, reject) => {
    const stop = eachLine(socket, (line) => {
      if (line.return === undefined && line.error === undefined) return;
      stop();
      if (line.error === undefined) resolve(line.return as T);
      else reject(new Error(`${execute}: ${line.error.desc}`));
    });
    socket.write(`${JSON.stringify({ execute, arguments: arguments_ })}\n`);
  });
