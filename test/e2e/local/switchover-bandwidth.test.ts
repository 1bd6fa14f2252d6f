// libvirt's bandwidth.avail.switchover on real QEMUs: in force at a source that supports it, refused with a reason by one that
// does not, and reset when the guest stays (G1, G6).

import { expect, test } from "vitest";
import { inLab, type Lab, memoryMoves } from "../../support/proof-guests.js";
import { secondQemu } from "../../support/second-qemu.js";

const small = { workingSetMiB: 4, dirtyMiBps: 16 };
const stream = { switchoverBandwidthMiBps: 300 };
const parameter = "avail-switchover-bandwidth";

const setAt = async ({ guest }: Lab) =>
  (await guest?.process.main.execute("query-migrate-parameters", {}))?.[parameter];

test.skipIf(secondQemu === null)(
  "bandwidth.avail.switchover is in force at a source that supports it, and is reset afterwards",
  async () => {
    await inLab({ ...small, binary: secondQemu ?? "" }, async (lab) => {
      const slow = { bandwidthMiBps: 1, maxDowntimeMs: 1 };
      const migration = lab.migrate({ stream, limits: slow });
      await memoryMoves(migration);
      expect(await setAt(lab)).toBe(300 * 2 ** 20);
      await migration.abort();
      expect(await lab.ended(migration)).toMatchObject({ kind: "aborted" });
      expect(await setAt(lab)).toBe(0);
      expect(await lab.ended(lab.migrate({ stream }))).toMatchObject({ kind: "arrived", dropped: [] });
    });
  },
);

test("bandwidth.avail.switchover is refused with a reason by a source that does not support it, or left out where that is allowed", async () => {
  await inLab({ ...small, binary: "qemu-system-x86_64" }, async (lab) => {
    if ((await setAt(lab)) !== undefined) return;
    const why = `the source's QEMU does not support the migration parameter "${parameter}", which QEMU supports since 8.2`;
    const { kind, error } = await lab.ended(lab.migrate({ stream }));
    expect([kind, error?.message]).toEqual(["stayed", expect.stringContaining(why)]);
    const without = { ...stream, optional: ["switchoverBandwidthMiBps"] as const };
    expect(await lab.ended(lab.migrate({ stream: without }))).toMatchObject({
      kind: "arrived",
      dropped: [{ option: "switchoverBandwidthMiBps", why }],
    });
  });
});
