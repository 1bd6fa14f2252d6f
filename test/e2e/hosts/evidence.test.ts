// Checks the report on a migration that did not arrive while a guest of its uuid runs at the destination: success is reported
// on evidence of this migration only (docs/guarantees.md).

import { describe, expect, test } from "vitest";
import { domainStates } from "../../../src/drivers/libvirt/rpc/constants.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { migrateBetween } from "../../../src/library/remote/migrate-between.js";
import { outcomes } from "../../../src/protocol/outcomes.js";
import { Cable, inTwoHosts, noCable, type TwoHosts, whole } from "../../support/host-process.js";
import { testLimitMs } from "../../support/patience.js";
import { until } from "../../support/until.js";
import { hasVirsh, refusal, VirshLab } from "../../support/virsh-lab.js";

const { procedures } = remote;

/** Undefined while the host does not list the guest. */
const reasonAt = async (lab: TwoHosts, side: "a" | "b") => {
  if ((await lab.list(side)).length === 0) return undefined;
  return (await (await lab.rpc(side)).call(procedures.domainGetState, { dom: lab.dom, flags: 0 })).reason;
};

const stateAt = async (lab: TwoHosts, side: "a" | "b") =>
  (await (await lab.rpc(side)).call(procedures.domainGetState, { dom: lab.dom, flags: 0 })).state;

describe("a guest of the same uuid that already runs at the destination", () => {
  test.each([
    ["a migration that is coordinated from here", []],
    ["a migration that its source leads", ["PEER2PEER"]],
  ] as const)("is not the guest that %s has moved", async (_, mode) => {
    await inTwoHosts({}, async (lab) => {
      const b = await lab.rpc("b");
      await b.call(procedures.domainCreateXml, { xmlDesc: lab.guest.xml("b"), flags: 0 });
      const { outcome } = await lab.managed({}, mode);
      const { kind, runs, error } = await outcome;
      expect(kind).toBe("stayed");
      expect(runs).toBe("source");
      expect(error?.message).toContain("already active");
      expect([await stateAt(lab, "a"), await stateAt(lab, "b")]).toEqual([
        domainStates.running,
        domainStates.running,
      ]);
      expect(lab.guest.pids()).toHaveLength(2);
    });
  });

  test.skipIf(!hasVirsh)("makes virsh migrate --p2p fail with the reason", async () => {
    const lab = await VirshLab.begin();
    await lab.boot();
    await lab.b.virsh("create", lab.xmlFile("b"));
    expect(await refusal(lab.migrate("--live", "--p2p"))).toContain("already active");
    await lab.guest.counts("a");
    expect(lab.guest.pids()).toHaveLength(2);
  });
});

describe("a second migration of a guest", () => {
  test("is refused, and the first one arrives", async () => {
    await inTwoHosts({}, async (lab) => {
      const first = await lab.managed({ bandwidthMiBps: 12 });
      await lab.jobAt("a", ({ memTotal }) => memTotal > 0n);
      const second = await lab.managed();
      expect((await second.outcome).kind).toBe("stayed");
      expect((await first.outcome).kind).toBe("arrived");
      await lab.runsAt("b");
    });
  });
});

describe("a migration to the host that the guest is on", () => {
  test.each([[[]], [["PEER2PEER"]]] as const)("is refused by name, with %j", async (mode) => {
    await inTwoHosts({}, async (lab) => {
      const { uri } = lab.hosts.a;
      const flags = [...whole, ...mode];
      const where = { from: uri, to: uri, domain: lab.guest.name, flags };
      const words = migrateBetween(where).then(
        async ({ outcome }) => (await outcome).error?.message,
        (error: unknown) => String(error),
      );
      expect(await words).toContain("Attempt to migrate guest to the same host");
      await lab.runsAt("a");
    });
  });
});

describe.skipIf(noCable !== undefined)("a guest that is lost in post-copy", () => {
  test.each([[[]], [["--p2p"]]] as const)(
    "is reported as lost by the command, with %j, although its remains run at the destination",
    { timeout: testLimitMs },
    async (mode) => {
      const cable = new Cable();
      await inTwoHosts({ cable, guest: { workingSetMiB: 24, dirtyMiBps: 24 } }, async (lab) => {
        cable.slow("40mbit");
        const [source = 0] = lab.guest.pids();
        const client = lab.client(["--postcopy", ...mode]);
        await lab.jobAt("a", ({ memProcessed }) => memProcessed > 0n);
        await (await lab.rpc("a")).call(procedures.domainMigrateStartPostCopy, { dom: lab.dom, flags: 0 });
        const postcopy = 10;
        await until(async () => (await reasonAt(lab, "b")) === postcopy);
        process.kill(source, "SIGKILL");
        const postcopyFailed = 11;
        await until(async () => (await reasonAt(lab, "b")) === postcopyFailed);
        expect(await client.ended, client.said()).toEqual([outcomes.lost.exitCode, null]);
      });
    },
  );
});
