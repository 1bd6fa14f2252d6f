import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { domainStates, features, lifecycleEvents } from "../../../../../src/drivers/libvirt/rpc/constants.js";
import {
  errorCodes,
  errorDomains,
  LibvirtError,
} from "../../../../../src/drivers/libvirt/rpc/libvirt-error.js";
import type { Domain } from "../../../../../src/drivers/libvirt/rpc/libvirt-types.js";
import { remote } from "../../../../../src/drivers/libvirt/rpc/procedures.js";
import { RpcServer } from "../../../../../src/drivers/libvirt/rpc/server.js";
import {
  type Handlers,
  type RpcClient,
  serveRemote,
} from "../../../../../src/drivers/libvirt/rpc/service.js";
import { systemClock } from "../../../../../src/drivers/platform/clock.js";
import { hasLibvirtd, opened, startLibvirtd, tiny } from "../../../../support/libvirtd.js";
import { Authority, hasOpenssl } from "../../../../support/pki.js";
import { type Pair, pair, temporaryDirectory } from "../../../../support/rpc-pair.js";
import { until } from "../../../../support/until.js";

const { procedures, messages } = remote;

const run = promisify(execFile);
const virsh = async (uri: string, ...command: string[]) =>
  (await run("virsh", ["-c", uri, ...command])).stdout.trim();

const running: Domain = { name: "running", uuid: tiny.uuid, id: 7 };
const resting: Domain = { name: "resting", uuid: tiny.uuid.replace("0a", "0b"), id: -1 };
const domains = [running, resting];
const service: Handlers<typeof procedures> = {
  connectOpen: () => {},
  connectClose: () => {},
  connectGetHostname: () => ({ hostname: "ours" }),
  connectGetType: () => ({ type: "QEMU" }),
  connectGetVersion: () => ({ hvVer: 7_002_022n }),
  connectGetLibVersion: () => ({ libVer: 9_000_000n }),
  connectSupportsFeature: ({ feature }) => ({ supported: feature === features.remoteEventCallback ? 1 : 0 }),
  nodeGetInfo: () => ({
    model: "x86_64",
    memory: 4_096n,
    cpus: 12,
    mhz: 2_000,
    nodes: 1,
    sockets: 2,
    cores: 3,
    threads: 2,
  }),
  connectListAllDomains: () => ({ domains, ret: domains.length }),
  domainGetState: ({ dom: { id } }) => ({
    state: id < 0 ? domainStates.shutoff : domainStates.running,
    reason: 1,
  }),
  domainLookupByName: ({ name }) => {
    const dom = domains.find((domain) => domain.name === name);
    if (dom !== undefined) return { dom };
    const message = `Domain not found: no domain with matching name '${name}'`;
    throw new LibvirtError({ code: errorCodes.NO_DOMAIN, domain: errorDomains.QEMU, message });
  },
};
const serving = (handlers: Handlers<typeof procedures> = {}) =>
  pair({ services: [serveRemote({ ...service, ...handlers })] });
const uriOf = ({ path }: Pair) => `qemu+unix:///system?socket=${path}`;
const rows = (table: string) => table.split("\n").map((line) => line.trim().split(/ {2,}/));

describe.skipIf(!hasLibvirtd)("real virsh with our server", () => {
  test("opens a connection, lists domains, queries host and versions, and disconnects", async () => {
    const served = await serving();
    const uri = uriOf(served);
    expect(await virsh(uri, "hostname")).toBe("ours");
    expect(rows(await virsh(uri, "list", "--all"))).toEqual([
      ["Id", "Name", "State"],
      [expect.stringMatching(/^-+$/)],
      ["7", "running", "running"],
      ["-", "resting", "shut off"],
    ]);
    expect(await virsh(uri, "list", "--all", "--name", "--uuid")).toBe(
      domains.map(({ uuid, name }) => `${uuid} ${name}`).join("\n"),
    );
    expect(await virsh(uri, "version")).toContain("Running hypervisor: QEMU 7.2.22");
    expect(rows(await virsh(uri, "nodeinfo"))).toEqual([
      ["CPU model:", "x86_64"],
      ["CPU(s):", "12"],
      ["CPU frequency:", "2000 MHz"],
      ["CPU socket(s):", "2"],
      ["Core(s) per socket:", "3"],
      ["Thread(s) per core:", "2"],
      ["NUMA cell(s):", "1"],
      ["Memory size:", "4096 KiB"],
    ]);
    expect(await virsh(uri, "domid", "running")).toBe("7");
    await until(() => served.server.clients.length === 0);
  });

  test("prints our error messages, and acts on their codes", async () => {
    const refused = (code: number, message: string) => () => {
      throw new LibvirtError({ code, domain: errorDomains.DOMAIN, message });
    };
    const uri = uriOf(
      await serving({
        domainSuspend: refused(errorCodes.OPERATION_INVALID, "domain is not running"),
        domainMigrateGetMaxSpeed: () => {
          throw new TypeError("a bug");
        },
      }),
    );
    await expect(virsh(uri, "domid", "nobody")).rejects.toThrow("error: failed to get domain 'nobody'");
    await expect(virsh(uri, "suspend", "running")).rejects.toThrow("error: domain is not running");
    await expect(virsh(uri, "migrate-getspeed", "running")).rejects.toThrow("error: internal error: a bug");
    await expect(virsh(uri, "domjobabort", "running")).rejects.toThrow("error: unknown procedure: 164");

    // Only when the code says that the call is not supported does virsh fall back to libvirt's old way to list: call 51.
    const listing = async (code: number) =>
      virsh(uriOf(await serving({ connectListAllDomains: refused(code, "no list") })), "list");
    await expect(listing(errorCodes.OPERATION_DENIED)).rejects.toThrow("error: no list");
    await expect(listing(errorCodes.NO_SUPPORT)).rejects.toThrow("error: unknown procedure: 51");
  });

  test("receives our events", async () => {
    const told = { callbackID: 3, dom: running, event: lifecycleEvents.stopped, detail: 1 };
    const uri = uriOf(
      await serving({
        connectDomainEventCallbackRegisterAny: (_, client) => {
          // Repeatedly: libvirt's clients drop events that arrive before they have recorded the callback's id.
          const telling = setInterval(() => client.send(messages.domainEventCallbackLifecycle, told), 20);
          void client.closed.then(() => clearInterval(telling));
          return { callbackID: told.callbackID };
        },
        connectDomainEventCallbackDeregisterAny: () => {},
      }),
    );
    const words = ["-c", uri, "event", "--event", "lifecycle", "--timeout", "20"];
    // virsh 9.0 sometimes waits for its own thread forever when events arrive while it registers: then another one is started.
    const heard = async (): Promise<string> => {
      const { stdout, killed } = await run("virsh", words, { timeout: 40_000, killSignal: "SIGKILL" }).then(
        (printed) => ({ ...printed, killed: false }),
        (error: { stdout: string; killed: boolean }) => error,
      );
      return killed ? heard() : stdout.trim();
    };
    expect(await heard()).toBe(
      "event 'lifecycle' for domain 'running': Stopped Destroyed\nevents received: 1",
    );
  });
});

describe.skipIf(!hasLibvirtd || !hasOpenssl)("libvirt's RPC over TLS", () => {
  async function freePort(): Promise<number> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    await new Promise((resolve) => server.close(resolve));
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  test("connects our client to a real libvirtd, and virsh to our server", async () => {
    const authority = new Authority(temporaryDirectory(), "ca");
    const serverPki = authority.issue("server", "/CN=localhost");
    const clientPki = authority.issue("client", "/O=Example/CN=hosta");

    const port = await freePort();
    await startLibvirtd({ tls: { port, pkiPath: serverPki } });
    const { rpc } = await opened(`qemu+tls://localhost:${port}/system?pkipath=${clientPki}`);
    expect(await rpc.call(procedures.connectGetHostname, undefined)).toEqual({ hostname: "hosta" });

    const seen: RpcClient[] = [];
    const server = new RpcServer({
      clock: systemClock,
      services: [
        serveRemote({
          ...service,
          connectOpen: (_, client) => {
            seen.push(client);
          },
        }),
      ],
    });
    onTestFinished(() => server.stop({ deadlineMs: 0 }));
    const ourPort = await server.listenTls({ host: "127.0.0.1", port: 0, pkiPath: serverPki });
    const uri = `qemu+tls://localhost:${ourPort}/system?pkipath=${clientPki}`;
    expect(await virsh(uri, "hostname")).toBe("ours");
    expect(seen.map(({ identity }) => identity)).toMatchObject([
      { transport: "tls", dn: "O=Example,CN=hosta" },
    ]);
  });
});
