// A minimal SPICE client: the main channel only, for a server's messages about a migration. It does not support seamless
// migration, so the server tells it to switch hosts when the guest has moved.

import { constants, createPublicKey, publicEncrypt } from "node:crypto";
import { connect, type Socket } from "node:net";

const magic = Buffer.from("REDQ");
const headerBytes = 16;
const keyBytes = 162;
const mainInit = 103;
const attachChannels = 104;
const switchHost = 111;
const setAck = 3;

export interface SpiceClient {
  /** Resolves when the server has accepted it. */
  readonly isIn: Promise<void>;
  /** The host that the server told it to connect to; it stays connected until it closes the connection itself. */
  readonly sentTo: Promise<{ host: string; port: number }>;
  hangUp(): void;
  /** Whether the connection is still open. */
  isHeld(): boolean;
}

export function spiceClient(port: number): SpiceClient {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  let letIn = () => {};
  const isIn = new Promise<void>((resolve) => {
    letIn = resolve;
  });
  let isHeld = true;
  socket.once("close", () => {
    isHeld = false;
  });
  const sentTo = (async () => {
    const take = taking(socket);
    const link = Buffer.alloc(18);
    link.writeUInt8(1, 4);
    link.writeUInt32LE(18, 14);
    socket.write(Buffer.concat([magic, words(2, 2, link.length), link]));
    const reply = await take((await take(headerBytes)).readUInt32LE(12));
    const key = createPublicKey({ key: reply.subarray(4, 4 + keyBytes), format: "der", type: "spki" });
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    socket.write(publicEncrypt({ key, padding, oaepHash: "sha1" }, Buffer.from("\0")));
    const refused = (await take(4)).readUInt32LE(0);
    if (refused !== 0) throw new Error(`the server rejected the client (${refused})`);
    for (;;) {
      const header = await take(18);
      const type = header.readUInt16LE(8);
      const body = await take(header.readUInt32LE(10));
      if (type === setAck) say(socket, 1, body.subarray(0, 4));
      if (type === mainInit) {
        say(socket, attachChannels);
        letIn();
      }
      if (type === switchHost) {
        const [size, at] = [body.readUInt32LE(4), body.readUInt32LE(8)];
        const host = body
          .subarray(at, at + size)
          .toString()
          .replace(/\0$/, "");
        // Reads remaining data too: the end of the connection is reported only after it.
        void drain(take);
        return { host, port: body.readUInt16LE(0) };
      }
    }
  })();
  sentTo.catch(() => {});
  return { isIn, sentTo, hangUp: () => socket.destroy(), isHeld: () => isHeld };
}

async function drain(take: (bytes: number) => Promise<Buffer>): Promise<void> {
  try {
    for (;;) await take(1);
  } catch {
    // The server has closed the connection.
  }
}

const words = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, it] of values.entries()) bytes.writeUInt32LE(it, 4 * index);
  return bytes;
};

function say(socket: Socket, type: number, body: Uint8Array = new Uint8Array()): void {
  const header = Buffer.alloc(18);
  header.writeUInt16LE(type, 8);
  header.writeUInt32LE(body.length, 10);
  socket.write(Buffer.concat([header, body]));
}

/** Reads exactly so many bytes. */
function taking(socket: Socket): (bytes: number) => Promise<Buffer> {
  const chunks = (socket as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  let pending = Buffer.alloc(0);
  return async (bytes) => {
    while (pending.length < bytes) {
      const { value, done } = await chunks.next();
      if (done) throw new Error("the server closed the connection");
      pending = Buffer.concat([pending, value]);
    }
    const taken = pending.subarray(0, bytes);
    pending = pending.subarray(bytes);
    return taken;
  };
}
