import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import { RpcConnection } from "../../../../../src/drivers/libvirt/rpc/client.js";
import {
  RpcDisconnectedError,
  RpcGivenUpError,
  RpcProtocolError,
  RpcTimeoutError,
  RpcUnsentError,
} from "../../../../../src/drivers/libvirt/rpc/errors.js";
import { encodeFrame, type Frame, FrameSplitter } from "../../../../../src/drivers/libvirt/rpc/frame.js";
import { Keepalive, ping, pong } from "../../../../../src/drivers/libvirt/rpc/keepalive.js";
import {
  errorCodes,
  errorDomains,
  LibvirtError,
} from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { qemu, remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { message, ownProgram, procedure, program } from "../../../../../src/drivers/libvirt/rpc/program.js";
import { type RpcClient, serve, serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { nothing, string, uint } from "../../../../../src/drivers/libvirt/rpc/xdr.js";
import { struct } from "../../../../../src/drivers/libvirt/rpc/xdr-compound.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import type { Clock } from "../../../../../src/effects/ports.js";
import { dialled, gate, pair, rawServer } from "../../../../support/rpc-pair.js";
import { uncaughtDuring } from "../../../../support/uncaught.js";
import { until } from "../../../../support/until.js";

const { connectGetHostname, connectSupportsFeature, domainGetState, domainAbortJob } = remote.procedures;
const dom = { name: "tiny", uuid: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d", id: 1 };

/** A program that two daemons share, as a daemon would define it. */
const own = program(ownProgram, {
  procedures: {
    double: procedure(1, "write", struct({ number: uint }), struct({ number: uint })),
    shout: procedure(2, "write", nothing, nothing),
  },
  messages: { heard: message(3, struct({ words: string(2_000_000) })) },
});
const { double, shout } = own.procedures;

/** The bytes that a raw client has received so far. */
function framesOf(socket: Socket): Frame[] {
  const frames: Frame[] = [];
  const splitter = new FrameSplitter();
  socket.on("data", (bytes) => frames.push(...splitter.push(bytes)));
  return frames;
}

describe("calls", () => {
  test("each get their own answer, in any order of completion", async () => {
    const gates = [gate(), gate(), gate()];
    const { connect } = await pair({
      services: [
        serve(own, {
          double: async ({ number }) => {
            await gates[number]?.opened;
            return { number: number * 2 };
          },
        }),
      ],
    });
    const rpc = await connect();
    const done: number[] = [];
    const calls = gates.map((_, number) =>
      rpc.call(double, { number }).then(({ number: twice }) => done.push(twice)),
    );
    for (const number of [2, 0, 1]) {
      gates[number]?.open();
      await calls[number];
    }
    expect(done).toEqual([4, 0, 2]);
  });

  test("that are refused throw the handler's error, with code, domain and message", async () => {
    const { connect } = await pair({
      services: [
        serveRemote({
          domainGetState: ({ dom: { name } }) => {
            throw new LibvirtError({
              code: errorCodes.NO_DOMAIN,
              domain: errorDomains.QEMU,
              message: `Domain not found: no domain with matching name '${name}'`,
              str1: "Domain not found: %s",
            });
          },
        }),
      ],
    });
    const error = await (await connect())
      .call(domainGetState, { dom, flags: 0 })
      .catch((why: unknown) => why);
    expect(error).toBeInstanceOf(LibvirtError);
    expect(error).toMatchObject({
      code: 42,
      domain: 10,
      level: 2,
      message: "Domain not found: no domain with matching name 'tiny'",
      str1: "Domain not found: %s",
      str2: null,
      int1: -1,
    });
  });

  test("whose handler has a bug return an internal error to the client, and are reported by the server", async () => {
    const reported: string[] = [];
    const { connect } = await pair({
      services: [
        serve(own, {
          shout: () => Promise.reject(new TypeError("no voice")),
          double: () => ({ number: -1 }),
        }),
      ],
      onError: (error, name) => reported.push(`${name}: ${error}`),
    });
    const rpc = await connect();
    await expect(rpc.call(shout, undefined)).rejects.toMatchObject({
      code: errorCodes.INTERNAL_ERROR,
      message: "internal error: no voice",
    });
    await expect(rpc.call(double, { number: 1 })).rejects.toThrow(
      "internal error: number: -1 is not an integer",
    );
    expect(reported).toEqual([
      "shout: TypeError: no voice",
      "double: XdrError: number: -1 is not an integer from 0 to 4294967295",
    ]);
  });

  test("that cannot be decoded are refused with libvirt's messages, and the connection stays open", async () => {
    const { connect } = await pair({
      services: [serveRemote({ connectGetHostname: () => ({ hostname: "a" }) })],
    });
    const item = await connect();
    const rpc = { code: errorCodes.RPC, domain: errorDomains.RPC };
    await expect(item.call(domainAbortJob, { dom })).rejects.toMatchObject({
      ...rpc,
      message: "unknown procedure: 164",
    });
    await expect(item.call(qemu.procedures.domainAttach, { pid: 1, flags: 0 })).rejects.toMatchObject({
      ...rpc,
      message: "Cannot find program 536903815 version 1",
    });
    const { supports } = program(remote, {
      procedures: { supports: procedure(connectSupportsFeature.number, "write", nothing, nothing) },
      messages: {},
    }).procedures;
    await expect(item.call(supports, undefined)).rejects.toMatchObject({
      ...rpc,
      message: "Unable to decode message payload",
    });
    expect(await item.call(connectGetHostname, undefined)).toEqual({ hostname: "a" });
  });

  test("with invalid arguments are not sent", async () => {
    const { connect } = await pair({ services: [] });
    await expect((await connect()).call(double, { number: -1 })).rejects.toThrow(
      "number: -1 is not an integer from 0 to 4294967295",
    );
  });

  test("are abandoned after their time limit, and a late answer does not affect others", async () => {
    const { opened, open } = gate();
    const { connect } = await pair({
      services: [
        serve(own, {
          shout: () => opened,
          double: ({ number }) => ({ number: 2 * number }),
        }),
      ],
    });
    const rpc = await connect();
    await expect(rpc.call(shout, undefined, { deadlineMs: 20 })).rejects.toBeInstanceOf(RpcTimeoutError);
    open();
    expect(await rpc.call(double, { number: 4 })).toEqual({ number: 8 });
  });

  test("end with their caller's signal: not sent before it, possibly done after it", async () => {
    const started = gate();
    const { connect } = await pair({
      services: [
        serve(own, {
          shout: () => {
            started.open();
            return new Promise<void>(() => {});
          },
        }),
      ],
    });
    const rpc = await connect();
    const caller = new AbortController();
    const call = rpc.call(shout, undefined, { signal: caller.signal, deadlineMs: Number.POSITIVE_INFINITY });
    await started.opened;
    caller.abort(new Error("the caller has left"));
    await expect(call).rejects.toBeInstanceOf(RpcGivenUpError);
    const late = rpc.call(shout, undefined, { signal: caller.signal });
    await expect(late).rejects.toBeInstanceOf(RpcUnsentError);
    await expect(late).rejects.toThrow("shout was not sent: the caller has left");
  });

  test("distinguish what may have happened from what has not when the connection ends", async () => {
    const started = gate<RpcClient>();
    const { connect } = await pair({
      services: [
        serve(own, {
          shout: (_, client) => {
            started.open(client);
            return new Promise<void>(() => {});
          },
        }),
      ],
    });
    const rpc = await connect();
    const pending = rpc.call(shout, undefined);
    (await started.opened).close("the server has had enough");
    await expect(pending).rejects.toBeInstanceOf(RpcDisconnectedError);
    await expect(rpc.call(shout, undefined)).rejects.toBeInstanceOf(RpcUnsentError);
    expect(await rpc.closed).toBeInstanceOf(RpcDisconnectedError);

    const ours = await connect();
    const mine = ours.call(shout, undefined);
    ours.close();
    await expect(mine).rejects.toThrow("this side closed the connection");
  });

  test("reject an answer that cannot be decoded, and the next one is not affected", async () => {
    const { connect } = await pair({
      services: [serve(own, { double: () => ({ number: 2 }), shout: () => {} })],
    });
    const rpc = await connect();
    const { shout: asks } = program(ownProgram, {
      procedures: { shout: procedure(2, "write", nothing, struct({ number: uint })) },
      messages: {},
    }).procedures;
    await expect(rpc.call(asks, undefined)).rejects.toBeInstanceOf(RpcProtocolError);
    await expect(rpc.call(asks, undefined)).rejects.toThrow(
      "the answer to shout cannot be read: number: needs 4 bytes, but 0 are left",
    );
    expect(await rpc.call(double, { number: 1 })).toEqual({ number: 2 });
  });

  test("reject an answer to another procedure, which ends the connection", async () => {
    const path = await rawServer((socket) => {
      const splitter = new FrameSplitter();
      socket.on("data", (bytes) => {
        for (const { header } of splitter.push(bytes)) {
          socket.write(encodeFrame({ ...header, procedure: 1, type: "reply" }, Buffer.alloc(0)));
        }
      });
    });
    const rpc = new RpcConnection(await dialled(path), systemClock);
    await expect(rpc.call(shout, undefined)).rejects.toThrow(
      "the answer to shout names procedure 1 of program 1398230870",
    );
  });
});

describe("messages", () => {
  test("reach their listeners in wire order with the answers around them, until the subscription ends", async () => {
    const { connect } = await pair({
      services: [
        serve(own, {
          shout: (_, client) => {
            client.send(own.messages.heard, { words: "one" });
            client.send(own.messages.heard, { words: "two" });
          },
        }),
      ],
    });
    const rpc = await connect();
    const order: string[] = [];
    const stop = rpc.on(own.messages.heard, ({ words }) => order.push(words));
    await rpc.call(shout, undefined).then(() => order.push("answer"));
    stop();
    await rpc.call(shout, undefined);
    expect(order).toEqual(["one", "two", "answer"]);
  });

  test("are delivered although a listener throws, whose exception is rethrown", async () => {
    const { connect } = await pair({
      services: [serve(own, { shout: (_, client) => client.send(own.messages.heard, { words: "boo" }) })],
    });
    const heard: string[] = [];
    const uncaught = await uncaughtDuring(async () => {
      const rpc = await connect();
      rpc.on(own.messages.heard, () => {
        throw new Error("listener's bug");
      });
      rpc.on(own.messages.heard, ({ words }) => heard.push(words));
      await rpc.call(shout, undefined);
      rpc.close();
    });
    expect(uncaught.map(String)).toEqual(["Error: listener's bug"]);
    expect(heard).toEqual(["boo"]);
  });

  test("that cannot be decoded end the connection", async () => {
    const { connect, server } = await pair({ services: [] });
    const rpc = await connect();
    rpc.on(
      program(ownProgram, { procedures: {}, messages: { heard: message(3, nothing) } }).messages.heard,
      () => {},
    );
    await until(() => server.clients.length === 1);
    server.clients[0]?.send(own.messages.heard, { words: "boo" });
    expect((await rpc.closed).message).toBe("8 bytes are left over");
  });
});

describe("keepalive", () => {
  /** A clock that advances when a test says so. */
  function handClock(): Clock & { pass(): void } {
    let due: (() => void)[] = [];
    return {
      now: () => 0,
      setTimeout: (run) => {
        due.push(run);
        return run;
      },
      clearTimeout: (handle) => {
        due = due.filter((call) => call !== handle);
      },
      pass: () => {
        for (const run of due.splice(0)) run();
      },
    };
  }

  test("pings a silent peer, restarts its count on traffic, and detects a dead peer", () => {
    const clock = handClock();
    const told: string[] = [];
    let listens = true;
    const keepalive = new Keepalive(
      clock,
      { intervalMs: 5_000, count: 2 },
      { listens: () => listens, ask: () => told.push("ask"), dead: () => told.push("dead") },
    );
    const pass = (intervals: number) => {
      for (let i = 0; i < intervals; i += 1) clock.pass();
      return told.splice(0);
    };
    expect(pass(3)).toEqual(["ask", "ask"]);
    keepalive.heard();
    expect(pass(3)).toEqual(["ask", "ask"]);
    // A peer that does not read cannot answer.
    listens = false;
    expect(pass(5)).toEqual([]);
    listens = true;
    expect(pass(3)).toEqual(["ask", "ask", "dead"]);
    expect(pass(3)).toEqual([]);
  });

  test("answers a ping at once, also while a call is pending, on either side", async () => {
    const { raw } = await pair({ services: [serve(own, { shout: () => new Promise<void>(() => {}) })] });
    const client = await raw();
    const received = framesOf(client);
    const call = {
      program: own.number,
      version: 1,
      procedure: 2,
      type: "call",
      serial: 0,
      status: "ok",
    } as const;
    client.write(Buffer.concat([encodeFrame(call, Buffer.alloc(0)), encodeFrame(ping, Buffer.alloc(0))]));
    await until(() => received.length > 0);
    expect(received.map(({ header }) => header)).toEqual([pong]);

    const answers = gate<Frame[]>();
    const path = await rawServer((socket) => {
      answers.open(framesOf(socket));
      socket.write(encodeFrame(ping, Buffer.alloc(0)));
    });
    const rpc = new RpcConnection(await dialled(path), systemClock);
    const back = await answers.opened;
    await until(() => back.length > 0);
    expect(back.map(({ header }) => header)).toEqual([pong]);
    rpc.close();
  });

  test("closes the connection to a daemon that hangs", async () => {
    const path = await rawServer(() => {});
    const rpc = new RpcConnection(await dialled(path), systemClock);
    rpc.startKeepalive({ intervalMs: 5, count: 2 });
    await expect(rpc.call(shout, undefined)).rejects.toThrow("the peer is dead: 2 pings were not answered");
  });

  test("makes the server drop a client that hangs, but only one that has enabled it", async () => {
    const keepalive = { intervalMs: 5, count: 1 };
    const { raw, server } = await pair({ services: [serveRemote({})], keepalive });
    const quiet = await raw();
    const asking = await raw();
    const received = framesOf(asking);
    const { program: remoteProgram, number } = connectSupportsFeature;
    const call = { program: remoteProgram.number, version: 1, procedure: number, type: "call" } as const;
    asking.write(encodeFrame({ ...call, serial: 0, status: "ok" }, Buffer.from([0, 0, 0, 10])));
    await new Promise((resolve) => asking.once("close", resolve));
    expect(received.map(({ header: { procedure: it, type } }) => [it, type])).toEqual([
      [number, "reply"],
      [ping.procedure, "message"],
    ]);
    expect(quiet.readyState).toBe("open");
    expect(server.clients).toHaveLength(1);
  });

  test("is reported as unsupported by a server that is configured without it", async () => {
    const { connect } = await pair({ services: [serveRemote({})], keepalive: null });
    const rpc = await connect();
    expect(await rpc.call(connectSupportsFeature, { feature: 10 })).toEqual({ supported: 0 });
    expect(await rpc.call(connectSupportsFeature, { feature: 14 })).toEqual({ supported: 0 });
  });
});
