import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { finished } from "node:stream/promises";
import { describe, expect, test } from "vitest";
import { RpcConnection } from "../../../../../src/drivers/libvirt/rpc/client.js";
import {
  RpcDisconnectedError,
  RpcStreamAbortedError,
  RpcTimeoutError,
} from "../../../../../src/drivers/libvirt/rpc/errors.js";
import {
  encodeFrame,
  type Frame,
  FrameSplitter,
  type Header,
} from "../../../../../src/drivers/libvirt/rpc/frame.js";
import { LibvirtError } from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import {
  opensStream,
  ownProgram,
  procedure,
  program,
} from "../../../../../src/drivers/libvirt/rpc/program.js";
import { type Handlers, serve } from "../../../../../src/drivers/libvirt/rpc/service.js";
import type { RpcStream } from "../../../../../src/drivers/libvirt/rpc/stream.js";
import { nothing } from "../../../../../src/drivers/libvirt/rpc/xdr.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { dialled, gate, pair, rawServer } from "../../../../support/rpc-pair.js";
import { until } from "../../../../support/until.js";

const mebibyte = 1024 * 1024;
const own = program(ownProgram, {
  procedures: {
    tunnel: opensStream(1, "write", nothing, nothing),
    ask: procedure(2, "write", nothing, nothing),
  },
  messages: {},
});
const { tunnel, ask } = own.procedures;

/** Not by `for await`, which destroys a stream that it has read to its end. */
async function allOf(stream: RpcStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(stream, "end");
  return Buffer.concat(chunks);
}

/** A server with one tunnel; `there` is its end of it. */
async function tunnelling(handlers: Handlers<typeof own.procedures> = {}) {
  const there = gate<RpcStream>();
  const { connect } = await pair({
    services: [serve(own, { ask: () => {}, tunnel: (_, __, stream) => there.open(stream), ...handlers })],
  });
  const rpc = await connect();
  return { it: rpc, there: there.opened };
}

/** Both ends of an open tunnel. */
async function opened() {
  const { it, there } = await tunnelling();
  const { stream } = await it.open(tunnel, undefined);
  return { it, here: stream, there: await there };
}

const header = (status: Header["status"]): Header => ({
  program: own.number,
  version: 1,
  procedure: 1,
  type: "stream",
  serial: 0,
  status,
});
const none = Buffer.alloc(0);

describe("a stream", () => {
  test("carries bytes to the server and ends when both sides have finished", async () => {
    const { it, here, there } = await opened();
    const bytes = randomBytes(3 * mebibyte + 1);
    here.write(none);
    here.end(bytes);
    expect((await allOf(there)).equals(bytes)).toBe(true);
    // Only the other side's finish ends ours.
    expect(here.writableFinished).toBe(false);
    there.end();
    await Promise.all([finished(here, { readable: false }), finished(there)]);
    expect(await it.call(ask, undefined)).toBeUndefined();
  });

  test("carries bytes to the client, also while others go to the server and calls are made", async () => {
    const { it, here, there } = await opened();
    const [to, from] = [randomBytes(2 * mebibyte), randomBytes(2 * mebibyte)];
    here.end(to);
    there.end(from);
    const [received, returned] = await Promise.all([allOf(there), allOf(here), it.call(ask, undefined)]);
    expect(received.equals(to)).toBe(true);
    expect(returned.equals(from)).toBe(true);
    await Promise.all([finished(here), finished(there)]);
  });

  test.each(["there", "back"] as const)(
    "makes the sender wait for a receiver that does not read (%s)",
    async (way) => {
      const { here, there } = await opened();
      const [sender, receiver] = way === "there" ? [here, there] : [there, here];
      const total = 64 * mebibyte;
      const bytes = Buffer.alloc(total, 7);
      sender.write(bytes);
      sender.end();
      await until(() => receiver.readableLength >= mebibyte);
      // Nothing moves any more: the receiver's buffer is full, and the sender keeps the rest.
      expect(receiver.readableLength).toBeLessThan(2 * mebibyte);
      expect(sender.writableLength).toBe(total);
      let read = 0;
      receiver.on("data", (some: Buffer) => {
        read += some.length;
      });
      receiver.once("end", () => receiver.end());
      await Promise.all([finished(sender, { readable: false }), once(receiver, "end")]);
      expect(read).toBe(total);
    },
  );

  test("that the client aborts breaks off at the server, which confirms, and everything else continues", async () => {
    const { it, here, there } = await opened();
    const lost = finished(there).catch((error: unknown) => error);
    here.destroy();
    expect(await lost).toBeInstanceOf(RpcStreamAbortedError);
    await it.call(ask, undefined);
  });

  test("that the server aborts reports the reason to the client", async () => {
    const { it, here, there } = await opened();
    const lost = finished(here).catch((error: unknown) => error);
    there.destroy(new LibvirtError({ code: 9, domain: 10, message: "no space left" }));
    expect(await lost).toMatchObject({ name: "LibvirtError", code: 9, domain: 10, message: "no space left" });
    const again = await tunnelling();
    const { stream } = await again.it.open(tunnel, undefined);
    const broken = finished(stream).catch((error: unknown) => error);
    (await again.there).destroy(new Error("a bug"));
    expect(await broken).toMatchObject({ name: "LibvirtError", message: "a bug" });
    await it.call(ask, undefined);
  });

  test("ends in an error at both ends when the connection does", async () => {
    const { it, here, there } = await opened();
    const ends = [here, there].map((stream) => finished(stream).catch((error: unknown) => error));
    it.close();
    for (const error of await Promise.all(ends)) expect(error).toBeInstanceOf(RpcDisconnectedError);
  });

  test("carries nothing before its call is answered, and does not open when the call fails", async () => {
    const early = await tunnelling({
      tunnel: async (_, __, stream) => {
        stream.end("early");
        await new Promise((resolve) => setImmediate(resolve));
      },
    });
    const { stream } = await early.it.open(tunnel, undefined);
    expect((await allOf(stream)).toString()).toBe("early");

    const refused = gate<unknown>();
    const failing = await tunnelling({
      tunnel: (_, __, dead) => {
        void finished(dead).catch(refused.open);
        throw new LibvirtError({ code: 55, domain: 10, message: "not now" });
      },
    });
    await expect(failing.it.open(tunnel, undefined)).rejects.toThrow("not now");
    expect(await refused.opened).toMatchObject({ message: "not now" });
    await failing.it.call(ask, undefined);
  });

  test("that a late answer opens is aborted, since its caller has gone", async () => {
    const proceed = gate();
    const later = gate<RpcStream>();
    const { it } = await tunnelling({
      tunnel: async (_, __, stream) => {
        await proceed.opened;
        later.open(stream);
      },
    });
    await expect(it.open(tunnel, undefined, { deadlineMs: 10 })).rejects.toBeInstanceOf(RpcTimeoutError);
    proceed.open();
    const error = await finished(await later.opened).catch((why: unknown) => why);
    expect(error).toBeInstanceOf(RpcStreamAbortedError);
    await it.call(ask, undefined);
  });
});

describe("a stream on the wire", () => {
  /** A raw server that opens the stream and records what it receives. */
  async function onTheWire(
    answer: (frame: Frame, reply: (status: Header["status"], body?: Buffer) => void) => void,
  ) {
    const received: Frame[] = [];
    const path = await rawServer((socket) => {
      const splitter = new FrameSplitter();
      socket.on("data", (bytes) => {
        for (const frame of splitter.push(bytes)) {
          received.push(frame);
          if (frame.header.type === "call") {
            socket.write(encodeFrame({ ...frame.header, type: "reply" }, none));
          }
          answer(frame, (status, body = none) => socket.write(encodeFrame(header(status), body)));
        }
      });
    });
    const rpc = new RpcConnection(await dialled(path), systemClock);
    const { stream } = await rpc.open(tunnel, undefined);
    const packets = () =>
      received
        .slice(1)
        .map(({ header: { type, serial, status }, body }) => [type, serial, status, body.length]);
    return { it: rpc, stream, packets };
  }

  test("is packets of 65536 bytes, and an empty one with status 0 that the other side repeats", async () => {
    const { stream, packets } = await onTheWire(({ header: { type, status } }, reply) => {
      if (type === "stream" && status === "ok") reply("ok");
    });
    stream.end(Buffer.alloc(100_000));
    await finished(stream, { readable: false });
    expect(packets()).toEqual([
      ["stream", 0, "continue", 65_536],
      ["stream", 0, "continue", 34_464],
      ["stream", 0, "ok", 0],
    ]);
  });

  test("is aborted by an empty packet with status 1", async () => {
    const { stream, packets } = await onTheWire(() => {});
    stream.destroy();
    await until(() => packets().length > 0);
    expect(packets()).toEqual([["stream", 0, "error", 0]]);
  });

  test("ends one direction with an empty packet of data; data after that ends the connection", async () => {
    const { it, stream } = await onTheWire(({ header: { type, status } }, reply) => {
      if (type === "call") {
        reply("continue", Buffer.from("all"));
        reply("continue");
      } else if (status === "continue") {
        reply("continue", Buffer.from("more"));
      }
    });
    expect((await allOf(stream)).toString()).toBe("all");
    stream.write("go on");
    expect((await it.closed).message).toBe("stream data follows the end of the stream");
  });

  test("with an unknown serial is ignored", async () => {
    const { raw } = await pair({ services: [serve(own, { ask: () => {} })] });
    const client = await raw();
    client.write(encodeFrame({ ...header("continue"), serial: 9 }, Buffer.from("late")));
    client.write(encodeFrame({ ...header("ok"), type: "call", procedure: 2, serial: 1 }, none));
    const [bytes] = (await once(client, "data")) as [Buffer];
    expect(new FrameSplitter().push(bytes)[0]?.header).toMatchObject({
      type: "reply",
      serial: 1,
      status: "ok",
    });
  });

  test("is confirmed by a server when libvirt's client aborts it", async () => {
    const { raw } = await pair({ services: [serve(own, { tunnel: () => {} })] });
    const client = await raw();
    const splitter = new FrameSplitter();
    const received: Header[] = [];
    client.on("data", (bytes) => received.push(...splitter.push(bytes).map((frame) => frame.header)));
    client.write(encodeFrame({ ...header("ok"), type: "call" }, none));
    await until(() => received.length === 1);
    client.write(encodeFrame(header("error"), none));
    await until(() => received.length === 2);
    expect(received[1]).toEqual(header("ok"));
  });
});
