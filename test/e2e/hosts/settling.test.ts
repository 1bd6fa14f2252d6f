// Checks G1, G2, G3 and G6 between two hosts, each with its own engine and journal, on real QEMU and real sockets: daemons are
// killed with -9 at seeded moments and started again, and a client dies.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bitsOf, toParameters } from "../../../src/drivers/libvirt/client/flags.js";
import { readCookie } from "../../../src/drivers/libvirt/cookie/cookie.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { decisions, own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import { hostFaults, migrationWith, momentOf, nameOf, needsCable } from "../../support/host-faults.js";
import { inTwoHosts, noCable } from "../../support/host-process.js";
import { testLimitMs } from "../../support/patience.js";
import { noCookie, StepByStep } from "../../support/step-by-step.js";

const { procedures } = remote;

// A slice; `npm run faults:hosts` runs more of it.
const slice = hostFaults
  .map((fault, at) => [nameOf(fault), momentOf(fault, at + 1), fault] as const)
  .filter((_, at) => at % 2 === 0);
describe("one copy runs at the end when", () => {
  test.for(slice)("%s, after %i ms", { timeout: testLimitMs }, async ([, ms, fault], { skip }) => {
    skip(needsCable(fault) && noCable !== undefined, noCable);
    await migrationWith(fault, ms);
  });
});

describe("a guest that is suspended for its migration before Perform runs again", () => {
  test.each([
    ["when the migration is aborted", false],
    ["when its source's daemon is killed, which aborts the migration", true],
  ] as const)("%s", { timeout: testLimitMs }, async (_, restarts) => {
    await inTwoHosts({}, async (lab) => {
      const steps = await StepByStep.over(lab);
      await steps.begin();
      const a = await lab.rpc("a");
      // As `virsh migrate --timeout` does on a host that is slow to prepare.
      await a.call(procedures.domainSuspend, { dom: lab.dom });
      if (restarts) await lab.restart("a");
      else await steps.confirm(noCookie, 1);
      await lab.runsAt("a");
    });
  });
});

describe("a source that settles", () => {
  test("is refused for good by a host that never received its guest, which then cannot arrive there", async () => {
    await inTwoHosts({}, async (lab) => {
      const [a, b] = [await lab.rpc("a"), await lab.rpc("b")];
      const flags = bitsOf(["LIVE", "CHANGE_PROTECTION"]);
      const begun = await a.call(procedures.domainMigrateBegin3Params, { dom: lab.dom, params: [], flags });
      const { uuid, name } = lab.guest;
      const seen = readCookie(begun.cookieOut, { name, uuid, hostUuid: "", reads: [] });
      const migrationId = seen?.cookie.switchover?.migration ?? "";
      const asked = { migrationId, uuid, name };
      expect(await b.call(own.procedures.settle, asked)).toEqual({ decision: decisions.refused });
      const prepare = () =>
        b.call(procedures.domainMigratePrepare3Params, {
          params: toParameters({ xml: lab.guest.xml("b") }),
          cookieIn: begun.cookieOut,
          flags,
        });
      await expect(prepare()).rejects.toThrow("has already been decided on this host");
      await lab.restart("b");
      const again = await lab.rpc("b");
      expect(await again.call(own.procedures.settle, asked)).toEqual({ decision: decisions.refused });
      await a.call(procedures.domainMigrateConfirm3Params, {
        dom: lab.dom,
        params: [],
        cookieIn: new Uint8Array(),
        flags,
        cancelled: 1,
      });
      await lab.runsAt("a");
    });
  });

  test("has one destination: the second of two concurrent Prepares is refused", async () => {
    await inTwoHosts({}, async (lab) => {
      const b = await lab.rpc("b");
      const words = {
        params: toParameters({ xml: lab.guest.xml("b") }),
        cookieIn: new Uint8Array(),
        flags: bitsOf(["LIVE"]),
      };
      const prepare = () => b.call(procedures.domainMigratePrepare3Params, words);
      const answers = await Promise.allSettled([prepare(), prepare()]);
      expect(answers.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
      expect(lab.guest.pids()).toHaveLength(2);
      const finish = { params: toParameters({ name: lab.guest.name }), cookieIn: new Uint8Array() };
      const cancelled = { ...finish, flags: bitsOf(["LIVE"]), cancelled: 1 };
      await expect(b.call(procedures.domainMigrateFinish3Params, cancelled)).rejects.toThrow("aborted");
      await lab.runsAt("a");
    });
  });

  test("gets the same answer from a destination that was restarted in between", async () => {
    await inTwoHosts({}, async (lab) => {
      expect((await (await lab.managed()).outcome).kind).toBe("arrived");
      await lab.restart("b");
      const b = await lab.rpc("b");
      const stories = readdirSync(join(lab.hosts.b.directory, "state", "journal")).filter((file) =>
        file.endsWith(".journal"),
      );
      expect(stories).toHaveLength(1);
      const { uuid, name } = lab.guest;
      const asked = { migrationId: stories[0]?.replace(".journal", "") ?? "", uuid, name };
      for (const how of ["settle", "concede"] as const)
        expect(await b.call(own.procedures[how], asked)).toEqual({ decision: decisions.taken });
      await lab.runsAt("b");
    });
  });
});
