import { existsSync, linkSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { RpcConnection } from "../../../../../src/drivers/libvirt/rpc/client.js";
import { RpcDisconnectedError, RpcListenError } from "../../../../../src/drivers/libvirt/rpc/errors.js";
import { encodeFrame, type Header } from "../../../../../src/drivers/libvirt/rpc/frame.js";
import { ping } from "../../../../../src/drivers/libvirt/rpc/keepalive.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import {
  message,
  ownProgram,
  procedure,
  program,
  urgent,
} from "../../../../../src/drivers/libvirt/rpc/program.js";
import { RpcServer } from "../../../../../src/drivers/libvirt/rpc/server.js";
import { serve } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { encode, nothing, opaque, uint } from "../../../../../src/drivers/libvirt/rpc/xdr.js";
import { struct } from "../../../../../src/drivers/libvirt/rpc/xdr-compound.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { patienceMs } from "../../../../support/patience.js";
import { dialled, gate, pair, temporaryDirectory } from "../../../../support/rpc-pair.js";
import { until } from "../../../../support/until.js";

const mebibyte = 1024 * 1024;
const own = program(ownProgram, {
  procedures: {
    work: procedure(1, "write", struct({ number: uint }), struct({ number: uint })),
    abort: urgent(2, "write", nothing, nothing),
    carry: procedure(3, "write", struct({ load: opaque(mebibyte) }), nothing),
  },
  messages: { news: message(4, struct({ load: opaque(mebibyte) })) },
});
const { work, abort, carry } = own.procedures;
const call = (number: number, serial: number): Header => ({
  program: own.number,
  version: own.version,
  procedure: number,
  type: "call",
  serial,
  status: "ok",
});
const closed = (socket: Socket) => new Promise((resolve) => socket.once("close", resolve));

describe("a client's calls", () => {
  test("run five at a time; further ones wait, urgent ones do not", async () => {
    const started: number[] = [];
    const { opened, open } = gate();
    const { connect } = await pair({
      services: [
        serve(own, {
          work: async ({ number }) => {
            started.push(number);
            await opened;
            return { number };
          },
          abort: () => open(),
        }),
      ],
    });
    const rpc = await connect();
    const numbers = [0, 1, 2, 3, 4, 5, 6];
    const calls = numbers.map((number) => rpc.call(work, { number }));
    const other = await connect();
    const elsewhere = other.call(work, { number: 100 });
    await until(() => started.includes(100));
    expect(started.filter((number) => number < 100)).toEqual([0, 1, 2, 3, 4]);
    await rpc.call(abort, undefined);
    expect(await Promise.all([...calls, elsewhere])).toEqual([...numbers, 100].map((number) => ({ number })));
    expect(started.filter((number) => number < 100)).toEqual(numbers);
  });

  test("are not read while too many are pending, and all are answered in the end", async () => {
    let running = 0;
    let maxRunning = 0;
    const { opened, open } = gate();
    const { connect, raw, server } = await pair({
      services: [
        serve(own, {
          carry: async () => {
            running += 1;
            maxRunning = Math.max(maxRunning, running);
            await opened;
            running -= 1;
          },
        }),
      ],
    });
    const client = await raw();
    const body = encode(carry.args, { load: new Uint8Array(mebibyte) });
    const total = 100;
    for (let serial = 0; serial < total; serial += 1)
      client.write(encodeFrame(call(carry.number, serial), body));
    await until(() => running === 5);
    // The server has served others since, so it has read of this client what it would read.
    const rpc = await connect();
    await expect(rpc.call(abort, undefined)).rejects.toThrow("unknown procedure");
    expect(client.writableLength).toBeGreaterThan(80 * mebibyte);
    let answered = 0;
    client.on("data", (bytes) => {
      answered += bytes.length;
    });
    open();
    await until(() => answered === total * 28);
    expect(maxRunning).toBe(5);
    expect(server.clients).toHaveLength(2);
  });
});

describe("a hostile client", () => {
  test("that sends garbage is disconnected, and others are not affected", async () => {
    const { connect, raw } = await pair({ services: [serve(own, { work: ({ number }) => ({ number }) })] });
    const rpc = await connect();
    const anyHeader = fc
      .array(fc.oneof(fc.nat(8), fc.constantFrom(own.number, remote.number, 0xffff_ffff)), {
        minLength: 7,
        maxLength: 12,
      })
      .map((words) => {
        const bytes = Buffer.alloc(words.length * 4);
        for (const [index, word] of words.entries()) bytes.writeUInt32BE(word, index * 4);
        bytes.writeUInt32BE(bytes.length, 0);
        return bytes;
      });
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 200 }), anyHeader),
        async (bytes) => {
          const client = await raw();
          client.on("error", () => {});
          client.resume();
          client.end(bytes);
          await closed(client);
          expect(await rpc.call(work, { number: 1 })).toEqual({ number: 1 });
        },
      ),
      { numRuns: 100 },
    );
  });

  test("that stops in the middle of a message uses only the memory of the bytes that it sent", async () => {
    const { raw, connect, server } = await pair({
      services: [serve(own, { work: ({ number }) => ({ number }) })],
    });
    const client = await raw();
    client.write(Uint8Array.of(1, 0, 0, 4, 0x20));
    const rpc = await connect();
    expect(await rpc.call(work, { number: 7 })).toEqual({ number: 7 });
    client.destroy();
    await until(() => server.clients.length === 1);
  });

  test("that never reads is dropped when too many bytes wait for it", async () => {
    const { raw, server } = await pair({ services: [] });
    const client = await raw();
    client.on("error", () => {});
    await until(() => server.clients.length === 1);
    const [there] = server.clients;
    let told = 0;
    while (server.clients.length > 0 && told < 100) {
      there?.send(own.messages.news, { load: new Uint8Array(mebibyte) });
      told += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await there?.closed)?.message).toMatch(
      /^the peer does not read: \d+ messages \(\d+ bytes\) are queued$/,
    );
    expect(told).toBeLessThan(70);
  });

  test("that keeps calling without reading the answers is no longer read", async () => {
    const { raw, connect } = await pair({ services: [serve(own, { abort: () => {} })] });
    const client = await raw();
    const asks = [ping, call(abort.number, 0), call(999, 0)];
    const questions = Buffer.concat(asks.map((header) => encodeFrame(header, Buffer.alloc(0))));
    const many = Buffer.concat(Array.from({ length: 10_000 }, () => questions));
    let written = 0;
    const more = () => {
      written += 1;
      if (!client.destroyed && written < 200) client.write(many, more);
    };
    more();
    const rpc = await connect();
    let before = -1;
    while (written > before) {
      before = written;
      for (let i = 0; i < 50; i += 1) await rpc.call(abort, undefined);
    }
    expect(written).toBeLessThan(20);
    expect(client.destroyed).toBe(false);
  });

  test("that never reads is also dropped for many small events", async () => {
    const { raw, server } = await pair({ services: [] });
    const client = await raw();
    client.on("error", () => {});
    await until(() => server.clients.length === 1);
    const [there] = server.clients;
    for (let told = 0; told < 100_000; told += 1) there?.send(own.messages.news, { load: new Uint8Array() });
    expect((await there?.closed)?.message).toMatch("does not read: 65536 messages");
  });

  test("is not accepted when the maximum number of clients is connected", async () => {
    const { raw, connect, server } = await pair({
      services: [serve(own, { work: ({ number }) => ({ number }) })],
      maxClients: 1,
    });
    const rpc = await connect();
    await rpc.call(work, { number: 0 });
    const client = await raw();
    client.resume();
    await closed(client);
    expect(await rpc.call(work, { number: 1 })).toEqual({ number: 1 });
    rpc.close();
    await until(() => server.clients.length === 0);
    expect(await (await connect()).call(work, { number: 2 })).toEqual({ number: 2 });
  });
});

describe("stopping a server", () => {
  test("lets running calls finish, and starts no new ones", async () => {
    const { opened, open } = gate();
    const started: number[] = [];
    const { connect, raw, server } = await pair({
      services: [
        serve(own, {
          work: async ({ number }) => {
            started.push(number);
            await opened;
            return { number };
          },
        }),
      ],
      maxClientRequests: 1,
    });
    const rpc = await connect();
    const first = rpc.call(work, { number: 1 });
    const second = rpc.call(work, { number: 2 });
    await until(() => started.length === 1);
    const stopped = server.stop({ deadlineMs: patienceMs });
    await expect(raw()).rejects.toThrow(/ENOENT|ECONNREFUSED/);
    open();
    expect(await first).toEqual({ number: 1 });
    await stopped;
    await expect(second).rejects.toBeInstanceOf(RpcDisconnectedError);
    expect(started).toEqual([1]);
  });

  test("waits no longer than its deadline", async () => {
    const started = gate();
    const { connect, server } = await pair({
      services: [
        serve(own, {
          abort: () => {
            started.open();
            return new Promise<void>(() => {});
          },
        }),
      ],
    });
    const rpc = await connect();
    const pending = rpc.call(abort, undefined);
    await started.opened;
    await Promise.all([
      server.stop({ deadlineMs: 10 }),
      expect(pending).rejects.toBeInstanceOf(RpcDisconnectedError),
    ]);
  });
});

describe("a unix socket", () => {
  const aServer = () => {
    const server = new RpcServer({
      clock: systemClock,
      services: [serve(own, { abort: () => {} })],
    });
    onTestFinished(() => server.stop({ deadlineMs: 0 }));
    return server;
  };

  test("has the configured mode and owner, and is removed by the stop", async () => {
    const path = join(temporaryDirectory(), "sock");
    const server = aServer();
    const before = process.umask();
    await server.listenUnix({ path, mode: 0o660, owner: { uid: process.getuid?.() ?? 0, gid: 12_345 } });
    expect(process.umask()).toBe(before);
    const { mode, gid } = statSync(path);
    expect((mode & 0o777).toString(8)).toBe("660");
    expect(gid).toBe(12_345);
    await server.stop({ deadlineMs: 0 });
    expect(existsSync(path)).toBe(false);
  });

  test("replaces a socket without a listener, but no other socket or file", async () => {
    const directory = temporaryDirectory();
    const path = join(directory, "sock");
    const first = aServer();
    await first.listenUnix({ path });
    const second = aServer();
    await expect(second.listenUnix({ path })).rejects.toBeInstanceOf(RpcListenError);
    await expect(second.listenUnix({ path })).rejects.toThrow("EADDRINUSE");
    await new RpcConnection(await dialled(path), systemClock).call(abort, undefined);

    const stale = join(directory, "stale");
    await leaveSocket(stale);
    expect(existsSync(stale)).toBe(true);
    await second.listenUnix({ path: stale });
    await new RpcConnection(await dialled(stale), systemClock).call(abort, undefined);

    const file = join(directory, "file");
    writeFileSync(file, "precious");
    await expect(second.listenUnix({ path: file })).rejects.toThrow("EADDRINUSE");
    expect(statSync(file).size).toBe(8);
  });

  test("is refused where its path would be truncated, or may not be created", async () => {
    await expect(aServer().listenUnix({ path: `/tmp/${"x".repeat(103)}` })).rejects.toThrow("too long");
    await expect(aServer().listenUnix({ path: "/nonexistent/sock" })).rejects.toThrow(
      "cannot listen on /nonexistent/sock",
    );
  });

  test("can be read-only, which its handlers see", async () => {
    const path = join(temporaryDirectory(), "sock-ro");
    const server = aServer();
    await server.listenUnix({ path, readOnly: true });
    await dialled(path);
    await until(() => server.clients.length === 1);
    expect(server.clients[0]).toMatchObject({ id: 1, readOnly: true, identity: { transport: "unix" } });
  });
});

/** Creates the remains of a killed daemon: a socket without a listener. */
async function leaveSocket(path: string): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(`${path}.was`, resolve));
  linkSync(`${path}.was`, path);
  await new Promise((resolve) => server.close(resolve));
}
