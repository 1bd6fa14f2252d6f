// Two migrations of one guest in one process, and the handle of a guest that has moved. Checks G1 and G7.

import { describe, expect, test } from "vitest";
import { inLab, memoryMoves } from "../../support/proof-guests.js";

const slow = { bandwidthMiBps: 8, maxDowntimeMs: 1 };

describe("a guest that is being migrated", () => {
  test("refuses a second migration with the reason, without an effect on the first one", async () => {
    await inLab({}, async (lab) => {
      const first = lab.migrate({ limits: slow });
      await memoryMoves(first);
      expect(() => lab.migrate()).toThrow(
        expect.objectContaining({
          name: "GuestUnavailableError",
          reason: "migrating",
          migrationId: first.migrationId,
          message: expect.stringContaining(`is already being migrated by migration ${first.migrationId}`),
        }),
      );
      await first.setMaxDowntime(500);
      await first.setBandwidth(0);
      expect(await lab.ended(first)).toMatchObject({ kind: "arrived", error: null });
    });
  });

  test("can be migrated again as soon as its migration has failed", async () => {
    await inLab({}, async (lab) => {
      const first = lab.migrate({ limits: slow });
      await memoryMoves(first);
      await first.abort();
      expect(await lab.ended(first)).toMatchObject({ kind: "aborted", runs: "source" });
      expect(await lab.ended(lab.migrate())).toMatchObject({ kind: "arrived" });
    });
  });
});

describe("the handle of a guest that has moved", () => {
  test("reports where the guest is, not that it is lost", async () => {
    await inLab({}, async (lab) => {
      const { guest: old } = lab;
      const { guest } = await lab.ended(lab.migrate());
      lab.guest = old;
      expect(() => lab.migrate()).toThrow(`has moved to QEMU ${guest?.process.pid}`);
      lab.guest = guest;
      expect(await lab.ended(lab.migrate())).toMatchObject({ kind: "arrived" });
    });
  });
});
