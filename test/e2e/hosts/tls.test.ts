// Two switchoverds and their clients that authenticate each other by certificates only.

import { connect as connectTls } from "node:tls";
import { describe, expect, test, vi } from "vitest";
import { bitsOf, type MigrateFlag, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { openConnection } from "../../../src/drivers/libvirt/rpc/open.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { freePort } from "../../support/free-port.js";
import { inTwoHosts, type TwoHosts, whole } from "../../support/host-process.js";
import { Authority, hasOpenssl } from "../../support/pki.js";
import { temporaryDirectory } from "../../support/rpc-pair.js";

const { procedures } = remote;

interface TlsLab {
  readonly lab: TwoHosts;
  readonly ports: { readonly a: number; readonly b: number };
  /** A host with the certificates of a directory. */
  uri(side: "a" | "b", pkiPath: string): string;
  /** Certificates of clients by name; those of admin are on the hosts' list. */
  issue(name: string): string;
  /** Moves the guest with its definition. */
  migrate(more: readonly MigrateFlag[], pkiPath: string): ReturnType<typeof migrateBetween>;
}

/** Both hosts have the same certificates, as server and as client. */
async function inTlsHosts(run: (lab: TlsLab) => Promise<void>): Promise<void> {
  const ours = new Authority(temporaryDirectory(), "ours");
  const pkiPath = ours.issue("server", "/O=example/CN=host");
  ours.issue("client", "/O=example/CN=host", { directory: pkiPath });
  const ports = { a: await freePort(), b: await freePort() };
  const address = (side: "a" | "b") => `qemu+tls://127.0.0.1:${ports[side]}/system`;
  const config = (side: "a" | "b") => ({
    tls: { host: "127.0.0.1", port: ports[side], pkiPath, allowedDns: ["O=example,CN=host", "CN=admin"] },
    uri: address(side),
  });
  await inTwoHosts({ each: { a: config("a"), b: config("b") } }, async (lab) => {
    const uri = (side: "a" | "b", pki: string) => `${address(side)}?pkipath=${pki}`;
    await run({
      lab,
      ports,
      uri,
      issue: (name) => ours.issue("client", `/CN=${name}`),
      migrate: (more, pki) =>
        migrateBetween({
          // A coordinating source presents its own certificates.
          from: uri("a", pki),
          to: more.includes("PEER2PEER") ? address("b") : uri("b", pki),
          domain: lab.guest.name,
          flags: [...whole, ...more],
          parameters: { xml: lab.guest.xml("b") },
        }),
    });
  });
}

describe.skipIf(!hasOpenssl)("two switchoverds over TLS", () => {
  test.each([[[]], [["PEER2PEER"]]] satisfies MigrateFlag[][][])("move a guest with %j", async (flags) => {
    await inTlsHosts(async ({ lab, issue, migrate }) => {
      const { kind, error } = await (await migrate(flags, issue("admin"))).outcome;
      expect(kind, error?.message).toBe("arrived");
      await lab.runsAt("b");
      expect(await lab.list("a")).toEqual([]);
    });
  });

  test("settle by themselves when the client is gone before Confirm", async () => {
    await inTlsHosts(async ({ lab, uri, issue }) => {
      const pki = issue("admin");
      const [a, b] = await Promise.all(
        (["a", "b"] as const).map((side) => openConnection(uri(side, pki), { clock: systemClock })),
      );
      if (a === undefined || b === undefined) throw new Error("two hosts are needed");
      const { dom } = lab;
      const how = { flags: bitsOf(whole) };
      const begun = await a.rpc.call(procedures.domainMigrateBegin3Params, { dom, params: [], ...how });
      const prepared = await b.rpc.call(procedures.domainMigratePrepare3Params, {
        params: toParameters({ xml: lab.guest.xml("b") }),
        cookieIn: begun.cookieOut,
        ...how,
      });
      const performed = await a.rpc.call(procedures.domainMigratePerform3Params, {
        dom,
        dconnuri: null,
        cookieIn: prepared.cookieOut,
        ...how,
        params: toParameters({ uri: prepared.uriOut ?? "" }),
      });
      await b.rpc.call(procedures.domainMigrateFinish3Params, {
        params: toParameters({ name: lab.guest.name }),
        cookieIn: performed.cookieOut,
        ...how,
        cancelled: 0,
      });
      await Promise.all([a.close(), b.close()]);
      await lab.runsAt("b");
      await vi.waitFor(async () => expect(await lab.list("a")).toEqual([]));
    });
  });

  test("reject clients that are not on their list or have no certificate, and keep working", async () => {
    await inTlsHosts(async ({ lab, ports, issue, migrate }) => {
      const stranger = issue("stranger");
      for (const flags of [[], ["PEER2PEER"]] satisfies MigrateFlag[][])
        await expect(migrate(flags, stranger)).rejects.toThrow(/does not accept the client certificate/);
      for (const side of ["a", "b"] as const) {
        const nameless = connectTls({ port: ports[side], host: "127.0.0.1", rejectUnauthorized: false });
        nameless.on("error", () => {});
        nameless.resume();
        await new Promise((resolve) => nameless.once("close", resolve));
        expect(nameless.bytesRead).toBe(0);
      }
      await lab.runsAt("a");
      expect(await lab.list("b")).toEqual([]);
      expect((await (await migrate([], issue("admin"))).outcome).kind).toBe("arrived");
      await lab.runsAt("b");
    });
  });
});
