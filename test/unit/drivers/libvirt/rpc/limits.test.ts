// Limits of a server for each client, and for clients that have not authenticated yet.

import { connect as connectTcp, type Socket } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { openConnection } from "../../../../../src/drivers/libvirt/rpc/open.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { message, ownProgram, procedure, program } from "../../../../../src/drivers/libvirt/rpc/program.js";
import { RpcServer, type ServerOptions } from "../../../../../src/drivers/libvirt/rpc/server.js";
import { serve, serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { sparingLog } from "../../../../../src/drivers/libvirt/rpc/sparing-log.js";
import { nothing, opaque, uint } from "../../../../../src/drivers/libvirt/rpc/xdr.js";
import { struct } from "../../../../../src/drivers/libvirt/rpc/xdr-compound.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { patienceMs } from "../../../../support/patience.js";
import { Authority, hasOpenssl } from "../../../../support/pki.js";
import { pair, temporaryDirectory } from "../../../../support/rpc-pair.js";
import { until } from "../../../../support/until.js";

const own = program(ownProgram, {
  procedures: { ask: procedure(1, "read", nothing, struct({ number: uint })) },
  messages: { news: message(2, struct({ load: opaque(65_536) })) },
});
const asked = serve(own, { ask: () => ({ number: 7 }) });

/** Connects and sends nothing. */
async function silent(port: number, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => connectTcp({ port, host: "127.0.0.1" }));
  for (const socket of sockets) {
    socket.on("error", () => {});
    socket.resume();
    onTestFinished(() => void socket.destroy());
  }
  await until(() => sockets.every((socket) => !socket.connecting));
  return sockets;
}
const open = (sockets: readonly Socket[]) => sockets.filter((socket) => !socket.closed).length;

describe.skipIf(!hasOpenssl)("connections that do not finish the TLS handshake", () => {
  async function serving(limits: Partial<ServerOptions>) {
    const ours = new Authority(temporaryDirectory(), "ours");
    const said: string[] = [];
    const server = new RpcServer({
      clock: systemClock,
      services: [
        serveRemote({
          connectOpen: () => {},
          connectClose: () => {},
          connectGetHostname: () => ({ hostname: "hostb" }),
        }),
      ],
      log: (sentence) => said.push(sentence),
      ...limits,
    });
    onTestFinished(() => server.stop({ deadlineMs: 0 }));
    const pkiPath = ours.issue("server", "/CN=hostb");
    const port = await server.listenTls({ host: "127.0.0.1", port: 0, pkiPath });
    const path = `${temporaryDirectory()}/sock`;
    await server.listenUnix({ path });
    const client = ours.issue("client", "/CN=admin");
    const opened = async (uri: string) => {
      const connection = await openConnection(uri, { clock: systemClock, deadlineMs: patienceMs });
      onTestFinished(() => connection.close());
      return () => connection.rpc.call(remote.procedures.connectGetHostname, undefined);
    };
    return {
      server,
      said,
      port,
      locally: () => opened(`qemu+unix:///system?socket=${path}`),
      byTls: () => opened(`qemu+tls://127.0.0.1:${port}/system?pkipath=${client}`),
    };
  }

  test("are closed after their time limit, which is logged", async () => {
    const { port, said } = await serving({ handshakeMs: 200 });
    const sockets = await silent(port, 3);
    await until(() => open(sockets) === 0);
    expect(said).toEqual([
      expect.stringMatching(
        /^closed the connection from 127\.0\.0\.1:\d+: it has not finished the TLS handshake within 200 ms \(limits\.handshakeMs\)$/,
      ),
    ]);
  });

  test("have their own limit: 300 of them block neither local clients nor those with a certificate", async () => {
    const { port, said, server, locally, byTls } = await serving({
      maxClients: 10,
      maxAnonymousClients: 20,
      handshakeMs: 600_000,
    });
    const sockets = await silent(port, 300);
    await until(() => open(sockets) === 20);
    expect(server.clients).toHaveLength(0);
    for (const hostname of [await locally(), await byTls()])
      expect(await hostname()).toEqual({ hostname: "hostb" });
    // One of them has made room for the client.
    expect(open(sockets)).toBeGreaterThanOrEqual(19);
    expect(said[0]).toMatch(
      /20 connections have not finished the TLS handshake \(limits\.maxAnonymousClients\)$/,
    );
  });

  test("are no longer limited once the handshake is finished, however long they stay", async () => {
    const { byTls, said, port } = await serving({ maxAnonymousClients: 1, handshakeMs: 300 });
    const [first, second] = [await byTls(), await byTls()];
    // Longer than the handshake of either may take.
    const [slow] = await silent(port, 1);
    await until(() => slow?.closed === true);
    expect(said).toEqual([expect.stringContaining("within 300 ms")]);
    for (const hostname of [first, second]) expect(await hostname()).toEqual({ hostname: "hostb" });
  });

  test("are closed when the server is shutting down", async () => {
    const { port, server } = await serving({ handshakeMs: 600_000 });
    const sockets = await silent(port, 5);
    await server.stop({ deadlineMs: 0 });
    await until(() => open(sockets) === 0);
  });
});

describe("a server", () => {
  test("turns away a client over its limit, with a line in its log, and accepts the next one when another has left", async () => {
    const said: string[] = [];
    const { connect, raw, server } = await pair({
      services: [asked],
      maxClients: 2,
      log: (sentence) => void said.push(sentence),
    });
    const [first] = await Promise.all([connect(), connect()]);
    await until(() => server.clients.length === 2);
    const third = await raw();
    await until(() => third.closed || third.readableEnded || third.destroyed);
    expect(said).toEqual([
      "rejected a client of the unix socket: 2 clients are connected (limits.maxClients)",
    ]);
    first?.close();
    await until(() => server.clients.length === 1);
    expect(await (await connect()).call(own.procedures.ask, undefined)).toEqual({ number: 7 });
  });

  test("disconnects a subscriber that does not read instead of dropping its events, and serves the others", async () => {
    const said: string[] = [];
    const { connect, raw, server } = await pair({
      services: [asked],
      maxQueuedMessages: 50,
      log: (sentence) => void said.push(sentence),
    });
    const slow = await raw();
    slow.pause();
    await until(() => server.clients.length === 1);
    const other = await connect();
    let heard = 0;
    other.on(own.messages.news, () => {
      heard += 1;
    });
    await until(() => server.clients.length === 2);
    const [toSlow, toOther] = server.clients;
    let told = 0;
    while (server.clients.length === 2 && told < 1_000) {
      toSlow?.send(own.messages.news, { load: new Uint8Array(16_384) });
      toOther?.send(own.messages.news, { load: new Uint8Array(16_384) });
      told += 1;
      await until(() => heard === told);
    }
    expect(server.clients).toEqual([toOther]);
    expect(heard).toBe(told);
    expect(said).toEqual([
      expect.stringMatching(
        /^disconnected a client of the unix socket: the peer does not read: 50 messages \(\d+ bytes\) are queued \(limits\.maxQueuedMessages\)$/,
      ),
    ]);
    expect(await other.call(own.procedures.ask, undefined)).toEqual({ number: 7 });
  });
});

test("logs one line of a kind in ten seconds at most, with the number of lines that were left out", () => {
  let nowMs = 0;
  const said: string[] = [];
  const log = sparingLog({ now: () => nowMs }, (sentence) => said.push(sentence));
  for (nowMs = 0; nowMs < 25_000; nowMs += 1_000) log("clients", `at ${nowMs}`);
  log("unread", "another kind");
  expect(said).toEqual([
    "at 0",
    "at 10000 (9 similar lines were suppressed)",
    "at 20000 (9 similar lines were suppressed)",
    "another kind",
  ]);
});
