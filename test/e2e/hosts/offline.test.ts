// Checks that of two hosts that define a guest only the one to which the other has given it up starts it (G1), wherever an
// offline migration breaks off between Begin and Confirm: with two real daemons and real QEMU.

import { describe, expect, test } from "vitest";
import { bitsOf, type MigrateFlag, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import type { RpcConnection } from "../../../src/drivers/libvirt/rpc/client.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { inTwoHosts, type Side, type TwoHosts } from "../../support/host-process.js";
import { stateAt } from "../../support/host-state.js";
import { testLimitMs } from "../../support/patience.js";
import { noCookie } from "../../support/step-by-step.js";

const { procedures } = remote;

/** The guest is shut off at a, which defines it. */
async function shutOff(lab: TwoHosts): Promise<void> {
  const a = await lab.rpc("a");
  await a.call(procedures.domainDestroy, { dom: lab.dom });
  expect(lab.guest.pids()).toEqual([]);
}

const start = async (lab: TwoHosts, side: Side) =>
  (await lab.rpc(side)).call(procedures.domainCreate, { dom: lab.dom });
const standingAt = async (lab: TwoHosts, side: Side) =>
  (await (await lab.rpc(side)).call(own.procedures.standing, null)).domains;

/** Calls Begin, Prepare and Finish of a definition's move from a to b, as a client does; resolves to the arguments of Confirm. */
async function finished(lab: TwoHosts, ...more: MigrateFlag[]) {
  const client = await lab.redial("a").rpc();
  const flags = bitsOf(["OFFLINE", "PERSIST_DEST", ...more]);
  const there = bitsOf(["OFFLINE", "PERSIST_DEST"]);
  const { dom, guest } = lab;
  const begun = await client.call(procedures.domainMigrateBegin3Params, { dom, params: [], flags });
  const b = await lab.redial("b").rpc();
  const prepared = toParameters({ xml: guest.xml("b") });
  await b.call(procedures.domainMigratePrepare3Params, {
    params: prepared,
    cookieIn: begun.cookieOut,
    flags: there,
  });
  const { cookieOut } = await b.call(procedures.domainMigrateFinish3Params, {
    params: toParameters({ name: guest.name }),
    cookieIn: noCookie,
    flags: there,
    cancelled: 0,
  });
  const confirm = (cookieIn = cookieOut, at: RpcConnection = client) =>
    at.call(procedures.domainMigrateConfirm3Params, { dom, params: [], cookieIn, flags, cancelled: 0 });
  return { confirm };
}

describe("a definition that moved", () => {
  test("is started by the source or by the destination, not by both, when its Confirm is lost", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await shutOff(lab);
      await finished(lab, "UNDEFINE_SOURCE");
      await lab.restart("a");
      await start(lab, "b");
      await lab.guest.counts("b");
      await expect(start(lab, "a")).rejects.toThrow("is away");
      expect(lab.guest.pids()).toHaveLength(1);
    });
  });

  test("is not started by the destination while the guest runs at the source", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      const { confirm } = await finished(lab);
      await confirm();
      await expect(start(lab, "b")).rejects.toThrow("the guest is on this host");
      await lab.guest.counts("a");
      await (await lab.rpc("a")).call(procedures.domainDestroy, { dom: lab.dom });
      await start(lab, "b");
      await lab.guest.counts("b");
      await expect(start(lab, "a")).rejects.toThrow("is away");
    });
  });

  test("is started by the destination once the source has confirmed, even when the source is down", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await shutOff(lab);
      const { confirm } = await finished(lab, "UNDEFINE_SOURCE");
      await confirm();
      await expect(stateAt(lab, "a")).rejects.toThrow("no domain with matching uuid");
      await lab.hosts.a.kill();
      await start(lab, "b");
      await lab.guest.counts("b");
    });
  });

  test("is started by a destination that missed the Confirm, and not by the source", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await shutOff(lab);
      const { confirm } = await finished(lab);
      await lab.hosts.b.kill();
      await confirm();
      expect(lab.hosts.a.takeSaid()).toContain("will ask when it starts the guest");
      await expect(start(lab, "a")).rejects.toThrow("does not answer");
      await lab.hosts.b.start();
      await expect(start(lab, "a")).rejects.toThrow("has left this host too");
      await start(lab, "b");
      await lab.guest.counts("b");
    });
  });

  test("stays at the source, marked as away, when the destination has not proved that it has it", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await shutOff(lab);
      const { confirm } = await finished(lab, "UNDEFINE_SOURCE");
      await confirm(noCookie);
      expect(JSON.parse(await standingAt(lab, "a"))).toMatchObject([
        { name: lab.guest.name, quarantined: null },
      ]);
      await expect(start(lab, "a")).rejects.toThrow("cannot be contacted");
      await start(lab, "b");
      await lab.guest.counts("b");
    });
  });

  test("is not given up by a third party's Confirm, and its secret is not exposed", {
    timeout: testLimitMs,
  }, async () => {
    await inTwoHosts({}, async (lab) => {
      await shutOff(lab);
      const { confirm } = await finished(lab, "UNDEFINE_SOURCE");
      const stranger = await lab.redial("a").rpc();
      await expect(confirm(noCookie, stranger)).rejects.toThrow("is under way for this Confirm");
      const b = await lab.redial("b").rpc();
      const [away] = JSON.parse(await standingAt(lab, "b"));
      expect(Object.keys(away.away).toSorted()).toEqual(["hostname", "migrationId", "sinceMs", "uri"]);
      const { migrationId } = away.away;
      const said = { migrationId, uuid: lab.guest.uuid, secret: "0".repeat(36) };
      await expect(b.call(own.procedures.conceded, said)).rejects.toThrow("is not waiting for migration");
      await confirm();
      expect(await standingAt(lab, "b")).toBe("[]");
    });
  });
});
