// `migrateBetween` with the source's host as the coordinator (peer-to-peer), and for a definition without a running guest.

import { describe, expect, test } from "vitest";
import type { MigrateFlag } from "../../../src/drivers/libvirt/client/flags.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { inTwoHosts, type TwoHosts, whole } from "../../support/host-process.js";

const { procedures } = remote;
const slow = { bandwidthMiBps: 12 };

const led = (lab: TwoHosts, parameters: object = {}, flags = whole) =>
  migrateBetween({
    from: lab.hosts.a.uri,
    to: lab.hosts.b.uri,
    domain: lab.guest.name,
    flags: ["PEER2PEER", ...flags],
    parameters: { xml: lab.guest.xml("b"), ...parameters },
  });

describe("a peer-to-peer migration", () => {
  test("arrives, and can be observed meanwhile", async () => {
    await inTwoHosts({}, async (lab) => {
      const { outcome, progress } = await led(lab, slow);
      await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
      expect((await progress())?.totalBytes).toBeGreaterThan(0);
      expect(await outcome).toEqual({ kind: "arrived", runs: "destination", error: null });
      await lab.runsAt("b");
    });
  });

  test("is aborted by its client", async () => {
    await inTwoHosts({}, async (lab) => {
      const { outcome, abort } = await led(lab, slow);
      await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
      expect(await abort()).toMatchObject({ accepted: true });
      expect(await outcome).toMatchObject({ kind: "aborted", runs: "source" });
      await lab.runsAt("a");
    });
  });

  test("reports the destination's reason when the guest stays", async () => {
    await inTwoHosts({}, async (lab) => {
      const { outcome } = await led(lab, { uri: "rdma://127.0.0.1:1" });
      const { kind, error } = await outcome;
      expect(kind).toBe("stayed");
      expect(error?.message).toContain("unsupported scheme rdma");
      await lab.runsAt("a");
    });
  });

  test("has an outcome even when the source's daemon is killed", async () => {
    await inTwoHosts({}, async (lab) => {
      const { outcome } = await led(lab, slow);
      await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
      await lab.restart("a");
      const { kind } = await outcome;
      const at = await lab.countsOn();
      expect(kind).toBe(at === "b" ? "arrived" : "stayed");
    });
  });

  test("does not begin when the destination is the source itself", async () => {
    await inTwoHosts({}, async (lab) => {
      const where = { from: lab.hosts.a.uri, to: "qemu:///system", domain: lab.guest.name };
      const migration = migrateBetween({ ...where, flags: ["LIVE", "PEER2PEER"] });
      await expect(migration).rejects.toThrow("does not name another host");
      await lab.runsAt("a");
    });
  });
});

describe.each([[[]], [["PEER2PEER"]]] as const)("an offline migration with %j", (mode) => {
  test("moves the definition, and the guest keeps running where it is", async () => {
    await inTwoHosts({}, async (lab) => {
      const a = await lab.rpc("a");
      const flags: MigrateFlag[] = [...mode, "OFFLINE", "PERSIST_DEST", "UNDEFINE_SOURCE"];
      const where = { from: lab.hosts.a.uri, to: lab.hosts.b.uri, domain: lab.guest.name };
      const { outcome } = await migrateBetween({ ...where, flags });
      expect((await outcome).kind).toBe("arrived");
      const b = await lab.rpc("b");
      expect(await b.call(procedures.domainIsPersistent, { dom: lab.dom })).toEqual({ persistent: 1 });
      expect(await b.call(procedures.domainIsActive, { dom: lab.dom })).toEqual({ active: 0 });
      expect(await a.call(procedures.domainIsPersistent, { dom: lab.dom })).toEqual({ persistent: 0 });
      await lab.guest.counts("a");
      lab.guest.check();
    });
  });

  test("reports the reason and moves nothing when the destination cannot store the definition", async () => {
    await inTwoHosts({}, async (lab) => {
      const where = { from: lab.hosts.a.uri, to: lab.hosts.b.uri, domain: lab.guest.name };
      const { outcome } = await migrateBetween({ ...where, flags: [...mode, "OFFLINE"] });
      const { kind, error } = await outcome;
      expect(kind).toBe("stayed");
      expect(error?.message).toContain("persistent flag");
      expect(await lab.list("b")).toEqual([]);
      await lab.runsAt("a");
    });
  });
});
