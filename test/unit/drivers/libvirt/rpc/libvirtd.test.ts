import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import {
  domainStates,
  eventIds,
  features,
  lifecycleEvents,
} from "../../../../../src/drivers/libvirt/rpc/constants.js";
import { FrameSplitter, type Header } from "../../../../../src/drivers/libvirt/rpc/frame.js";
import { ping, pong } from "../../../../../src/drivers/libvirt/rpc/keepalive.js";
import {
  errorCodes,
  errorDomains,
  LibvirtError,
} from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { procedure, program } from "../../../../../src/drivers/libvirt/rpc/program.js";
import { serveRemote } from "../../../../../src/drivers/libvirt/rpc/service.js";
import { nothing } from "../../../../../src/drivers/libvirt/rpc/xdr.js";
import { hasLibvirtd, opened, startLibvirtd, tiny } from "../../../../support/libvirtd.js";
import { pair, rawServer } from "../../../../support/rpc-pair.js";
import { until } from "../../../../support/until.js";

const { procedures, messages } = remote;

/** A proxy between a client and the daemon at `socket`, which records the headers in both directions. */
async function tap(socket: string) {
  const client: Header[] = [];
  const daemon: Header[] = [];
  const path = await rawServer((near) => {
    const far = connect(socket);
    far.on("error", () => {});
    near.once("close", () => far.destroy());
    for (const [from, to, said] of [
      [near, far, client],
      [far, near, daemon],
    ] as const) {
      const splitter = new FrameSplitter();
      from.on("data", (bytes: Buffer) => said.push(...splitter.push(bytes).map(({ header }) => header)));
      from.pipe(to);
    }
  });
  return { uri: `qemu+unix:///system?socket=${path}`, client, daemon };
}

describe.skipIf(!hasLibvirtd)("our client with a real libvirtd", () => {
  test("opens it and queries everything about the daemon and its host", async () => {
    const { uri } = await startLibvirtd();
    const { rpc, hasEventCallbacks } = await opened(uri);
    expect(hasEventCallbacks).toBe(true);
    expect(await rpc.call(procedures.connectGetHostname, undefined)).toEqual({ hostname: "hosta" });
    expect(await rpc.call(procedures.connectGetUri, undefined)).toEqual({ uri: "qemu:///system" });
    expect(await rpc.call(procedures.connectGetType, undefined)).toEqual({ type: "QEMU" });
    const { capabilities } = await rpc.call(procedures.connectGetCapabilities, undefined);
    expect(capabilities).toMatch(/^<capabilities>.*<arch name='x86_64'>.*<domain type='qemu'\/>/s);
    const node = await rpc.call(procedures.nodeGetInfo, undefined);
    expect(node.model).toBe("x86_64");
    expect(node.memory).toBeGreaterThan(0n);
    expect(node.cpus).toBeGreaterThan(0);
    const supports = (feature: number) => rpc.call(procedures.connectSupportsFeature, { feature });
    expect(await supports(features.migrationV3)).toEqual({ supported: 1 });
    expect(await supports(features.migrationParams)).toEqual({ supported: 1 });
    expect(await supports(features.migrationV1)).toEqual({ supported: 0 });
    expect(await supports(9_999)).toEqual({ supported: 0 });
    expect(await rpc.call(procedures.connectListAllDomains, { needResults: 1, flags: 0 })).toEqual({
      domains: [],
      ret: 0,
    });
  });

  test("defines a domain, starts it, destroys it and undefines it, and receives an event for each", async () => {
    const { uri } = await startLibvirtd();
    const { rpc } = await opened(uri);
    const heard: [event: number, detail: number][] = [];
    const everyDomain = { eventID: eventIds.lifecycle, dom: null };
    const { callbackID } = await rpc.call(procedures.connectDomainEventCallbackRegisterAny, everyDomain);
    rpc.on(messages.domainEventCallbackLifecycle, ({ callbackID: id, dom, event, detail }) => {
      expect([id, dom.name, dom.uuid]).toEqual([callbackID, "tiny", tiny.uuid]);
      heard.push([event, detail]);
    });
    const { uuid } = tiny;
    const list = () => rpc.call(procedures.connectListAllDomains, { needResults: 1, flags: 0 });
    const stateOf = (dom: typeof resting) => rpc.call(procedures.domainGetState, { dom, flags: 0 });

    const { dom: resting } = await rpc.call(procedures.domainDefineXmlFlags, { xml: tiny.xml, flags: 0 });
    expect(resting).toEqual({ name: "tiny", uuid, id: -1 });
    expect(await list()).toEqual({ domains: [resting], ret: 1 });
    const { xml } = await rpc.call(procedures.domainGetXmlDesc, { dom: resting, flags: 2 });
    expect(xml).toContain(`<uuid>${uuid}</uuid>`);
    expect(await stateOf(resting)).toEqual({ state: domainStates.shutoff, reason: 0 });
    expect(await rpc.call(procedures.domainGetInfo, { dom: resting })).toEqual({
      state: domainStates.shutoff,
      maxMem: 32_768n,
      memory: 32_768n,
      nrVirtCpu: 1,
      cpuTime: 0n,
    });

    const { dom } = await rpc.call(procedures.domainCreateWithFlags, { dom: resting, flags: 0 });
    expect(dom).toEqual({ name: "tiny", uuid, id: 1 });
    expect(await stateOf(dom)).toEqual({ state: domainStates.running, reason: 1 });
    expect(await rpc.call(procedures.domainLookupById, { id: 1 })).toEqual({ dom });
    expect(await rpc.call(procedures.domainLookupByName, { name: "tiny" })).toEqual({ dom });
    expect(await rpc.call(procedures.domainLookupByUuid, { uuid })).toEqual({ dom });
    await rpc.call(procedures.domainDestroyFlags, { dom, flags: 0 });
    expect(await stateOf(resting)).toEqual({ state: domainStates.shutoff, reason: 2 });
    await rpc.call(procedures.domainUndefineFlags, { dom: resting, flags: 0 });
    expect(await list()).toEqual({ domains: [], ret: 0 });
    await until(() => heard.some(([event]) => event === lifecycleEvents.undefined));
    // Whether a killed QEMU still emits its shutdown event is a race inside libvirtd.
    expect(heard.filter(([event]) => event !== lifecycleEvents.shutdown)).toEqual([
      [lifecycleEvents.defined, 0],
      [lifecycleEvents.resumed, 0],
      [lifecycleEvents.started, 0],
      [lifecycleEvents.stopped, 1],
      [lifecycleEvents.undefined, 0],
    ]);

    heard.length = 0;
    await rpc.call(procedures.connectDomainEventCallbackDeregisterAny, { callbackID });
    await rpc.call(procedures.domainDefineXml, { xml: tiny.xml });
    await rpc.call(procedures.domainUndefine, { dom: resting });
    expect(heard).toEqual([]);
  });

  test("pings it and answers its pings", async () => {
    const { socket } = await startLibvirtd();
    const { uri, client, daemon } = await tap(socket);
    const has = (said: Header[], { program, procedure: number }: Header) =>
      said.some((served) => served.program === program && served.procedure === number);

    const asking = await opened(uri, { keepalive: { intervalMs: 50, count: 100 } });
    await until(() => has(client, ping) && has(daemon, pong));
    await asking.close();
    expect(has(daemon, ping)).toBe(false);

    const silent = await opened(uri, { keepalive: null });
    await until(() => has(daemon, ping) && has(client, pong));
    expect(await silent.rpc.call(procedures.connectGetHostname, undefined)).toEqual({ hostname: "hosta" });
  });

  test("receives libvirt's codes and messages, which are those of our server", async () => {
    const { uri } = await startLibvirtd();
    const { path } = await pair({ services: [serveRemote({ connectOpen: () => {} })] });
    const theirs = await opened(uri);
    const ours = await opened(`qemu+unix:///system?socket=${path}`);
    await expect(theirs.rpc.call(procedures.domainLookupByName, { name: "nobody" })).rejects.toMatchObject({
      code: errorCodes.NO_DOMAIN,
      domain: errorDomains.QEMU,
      message: "Domain not found: no domain with matching name 'nobody'",
    });
    const { unknown, short } = program(remote, {
      procedures: {
        unknown: procedure(9_999, "write", nothing, nothing),
        short: procedure(60, "write", nothing, nothing),
      },
      messages: {},
    }).procedures;
    const { foreign } = program(
      { number: 0x1234_5678, version: 3 },
      { procedures: { foreign: procedure(1, "write", nothing, nothing) }, messages: {} },
    ).procedures;
    for (const wrong of [unknown, short, foreign]) {
      const [from, to] = await Promise.all(
        [ours, theirs].map(({ rpc }) => rpc.call(wrong, undefined).catch((error: unknown) => error)),
      );
      expect(from).toBeInstanceOf(LibvirtError);
      expect(to).toBeInstanceOf(LibvirtError);
      const { code, domain, message } = to as LibvirtError;
      expect(from).toMatchObject({ code, domain, message });
    }
  });
});
