import { describe, expect, onTestFinished, test } from "vitest";
import { RpcConnectError } from "../../../../../src/drivers/libvirt/rpc/errors.js";
import { LibvirtError } from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { openConnection } from "../../../../../src/drivers/libvirt/rpc/open.js";
import type { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { RpcServer } from "../../../../../src/drivers/libvirt/rpc/server.js";
import { type Handlers, serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { parseUri, type UriSurroundings } from "../../../../../src/drivers/libvirt/rpc/uri.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { pair, rawServer } from "../../../../support/rpc-pair.js";

const root: UriSurroundings = { readOnly: false, sessionDirectory: undefined };
const user = { readOnly: true, sessionDirectory: "/run/user/1000" };
const addressOf = (uri: string, surroundings = root) => parseUri(uri, surroundings).address;

test("a connection that fails in the tick in which it was started is reported like any other", async () => {
  const opening = new Promise((resolve, reject) => {
    // As from a socket's callback: there Node reports the error before any promise continues.
    setImmediate(() =>
      openConnection("qemu+tcp://255.255.255.255/system", { clock: systemClock }).then(resolve, reject),
    );
  });
  await expect(opening).rejects.toThrow(/cannot connect to 255\.255\.255\.255:16509: connect E/);
});

describe("a URI", () => {
  test("names a local daemon's socket, or libvirt's default paths", () => {
    expect(parseUri("qemu+unix:///system?socket=/a/b%20c", root)).toEqual({
      address: { transport: "unix", paths: ["/a/b c"] },
      driverUri: "qemu:///system",
    });
    const both = ["/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"];
    expect(addressOf("qemu:///system")).toEqual({ transport: "unix", paths: both });
    expect(addressOf("qemu:///session")).toEqual({ transport: "unix", paths: both });
    expect(addressOf("qemu:///system?mode=legacy")).toMatchObject({ paths: [both[1]] });
    expect(addressOf("qemu:///system?mode=direct", user)).toMatchObject({
      paths: ["/run/libvirt/virtqemud-sock-ro"],
    });
    expect(addressOf("qemu:///session", user)).toMatchObject({
      paths: ["/run/user/1000/libvirt/virtqemud-sock", "/run/user/1000/libvirt/libvirt-sock"],
    });
  });

  test("names a remote daemon by host and port, over TLS by default", () => {
    expect(parseUri("qemu+tcp://hostb/system", root)).toEqual({
      address: { transport: "tcp", host: "hostb", port: 16_509 },
      driverUri: "qemu:///system",
    });
    expect(addressOf("qemu+tcp://[::1]:99/system")).toEqual({ transport: "tcp", host: "::1", port: 99 });
    expect(addressOf("qemu://hostb/session")).toEqual({
      transport: "tls",
      host: "hostb",
      port: 16_514,
      pkiPath: undefined,
    });
    expect(addressOf("qemu+tls://hostb:1/system?pkipath=/p")).toMatchObject({ port: 1, pkiPath: "/p" });
  });

  test.each([
    ["", "it is not a valid URI"],
    ["xen:///system", "the driver xen is not supported"],
    ["qemu+ssh://hostb/system", "the transport ssh is not supported"],
    ["qemu+constructor://hostb/system", "the transport constructor is not supported"],
    ["qemu+tls://hostb/system?no_verify=1", "the parameter no_verify is not supported for tls"],
    ["qemu+tcp://hostb/system?pkipath=/p", "the parameter pkipath is not supported for tcp"],
    ["qemu+tcp://root@hostb/system", "a user name is not supported; remove it"],
    [
      "qemu+unix://hostb/system",
      "a unix socket cannot be on another host; remove the host, or use tls or tcp",
    ],
    ["qemu+tcp:///system", "the host is missing"],
    ["qemu:///embed", "the path /embed is not supported; use /system or /session"],
    ["qemu:///system?mode=other", "the mode other is not supported"],
  ])("%s is refused: %s", (uri, why) => {
    expect(() => parseUri(uri, root)).toThrow(RpcConnectError);
    expect(() => parseUri(uri, root)).toThrow(why);
  });
});

describe("opening a connection", () => {
  const order: string[] = [];
  const daemon = async (handlers: Handlers<typeof remote.procedures> = {}) => {
    order.length = 0;
    const { path, server } = await pair({
      services: [
        serveRemote({
          connectSupportsFeature: ({ feature }) => {
            order.push(`feature ${feature}`);
            return { supported: feature === 14 ? 1 : 0 };
          },
          connectOpen: ({ name, flags }) => {
            order.push(`open ${name} ${flags}`);
          },
          connectClose: () => {
            order.push("close");
          },
          ...handlers,
        }),
      ],
    });
    return { uri: `qemu+unix:///system?socket=${path}`, server };
  };
  const clock = systemClock;

  test("negotiates authentication, keepalive, the hypervisor and event ids, and is closed in order", async () => {
    const { uri } = await daemon();
    const { rpc, hasEventCallbacks, close } = await openConnection(uri, { clock, readOnly: true });
    expect(hasEventCallbacks).toBe(true);
    await close();
    expect(order).toEqual(["open qemu:///system 1", "feature 14", "close"]);
    expect((await rpc.closed).message).toBe("this side closed the connection");
  });

  test("uses polkit where no simpler method is offered, and cannot use SASL", async () => {
    let complete = 1;
    const polkit = await daemon({ authList: () => ({ types: [2] }), authPolkit: () => ({ complete }) });
    await (await openConnection(polkit.uri, { clock })).close();
    complete = 0;
    await expect(openConnection(polkit.uri, { clock })).rejects.toThrow(
      "polkit denied access to this process",
    );
    const sasl = await daemon({ authList: () => ({ types: [1] }) });
    await expect(openConnection(sasl.uri, { clock })).rejects.toThrow("SASL, which is not supported");
    const odd = await daemon({ authList: () => ({ types: [] }) });
    await expect(openConnection(odd.uri, { clock })).rejects.toThrow("types: none");
  });

  test("reports why the daemon refuses, and leaves no connection behind", async () => {
    const { uri, server } = await daemon({
      connectOpen: () => {
        throw new LibvirtError({ code: 5, domain: 0, message: "no connection driver available" });
      },
    });
    const error = await openConnection(uri, { clock }).catch((why: unknown) => why);
    expect(error).toBeInstanceOf(RpcConnectError);
    expect(error).toMatchObject({
      message: `cannot open ${uri}: no connection driver available`,
      cause: { code: 5 },
    });
    while (server.clients.length > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  test("fails with a daemon that sends nothing, without a daemon, and when the caller cancels", async () => {
    const silent = `qemu+unix:///system?socket=${await rawServer(() => {})}`;
    await expect(openConnection(silent, { clock, deadlineMs: 30 })).rejects.toThrow(
      /authList was not answered/,
    );
    await expect(openConnection("qemu+unix:///system?socket=/nonexistent", { clock })).rejects.toThrow(
      "cannot connect to /nonexistent: connect ENOENT",
    );
    const long = `/tmp/${"x".repeat(103)}`;
    await expect(openConnection(`qemu+unix:///system?socket=${long}`, { clock })).rejects.toThrow("too long");
    const caller = new AbortController();
    const waiting = openConnection(silent, { clock, signal: caller.signal });
    setTimeout(() => caller.abort(), 10);
    await expect(waiting).rejects.toBeInstanceOf(RpcConnectError);
    await expect(openConnection(silent, { clock, signal: caller.signal })).rejects.toThrow(
      "the caller gave up",
    );
  });

  test("also works over TCP", async () => {
    const server = new RpcServer({ clock, services: [serveRemote({ connectOpen: () => {} })] });
    onTestFinished(() => server.stop({ deadlineMs: 0 }));
    const port = await server.listenTcp({ host: "127.0.0.1", port: 0 });
    const { rpc } = await openConnection(`qemu+tcp://127.0.0.1:${port}/system`, { clock, keepalive: null });
    expect(server.clients[0]?.identity).toEqual({
      transport: "tcp",
      address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    });
    rpc.close();
    await expect(server.listenTcp({ host: "127.0.0.1", port })).rejects.toThrow("EADDRINUSE");
  });
});
