// A proxy to a libvirt daemon that loses answers: from the call of one procedure on, it forwards no reply.

import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** The header of a call: length, program, version, procedure, type, serial, status; 4 bytes each. */
const headerBytes = 28;

export interface Swallowing {
  /** The address of the proxy. */
  readonly uri: string;
  /** Resolves when the procedure has been called. */
  readonly swallowed: Promise<void>;
  /** Forwards replies from now on, and closes the open connections. */
  letThrough(): void;
  /** The number of connections that clients have opened. */
  connections(): number;
}

/** `uri`: the daemon's unix socket. Ends with the test. */
export async function swallowing(uri: string, procedure: number): Promise<Swallowing> {
  const to = new URL(uri).searchParams.get("socket") ?? "";
  const directory = mkdtempSync(join(tmpdir(), "swallowing-"));
  const path = join(directory, "sock");
  const open = new Set<Socket>();
  let swallows = true;
  let count = 0;
  let tell = () => {};
  const swallowed = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const server = createServer((client) => {
    count += 1;
    const daemon = connect(to);
    let isLost = false;
    let left = Buffer.alloc(0);
    for (const socket of [client, daemon]) {
      open.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        open.delete(socket);
        client.destroy();
        daemon.destroy();
      });
    }
    client.on("data", (bytes) => {
      left = Buffer.concat([left, bytes]);
      while (left.length >= headerBytes && left.length >= left.readUInt32BE(0)) {
        if (swallows && left.readUInt32BE(12) === procedure) {
          isLost = true;
          tell();
        }
        left = left.subarray(left.readUInt32BE(0));
      }
      daemon.write(bytes);
    });
    daemon.on("data", (bytes) => {
      if (!isLost) client.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const letThrough = () => {
    swallows = false;
    for (const socket of open) socket.destroy();
  };
  onTestFinished(() => {
    letThrough();
    server.close();
    rmSync(directory, { recursive: true });
  });
  return { uri: uri.replace(to, path), swallowed, letThrough, connections: () => count };
}
