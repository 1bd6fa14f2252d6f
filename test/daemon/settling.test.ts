// Checks G1, G2, G3 and G6 between two hosts, each with an engine and a journal of its own, on real QEMU and real sockets:
// daemons killed with -9 at seeded moments and started again, and a client that dies.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readCookie } from "../../src/drivers/domain/cookie/cookie.js";
import { bitsOf, toParameters } from "../../src/drivers/libvirt/flags.js";
import { remote } from "../../src/drivers/libvirt-rpc/procedures.js";
import { decisions, settling } from "../../src/drivers/libvirt-rpc/settle-program.js";
import { Cable, inTwoHosts, noCable } from "./lab.js";

const { procedures } = remote;

/** So that a migration lasts about a second: seeded moments fall into all of its phases. */
const slow = { bandwidthMiBps: 12 };
/** Seeded: as evenly spread as the golden ratio does. */
const moments = (count: number, longestMs: number) =>
  Array.from({ length: count }, (_, seed) => Math.round(((seed * 0.618) % 1) * longestMs));

describe("a daemon killed with -9 and started again leaves one running copy", () => {
  test.each(moments(6, 1_800))("the source's, %i ms into a managed migration", async (ms) => {
    await inTwoHosts({}, async (lab) => {
      const { outcome } = lab.managed(slow);
      await later(ms);
      await lab.restart("a");
      await outcome;
      await lab.countsOn();
    });
  });

  test.each(moments(6, 1_800))("the destination's, %i ms into a managed migration", async (ms) => {
    await inTwoHosts({}, async (lab) => {
      const { outcome } = lab.managed(slow);
      await later(ms);
      await lab.restart("b");
      await outcome;
      await lab.countsOn();
    });
  });

  test.each(moments(4, 1_800))("both, %i ms into a peer-to-peer migration", async (ms) => {
    await inTwoHosts({}, async (lab) => {
      const done = lab.peerToPeer("a", "b", "b", slow).catch(() => {});
      await later(ms);
      await Promise.all([lab.restart("a"), lab.restart("b")]);
      await done;
      await lab.countsOn();
    });
  });
});

describe.skipIf(noCable !== undefined)("a cable that is cut and mended leaves one running copy", () => {
  test.each(moments(6, 1_800))("%i ms into a peer-to-peer migration", async (ms) => {
    await inTwoHosts({ cable: new Cable() }, async (lab) => {
      const done = lab.peerToPeer("a", "b", "b", slow).catch(() => {});
      await later(ms);
      lab.cable?.cut();
      await later(4_000);
      lab.cable?.mend();
      await done;
      await lab.countsOn();
    });
  });
});

describe("a source that settles", () => {
  test("is refused for good by a host to which its guest has never come, and the guest cannot come then", async () => {
    await inTwoHosts({}, async (lab) => {
      const [a, b] = [await lab.rpc("a"), await lab.rpc("b")];
      const flags = bitsOf(["LIVE", "CHANGE_PROTECTION"]);
      const begun = await a.call(procedures.domainMigrateBegin3Params, { dom: lab.dom, params: [], flags });
      const { uuid, name } = lab.guest;
      const seen = readCookie(begun.cookieOut, { name, uuid, hostUuid: "", reads: [] });
      const migrationId = seen?.cookie.switchover?.migration ?? "";
      const asked = { migrationId, uuid, name };
      expect(await b.call(settling.procedures.settle, asked)).toEqual({ decision: decisions.refused });
      const prepare = () =>
        b.call(procedures.domainMigratePrepare3Params, {
          params: toParameters({ xml: lab.guest.xml("b") }),
          cookieIn: begun.cookieOut,
          flags,
        });
      await expect(prepare()).rejects.toThrow("has been decided here already");
      await lab.restart("b");
      const again = await lab.rpc("b");
      expect(await again.call(settling.procedures.settle, asked)).toEqual({ decision: decisions.refused });
      await a.call(procedures.domainMigrateConfirm3Params, {
        ...{ dom: lab.dom, params: [], cookieIn: new Uint8Array(), flags, cancelled: 1 },
      });
      await lab.runsAt("a");
    });
  });

  test("gets the same answer of a destination that has been restarted since", async () => {
    await inTwoHosts({}, async (lab) => {
      expect((await lab.managed().outcome).kind).toBe("arrived");
      await lab.restart("b");
      const b = await lab.rpc("b");
      const stories = readdirSync(join(lab.hosts.b.directory, "state", "journal")).filter((it) =>
        it.endsWith(".journal"),
      );
      expect(stories).toHaveLength(1);
      const { uuid, name } = lab.guest;
      const asked = { migrationId: stories[0]?.replace(".journal", "") ?? "", uuid, name };
      for (const how of ["settle", "yield"] as const)
        expect(await b.call(settling.procedures[how], asked)).toEqual({ decision: decisions.taken });
      await lab.runsAt("b");
    });
  });
});

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
